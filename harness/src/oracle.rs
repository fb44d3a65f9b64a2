//! What must never happen, watched all the time.
//!
//! The oracle remembers for the whole run, across crashes, which server led which term and what
//! was applied at which index. It learns a server's term and role by reading `get_state` after
//! each message that the server handled or got back, and four times a second anyway; on an observer
//! thread of that server's group, one read at a time: events that come meanwhile are one more read.
//! Nobody waits for it. That a server leads is heard from what it answers the test, too, to `start`
//! or `get_state`. (That a command is applied is no reason to look: it changes neither term nor
//! role.)
//!
//! Its verdicts have no tolerance: a correct Raft never breaks them, whatever the network does.
//! Terms are compared within one incarnation only, since a term that was never answered for may
//! be forgotten in a crash.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{ApplyMsg, Index, Term};
use labrt::sync::Shared;
use labrt::time;
use labrt::trace::{self, EventKind};

use crate::server::Snapshot;

/// A `get_state` that takes longer, in virtual time, is taken to wait for a lock that somebody
/// holds across a call.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// The memory of a run.
#[derive(Default)]
pub struct Oracle(Shared<Memory>);

#[derive(Default)]
struct Memory {
    /// Whether what one server does may be heard of after what another did because of it.
    hears_late: bool,
    leaders: BTreeMap<Term, usize>,
    applied: BTreeMap<Index, Applied>,
    servers: BTreeMap<usize, Server>,
}

struct Applied {
    command: Option<Vec<u8>>,
    by: usize,
}

#[derive(Default)]
struct Server {
    incarnation: u64,
    term: Term,
    last_applied: Index,
    /// World time at which the present read began.
    reading_since: Option<Duration>,
    paused: bool,
}

impl Oracle {
    /// An oracle for servers that are processes: what they tell comes by different ways, so the
    /// snapshot of a follower may be heard of before what its leader has applied.
    pub(crate) fn that_hears_late() -> Self {
        Self(Shared::new(Memory { hears_late: true, ..Memory::default() }))
    }

    /// A server starts again.
    pub(crate) fn begin_incarnation(&self, server: usize, incarnation: u64) {
        self.0.with(|memory| {
            memory.servers.insert(server, Server { incarnation, ..Server::default() });
        });
    }

    /// A read of `get_state` begins. It ends when the guard goes, be it in a crash.
    pub(crate) fn begin_read(&self, server: usize, incarnation: u64) -> Reading<'_> {
        self.set_reading(server, incarnation, Some(time::world_time()));
        Reading { oracle: self, server, incarnation, came_back: false }
    }

    fn set_reading(&self, server: usize, incarnation: u64, since: Option<Duration>) {
        self.0.with(|memory| {
            if let Some(known) = memory.incarnation(server, incarnation) {
                known.reading_since = since;
            }
        });
    }

    /// The test heard from a server that it leads `term`. Such answers may overtake each other, so
    /// nothing is said of the order of terms.
    pub(crate) fn note_leader(&self, server: usize, term: Term) {
        tell(self.0.with(|memory| memory.note_leader(server, term)));
    }

    /// A server's term and role were read.
    pub(crate) fn note_state(&self, server: usize, incarnation: u64, term: Term, leader: bool) {
        let verdict = self.0.with(|memory| {
            let known = memory.incarnation(server, incarnation)?;
            known.reading_since = None;
            let backwards = term < known.term;
            let before = known.term;
            known.term = term.max(known.term);
            if backwards {
                return Some(format!("S{server}'s term went back from {before} to {term}"));
            }
            leader.then(|| memory.note_leader(server, term)).flatten()
        });
        trace::observed_role(server, term, if leader { "leader" } else { "term" });
        tell(verdict);
    }

    /// A server does not answer while it is paused, and that is no fault of its own.
    pub(crate) fn set_paused(&self, server: usize, paused: bool) {
        self.0.with(|memory| {
            let known = memory.server(server);
            known.paused = paused;
            known.reading_since = None;
        });
    }

    /// Looks for reads that take too long.
    pub(crate) fn look_for_held_locks(&self) {
        let now = time::world_time();
        let verdict = self.0.with(|memory| {
            let late = |known: &Server| {
                let since = known.reading_since.filter(|_| !known.paused);
                since.is_some_and(|since| now.saturating_sub(since) > READ_LIMIT)
            };
            memory.servers.iter().find(|(_, known)| late(known)).map(|(server, _)| {
                format!(
                    "lock held: S{server} did not answer get_state for {READ_LIMIT:?}; is a lock \
                     held across an RPC or a sleep?"
                )
            })
        });
        tell(verdict);
    }

    /// A server applied a message. What an earlier incarnation still applies does not count.
    pub(crate) fn note_applied(&self, server: usize, incarnation: u64, message: &ApplyMsg) {
        let verdict = self.0.with(|memory| {
            memory.incarnation(server, incarnation)?;
            memory.note_applied(server, message)
        });
        let text = || match message {
            ApplyMsg::Command { index, .. } => format!("applied {index}"),
            ApplyMsg::NoOp { index } => format!("applied {index} (no-op)"),
            ApplyMsg::Snapshot { index, .. } => format!("snapshot {index}"),
        };
        trace::record(Some(server), "commit", EventKind::Note, text);
        tell(verdict);
    }

    /// A server's service was given a snapshot that is to stand for everything up to `index`: from
    /// Raft, or from its disk at its start.
    pub(crate) fn note_installed(
        &self,
        server: usize,
        incarnation: u64,
        index: Index,
        snapshot: &Snapshot,
    ) {
        let verdict = self.0.with(|memory| {
            memory.incarnation(server, incarnation)?;
            memory.note_installed(server, index, snapshot)
        });
        tell(verdict);
    }

    /// How many servers' present incarnations have applied the entry at `index`.
    pub fn applied_by(&self, index: Index) -> usize {
        self.0.with(|memory| {
            memory.servers.values().filter(|known| known.last_applied >= index).count()
        })
    }

    /// The command that was applied at `index`; none if nothing was, or an entry without one.
    pub fn command_at(&self, index: Index) -> Option<Vec<u8>> {
        self.0.with(|memory| memory.applied.get(&index)?.command.clone())
    }

    /// How many entries have been applied by anybody.
    pub fn agreed(&self) -> u64 {
        self.0.with(|memory| memory.applied.len() as u64)
    }
}

