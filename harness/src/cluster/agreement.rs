//! Checks of what is committed: `one` and `wait` of the labs.

use std::sync::Arc;
use std::time::Duration;

use contract::{Index, Term};
use labrt::thread;
use labrt::time::Instant;

use super::{Cluster, Waits};
use crate::ServerHandle;

/// A command must be agreed on so soon, other things being equal.
pub const AGREED_WITHIN: Duration = Duration::from_secs(10);

/// A leader that took a command has so long to have it applied, before it is offered again.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);
/// How often somebody who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long to wait before looking for a leader again.
const OFFER_EVERY: Duration = Duration::from_millis(50);

impl Cluster {
    /// A command that nobody has offered before.
    pub fn fresh_command(&self) -> Vec<u8> {
        let number = self.tally.with(|tally| {
            tally.commands += 1;
            tally.commands
        });
        number.to_le_bytes().to_vec()
    }

    /// Offers a fresh command to one server: its index and term, if that server takes it.
    pub fn start(&self, server: usize) -> Option<(Index, Term)> {
        self.servers[server].start(self.fresh_command()).unwrap_or(None)
    }

    /// How many servers have applied the entry at `index`, as their present incarnation or, if
    /// they do not run, their last one.
    pub fn applied_by(&self, index: Index) -> usize {
        self.oracle.applied_by(index)
    }

    /// The command that was applied at `index`, if any was.
    pub fn command_at(&self, index: Index) -> Option<Vec<u8>> {
        self.oracle.command_at(index)
    }

    /// Has the cluster agree on a fresh command, and `servers` servers apply it: see
    /// [`Cluster::one`].
    pub fn agree(&self, servers: usize) -> Index {
        self.one(&self.fresh_command(), servers, true)
    }

    /// Has the cluster agree on `command`, and `servers` servers apply it. Offers it to the
    /// connected servers in turn; where one takes it, waits for 2 s. Then, with `retry`, offers
    /// it again, since its leader may have lost its term. Returns its index.
    ///
    /// # Panics
    /// If there is no agreement within [`AGREED_WITHIN`], or at the first attempt without `retry`.
    pub fn one(&self, command: &[u8], servers: usize, retry: bool) -> Index {
        let started = Instant::now();
        let mut next = 0;
        while started.elapsed() < AGREED_WITHIN {
            let Some(index) = self.offer(command, &mut next) else {
                thread::sleep(OFFER_EVERY);
                continue;
            };
            if self.is_applied_soon(index, command, servers) {
                self.note_wait(|waits| &mut waits.agreement, started.elapsed());
                return index;
            }
            assert!(
                retry,
                "no agreement on the command at index {index} within {APPLIED_WITHIN:?} after a \
                 leader took it: {} of {servers} servers applied it; {}",
                self.applied_by(index),
                self.describe()
            );
        }
        panic!(
            "no agreement of {servers} servers on a command within {AGREED_WITHIN:?}: {}",
            self.describe()
        );
    }

    /// Offers a command to the connected servers in turn, from number `next` on, until one takes
    /// it.
    fn offer(&self, command: &[u8], next: &mut usize) -> Option<Index> {
        for _ in 0..self.len() {
            let server = *next;
            *next = (*next + 1) % self.len();
            if !self.is_reachable(server) {
                continue;
            }
            if let Ok(Some((index, _))) = self.servers[server].start(command.to_vec()) {
                return Some(index);
            }
        }
        None
    }

    fn is_applied_soon(&self, index: Index, command: &[u8], servers: usize) -> bool {
        let started = Instant::now();
        loop {
            let applied = self.applied_by(index) >= servers;
            if applied && self.command_at(index).is_some_and(|applied| applied == command) {
                return true;
            }
            if started.elapsed() >= APPLIED_WITHIN {
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until `servers` servers have applied the entry at `index`, looking up to thirty times
    /// at growing intervals; returns its command. None as soon as a server is in a later term than
    /// `term`, if one is given: then that entry may never be.
    ///
    /// # Panics
    /// If they have not by then, which is 25 s.
    pub fn wait(&self, index: Index, servers: usize, term: Option<Term>) -> Option<Vec<u8>> {
        let mut pause = Duration::from_millis(10);
        for _ in 0..30 {
            if self.applied_by(index) >= servers {
                return self.command_at(index);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1_280));
            if term.is_some_and(|term| self.has_left(term)) {
                return None;
            }
        }
        let applied = self.applied_by(index);
        panic!("{applied} of {servers} servers applied index {index}: {}", self.describe());
    }

    /// Whether some server is in a later term.
    pub fn has_left(&self, term: Term) -> bool {
        let later = |server: &Arc<dyn ServerHandle>| {
            !server.is_paused() && server.get_state().is_ok_and(|(now, _)| now > term)
        };
        self.servers.iter().any(later)
    }

    pub(super) fn note_wait(&self, of: impl Fn(&mut Waits) -> &mut Duration, waited: Duration) {
        self.tally.with(|tally| {
            let longest = of(&mut tally.waits);
            *longest = waited.max(*longest);
        });
    }
}
