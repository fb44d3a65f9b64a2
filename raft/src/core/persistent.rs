//! What outlives a crash: the first box of Figure 2 with the snapshot of section 7, and how it
//! changes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::log::{Entry, Index, Log, LogError, LogPosition};
use super::message::{ServerId, Term};

/// The numbers that Figure 2 wants on stable storage before a server responds to RPCs. The default
/// is a server's very first state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term the server has seen.
    pub current_term: Term,
    /// The candidate that received its vote in that term, if any.
    pub voted_for: Option<ServerId>,
}

/// The state of a service: bytes that mean nothing to Raft, and that are shared rather than copied.
pub type SnapshotData = Arc<[u8]>;

/// A service's state after it has applied all entries up to one of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it covers.
    pub last: LogPosition,
    /// The state.
    pub data: SnapshotData,
}

/// The data may be large, and means nothing here.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last: LogPosition { term, index }, data } = self;
        write!(f, "Snapshot(up to {index} of term {term}, {} bytes)", data.len())
    }
}

/// All that Figure 2 calls persistent, and the snapshot that the log follows: what a server starts
/// from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersistentState {
    /// Term and vote.
    pub hard_state: HardState,
    /// The log.
    pub log: Log,
    /// The snapshot of all up to the log's base; empty if that is 0/0.
    pub snapshot: SnapshotData,
}

impl PersistentState {
    /// Carries one change out. Whoever applies to the default all updates that became durable, in
    /// the order in which they were issued, has what the server had.
    ///
    /// # Errors
    /// If the update does not fit what came before: no server issued the two in that order.
    pub fn apply(&mut self, update: Update) -> Result<(), LogError> {
        if let Some(Snapshot { last, data }) = update.snapshot {
            self.log.begin_after(last);
            self.snapshot = data;
        }
        if let Some(LogUpdate { after, entries }) = update.log {
            self.log.replace_after(after, entries)?;
        }
        self.hard_state = update.hard_state.unwrap_or(self.hard_state);
        Ok(())
    }
}

/// A change of the persistent state: as much of it as one step made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Takes the place of what was there, if it changed.
    pub hard_state: Option<HardState>,
    /// A new snapshot, if there is one. The log begins after it now, and the two must change on the
    /// disk together: the old ones of both, or the new ones of both.
    pub snapshot: Option<Snapshot>,
    /// How the log changed after that, if it did.
    pub log: Option<LogUpdate>,
}

/// A change of the log: entries take the place of all that came after an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogUpdate {
    /// The last index that stays as it is.
    pub after: Index,
    /// The entries that follow it now.
    pub entries: Vec<Entry>,
}
