//! What servers say to each other, and how this one answers: Figures 2 and 13.

use contract::Term;
use serde::{Deserialize, Serialize};

use super::MyRaft;
use crate::not_yet::not_yet;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RequestVoteArgs {
    pub(super) term: Term,
    // your code here (2A): the other arguments of RequestVote.
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RequestVoteReply {
    pub(super) term: Term,
    // your code here (2A): the rest of the reply.
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AppendEntriesArgs {
    pub(super) term: Term,
    // your code here (2A): what a heartbeat needs.
    // your code here (2B): the other arguments of AppendEntries.
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AppendEntriesReply {
    pub(super) term: Term,
    // your code here (2B): the rest of the reply, and where to go on if the logs do not match.
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InstallSnapshotArgs {
    pub(super) term: Term,
    // your code here (2D): the arguments of Figure 13, the whole snapshot as one chunk. Bytes go
    // over the network fastest with `#[serde(with = "labgob::bytes")]` above the field.
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InstallSnapshotReply {
    pub(super) term: Term,
}

// Makes the trait, which this server implements below, and `RaftRpcClient`, which calls it at
// another server: `self.peers[peer].request_vote(&args)` blocks, for seconds if need be, and gives
// the reply, or an error if none came.
labrpc::service! {
    /// The RPCs of Figures 2 and 13.
    pub(super) trait RaftRpc, client RaftRpcClient {
        /// A candidate asks for a vote.
        fn request_vote(args: RequestVoteArgs) -> RequestVoteReply;
        /// A leader sends entries, or none: a heartbeat.
        fn append_entries(args: AppendEntriesArgs) -> AppendEntriesReply;
        /// A leader sends its snapshot to a server that is too far behind.
        fn install_snapshot(args: InstallSnapshotArgs) -> InstallSnapshotReply;
    }
}

/// Each of these runs on a thread of its own, several at a time, and in any order.
impl RaftRpc for MyRaft {
    fn request_vote(&self, args: RequestVoteArgs) -> RequestVoteReply {
        // your code here (2A)
        not_yet("2A", "answer a candidate", "Raft §5.2, §5.4.1, Figure 2: RequestVote")
    }

    fn append_entries(&self, args: AppendEntriesArgs) -> AppendEntriesReply {
        // your code here (2A): a heartbeat.
        // your code here (2B): entries.
        not_yet("2A", "answer a leader's heartbeat", "Raft §5.2, Figure 2: AppendEntries")
    }

    fn install_snapshot(&self, args: InstallSnapshotArgs) -> InstallSnapshotReply {
        // your code here (2D)
        not_yet("2D", "take a leader's snapshot", "Raft §7, Figure 13")
    }
}
