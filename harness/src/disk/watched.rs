//! A disk that somebody watches.

use contract::{Disk, DiskBackend, DiskError, Journal, Persister};

/// Is told of what a server does to its disk.
pub(crate) trait Watch: Send + Sync + 'static {
    /// The journal is about to be synced: so a test sees that its server keeps one.
    fn note_sync(&self) {}

    /// Something was made durable, or could not be.
    fn note_changed(&self) {}
}

/// `disk`, with `watch` told of what is done to it.
pub(crate) fn watched(disk: &Disk, watch: impl Watch) -> Disk {
    Disk::new(Watched { journal: disk.journal(), persister: disk.persister(), watch })
}

struct Watched<W> {
    journal: Journal,
    persister: Persister,
    watch: W,
}

impl<W: Watch> DiskBackend for Watched<W> {
    fn save(&self, state: Vec<u8>, snapshot: Option<Vec<u8>>) {
        self.persister.save(state, snapshot);
        self.watch.note_changed();
    }

    fn read_state(&self) -> Vec<u8> {
        self.persister.read_state()
    }

    fn read_snapshot(&self) -> Vec<u8> {
        self.persister.read_snapshot()
    }

    fn raft_state_size(&self) -> usize {
        self.persister.raft_state_size()
    }

    fn read_journal(&self) -> Result<Vec<Vec<u8>>, DiskError> {
        self.journal.read()
    }

    fn append_to_journal(&self, record: &[u8]) -> Result<(), DiskError> {
        self.journal.append(record)
    }

    fn sync_journal(&self) -> Result<(), DiskError> {
        self.watch.note_sync();
        let synced = self.journal.sync();
        self.watch.note_changed();
        synced
    }

    fn compact_journal(&self, snapshot: Vec<u8>, records: &[Vec<u8>]) -> Result<(), DiskError> {
        self.watch.note_sync();
        let compacted = self.journal.compact(snapshot, records);
        self.watch.note_changed();
        compacted
    }
}