/// A read of `get_state` under way; dropped before its end if the server crashes in it.
pub(crate) struct Reading<'a> {
    oracle: &'a Oracle,
    server: usize,
    incarnation: u64,
    came_back: bool,
}

impl Reading<'_> {
    /// What was read.
    pub(crate) fn ends(mut self, term: Term, leader: bool) {
        self.came_back = true;
        self.oracle.note_state(self.server, self.incarnation, term, leader);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if !self.came_back {
            self.oracle.set_reading(self.server, self.incarnation, None);
        }
    }
}

impl Memory {
    fn server(&mut self, server: usize) -> &mut Server {
        self.servers.entry(server).or_default()
    }

    /// What is known of a server, if that still is the incarnation that runs.
    fn incarnation(&mut self, server: usize, incarnation: u64) -> Option<&mut Server> {
        Some(self.server(server)).filter(|known| known.incarnation == incarnation)
    }

    /// Election Safety (Raft paper, Figure 3): at most one leader per term, ever.
    fn note_leader(&mut self, server: usize, term: Term) -> Option<String> {
        let first = *self.leaders.entry(term).or_insert(server);
        (first != server).then(|| format!("two leaders in term {term}: S{first}, S{server}"))
    }

    /// State Machine Safety (Raft paper, Figure 3), and the order of the log.
    fn note_applied(&mut self, server: usize, message: &ApplyMsg) -> Option<String> {
        let (index, command) = match message {
            ApplyMsg::Command { index, command } => (*index, Some(command)),
            ApplyMsg::NoOp { index } => (*index, None),
            // What is in it is looked at when it has been decoded.
            ApplyMsg::Snapshot { .. } => return None,
        };
        let last = std::mem::replace(&mut self.server(server).last_applied, index);
        if index != last + 1 {
            return Some(format!("S{server} applied index {index} right after index {last}"));
        }
        let is_new = || Applied { command: command.cloned(), by: server };
        let first = self.applied.entry(index).or_insert_with(is_new);
        let (by, same) = (first.by, first.command.as_ref() == command);
        (!same).then(|| format!("S{server} and S{by} applied different commands at index {index}"))
    }

    /// A snapshot stands for what was applied up to its index, and never moves a state backwards
    /// (Raft paper, section 7).
    fn note_installed(
        &mut self,
        server: usize,
        index: Index,
        snapshot: &Snapshot,
    ) -> Option<String> {
        let last = std::mem::replace(&mut self.server(server).last_applied, index);
        let (taken, length) = (snapshot.index, snapshot.commands.len() as Index);
        if index < last {
            return Some(format!(
                "S{server} was handed the snapshot of index {index} after it had applied {last}"
            ));
        }
        if taken != index || length != index {
            return Some(format!(
                "S{server} was handed, for index {index}, the snapshot of index {taken}"
            ));
        }
        if self.hears_late {
            for (at, command) in (1..).zip(&snapshot.commands) {
                let first = Applied { command: command.clone(), by: server };
                self.applied.entry(at).or_insert(first);
            }
        }
        let is_applied = |(index, command): (Index, &Option<Vec<u8>>)| {
            self.applied.get(&index).is_some_and(|applied| applied.command == *command)
        };
        let differs = (1..).zip(&snapshot.commands).find(|&entry| !is_applied(entry));
        differs.map(|(at, _)| {
            format!("S{server}'s snapshot of index {index} does not hold what was applied at {at}")
        })
    }
}

fn tell(verdict: Option<String>) {
    if let Some(verdict) = verdict {
        labrt::fail(verdict);
    }
}
