//! What is committed goes to the service.
//!
//! Whoever learns that more is committed hands it over, for as long as the service has room for it:
//! that spares a change of threads on the way of every command. Where there is no room, the applier
//! goes on, a thread that may wait.

use std::sync::Arc;

use contract::ApplyMsg;
use labrt::channel::TrySendError;
use labrt::select;

use super::shared::Shell;
use super::state::Handover;
use crate::core::{Snapshot, ToApply};

/// Hands over what there is, in order, without waiting; unless somebody is at it, who then sees
/// this, too.
pub(super) fn hand_over(shell: &Shell) {
    let mut next = shell.state.lock().take_handover();
    while let Some((handover, to_apply)) = next {
        next = match handover.apply.try_send(message(to_apply)) {
            Ok(()) => shell.state.lock().next_to_apply(handover),
            Err(TrySendError::Full(message)) => {
                shell.leave_to_applier(handover, message);
                None
            }
            // The service is gone, and nobody is told any more.
            Err(TrySendError::Disconnected(_)) => None,
        };
    }
}

/// Hands over what the service had no room for, until the server is killed or nobody takes it any
/// more.
pub(super) fn run(shell: &Arc<Shell>) {
    while let Some((mut handover, mut held_up)) = wait_until_held_up(shell) {
        while send(shell, &handover, held_up) {
            let Some((same, next)) = shell.state.lock().next_to_apply(handover) else { break };
            (handover, held_up) = (same, message(next));
        }
    }
}

/// Waits for what could not be handed over; none once the server is killed.
fn wait_until_held_up(shell: &Shell) -> Option<(Handover, ApplyMsg)> {
    let mut state = shell.state.lock();
    while !state.is_killed() {
        let held_up = state.held_up.take();
        if held_up.is_some() {
            return held_up;
        }
        if !shell.to_hand_over.wait_or_end(&mut state) {
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
fn send(shell: &Shell, handover: &Handover, message: ApplyMsg) -> bool {
    select! {
        send(handover.apply, message) -> sent => sent.is_ok(),
        recv(shell.death) -> _ => false,
    }
}
