//! How things look in a script.

use std::fmt::{self, Display};
use std::time::Duration;

use raft::core::{
    AppendEntriesReply, Entry, HardState, Index, InstallSnapshotArgs, Log, LogPosition, Node,
    Payload, PersistentState, Reply, Request, RoleKind, ServerId, SnapshotData, Term, ToApply,
    Update,
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
    let state_and_log = format!("{}, log {}", hard_state(state.hard_state), log(&state.log));
    match state.log.base().index {
        0 => state_and_log,
        _ => format!("{state_and_log}, snapshot {}", data(&state.snapshot)),
    }
}

/// What changes on a disk.
pub(crate) fn update(update: &Update) -> String {
    let log = update.log.as_ref();
    let log = log.map(|log| format!("after {}: {}", log.after, entries(log.after, &log.entries)));
    let snapshot = update.snapshot.as_ref();
    let snapshot = snapshot.map(|new| format!("up to {}: {}", at(new.last), data(&new.data)));
    let changes = [update.hard_state.map(hard_state), snapshot, log];
    changes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A snapshot: what the service wrote.
fn data(data: &SnapshotData) -> String {
    format!("{:?}", String::from_utf8_lossy(data))
}

/// What a service is told to apply.
pub(crate) fn to_apply(next: &ToApply) -> String {
    match next {
        ToApply::Command { index, .. } => format!("the command at {index}"),
        ToApply::NoOp { index } => format!("the no-op at {index}"),
        ToApply::Snapshot(snapshot) => {
            format!("the snapshot up to {}: {}", at(snapshot.last), data(&snapshot.data))
        }
    }
}

/// How a log differs from what it was, if it does.
pub(crate) fn log_change(before: &Log, now: &Log) -> Option<String> {
    if before.base() != now.base() {
        return Some(format!("had the log {}; has {}", log(before), log(now)));
    }
    let base = before.base().index;
    let (before, now) = (before.after(base), now.after(base));
    let same = before.iter().zip(now).take_while(|(a, b)| a == b).count();
    let removed = entries(base + same as Index, &before[same..]);
    let added = entries(base + same as Index, &now[same..]);
    match (before.len() > same, now.len() > same) {
        (true, _) => Some(format!("replaces {removed} by {added}")),
        (false, true) => Some(format!("appends {added}")),
        (false, false) => None,
    }
}

/// A log: each entry as index@term, with a dash if it has no command; before the bar the last one
/// that a snapshot covers.
pub(crate) fn log(log: &Log) -> String {
    let base = log.base();
    let entries = entries(base.index, log.after(base.index));
    match base.index {
        0 => entries,
        _ => format!("{} | {entries}", at(base)),
    }
}

fn entries(after: Index, entries: &[Entry]) -> String {
    let show = |(index, entry): (Index, &Entry)| match entry.payload {
        Payload::Command(_) => format!("{index}@{}", entry.term),
        Payload::NoOp => format!("{index}@{}-", entry.term),
    };
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
            write!(f, "RequestVote term={} log={}", args.term, at(args.last_log()))?;
            if args.leadership_transfer { f.write_str(" by transfer") } else { Ok(()) }
        }
        Request::AppendEntries(args) => {
            let (term, prev, commit) = (args.term, at(args.prev_log()), args.leader_commit);
            let entries = entries(args.prev_log_index, &args.entries);
            write!(f, "AppendEntries term={term} prev={prev} {entries} commit={commit}")
        }
        Request::InstallSnapshot(args) => install(f, args),
        Request::TimeoutNow(args) => write!(f, "TimeoutNow term={}", args.term),
    }
}

fn install(f: &mut fmt::Formatter<'_>, args: &InstallSnapshotArgs) -> fmt::Result {
    let last = LogPosition { term: args.last_included_term, index: args.last_included_index };
    write!(f, "InstallSnapshot term={} last={} {}", args.term, at(last), data(&args.data))
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
        Reply::InstallSnapshot(reply) => write!(f, "InstallSnapshot reply term={}", reply.term),
        Reply::TimeoutNow(reply) => write!(f, "TimeoutNow reply term={}", reply.term),
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
