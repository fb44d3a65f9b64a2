//! A file of a simulated disk: what was not synced may be lost in a crash.

use labrt::random::Stream;

/// An append-only file. Its bytes are read back as they were written, until a crash.
#[derive(Default)]
pub(super) struct File {
    bytes: Vec<u8>,
    /// So many of them, from the start, are durable.
    synced: usize,
}

impl File {
    /// A file with these bytes on the disk.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { synced: bytes.len(), bytes }
    }

    pub(super) fn read(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn sync(&mut self) {
        self.synced = self.bytes.len();
    }

    /// A crash: of what was not synced any number of bytes may have reached the disk, in the
    /// order of the file. One time in two that is all or nothing; else a record may be torn.
    pub(super) fn crash(&mut self, draw: &mut Stream) {
        let unsynced = (self.bytes.len() - self.synced) as u64;
        let kept = match draw.below(4) {
            0 => 0,
            1 => unsynced,
            _ => draw.below(unsynced + 1),
        };
        self.bytes.truncate(self.synced + kept as usize);
        self.sync();
    }

    /// Cuts the file to so many bytes, at once and durably.
    pub(super) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.sync();
    }
}
