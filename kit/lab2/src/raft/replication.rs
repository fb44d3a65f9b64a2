//! How a leader leads, and how a service learns what is committed.

use std::sync::Arc;

use contract::ApplyMsg;
use labrt::channel::Sender;

use super::MyRaft;
use crate::not_yet::not_yet;

impl MyRaft {
    /// Sends one follower what it lacks, or a heartbeat.
    pub(super) fn send_append_entries(self: &Arc<Self>, follower: usize) {
        // your code here (2A): a heartbeat.
        // your code here (2B): entries, and what follows from the answer.
        // your code here (2D): the snapshot, if what it lacks is in no log any more.
        not_yet("2A", "send a heartbeat", "Raft §5.2, Figure 2: rules for leaders")
    }

    /// Starts the thread that hands committed entries to the service, one after the other. Sending
    /// on `apply` blocks until the service takes the entry: hold no lock meanwhile. The service
    /// ends when the last sender does, so let the thread have the only one.
    pub(super) fn start_applier(self: &Arc<Self>, apply: Sender<ApplyMsg>) {
        // your code here (2B): Figure 2, rules for all servers: commitIndex and lastApplied.
        // your code here (2D): a snapshot that a leader sent goes the same way.
    }
}
