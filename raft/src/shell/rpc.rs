//! The RPCs, in both directions.

use std::sync::Arc;

use labrt::channel;
use labrt::thread::Builder;

use super::Raft;
use super::shared::Shell;
use crate::core::{
    AppendEntriesArgs, AppendEntriesReply, Input, Reply, Request, RequestVoteArgs,
    RequestVoteReply, ServerId,
};

labrpc::service! {
    /// The RPCs of Figure 2, and the pre-vote. A reply of `None` says nothing whatsoever: the
    /// server was killed before it knew an answer.
    pub(super) trait RaftRpc, client RaftRpcClient {
        /// "Would you vote for me?"
        fn pre_vote(args: RequestVoteArgs) -> Option<RequestVoteReply>;
        /// "Vote for me."
        fn request_vote(args: RequestVoteArgs) -> Option<RequestVoteReply>;
        /// "I am the leader."
        fn append_entries(args: AppendEntriesArgs) -> Option<AppendEntriesReply>;
    }
}

impl RaftRpc for Raft {
    fn pre_vote(&self, args: RequestVoteArgs) -> Option<RequestVoteReply> {
        match handle(&self.shell, Request::PreVote(args))? {
            Reply::PreVote(reply) => Some(reply),
            other => wrong_kind(&other),
        }
    }

    fn request_vote(&self, args: RequestVoteArgs) -> Option<RequestVoteReply> {
        match handle(&self.shell, Request::RequestVote(args))? {
            Reply::RequestVote(reply) => Some(reply),
            other => wrong_kind(&other),
        }
    }

    fn append_entries(&self, args: AppendEntriesArgs) -> Option<AppendEntriesReply> {
        match handle(&self.shell, Request::AppendEntries(args))? {
            Reply::AppendEntries(reply) => Some(reply),
            other => wrong_kind(&other),
        }
    }
}

fn wrong_kind(reply: &Reply) -> ! {
    unreachable!("the core answers with a reply of the request's kind, not with {reply:?}")
}

/// Blocks until the core answers; none if the server is killed first.
fn handle(shell: &Arc<Shell>, request: Request) -> Option<Reply> {
    let (handler, answer) = channel::bounded(1);
    let from = request.sender();
    // If there is no step any more, `handler` ends with the closure, and there is no answer.
    shell.step(move |state| {
        let id = state.expect_answer(handler);
        Input::Request { from, id, request }
    });
    answer.recv().ok()
}

/// Calls a peer on a thread of its own, for as long as that takes.
pub(super) fn spawn_caller(shell: &Arc<Shell>, to: ServerId, request: Request) {
    let shell = Arc::clone(shell);
    Builder::new().name(format!("caller-S{to}")).spawn(move || {
        if let Some(reply) = call(&shell.peers[to], &request) {
            shell.step(|_| Input::Reply { from: to, request, reply });
        }
    });
}

/// The peer's answer, if one comes. Why none came makes no difference to Raft; what tells of a
/// mistake in the code is logged where it is noticed.
fn call(peer: &RaftRpcClient, request: &Request) -> Option<Reply> {
    match request {
        Request::PreVote(args) => peer.pre_vote(args).ok()?.map(Reply::PreVote),
        Request::RequestVote(args) => peer.request_vote(args).ok()?.map(Reply::RequestVote),
        Request::AppendEntries(args) => peer.append_entries(args).ok()?.map(Reply::AppendEntries),
    }
}
