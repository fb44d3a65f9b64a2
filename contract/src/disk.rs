//! What outlives a crash.
//!
//! A server has one [`Disk`], in whatever world, and sees it in one of two ways: as the labs'
//! [`Persister`], one state that is replaced as a whole, or as a [`Journal`], to which it appends
//! what changed. The first is simple; the second costs what changed and not what there is.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// One server's directory, in whatever world: what is on it survives a crash.
///
/// The same disk is handed to every incarnation of a server, and a server uses one of its two
/// views for good. What a crashed incarnation still writes goes nowhere.
#[derive(Clone)]
pub struct Disk(Arc<dyn DiskBackend>);

/// What a disk does; implemented by the tests' harness.
pub trait DiskBackend: Send + Sync {
    /// See [`Persister::save`].
    fn save(&self, state: Vec<u8>, snapshot: Option<Vec<u8>>);
    /// See [`Persister::read_state`].
    fn read_state(&self) -> Vec<u8>;
    /// See [`Disk::read_snapshot`].
    fn read_snapshot(&self) -> Vec<u8>;
    /// See [`Disk::raft_state_size`].
    fn raft_state_size(&self) -> usize;
    /// See [`Journal::read`].
    ///
    /// # Errors
    /// [`DiskError`] if the records cannot be read.
    fn read_journal(&self) -> Result<Vec<Vec<u8>>, DiskError>;
    /// See [`Journal::append`].
    ///
    /// # Errors
    /// [`DiskError`] if the record cannot be written.
    fn append_to_journal(&self, record: &[u8]) -> Result<(), DiskError>;
    /// See [`Journal::sync`].
    ///
    /// # Errors
    /// [`DiskError`] if not everything is durable.
    fn sync_journal(&self) -> Result<(), DiskError>;
    /// See [`Journal::compact`].
    ///
    /// # Errors
    /// [`DiskError`] if the new contents may not be durable.
    fn compact_journal(&self, snapshot: Vec<u8>, records: &[Vec<u8>]) -> Result<(), DiskError>;
}

impl Disk {
    /// A disk on any backend.
    pub fn new(backend: impl DiskBackend + 'static) -> Self {
        Self(Arc::new(backend))
    }

    /// The disk as the labs see it: one state and one snapshot, replaced as a whole.
    pub fn persister(&self) -> Persister {
        Persister(Arc::clone(&self.0))
    }

    /// The disk as a sequence of records to which more are appended.
    pub fn journal(&self) -> Journal {
        Journal(Arc::clone(&self.0))
    }

    /// The service's last durable snapshot, through whichever view it was saved; empty if there is
    /// none. A service that starts restores itself from this.
    pub fn read_snapshot(&self) -> Vec<u8> {
        self.0.read_snapshot()
    }

    /// How many bytes Raft keeps on the disk, through whichever view, the snapshot aside. A service
    /// takes a snapshot when this is too much.
    pub fn raft_state_size(&self) -> usize {
        self.0.raft_state_size()
    }
}

/// The labs' persister: Raft's state and the service's snapshot, saved together.
#[derive(Clone)]
pub struct Persister(Arc<dyn DiskBackend>);

impl Persister {
    /// Replaces the state, and the snapshot if one is given. Blocks until both are durable, which
    /// takes a disk's time. A crash in the middle leaves the old of both or the new of both.
    pub fn save(&self, state: Vec<u8>, snapshot: Option<Vec<u8>>) {
        self.0.save(state, snapshot);
    }

    /// The state last saved; empty before the first time.
    pub fn read_state(&self) -> Vec<u8> {
        self.0.read_state()
    }

    /// The snapshot last saved; empty before the first time.
    pub fn read_snapshot(&self) -> Vec<u8> {
        self.0.read_snapshot()
    }

    /// The state's size in bytes, the snapshot aside.
    pub fn raft_state_size(&self) -> usize {
        self.0.raft_state_size()
    }
}

/// A journal: records that are appended, and are durable once they are synced.
///
/// Between [`append`](Self::append) and the next successful [`sync`](Self::sync) a record may be
/// lost in a crash. What is lost is lost from the end: if a record is there, all before it are,
/// and no record is ever there in part.
#[derive(Clone)]
pub struct Journal(Arc<dyn DiskBackend>);

impl Journal {
    /// All records, oldest first: those that were synced, and perhaps some that were not. To be
    /// read before the first append of an incarnation.
    ///
    /// # Errors
    /// [`DiskError`] if the records cannot be read, or cannot be told from garbage.
    pub fn read(&self) -> Result<Vec<Vec<u8>>, DiskError> {
        self.0.read_journal()
    }

    /// Appends a record. It takes no disk's time, and promises nothing.
    ///
    /// # Errors
    /// [`DiskError`] if it cannot be written, and always after a sync has failed.
    pub fn append(&self, record: &[u8]) -> Result<(), DiskError> {
        self.0.append_to_journal(record)
    }

    /// Blocks until every record appended so far is durable, which takes a disk's time.
    ///
    /// # Errors
    /// [`DiskError`] if that cannot be achieved. Then nobody knows which of the records since the
    /// last sync are durable, and no later sync will say: the server must answer for none of them
    /// and start again from what it can read.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.0.sync_journal()
    }

    /// Replaces the snapshot, and all records by `records`. Blocks until both are durable, which
    /// takes a disk's time. A crash in the middle leaves the old of both or the new of both.
    ///
    /// # Errors
    /// [`DiskError`] if that cannot be achieved: then the disk holds the old or the new, as after a
    /// crash, and takes nothing more.
    pub fn compact(&self, snapshot: Vec<u8>, records: &[Vec<u8>]) -> Result<(), DiskError> {
        self.0.compact_journal(snapshot, records)
    }

    /// The snapshot last given to [`compact`](Self::compact); empty before the first time.
    pub fn read_snapshot(&self) -> Vec<u8> {
        self.0.read_snapshot()
    }
}

/// A disk did not do as it was told: which operation, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What was tried: `"append"`, `"sync"`, `"compact"` or `"read"`.
    pub operation: &'static str,
    /// What the disk says.
    pub reason: String,
}

impl DiskError {
    /// An error of `operation`, in words.
    pub fn new(operation: &'static str, reason: impl Into<String>) -> Self {
        Self { operation, reason: reason.into() }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk failed to {}: {}", self.operation, self.reason)
    }
}

impl Error for DiskError {}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk { .. }")
    }
}

impl fmt::Debug for Persister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Persister({} bytes of state)", self.raft_state_size())
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal { .. }")
    }
}
