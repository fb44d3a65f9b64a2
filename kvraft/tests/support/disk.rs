//! A disk in memory.

use std::sync::Arc;

use contract::{Disk, DiskBackend, DiskError};
use labrt::sync::Shared;
use labrt::thread;
use labrt::time::Duration;

/// What a sync or a save takes.
const DELAY: Duration = Duration::from_micros(300);

/// A disk in memory, in both views. What is not synced is lost with the server.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Shared<Contents>>);

#[derive(Default)]
struct Contents {
    state: Vec<u8>,
    snapshot: Vec<u8>,
    records: Vec<Vec<u8>>,
    /// Of all records.
    bytes: usize,
    synced: usize,
}

impl MemoryDisk {
    /// The disk for the next incarnation of its server.
    pub(crate) fn mount(&self) -> Disk {
        self.0.with(|contents| {
            contents.records.truncate(contents.synced);
            contents.bytes = contents.records.iter().map(Vec::len).sum();
        });
        Disk::new(self.clone())
    }

    pub(crate) fn snapshot_size(&self) -> usize {
        self.0.with(|contents| contents.snapshot.len())
    }
}

impl DiskBackend for MemoryDisk {
    fn save(&self, state: Vec<u8>, snapshot: Option<Vec<u8>>) {
        thread::sleep(DELAY);
        self.0.with(|contents| {
            contents.state = state;
            if let Some(snapshot) = snapshot {
                contents.snapshot = snapshot;
            }
        });
    }

    fn read_state(&self) -> Vec<u8> {
        self.0.with(|contents| contents.state.clone())
    }

    fn read_snapshot(&self) -> Vec<u8> {
        self.0.with(|contents| contents.snapshot.clone())
    }

    fn raft_state_size(&self) -> usize {
        self.0.with(|contents| contents.state.len() + contents.bytes)
    }

    fn read_journal(&self) -> Result<Vec<Vec<u8>>, DiskError> {
        Ok(self.0.with(|contents| contents.records.clone()))
    }

    fn append_to_journal(&self, record: &[u8]) -> Result<(), DiskError> {
        self.0.with(|contents| {
            contents.records.push(record.to_vec());
            contents.bytes += record.len();
        });
        Ok(())
    }

    fn sync_journal(&self) -> Result<(), DiskError> {
        let appended = self.0.with(|contents| contents.records.len());
        thread::sleep(DELAY);
        self.0.with(|contents| contents.synced = appended);
        Ok(())
    }

    fn compact_journal(&self, snapshot: Vec<u8>, records: &[Vec<u8>]) -> Result<(), DiskError> {
        thread::sleep(DELAY);
        self.0.with(|contents| {
            contents.snapshot = snapshot;
            contents.records = records.to_vec();
            contents.bytes = records.iter().map(Vec::len).sum();
            contents.synced = records.len();
        });
        Ok(())
    }
}
