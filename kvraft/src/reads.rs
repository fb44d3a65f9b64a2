//! Reads by ReadIndex (dissertation, 6.4): queries that wait for a leader's confirmation, and then
//! for the state to catch up.
//!
//! A confirmation holds for every query that was there before it was asked for. So while one is
//! being asked for, further queries gather, and the next one is asked for on behalf of them all.

use std::collections::BTreeMap;

use contract::Index;

use crate::machine::StateMachine;
use crate::waiting::{Reader, Tick, Waiter};

/// The queries of one server.
pub(crate) struct Reads<S: StateMachine> {
    /// Whether Raft has ReadIndex, as far as is known.
    pub(crate) supported: bool,
    /// Whether a thread asks for confirmation.
    asking: bool,
    /// Those for whom it asks.
    asked: Vec<Reader<S>>,
    /// Those who came too late for that.
    gathering: Vec<Reader<S>>,
    /// Those who wait for the state to show this index.
    confirmed: BTreeMap<Index, Vec<Reader<S>>>,
}

impl<S: StateMachine> Reads<S> {
    pub(crate) fn new() -> Self {
        Self {
            supported: true,
            asking: false,
            asked: Vec::new(),
            gathering: Vec::new(),
            confirmed: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.gathering.is_empty() && self.confirmed.is_empty()
    }

    pub(crate) fn gather(&mut self, reader: Reader<S>) {
        self.gathering.push(reader);
    }

    /// Whether to ask for confirmation now, on behalf of all who gathered. Whoever is told to does,
    /// and then takes them.
    pub(crate) fn begin(&mut self) -> bool {
        if self.asking || self.gathering.is_empty() {
            return false;
        }
        self.asking = true;
        self.asked = std::mem::take(&mut self.gathering);
        true
    }

    /// Those for whom confirmation was asked; it has come, or was refused.
    pub(crate) fn end(&mut self) -> Vec<Reader<S>> {
        self.asking = false;
        std::mem::take(&mut self.asked)
    }

    /// Those who could still be told to ask otherwise: ReadIndex is not supported.
    pub(crate) fn give_up(&mut self) -> Vec<Reader<S>> {
        self.supported = false;
        std::mem::take(&mut self.gathering)
    }

    pub(crate) fn wait_for(&mut self, index: Index, readers: Vec<Reader<S>>) {
        self.confirmed.entry(index).or_default().extend(readers);
    }

    /// Those who may be answered once the state shows `applied`.
    pub(crate) fn take_up_to(&mut self, applied: Index) -> Vec<Reader<S>> {
        let mut ready = Vec::new();
        while let Some(entry) = self.confirmed.first_entry().filter(|e| *e.key() <= applied) {
            ready.append(&mut entry.remove());
        }
        ready
    }

    /// Releases those who wait since before `tick`.
    pub(crate) fn release_since(&mut self, tick: Tick, lost: &mut Vec<Waiter>) {
        let confirmed = self.confirmed.values_mut();
        for readers in confirmed.chain([&mut self.asked, &mut self.gathering]) {
            let old = readers.extract_if(.., |reader| reader.waiter.since < tick);
            lost.extend(old.map(|reader| reader.waiter));
        }
        self.confirmed.retain(|_, readers| !readers.is_empty());
    }
}
