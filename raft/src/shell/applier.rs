//! The applier: it hands what is committed to the service.

use std::sync::Arc;

use contract::{ApplyMsg, Index};
use labrt::channel::Sender;
use labrt::select;

use super::shared::Shell;
use crate::core::Entry;

/// How many entries are taken at a time. They only share their commands with the log.
const BATCH_MAX: usize = 256;

/// Hands entries over, in order, until the server is killed or nobody takes them any more.
pub(super) fn run(shell: &Arc<Shell>, apply: &Sender<ApplyMsg>) {
    let mut last_applied = 0;
    let mut batch = Vec::new();
    while wait_for_entries(shell, last_applied, &mut batch) {
        for entry in batch.drain(..) {
            last_applied += 1;
            if !send(shell, apply, last_applied, &entry) {
                return;
            }
        }
    }
}

/// Waits for entries to apply; false once the server is killed.
fn wait_for_entries(shell: &Shell, last_applied: Index, batch: &mut Vec<Entry>) -> bool {
    let mut state = shell.state.lock();
    while !state.is_killed() {
        batch.extend_from_slice(state.committed_after(last_applied, BATCH_MAX));
        if !batch.is_empty() {
            return true;
        }
        shell.to_apply.wait(&mut state);
    }
    false
}

/// Blocks until the service takes an entry, with no lock held: the service may be about to call
/// this server. False if it will not take it.
fn send(shell: &Shell, apply: &Sender<ApplyMsg>, index: Index, entry: &Entry) -> bool {
    let message = ApplyMsg::Command { index, command: entry.command.to_vec() };
    select! {
        send(apply, message) -> sent => sent.is_ok(),
        recv(shell.death) -> _ => false,
    }
}
