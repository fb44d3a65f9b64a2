//! How things look in a script.

use std::fmt::{self, Display};
use std::time::Duration;

use raft::core::{HardState, LogPosition, Node, Reply, Request, RoleKind, ServerId, Term};

use super::network::Message;

/// What can be seen of a node from the outside.
#[derive(PartialEq)]
pub(crate) struct View {
    role: RoleKind,
    term: Term,
    vote: Option<ServerId>,
    leader: Option<ServerId>,
}

impl View {
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            role: node.role(),
            term: node.current_term(),
            vote: node.voted_for(),
            leader: node.leader(),
        }
    }
}

impl Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in term {}", self.role, self.term)?;
        if let Some(vote) = self.vote {
            write!(f, ", voted for S{vote}")?;
        }
        match self.leader {
            Some(leader) if self.role != RoleKind::Leader => write!(f, ", leader S{leader}"),
            _ => Ok(()),
        }
    }
}

/// What is on a disk.
pub(crate) fn hard_state(state: HardState) -> String {
    let vote = state.voted_for.map_or("nobody".to_owned(), |vote| format!("S{vote}"));
    format!("term {}, voted for {vote}", state.current_term)
}

/// The end of a log, as scripts write it: term/index.
pub(crate) fn log(position: LogPosition) -> String {
    format!("{}/{}", position.term, position.index)
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

impl Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reply {
            None => request(f, &self.request),
            Some(reply) => self::reply(f, reply),
        }
    }
}

fn request(f: &mut fmt::Formatter<'_>, request: &Request) -> fmt::Result {
    match request {
        Request::PreVote(args) => {
            write!(f, "PreVote term={} log={}", args.term, log(args.last_log()))
        }
        Request::RequestVote(args) => {
            write!(f, "RequestVote term={} log={}", args.term, log(args.last_log()))
        }
        Request::AppendEntries(args) => write!(f, "AppendEntries term={}", args.term),
    }
}

fn reply(f: &mut fmt::Formatter<'_>, reply: &Reply) -> fmt::Result {
    match reply {
        Reply::PreVote(reply) => {
            write!(f, "PreVote reply term={} granted={}", reply.term, reply.vote_granted)
        }
        Reply::RequestVote(reply) => {
            write!(f, "RequestVote reply term={} granted={}", reply.term, reply.vote_granted)
        }
        Reply::AppendEntries(reply) => {
            write!(f, "AppendEntries reply term={} success={}", reply.term, reply.success)
        }
    }
}
