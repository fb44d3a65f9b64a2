//! Records in a file: how they are written, and how what a crash left is told from damage.
//!
//! A record is a frame: a header of 24 bytes, and then its bytes.
//!
//! | bytes | what | |
//! |---|---|---|
//! | 0..4 | magic | `"rec\n"`: what was not written reads as zeros, and this does not |
//! | 4..8 | length | of the record |
//! | 8..16 | durable | how many bytes of this file were durable when the frame was made |
//! | 16..20 | checksum | CRC32C of the record |
//! | 20..24 | seal | CRC32C of the file's epoch, the frame's offset, and the 20 bytes above |
//!
//! All numbers are little-endian. The seal ties a frame to its place: bytes of another file, or
//! of another place in this one, are no frame here, whatever they look like.
//!
//! # The end of a file
//! A server that dies leaves a file whose last writes may be missing, or there in part: a *torn
//! tail*. Nothing in it was ever answered for, and it is left out. *Damage* looks alike, a frame
//! that is not whole, but may be in front of records that were answered for: to cut there would
//! be to forget them in silence, which is the one thing that a disk must not do. Told apart by:
//!
//! * A whole frame, before or behind, says that more was durable than there is before the broken
//!   one: damage. That is why each frame says how much was.
//! * Else the broken frame belongs to the last writes. A file system writes whole sectors, and what
//!   it has not written of a growing file reads as zeros or is behind the end. So if the frame
//!   goes past the end, or a sector from there on is all zeros, the tail is torn; if all of it is
//!   there and is wrong, that is damage.
//!
//! # Left out
//! A file that was cut at its end by somebody else, to where a frame ends or inside the last one,
//! cannot be told from one whose last writes are missing. Neither can damage in the last record
//! where a sector of it is all zeros, by the damage or because the record itself is so. Both would
//! need a second place that says how much was durable.

use std::fmt;

const MAGIC: [u8; 4] = *b"rec\n";

/// Magic, length, durable, checksum, seal.
pub(crate) const HEADER_BYTES: usize = 24;

/// All of a header but the seal.
const SEALED_BYTES: usize = 20;

/// What a disk writes as a whole, at least.
const SECTOR_BYTES: usize = 512;

/// No record is larger: 1 GiB.
pub(crate) const RECORD_BYTES_MAX: usize = 1 << 30;

/// Appends the frame of a record to `out`, which goes to `offset` of the file of this `epoch`.
pub(crate) fn append(out: &mut Vec<u8>, epoch: u64, offset: u64, durable: u64, record: &[u8]) {
    let length = u32::try_from(record.len()).expect("whoever appends has looked at the length");
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&durable.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(record).to_le_bytes());
    let seal = seal(epoch, offset, &out[start..]);
    out.extend_from_slice(&seal.to_le_bytes());
    out.extend_from_slice(record);
}

/// Ties a header to its place.
fn seal(epoch: u64, offset: u64, header: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&epoch.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &offset.to_le_bytes());
    crc32c::crc32c_append(sum, header)
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents<'a> {
    /// The records, from the first.
    pub(crate) records: Vec<&'a [u8]>,
    /// Where the last of them ends: what is behind it is a torn tail.
    pub(crate) end: usize,
}

/// A file has a frame that is not whole where one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Where the frame begins.
    pub(crate) offset: usize,
    /// How we know.
    evidence: Evidence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// A frame at this offset says that the broken one was durable.
    Frame(usize),
    /// All of the frame is there, and is wrong.
    Whole,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damage at byte {}: the record there does not fit its checksum, ", self.offset)?;
        match self.evidence {
            Evidence::Frame(at) => {
                write!(f, "and the one at byte {at} says that it was durable")
            }
            Evidence::Whole => f.write_str("and no crash leaves bytes like these"),
        }
    }
}

/// A header that fits its place.
struct Header {
    length: usize,
    durable: u64,
    checksum: u32,
}

/// A number of a header.
fn number<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|byte| header[at + byte])
}

fn header(file: &[u8], epoch: u64, offset: usize) -> Option<Header> {
    let header = file.get(offset..)?.first_chunk::<HEADER_BYTES>()?;
    let (sealed, sum) = header.split_at(SEALED_BYTES);
    let fits = seal(epoch, offset as u64, sealed).to_le_bytes() == sum;
    (fits && sealed.starts_with(&MAGIC)).then(|| Header {
        length: u32::from_le_bytes(number(header, 4)) as usize,
        durable: u64::from_le_bytes(number(header, 8)),
        checksum: u32::from_le_bytes(number(header, 16)),
    })
}

/// The frame at this place, if there is a whole one: its record, and how much it says was durable.
fn frame(file: &[u8], epoch: u64, offset: usize) -> Option<(&[u8], u64)> {
    let Header { length, durable, checksum } = header(file, epoch, offset)?;
    let record = file.get(offset + HEADER_BYTES..)?.get(..length)?;
    (crc32c::crc32c(record) == checksum).then_some((record, durable))
}

/// Reads the file of this epoch.
///
/// # Errors
/// [`Damage`], if there is any.
pub(crate) fn read(file: &[u8], epoch: u64) -> Result<Contents<'_>, Damage> {
    let (mut records, mut end, mut claim) = (Vec::new(), 0, Claim::default());
    while let Some((record, durable)) = frame(file, epoch, end) {
        claim = claim.max(Claim { durable, at: end });
        records.push(record);
        end += HEADER_BYTES + record.len();
    }
    match evidence_of_damage(file, epoch, end, claim) {
        Some(evidence) => Err(Damage { offset: end, evidence }),
        None => Ok(Contents { records, end }),
    }
}

/// The frame at this offset says that so many bytes were durable.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    durable: u64,
    at: usize,
}

