//! Nothing is said that a crash could make untrue.

use std::collections::VecDeque;

use super::log::{Index, Log};
use super::persistent::{HardState, LogUpdate, Snapshot, Update};
use super::step::{Effect, WriteId};

/// The hard state, the writes that are under way, and the messages that wait for them.
///
/// The rule is simple rather than sharp: every answer and every request for a vote waits for the
/// last write before it, whether it depends on that write or not. So they never overtake each
/// other here, and nobody has to argue about which of them are safe. The one exception is what a
/// leader sends, [`send_at_once`](Self::send_at_once), and it has its argument there.
#[derive(Debug, Clone)]
pub(super) struct Durability {
    /// The state the server acts on. It may be ahead of the disk; the outside learns of it only
    /// when it no longer is.
    hard_state: HardState,
    /// Whether `hard_state` changed since the last write was issued.
    hard_state_changed: bool,
    /// The snapshot that the log begins after since then.
    snapshot: Option<Snapshot>,
    /// After which index the log changed since then.
    log_changed_after: Option<Index>,
    issued: WriteId,
    durable: WriteId,
    /// In the order they were computed, each with the write it waits for.
    held: VecDeque<(WriteId, Effect)>,
    /// What leaves with this step, whatever is under way.
    at_once: Vec<Effect>,
}

impl Durability {
    /// Of a server that found this state on its disk.
    pub(super) fn new(hard_state: HardState) -> Self {
        Self {
            hard_state,
            hard_state_changed: false,
            snapshot: None,
            log_changed_after: None,
            issued: WriteId(0),
            durable: WriteId(0),
            held: VecDeque::new(),
            at_once: Vec::new(),
        }
    }

    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Replaces the hard state, and returns the write that makes it durable. All changes of one
    /// step share one write.
    pub(super) fn save(&mut self, hard_state: HardState) -> WriteId {
        self.hard_state_changed |= self.hard_state != hard_state;
        self.hard_state = hard_state;
        self.latest()
    }

    /// Takes note that the log begins after a snapshot now, and returns the write that makes both
    /// durable.
    pub(super) fn save_snapshot(&mut self, snapshot: Snapshot) -> WriteId {
        self.snapshot = Some(snapshot);
        self.latest()
    }

    /// Takes note that the log changed after `index`, and returns the write that makes it durable.
    pub(super) fn save_log_after(&mut self, index: Index) -> WriteId {
        let before = self.log_changed_after.unwrap_or(index);
        self.log_changed_after = Some(before.min(index));
        self.latest()
    }

    /// Sends a message as soon as all that has changed so far is durable.
    pub(super) fn send(&mut self, message: Effect) {
        self.held.push_back((self.latest(), message));
    }

    /// Sends a leader's call, or tells of a read or a transfer, without waiting for anything: not
    /// for the entries' own write either, which goes on meanwhile (dissertation, 10.2.1).
    ///
    /// A crash may thus leave entries with followers that their leader has lost. They do no harm:
    /// its term and its vote were durable before it led, so it will not lead *that* term again,
    /// and nobody else will ever put another entry of that term at those indices. And they claim
    /// nothing, for a leader counts its own copy only once it is durable. What a snapshot covers,
    /// and what a read's index shows, cannot be lost any more: it is committed, and so on a
    /// majority of disks. A TimeoutNow says no more than that the leader's term, which is durable,
    /// may end.
    pub(super) fn send_at_once(&mut self, message: Effect) {
        self.at_once.push(message);
    }

    /// This write and those before it are done. Writes may be reported late, twice or not at all.
    pub(super) fn persisted(&mut self, write: WriteId) {
        assert!(write <= self.issued, "{write:?} is reported durable but was never issued");
        self.durable = self.durable.max(write);
    }

    pub(super) fn is_durable(&self, write: WriteId) -> bool {
        write <= self.durable
    }

    /// Ends a step: issues the write it needs, and lets go what need not wait any longer.
    pub(super) fn flush(&mut self, log: &Log, effects: &mut Vec<Effect>) {
        effects.append(&mut self.at_once);
        if self.is_changed() {
            self.issued = self.latest();
            let update = self.take_update(log);
            effects.push(Effect::Persist { write: self.issued, update });
        }
        while self.held.front().is_some_and(|(write, _)| self.is_durable(*write)) {
            effects.extend(self.held.pop_front().map(|(_, message)| message));
        }
    }

    fn take_update(&mut self, log: &Log) -> Update {
        let hard_state = std::mem::take(&mut self.hard_state_changed).then_some(self.hard_state);
        let snapshot = self.snapshot.take();
        let log = self.log_changed_after.take().map(|after| {
            let entries = log.after(after).to_vec();
            LogUpdate { after, entries }
        });
        Update { hard_state, snapshot, log }
    }

    fn is_changed(&self) -> bool {
        self.hard_state_changed || self.snapshot.is_some() || self.log_changed_after.is_some()
    }

    /// The write that covers all there is now, issued or about to be.
    fn latest(&self) -> WriteId {
        WriteId(self.issued.0 + u64::from(self.is_changed()))
    }
}
