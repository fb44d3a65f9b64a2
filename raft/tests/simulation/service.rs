//! The state machine above a server: what it has applied, as a number that tells all histories
//! apart.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use raft::core::{Command, Index, PersistentState, SnapshotData, ToApply};

/// A service's state: how far it has applied the log, and a digest of all it applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Service {
    applied: Index,
    digest: u64,
}

impl Service {
    /// A service that starts with its server.
    pub(crate) fn restored(durable: &PersistentState) -> Self {
        let service = match durable.log.base().index {
            0 => Self::default(),
            _ => Self::from_snapshot(&durable.snapshot),
        };
        let base = durable.log.base().index;
        assert_eq!(service.applied, base, "snapshot and log on the disk do not belong together");
        service
    }

    /// The last entry applied.
    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    /// Does as the server says, which must be in order: each command once, no gaps, and no snapshot
    /// that is behind.
    pub(crate) fn apply(&mut self, next: &ToApply) {
        match next {
            ToApply::Command { index, command } => {
                assert_eq!(*index, self.applied + 1, "commands are applied one after the other");
                *self = self.after(command);
            }
            ToApply::Snapshot(snapshot) => {
                let (behind, index) = (self.applied, snapshot.last.index);
                *self = Self::from_snapshot(&snapshot.data);
                assert_eq!(self.applied, index, "a snapshot of another index is handed over");
                assert!(index > behind, "a snapshot up to {index} is handed over after {behind}");
            }
        }
    }

    fn after(self, command: &Command) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.digest, command).hash(&mut hasher);
        Self { applied: self.applied + 1, digest: hasher.finish() }
    }

    pub(crate) fn to_snapshot(self) -> SnapshotData {
        [self.applied.to_be_bytes(), self.digest.to_be_bytes()].concat().into()
    }

    fn from_snapshot(data: &[u8]) -> Self {
        let (applied, digest) = data.split_at(size_of::<Index>());
        let number =
            |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("a snapshot is two numbers"));
        Self { applied: number(applied), digest: number(digest) }
    }
}
