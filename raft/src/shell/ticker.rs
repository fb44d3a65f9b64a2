//! The ticker: it tells the core when its deadline has come.

use std::sync::Arc;

use super::shared::Shell;
use crate::core::Input;

/// Ticks until the server is killed.
pub(super) fn run(shell: &Arc<Shell>) {
    while wait_for_deadline(shell) {
        shell.step(Input::Tick);
    }
}

/// Waits until the core's deadline has come; false once the server is killed.
///
/// The deadline is looked at again after each wait: it may have moved either way.
fn wait_for_deadline(shell: &Shell) -> bool {
    let mut state = shell.state.lock();
    while !state.is_killed() {
        let deadline = state.deadline_for_ticker();
        if shell.now() >= deadline {
            return true;
        }
        if !shell.deadline_moved.wait_until_or_end(&mut state, shell.started + deadline) {
            return false;
        }
    }
    false
}
