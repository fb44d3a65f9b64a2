//! The disk writer, and what it finds when the server starts again.

use std::sync::Arc;

use contract::{DiskError, Journal};

use super::shared::Shell;
use super::state::Unwritten;
use crate::core::{Input, PersistentState, ServerId, Update};

/// Writes what the core wants written, until the server is killed or the disk fails.
pub(super) fn run(shell: &Arc<Shell>) {
    while let Some(Unwritten { updates, last }) = wait_for_updates(shell) {
        if let Err(error) = write(&shell.journal, &updates) {
            // Nobody knows what is on the disk now, so nothing may be said any more.
            log::error!(target: "persist", "{error}: this server stops");
            return shell.kill();
        }
        log::debug!(target: "persist", "w{} is durable, {} at a time", last.0, updates.len());
        shell.step(Input::Persisted { write: last });
    }
}

/// Waits for something to write; none once the server is killed.
fn wait_for_updates(shell: &Shell) -> Option<Unwritten> {
    let mut state = shell.state.lock();
    while !state.is_killed() {
        if let Some(unwritten) = state.take_unwritten() {
            return Some(unwritten);
        }
        shell.to_write.wait(&mut state);
    }
    None
}

/// However many updates have come together, the disk takes its time but once (group commit).
fn write(journal: &Journal, updates: &[Update]) -> Result<(), DiskError> {
    for update in updates {
        journal.append(&encode(update))?;
    }
    journal.sync()
}

fn encode(update: &Update) -> Vec<u8> {
    labgob::encode(update).expect("numbers and bytes can be encoded")
}

/// What earlier incarnations wrote, or the very first state if there was none.
///
/// # Panics
///
/// If there is anything that no server wrote.
pub(super) fn restore(me: ServerId, journal: &Journal) -> PersistentState {
    let records = journal.read();
    let records = records.unwrap_or_else(|error| panic!("S{me} cannot start: {error}"));
    let mut state = PersistentState::default();
    for (number, record) in records.iter().enumerate() {
        if let Err(why) = replay(&mut state, record) {
            panic!(
                "S{me} cannot start: record {number} of its journal, {} bytes, is not what a Raft \
                 server wrote: {why}. It begins with {:02x?}",
                record.len(),
                &record[..record.len().min(SHOWN_MAX)],
            )
        }
    }
    state
}

fn replay(state: &mut PersistentState, record: &[u8]) -> Result<(), String> {
    let update = labgob::decode(record).map_err(|error| error.to_string())?;
    state.apply(update).map_err(|error| error.to_string())
}

/// How many bytes of what cannot be decoded are shown.
const SHOWN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use contract::{Disk, DiskBackend};

    use super::*;
    use crate::core::{Entry, HardState, Index, LogUpdate};

    /// A disk with these records, or one that cannot be read.
    struct Records(Option<Vec<Vec<u8>>>);

    impl DiskBackend for Records {
        fn save(&self, _: Vec<u8>, _: Option<Vec<u8>>) {}

        fn read_state(&self) -> Vec<u8> {
            Vec::new()
        }

        fn read_snapshot(&self) -> Vec<u8> {
            Vec::new()
        }

        fn raft_state_size(&self) -> usize {
            0
        }

        fn read_journal(&self) -> Result<Vec<Vec<u8>>, DiskError> {
            self.0.clone().ok_or_else(|| DiskError::new("read", "no such device"))
        }

        fn append_to_journal(&self, _: &[u8]) -> Result<(), DiskError> {
            Ok(())
        }

        fn sync_journal(&self) -> Result<(), DiskError> {
            Ok(())
        }

        fn compact_journal(&self, _: Vec<u8>, _: &[Vec<u8>]) -> Result<(), DiskError> {
            Ok(())
        }
    }

    fn restored(records: Option<Vec<Vec<u8>>>) -> PersistentState {
        restore(1, &Disk::new(Records(records)).journal())
    }

    /// One entry that takes the place of all after an index.
    fn entry_after(after: Index) -> Update {
        let entry = Entry { term: 3, command: [1, 2].as_slice().into() };
        Update { hard_state: None, log: Some(LogUpdate { after, entries: vec![entry] }) }
    }

    #[test]
    fn an_empty_disk_is_the_first_start() {
        assert_eq!(restored(Some(Vec::new())), PersistentState::default());
    }

    #[test]
    fn written_updates_are_restored_in_order() {
        let hard_state = HardState { current_term: 300, voted_for: Some(2) };
        let vote = Update { hard_state: Some(hard_state), log: None };
        let updates = [vote, entry_after(0), entry_after(1), entry_after(1)];
        let state = restored(Some(updates.iter().map(encode).collect()));
        assert_eq!(state.hard_state, hard_state);
        assert_eq!(state.log.last().index, 2);
    }

    #[test]
    #[should_panic(expected = "S1 cannot start: record 1 of its journal, 1 bytes, is not what")]
    fn half_a_record_is_refused() {
        restored(Some(vec![encode(&entry_after(0)), encode(&entry_after(1))[..1].to_vec()]));
    }

    #[test]
    #[should_panic(expected = "a log that ends at 1 cannot go on after 7")]
    fn a_log_with_a_gap_is_refused() {
        restored(Some(vec![encode(&entry_after(0)), encode(&entry_after(7))]));
    }

    #[test]
    #[should_panic(expected = "S1 cannot start: the disk failed to read: no such device")]
    fn a_disk_that_cannot_be_read_is_refused() {
        restored(None);
    }
}