/// Whether what is at `end`, where no whole frame begins, is more than a torn tail. `before` is the
/// largest claim of the frames before it.
fn evidence_of_damage(file: &[u8], epoch: u64, end: usize, before: Claim) -> Option<Evidence> {
    let behind = (end + 1..file.len())
        .filter_map(|at| frame(file, epoch, at).map(|(_, durable)| Claim { durable, at }));
    let mut claims = std::iter::once(before).chain(behind);
    let says_so = claims.find(|claim| claim.durable > end as u64);
    let said = says_so.map(|claim| Evidence::Frame(claim.at));
    said.or_else(|| (!is_torn(file, epoch, end)).then_some(Evidence::Whole))
}

/// Whether the end of the file is missing from here on, or a sector of it.
fn is_torn(file: &[u8], epoch: u64, end: usize) -> bool {
    let rest = &file[end..];
    let is_cut = match header(file, epoch, end) {
        Some(header) => rest.len() < HEADER_BYTES + header.length,
        None => rest.len() < HEADER_BYTES,
    };
    is_cut || has_zero_sector(rest, end)
}

/// Whether a sector of the file, or what is of it in `rest`, is all zeros.
fn has_zero_sector(rest: &[u8], offset: usize) -> bool {
    let to_boundary = (SECTOR_BYTES - offset % SECTOR_BYTES).min(rest.len());
    let (first, others) = rest.split_at(to_boundary);
    let is_zero = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|&byte| byte == 0);
    is_zero(first) || others.chunks(SECTOR_BYTES).any(is_zero)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: u64 = 7;

    /// A file of these records, each synced before the next was made, up to the last `unsynced`.
    fn file(records: &[&[u8]], unsynced: usize) -> Vec<u8> {
        let (mut file, mut durable) = (Vec::new(), 0);
        for (number, record) in records.iter().enumerate() {
            let offset = file.len() as u64;
            append(&mut file, EPOCH, offset, durable, record);
            if number < records.len() - unsynced {
                durable = file.len() as u64;
            }
        }
        file
    }

    fn lengths(file: &[u8]) -> Result<(usize, usize), usize> {
        match read(file, EPOCH) {
            Ok(contents) => Ok((contents.records.len(), contents.end)),
            Err(damage) => Err(damage.offset),
        }
    }

    #[test]
    fn records_are_read_back_in_order() {
        let bytes = file(&[b"one", b"", b"three"], 0);
        let contents = read(&bytes, EPOCH).expect("nothing is damaged");
        assert_eq!(contents.records, [&b"one"[..], b"", b"three"]);
        assert_eq!(contents.end, bytes.len());
    }

    #[test]
    fn a_file_that_ends_inside_its_last_record_has_the_ones_before() {
        let (first, both) = (file(&[b"first"], 0), file(&[b"first", b"second"], 0));
        for length in first.len()..both.len() {
            assert_eq!(lengths(&both[..length]), Ok((1, first.len())), "{length}");
        }
    }

    #[test]
    fn a_changed_bit_before_something_durable_is_damage_named_by_its_offset() {
        let (first, all) = (file(&[b"first"], 0), file(&[b"first", b"second", b"third"], 0));
        let second_end = file(&[b"first", b"second"], 0).len();
        for bit in first.len() * 8..second_end * 8 {
            let mut damaged = all.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(lengths(&damaged), Err(first.len()), "bit {bit}");
        }
    }

    #[test]
    fn a_changed_bit_in_the_last_record_is_damage() {
        let (first, both) = (file(&[b"first"], 0), file(&[b"first", b"second"], 0));
        for bit in first.len() * 8..both.len() * 8 {
            let mut damaged = both.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(lengths(&damaged), Err(first.len()), "bit {bit}");
        }
    }

    #[test]
    fn a_sector_that_was_not_written_is_a_torn_tail_though_later_ones_were() {
        let record = [5; 1_000];
        let first = file(&[b"first"], 0).len();
        let whole = file(&[b"first", &record, b"later"], 2);
        for sector in 0..whole.len() / SECTOR_BYTES {
            let mut torn = whole.clone();
            let from = (sector * SECTOR_BYTES).max(first);
            torn[from..(sector + 1) * SECTOR_BYTES].fill(0);
            assert_eq!(lengths(&torn), Ok((1, first)), "sector {sector}");
        }
    }

    #[test]
    fn a_tail_of_zeros_is_torn() {
        let mut bytes = file(&[b"first"], 0);
        let end = bytes.len();
        bytes.resize(end + 5_000, 0);
        assert_eq!(lengths(&bytes), Ok((1, end)));
    }

    #[test]
    fn a_frame_of_another_file_or_place_is_none() {
        let mut bytes = file(&[b"first"], 0);
        append(&mut bytes, EPOCH + 1, file(&[b"first"], 0).len() as u64, 0, b"of another epoch");
        assert!(read(&bytes, EPOCH).is_err());
        let mut bytes = file(&[b"first"], 0);
        append(&mut bytes, EPOCH, 0, 0, b"of another place");
        assert!(read(&bytes, EPOCH).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, EPOCH);
        }

        #[test]
        fn what_was_durable_is_read_or_refused_and_never_dropped(
            sizes in proptest::collection::vec(0usize..700, 1..8),
            unsynced in 0usize..4,
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let unsynced = unsynced.min(sizes.len() - 1);
            let record = |&size: &usize| vec![size as u8 | 1; size];
            let records: Vec<Vec<u8>> = sizes.iter().map(record).collect();
            let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let mut bytes = file(&slices, unsynced);
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            // Else a sector may be all zeros: see the module's last words.
            prop_assume!(bytes[at] != 0);
            if let Ok(contents) = read(&bytes, EPOCH) {
                prop_assert!(contents.records.len() >= records.len() - unsynced);
            }
        }
    }
}
