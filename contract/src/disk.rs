//! What outlives a crash.

use std::fmt;
use std::sync::Arc;

/// One server's directory, in whatever world: what is on it survives a crash.
///
/// The same disk is handed to every incarnation of a server. What a crashed incarnation still
/// writes goes nowhere.
#[derive(Clone)]
pub struct Disk(Arc<dyn DiskBackend>);

/// What a disk does; implemented by the tests' harness.
pub trait DiskBackend: Send + Sync {
    /// See [`Persister::save`].
    fn save(&self, state: Vec<u8>, snapshot: Option<Vec<u8>>);
    /// See [`Persister::read_state`].
    fn read_state(&self) -> Vec<u8>;
    /// See [`Persister::read_snapshot`].
    fn read_snapshot(&self) -> Vec<u8>;
    /// See [`Persister::raft_state_size`].
    fn raft_state_size(&self) -> usize;
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
