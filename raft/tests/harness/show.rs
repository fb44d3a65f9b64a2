//! How things look in a script.

use std::fmt::{self, Display};
use std::time::Duration;

use raft::core::{
    AppendEntriesReply, Entry, HardState, Index, Log, LogPosition, Node, PersistentState, Reply,
    Request, RoleKind, ServerId, Term, Update,
};

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
pub(crate) fn persistent(state: &PersistentState) -> String {
    format!("{}, log {}", hard_state(state.hard_state), log(&state.log))
}

/// What changes on a disk.
pub(crate) fn update(update: &Update) -> String {
    let log = update.log.as_ref();
    let log = log.map(|log| format!("after {}: {}", log.after, entries(log.after, &log.entries)));
    let changes = [update.hard_state.map(hard_state), log];
    changes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How a log differs from what it was, if it does.
pub(crate) fn log_change(before: &Log, now: &Log) -> Option<String> {
    let same = before.after(0).iter().zip(now.after(0)).take_while(|(a, b)| a == b).count();
    let removed = entries(same as Index, &before.after(0)[same..]);
    let added = entries(same as Index, &now.after(0)[same..]);
    match (before.after(0).len() > same, now.after(0).len() > same) {
        (true, _) => Some(format!("replaces {removed} by {added}")),
        (false, true) => Some(format!("appends {added}")),
        (false, false) => None,
    }
}

/// A log: each entry as index@term.
pub(crate) fn log(log: &Log) -> String {
    entries(0, log.after(0))
}

fn entries(after: Index, entries: &[Entry]) -> String {
    let show = |(index, entry): (Index, &Entry)| format!("{index}@{}", entry.term);
    let shown: Vec<_> = (after + 1..).zip(entries).map(show).collect();
    format!("[{}]", shown.join(" "))
}

fn hard_state(state: HardState) -> String {
    let vote = state.voted_for.map_or("nobody".to_owned(), |vote| format!("S{vote}"));
    format!("term {}, voted for {vote}", state.current_term)
}

/// A place in a log: index@term.
fn at(position: LogPosition) -> String {
    format!("{}@{}", position.index, position.term)
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
            write!(f, "PreVote term={} log={}", args.term, at(args.last_log()))
        }
        Request::RequestVote(args) => {
            write!(f, "RequestVote term={} log={}", args.term, at(args.last_log()))
        }
        Request::AppendEntries(args) => {
            let (term, prev, commit) = (args.term, at(args.prev_log()), args.leader_commit);
            let entries = entries(args.prev_log_index, &args.entries);
            write!(f, "AppendEntries term={term} prev={prev} {entries} commit={commit}")
        }
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
        Reply::AppendEntries(reply) => append_reply(f, reply),
    }
}

fn append_reply(f: &mut fmt::Formatter<'_>, reply: &AppendEntriesReply) -> fmt::Result {
    write!(f, "AppendEntries reply term={} success={}", reply.term, reply.success)?;
    match reply.conflict {
        None => Ok(()),
        Some(conflict) => match conflict.term {
            Some(term) => write!(f, ", has term {term} from {} on", conflict.index),
            None => write!(f, ", has nothing from {} on", conflict.index),
        },
    }
}
