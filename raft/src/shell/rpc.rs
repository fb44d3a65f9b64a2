//! The RPCs, in both directions: those of Figures 2 and 13 of the paper, the pre-vote, and the
//! transfer of leadership.
//!
//! | method | |
//! |---|---|
//! | `pre_vote` | "Would you vote for me?" |
//! | `request_vote` | "Vote for me." |
//! | `append_entries` | "I am the leader, and this is what my log has there." |
//! | `install_snapshot` | "What you lack my log has no more; take this instead." |
//! | `timeout_now` | "You shall be the leader." |
//!
//! The core answers most of them at once, some when a write is durable, and none once the server is
//! killed. So the service is a [prompt](Service::prompt) one: an answer is sent by whoever has it.

use std::sync::Arc;

use labrpc::{Responder, RpcError, Service, Unsent, decode_args};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shared::Shell;
use crate::core::{CallId, Input, Reply, Request, ServerId};

/// What the peers call.
const SERVICE: &str = "RaftRpc";

const PRE_VOTE: &str = "pre_vote";
const REQUEST_VOTE: &str = "request_vote";
const APPEND_ENTRIES: &str = "append_entries";
const INSTALL_SNAPSHOT: &str = "install_snapshot";
const TIMEOUT_NOW: &str = "timeout_now";

/// What this server does for its peers.
pub(super) fn service(shell: &Arc<Shell>) -> Service {
    let shell = Arc::clone(shell);
    Service::prompt(SERVICE, move |method, args, responder, thread| {
        match decode(method, args).and_then(|request| from_a_peer(&shell, request)) {
            Ok(request) => shell.request(request, responder, thread),
            Err(error) => drop(responder.refuse(error)),
        }
    })
}

/// For the core, a message from anybody else is a broken invariant. But a server that was given
/// another list of peers is a person's mistake, and no reason to stop.
fn from_a_peer(shell: &Shell, request: Request) -> Result<Request, RpcError> {
    let (me, from, servers) = (shell.me, request.sender(), shell.peers.len());
    if from < servers && from != me {
        return Ok(request);
    }
    Err(RpcError::BadArguments(format!(
        "S{from} asks, which is no other server for S{me}, whose cluster has {servers}: do all \
         have the same list of peers?"
    )))
}

fn decode(method: &str, args: &[u8]) -> Result<Request, RpcError> {
    match method {
        PRE_VOTE => decode_args(args).map(Request::PreVote),
        REQUEST_VOTE => decode_args(args).map(Request::RequestVote),
        APPEND_ENTRIES => decode_args(args).map(Request::AppendEntries),
        INSTALL_SNAPSHOT => decode_args(args).map(Request::InstallSnapshot),
        TIMEOUT_NOW => decode_args(args).map(Request::TimeoutNow),
        unknown => Err(RpcError::UnknownMethod(unknown.to_string())),
    }
}

/// Sends the core's reply to a request: its kind is the request's.
pub(super) fn answer(responder: Responder, reply: &Reply) -> Unsent {
    match reply {
        Reply::PreVote(reply) => responder.reply(reply),
        Reply::RequestVote(reply) => responder.reply(reply),
        Reply::AppendEntries(reply) => responder.reply(reply),
        Reply::InstallSnapshot(reply) => responder.reply(reply),
        Reply::TimeoutNow(reply) => responder.reply(reply),
    }
}

/// A call to a peer that the core wants made.
pub(super) struct Call {
    pub(super) to: ServerId,
    pub(super) call: CallId,
    pub(super) request: Request,
}

/// Makes a call, on whichever thread wants it: it does not block. The core is brought the reply, if
/// one comes. Why none came makes no difference to Raft; what tells of a mistake in the code is
/// logged where it is noticed.
pub(super) fn call(shell: &Arc<Shell>, call: Call) {
    let Call { to, call, request } = call;
    let asks = Asks { shell, to, call };
    match request {
        Request::PreVote(args) => asks.ask(PRE_VOTE, args, Request::PreVote, Reply::PreVote),
        Request::RequestVote(args) => {
            asks.ask(REQUEST_VOTE, args, Request::RequestVote, Reply::RequestVote);
        }
        Request::AppendEntries(args) => {
            asks.ask(APPEND_ENTRIES, args, Request::AppendEntries, Reply::AppendEntries);
        }
        Request::InstallSnapshot(args) => {
            asks.ask(INSTALL_SNAPSHOT, args, Request::InstallSnapshot, Reply::InstallSnapshot);
        }
        Request::TimeoutNow(args) => {
            asks.ask(TIMEOUT_NOW, args, Request::TimeoutNow, Reply::TimeoutNow);
        }
    }
}

/// Who asks, and whom.
struct Asks<'a> {
    shell: &'a Arc<Shell>,
    to: ServerId,
    call: CallId,
}

impl Asks<'_> {
    fn ask<A, R>(
        &self,
        method: &'static str,
        args: A,
        request: fn(A) -> Request,
        reply: fn(R) -> Reply,
    ) where
        A: Serialize + Send + 'static,
        R: DeserializeOwned + 'static,
    {
        let Self { shell, to: from, call } = *self;
        let theirs = Arc::clone(shell);
        shell.peers[from].call_then(SERVICE, method, args, &shell.bringers, move |args, answer| {
            if let Ok(answer) = answer {
                let (request, reply) = (request(args), reply(answer));
                theirs.step(Input::Reply { from, call, request, reply });
            }
        });
    }
}
