//! The disk writer, and what it finds when the server starts again.

use std::sync::Arc;

use super::shared::Shell;
use crate::core::{HardState, Input, ServerId, WriteId};

/// Writes what the core wants written, until the server is killed.
pub(super) fn run(shell: &Arc<Shell>) {
    while let Some((write, hard_state)) = wait_for_write(shell) {
        shell.persister.save(encode(hard_state), None);
        let HardState { current_term, voted_for } = hard_state;
        log::debug!(target: "persist", "term {current_term} is durable, vote: {voted_for:?}");
        shell.step(|_| Input::Persisted { write });
    }
}

/// Waits for something to write; none once the server is killed.
fn wait_for_write(shell: &Shell) -> Option<(WriteId, HardState)> {
    let mut state = shell.state.lock();
    while !state.is_killed() {
        if let Some(unwritten) = state.take_unwritten() {
            return Some(unwritten);
        }
        shell.to_write.wait(&mut state);
    }
    None
}

fn encode(hard_state: HardState) -> Vec<u8> {
    labgob::encode(&hard_state).expect("numbers can be encoded")
}

/// What an earlier incarnation wrote, or the very first state if there was none.
///
/// # Panics
///
/// If there are bytes that [`encode`] did not make.
pub(super) fn restore(me: ServerId, bytes: &[u8]) -> HardState {
    if bytes.is_empty() {
        return HardState::default();
    }
    labgob::decode(bytes).unwrap_or_else(|error| {
        panic!(
            "S{me} cannot start: its disk holds {} bytes that are no Raft state: {error}. They \
             begin with {:02x?}",
            bytes.len(),
            &bytes[..bytes.len().min(SHOWN_MAX)],
        )
    })
}

/// How many bytes of what cannot be decoded are shown.
const SHOWN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_state_is_restored() {
        let hard_state = HardState { current_term: 300, voted_for: Some(2) };
        assert_eq!(restore(0, &encode(hard_state)), hard_state);
    }

    #[test]
    fn an_empty_disk_is_the_first_start() {
        assert_eq!(restore(0, &[]), HardState::default());
    }

    #[test]
    #[should_panic(expected = "S1 cannot start: its disk holds 1 bytes that are no Raft state")]
    fn half_a_state_is_refused() {
        let bytes = encode(HardState { current_term: 3, voted_for: None });
        restore(1, &bytes[..1]);
    }
}
