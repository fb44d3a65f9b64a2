//! How a server comes to lead.

use std::sync::Arc;

use super::MyRaft;
use crate::not_yet::not_yet;

impl MyRaft {
    /// Starts the thread that calls an election when no leader was heard of for too long. It must
    /// return at once: `labrt::thread::spawn` makes the thread, `labrt::thread::sleep` lets it
    /// wait.
    pub(super) fn start_election_timer(self: &Arc<Self>) {
        // your code here (2A)
        not_yet("2A", "start the thread that watches the election timer", "Raft §5.2")
    }

    /// Stands for election: a new term, a vote for itself, and a request to each of the others.
    fn ask_for_votes(self: &Arc<Self>) {
        // your code here (2A)
        not_yet("2A", "ask all others for their votes at once", "Raft §5.2, Figure 2")
    }
}
