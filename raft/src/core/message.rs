//! What servers say to each other: the RPCs of Figures 2 and 13, field by field.

use serde::{Deserialize, Serialize};

use super::log::{Conflict, Entry, Index, LogPosition};
use super::persistent::{Snapshot, SnapshotData};

/// A server's place in the cluster's list of peers, counted from 0, as in the labs.
///
/// It is a `usize` because it is an index; serde writes it as a `u64`, so that the width of the
/// machine does not show on the wire.
pub type ServerId = usize;

/// Raft's logical clock: terms are numbered with consecutive integers (section 5.1).
pub type Term = u64;

/// A question to another server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// "Would you vote for me in that term?" It asks for no promise and changes nothing at the
    /// receiver. `term` is the term the asker *would* start, one more than it is in.
    PreVote(RequestVoteArgs),
    /// "Vote for me."
    RequestVote(RequestVoteArgs),
    /// "I am the leader, and this is what my log has there."
    AppendEntries(AppendEntriesArgs),
    /// "I am the leader, and what you lack my log has no more; take this instead."
    InstallSnapshot(InstallSnapshotArgs),
    /// "I am the leader, and you shall be it: start an election at once" (dissertation, 3.10).
    TimeoutNow(TimeoutNowArgs),
}

impl Request {
    /// The server that sent it: every request names its sender.
    #[must_use]
    pub fn sender(&self) -> ServerId {
        match self {
            Self::PreVote(args) | Self::RequestVote(args) => args.candidate_id,
            Self::AppendEntries(args) => args.leader_id,
            Self::InstallSnapshot(args) => args.leader_id,
            Self::TimeoutNow(args) => args.leader_id,
        }
    }

    /// The term its sender is in, as far as the request tells. A pre-vote names a term that nobody
    /// is in yet, and that must not spread before somebody is.
    pub(super) fn term(&self) -> Option<Term> {
        match self {
            Self::PreVote(_) => None,
            Self::RequestVote(args) => Some(args.term),
            Self::AppendEntries(args) => Some(args.term),
            Self::InstallSnapshot(args) => Some(args.term),
            Self::TimeoutNow(args) => Some(args.term),
        }
    }
}

/// The answer to a [`Request`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Answers [`Request::PreVote`].
    PreVote(RequestVoteReply),
    /// Answers [`Request::RequestVote`].
    RequestVote(RequestVoteReply),
    /// Answers [`Request::AppendEntries`].
    AppendEntries(AppendEntriesReply),
    /// Answers [`Request::InstallSnapshot`].
    InstallSnapshot(InstallSnapshotReply),
    /// Answers [`Request::TimeoutNow`].
    TimeoutNow(TimeoutNowReply),
}

impl Reply {
    /// The term its sender is in.
    pub(super) fn term(&self) -> Term {
        match self {
            Self::PreVote(reply) | Self::RequestVote(reply) => reply.term,
            Self::AppendEntries(reply) => reply.term,
            Self::InstallSnapshot(reply) => reply.term,
            Self::TimeoutNow(reply) => reply.term,
        }
    }
}

/// Arguments of the RequestVote RPC, and of the pre-vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestVoteArgs {
    /// The candidate's term (in a pre-vote: the term it would start).
    pub term: Term,
    /// The candidate that asks for the vote.
    pub candidate_id: ServerId,
    /// Index of the candidate's last log entry.
    pub last_log_index: Index,
    /// Term of the candidate's last log entry.
    pub last_log_term: Term,
    /// The leader itself wants this election: whoever hears it is to vote all the same
    /// (dissertation, 3.10 and 4.2.3).
    pub leadership_transfer: bool,
}

impl RequestVoteArgs {
    /// Where the candidate's log ends.
    #[must_use]
    pub fn last_log(&self) -> LogPosition {
        LogPosition { term: self.last_log_term, index: self.last_log_index }
    }
}

/// Results of the RequestVote RPC, and of the pre-vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestVoteReply {
    /// The voter's `current_term`, for the candidate to update itself.
    pub term: Term,
    /// True means that the candidate received the vote (in a pre-vote: that it would).
    pub vote_granted: bool,
}

/// Arguments of the AppendEntries RPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendEntriesArgs {
    /// The leader's term.
    pub term: Term,
    /// The leader, so that followers can redirect clients.
    pub leader_id: ServerId,
    /// Index of the log entry immediately preceding the new ones.
    pub prev_log_index: Index,
    /// Term of the entry at `prev_log_index`.
    pub prev_log_term: Term,
    /// The entries to store; a heartbeat may have none, and several are sent at a time.
    pub entries: Vec<Entry>,
    /// The leader's commit index.
    pub leader_commit: Index,
}

impl AppendEntriesArgs {
    /// What the new entries follow.
    #[must_use]
    pub fn prev_log(&self) -> LogPosition {
        LogPosition { term: self.prev_log_term, index: self.prev_log_index }
    }

    /// Up to where the two logs agree if the follower accepts.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.prev_log_index + self.entries.len() as Index
    }
}

/// Results of the AppendEntries RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendEntriesReply {
    /// The follower's `current_term`, for the leader to update itself.
    pub term: Term,
    /// True if the follower had an entry matching `prev_log_index` and `prev_log_term`.
    pub success: bool,
    /// Where the logs differ, if that is why there is no success.
    pub conflict: Option<Conflict>,
}

/// Arguments of the InstallSnapshot RPC: the whole snapshot at once, so that `offset` and `done`
/// are not needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallSnapshotArgs {
    /// The leader's term.
    pub term: Term,
    /// The leader, so that followers can redirect clients.
    pub leader_id: ServerId,
    /// Index of the last entry that the snapshot covers.
    pub last_included_index: Index,
    /// Term of that entry.
    pub last_included_term: Term,
    /// The snapshot.
    #[serde(with = "labgob::bytes")]
    pub data: SnapshotData,
}

impl InstallSnapshotArgs {
    /// The snapshot, with what it covers.
    #[must_use]
    pub fn into_snapshot(self) -> Snapshot {
        let (term, index) = (self.last_included_term, self.last_included_index);
        Snapshot { last: LogPosition { term, index }, data: self.data }
    }
}

/// Results of the InstallSnapshot RPC. In the leader's own term it says more than its name: that
/// the follower has all up to `last_included_index` on its disk, be it by this snapshot or without
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallSnapshotReply {
    /// The follower's `current_term`, for the leader to update itself.
    pub term: Term,
}

/// Arguments of the TimeoutNow RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutNowArgs {
    /// The leader's term.
    pub term: Term,
    /// The leader that wants to hand over.
    pub leader_id: ServerId,
}

/// Results of the TimeoutNow RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutNowReply {
    /// The receiver's `current_term`, before the election.
    pub term: Term,
}
