//! Nothing is said that a crash could make untrue.

use std::collections::VecDeque;

use super::step::{Effect, HardState, WriteId};

/// The hard state, the writes that are under way, and the messages that wait for them.
///
/// The rule is simple rather than sharp: every message waits for the last write before it, whether
/// it depends on that write or not. So messages never overtake each other here, and nobody has to
/// argue about which of them are safe.
#[derive(Debug, Clone)]
pub(super) struct Durability {
    /// The state the server acts on. It may be ahead of the disk; the outside learns of it only
    /// when it no longer is.
    hard_state: HardState,
    /// Whether `hard_state` changed since the last write was issued.
    changed: bool,
    issued: WriteId,
    durable: WriteId,
    /// In the order they were computed, each with the write it waits for.
    held: VecDeque<(WriteId, Effect)>,
}

impl Durability {
    /// Of a server that found this state on its disk.
    pub(super) fn new(hard_state: HardState) -> Self {
        Self {
            hard_state,
            changed: false,
            issued: WriteId(0),
            durable: WriteId(0),
            held: VecDeque::new(),
        }
    }

    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Replaces the hard state, and returns the write that makes it durable. All changes of one
    /// step share one write.
    pub(super) fn save(&mut self, hard_state: HardState) -> WriteId {
        self.changed |= self.hard_state != hard_state;
        self.hard_state = hard_state;
        self.latest()
    }

    /// Sends a message as soon as the current hard state is durable.
    pub(super) fn send(&mut self, message: Effect) {
        self.held.push_back((self.latest(), message));
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
    pub(super) fn flush(&mut self, effects: &mut Vec<Effect>) {
        if self.changed {
            self.issued = self.latest();
            self.changed = false;
            effects.push(Effect::Persist { write: self.issued, hard_state: self.hard_state });
        }
        while self.held.front().is_some_and(|(write, _)| self.is_durable(*write)) {
            effects.extend(self.held.pop_front().map(|(_, message)| message));
        }
    }

    /// The write that covers the hard state as it is now, issued or about to be.
    fn latest(&self) -> WriteId {
        WriteId(self.issued.0 + u64::from(self.changed))
    }
}
