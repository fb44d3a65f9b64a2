//! The RPCs, in both directions.

use std::sync::Arc;

use labrpc::ClientEnd;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Raft;
use super::profile::Profile;
use super::shared::Shell;
use crate::core::{
    AppendEntriesArgs, AppendEntriesReply, CallId, Input, InstallSnapshotArgs,
    InstallSnapshotReply, Reply, Request, RequestVoteArgs, RequestVoteReply, ServerId,
    TimeoutNowArgs, TimeoutNowReply,
};

labrpc::service! {
    /// The RPCs of Figures 2 and 13, the pre-vote, and the transfer of leadership. A reply of `None` says nothing whatsoever: the
    /// server was killed before it knew an answer.
    pub(super) trait RaftRpc, client RaftRpcClient {
        /// "Would you vote for me?"
        fn pre_vote(args: RequestVoteArgs) -> Option<RequestVoteReply>;
        /// "Vote for me."
        fn request_vote(args: RequestVoteArgs) -> Option<RequestVoteReply>;
        /// "I am the leader, and this is what my log has there."
        fn append_entries(args: AppendEntriesArgs) -> Option<AppendEntriesReply>;
        /// "What you lack my log has no more; take this instead."
        fn install_snapshot(args: InstallSnapshotArgs) -> Option<InstallSnapshotReply>;
        /// "You shall be the leader."
        fn timeout_now(args: TimeoutNowArgs) -> Option<TimeoutNowReply>;
    }
}

impl<P: Profile> RaftRpc for Raft<P> {
    fn pre_vote(&self, args: RequestVoteArgs) -> Option<RequestVoteReply> {
        match self.shell.request(Request::PreVote(args))? {
            Reply::PreVote(reply) => Some(reply),
            other => wrong_kind(&other),
        }
    }

    fn request_vote(&self, args: RequestVoteArgs) -> Option<RequestVoteReply> {
        match self.shell.request(Request::RequestVote(args))? {
            Reply::RequestVote(reply) => Some(reply),
            other => wrong_kind(&other),
        }
    }

    fn append_entries(&self, args: AppendEntriesArgs) -> Option<AppendEntriesReply> {
        match self.shell.request(Request::AppendEntries(args))? {
            Reply::AppendEntries(reply) => Some(reply),
            other => wrong_kind(&other),
        }
    }

    fn install_snapshot(&self, args: InstallSnapshotArgs) -> Option<InstallSnapshotReply> {
        match self.shell.request(Request::InstallSnapshot(args))? {
            Reply::InstallSnapshot(reply) => Some(reply),
            other => wrong_kind(&other),
        }
    }

    fn timeout_now(&self, args: TimeoutNowArgs) -> Option<TimeoutNowReply> {
        match self.shell.request(Request::TimeoutNow(args))? {
            Reply::TimeoutNow(reply) => Some(reply),
            other => wrong_kind(&other),
        }
    }
}

fn wrong_kind(reply: &Reply) -> ! {
    unreachable!("the core answers with a reply of the request's kind, not with {reply:?}")
}

/// A call to a peer that the core wants made.
pub(super) struct Call {
    pub(super) to: ServerId,
    pub(super) call: CallId,
    pub(super) request: Request,
}

/// A call that has left.
pub(super) struct Begun {
    call: Call,
    answer: Answer,
}

/// Blocks for the peer's answer, if one comes. Why none came makes no difference to Raft; what tells
/// of a mistake in the code is logged where it is noticed.
type Answer = Box<dyn FnOnce() -> Option<Reply> + Send>;

/// Begins a call, on whichever thread wants it: the request leaves without a change of thread.
pub(super) fn begin(shell: &Shell, call: Call) -> Begun {
    let peer = &shell.peers[call.to];
    let answer = match &call.request {
        Request::PreVote(args) => ask(peer, "pre_vote", args, Reply::PreVote),
        Request::RequestVote(args) => ask(peer, "request_vote", args, Reply::RequestVote),
        Request::AppendEntries(args) => ask(peer, "append_entries", args, Reply::AppendEntries),
        Request::InstallSnapshot(args) => {
            ask(peer, "install_snapshot", args, Reply::InstallSnapshot)
        }
        Request::TimeoutNow(args) => ask(peer, "timeout_now", args, Reply::TimeoutNow),
    };
    Begun { call, answer }
}

fn ask<A: Serialize, R: DeserializeOwned + 'static>(
    peer: &ClientEnd,
    method: &'static str,
    args: &A,
    reply: fn(R) -> Reply,
) -> Answer {
    let pending = peer.start::<A, Option<R>>("RaftRpc", method, args);
    Box::new(move || pending.wait().ok()?.map(reply))
}

/// Waits for a call's answer, and makes those calls that follow from it, for as long as that takes.
/// So a chain of AppendEntries to one peer needs no change of thread.
pub(super) fn follow(shell: &Arc<Shell>, first: Begun) {
    let mut next = Some(first);
    while let Some(Begun { call: Call { to, call, request }, answer }) = next {
        next = answer().and_then(|reply| {
            shell.step_and_keep_call(Input::Reply { from: to, call, request, reply })
        });
    }
}
