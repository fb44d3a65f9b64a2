//! Records in a file: how they are told from a torn tail.
//!
//! Each record is a frame: its length and its CRC32C, four bytes each, little-endian, and then the
//! record. The checksum covers the length too, so that a tail of zeros is no empty record. Reading
//! ends at the first frame that is not whole; a record is there as a whole or not at all.
//!
//! Left out: telling damage in the middle, which must be refused, from a torn tail, which must be
//! cut. A simulated disk forgets, but does not lie.

/// Length and checksum.
const HEADER_BYTES: usize = 8;

/// The frame of a record.
///
/// # Panics
/// If the record has 4 GiB or more.
pub(super) fn frame(record: &[u8]) -> Vec<u8> {
    let length = u32::try_from(record.len()).expect("a record has less than 4 GiB");
    let mut frame = Vec::with_capacity(HEADER_BYTES + record.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&checksum(record).to_le_bytes());
    frame.extend_from_slice(record);
    frame
}

fn checksum(record: &[u8]) -> u32 {
    let length = crc32c::crc32c(&(record.len() as u64).to_le_bytes());
    crc32c::crc32c_append(length, record)
}

/// The whole records from the start of a file, and how many bytes they take.
pub(super) fn read(file: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut records, mut rest) = (Vec::new(), file);
    while let Some((record, after)) = first(rest) {
        records.push(record.to_vec());
        rest = after;
    }
    (records, file.len() - rest.len())
}

/// The record whose frame is at the start, and what is behind it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (checksum(record) == u32::from_le_bytes(*sum)).then_some((record, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[&[u8]]) -> Vec<u8> {
        records.iter().flat_map(|record| frame(record)).collect()
    }

    #[test]
    fn records_are_read_back_in_order() {
        let bytes = file(&[b"one", b"", b"three"]);
        assert_eq!(read(&bytes), (vec![b"one".to_vec(), vec![], b"three".to_vec()], bytes.len()));
    }

    #[test]
    fn a_record_torn_at_any_byte_is_not_there_and_those_before_it_are() {
        let whole = file(&[b"first"]);
        let both = file(&[b"first", b"second"]);
        for length in whole.len()..both.len() {
            assert_eq!(read(&both[..length]), (vec![b"first".to_vec()], whole.len()), "{length}");
        }
    }

    #[test]
    fn a_changed_bit_ends_the_reading() {
        let bytes = file(&[b"first", b"second"]);
        let whole = file(&[b"first"]).len();
        for bit in whole * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&damaged).1, whole, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(read(&[0; 64]), (vec![], 0));
    }
}
