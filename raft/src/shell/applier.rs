//! The applier: it hands what is committed to the service.

use std::sync::Arc;

use contract::{ApplyMsg, Index};
use labrt::channel::Sender;
use labrt::select;

use super::shared::Shell;
use crate::core::{Snapshot, ToApply};

/// Hands over what comes after `last_applied`, in order, until the server is killed or nobody takes
/// it any more.
pub(super) fn run(shell: &Arc<Shell>, mut last_applied: Index, apply: &Sender<ApplyMsg>) {
    while let Some(next) = wait_for_next(shell, last_applied) {
        last_applied = next.last_index();
        if !send(shell, apply, message(next)) {
            return;
        }
    }
}

/// Waits for what is to be applied next; none once the server is killed.
fn wait_for_next(shell: &Shell, last_applied: Index) -> Option<ToApply> {
    let mut state = shell.state.lock();
    while !state.is_killed() {
        if let Some(next) = state.take_to_apply(last_applied) {
            return Some(next);
        }
        if !shell.to_apply.wait_or_end(&mut state) {
            return None;
        }
    }
    None
}

fn message(next: ToApply) -> ApplyMsg {
    match next {
        ToApply::Command { index, command } => {
            ApplyMsg::Command { index, command: command.to_vec() }
        }
        ToApply::NoOp { index } => ApplyMsg::NoOp { index },
        ToApply::Snapshot(Snapshot { last, data }) => {
            log::debug!(target: "snapshot", "hands over the snapshot up to {}", last.index);
            ApplyMsg::Snapshot { index: last.index, term: last.term, snapshot: data.to_vec() }
        }
    }
}

/// Blocks until the service takes the message, with no lock held: the service may be about to call
/// this server. False if it will not take it.
fn send(shell: &Shell, apply: &Sender<ApplyMsg>, message: ApplyMsg) -> bool {
    select! {
        send(apply, message) -> sent => sent.is_ok(),
        recv(shell.death) -> _ => false,
    }
}
