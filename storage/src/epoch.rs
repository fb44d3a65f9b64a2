//! An epoch on the disk: a journal, and the snapshot that it follows.

use std::io;

use crate::error::OpenError;
use crate::frame;
use crate::fs::{File as _, FileSystem};
use crate::names::{self, Kind};

/// Changes when files of before could not be read any more.
const VERSION: u32 = 1;

/// What a record of the journal is: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// What the records follow. Always the first, and the only one.
    Head,
    /// What a journal's user appended.
    Record,
    /// All that a persister's user saved, in place of what was saved before.
    State,
}

impl Tag {
    fn byte(self) -> u8 {
        match self {
            Self::Head => b'H',
            Self::Record => b'R',
            Self::State => b'S',
        }
    }

    /// Bytes with their tag.
    pub(crate) fn mark(self, bytes: &[u8]) -> Vec<u8> {
        [&[self.byte()], bytes].concat()
    }
}

/// A snapshot on the disk, as the journal that follows it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    /// The epoch that it came with, which its name has.
    pub(crate) epoch: u64,
    pub(crate) length: u64,
    checksum: u32,
}

/// Bytes of a snapshot in a journal's head: epoch, length, checksum.
const SNAPSHOT_BYTES: usize = 20;

impl SnapshotFile {
    fn encode(&self) -> [u8; SNAPSHOT_BYTES] {
        let mut bytes = [0; SNAPSHOT_BYTES];
        bytes[..8].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SNAPSHOT_BYTES]) -> Self {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let checksum = u32::from_le_bytes(std::array::from_fn(|byte| bytes[16 + byte]));
        Self { epoch: number(0), length: number(8), checksum }
    }

    /// Reads the snapshot.
    ///
    /// # Errors
    /// If it is not there, or is not the one that was written.
    pub(crate) fn read(&self, files: &impl FileSystem) -> Result<Vec<u8>, OpenError> {
        let name = names::snapshot(self.epoch);
        let place = files.path_of(&name);
        let bytes = files.read(&name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::damaged(
                place.clone(),
                "the journal follows this file, which is not there",
            ),
            _ => OpenError::io("read", &place, &error),
        })?;
        let is_same = bytes.len() as u64 == self.length && crc32c::crc32c(&bytes) == self.checksum;
        is_same.then_some(bytes).ok_or_else(|| {
            OpenError::damaged(place, "damage: the snapshot does not fit its length and checksum")
        })
    }
}

/// Writes the snapshot that comes with an epoch, durably; an empty one is none.
pub(crate) fn write_snapshot(
    files: &impl FileSystem,
    epoch: u64,
    bytes: &[u8],
) -> io::Result<Option<SnapshotFile>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    write_whole(files, &names::snapshot(epoch), bytes)?;
    let (length, checksum) = (bytes.len() as u64, crc32c::crc32c(bytes));
    Ok(Some(SnapshotFile { epoch, length, checksum }))
}

/// Begins an epoch with these records: once this has returned, the one before is over. Gives the
/// file to append to, and its length.
pub(crate) fn begin<F: FileSystem>(
    files: &F,
    epoch: u64,
    snapshot: Option<SnapshotFile>,
    records: &[Vec<u8>],
) -> io::Result<(F::File, u64)> {
    let head = head(snapshot);
    let records = || std::iter::once(&head).chain(records);
    // All of it is durable before anybody looks at it.
    let length = records().map(|record| frame::HEADER_BYTES + record.len()).sum::<usize>() as u64;
    let mut bytes = Vec::new();
    for record in records() {
        let offset = bytes.len() as u64;
        frame::append(&mut bytes, epoch, offset, length, record);
    }
    Ok((write_whole(files, &names::journal(epoch), &bytes)?, length))
}

/// A journal's first record.
fn head(snapshot: Option<SnapshotFile>) -> Vec<u8> {
    let mut head = Tag::Head.mark(&VERSION.to_le_bytes());
    head.extend(snapshot.iter().flat_map(SnapshotFile::encode));
    head
}

/// Writes a file aside and moves it into its place: it is there as a whole, durably, or not at all.
fn write_whole<F: FileSystem>(files: &F, name: &str, bytes: &[u8]) -> io::Result<F::File> {
    let aside = names::aside(name);
    let file = files.create(&aside)?;
    file.append(bytes)?;
    file.sync()?;
    files.rename(&aside, name)?;
    files.sync_folder()?;
    Ok(file)
}

/// Removes what does not belong to this epoch. A crash may bring it back, and the next start
/// removes it again.
pub(crate) fn remove_others(
    files: &impl FileSystem,
    epoch: u64,
    snapshot: Option<SnapshotFile>,
) -> io::Result<()> {
    for (name, kind) in names::list(files)? {
        let is_live = match kind {
            Kind::Journal(number) => number == epoch,
            Kind::Snapshot(number) => snapshot.is_some_and(|it| it.epoch == number),
            Kind::Aside => false,
        };
        if !is_live {
            files.remove(&name)?;
        }
    }
    Ok(())
}

/// What a journal holds.
pub(crate) struct Journal {
    pub(crate) snapshot: Option<SnapshotFile>,
    /// All records but the head, with their tags.
    pub(crate) records: Vec<(Tag, Vec<u8>)>,
    /// Where they end, in bytes.
    pub(crate) end: u64,
    /// How long the file is: the difference is a torn tail.
    pub(crate) length: u64,
}

/// Reads an epoch's journal.
///
/// # Errors
/// If it cannot be read, or is damaged, or was written by a later version.
pub(crate) fn read(files: &impl FileSystem, epoch: u64) -> Result<Journal, OpenError> {
    let name = names::journal(epoch);
    let bytes = files.read(&name);
    let bytes = bytes.map_err(|error| OpenError::io("read", &files.path_of(&name), &error))?;
    parse(&bytes, epoch).map_err(|how| OpenError::damaged(files.path_of(&name), how))
}

fn parse(bytes: &[u8], epoch: u64) -> Result<Journal, String> {
    let contents = frame::read(bytes, epoch).map_err(|damage| damage.to_string())?;
    let mut records = contents.records.into_iter();
    // The file got its name when this was durable.
    let head = records.next().ok_or("damage at byte 0: the journal has no beginning")?;
    let snapshot = parse_head(head)?;
    let records: Result<Vec<_>, String> = records.map(parse_record).collect();
    let (end, length) = (contents.end as u64, bytes.len() as u64);
    Ok(Journal { snapshot, records: records?, end, length })
}

fn parse_head(head: &[u8]) -> Result<Option<SnapshotFile>, String> {
    let unknown = || "this is not the journal of a server, or one of a later version".to_owned();
    let rest = head.strip_prefix(&[Tag::Head.byte()]).ok_or_else(unknown)?;
    match rest.strip_prefix(&VERSION.to_le_bytes()).ok_or_else(unknown)? {
        [] => Ok(None),
        snapshot => Ok(Some(SnapshotFile::decode(snapshot.try_into().map_err(|_| unknown())?))),
    }
}

fn parse_record(record: &[u8]) -> Result<(Tag, Vec<u8>), String> {
    let (tag, bytes) = record.split_first().ok_or("an empty record, which no server writes")?;
    let known = [Tag::Record, Tag::State].into_iter().find(|known| known.byte() == *tag);
    let tag = known.ok_or_else(|| format!("a record of the unknown kind {tag:#04x}"))?;
    Ok((tag, bytes.to_vec()))
}
