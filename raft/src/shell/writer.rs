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
