//! The RPCs, in both directions.

use std::sync::Arc;

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

/// Makes a call, and then those that follow from the replies, for as long as that takes. So a
/// chain of AppendEntries to one peer needs no change of thread.
pub(super) fn call(shell: &Arc<Shell>, first: Call) {
    let mut next = Some(first);
    while let Some(Call { to, call, request }) = next {
        let reply = ask(&shell.peers[to], &request);
        next = reply.and_then(|reply| {
            shell.step_and_keep_call(Input::Reply { from: to, call, request, reply })
        });
    }
}

/// The peer's answer, if one comes. Why none came makes no difference to Raft; what tells of a
/// mistake in the code is logged where it is noticed.
fn ask(peer: &RaftRpcClient, request: &Request) -> Option<Reply> {
    match request {
        Request::PreVote(args) => peer.pre_vote(args).ok()?.map(Reply::PreVote),
        Request::RequestVote(args) => peer.request_vote(args).ok()?.map(Reply::RequestVote),
        Request::AppendEntries(args) => peer.append_entries(args).ok()?.map(Reply::AppendEntries),
        Request::InstallSnapshot(args) => {
            peer.install_snapshot(args).ok()?.map(Reply::InstallSnapshot)
        }
        Request::TimeoutNow(args) => peer.timeout_now(args).ok()?.map(Reply::TimeoutNow),
    }
}
