//! Checks of who leads.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::Term;
use labrpc::Faults;
use labrt::random::{self, RngExt};
use labrt::thread;
use labrt::time::Instant;

use super::Cluster;

/// A new leader must be there so soon after the old one is gone.
pub const LEADER_WITHIN: Duration = Duration::from_secs(5);

/// Any server's election timer runs out within this time, and mostly more than once: then its term
/// is ahead of those that stood still.
const ELECTION_TIMERS_WITHIN: Duration = Duration::from_secs(2);
/// Votes are given and counted within this time.
const ELECTED_WITHIN: Duration = Duration::from_millis(500);
/// How often somebody who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Cluster {
    /// The connected servers that run and are not paused, each with its state.
    fn states(&self) -> Vec<(usize, Term, bool)> {
        let connected = (0..self.len()).filter(|&server| self.is_reachable(server));
        let state = |server: usize| {
            let (term, leader) = self.servers[server].get_state().ok()?;
            Some((server, term, leader))
        };
        connected.filter_map(state).collect()
    }

    /// The one leader among the connected servers: looks up to ten times, about half a second
    /// apart.
    ///
    /// # Panics
    /// If two servers lead one term, or nobody leads by then.
    pub fn check_one_leader(&self) -> usize {
        let started = Instant::now();
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(random::rng().random_range(450..550)));
            if let Some(leader) = self.newest_leader() {
                self.note_wait(|waits| &mut waits.leader, started.elapsed());
                return leader;
            }
        }
        panic!("no leader within {LEADER_WITHIN:?}, though a majority is connected");
    }

    /// The leader of the newest term that has one among the connected servers.
    fn newest_leader(&self) -> Option<usize> {
        let mut leaders: BTreeMap<Term, Vec<usize>> = BTreeMap::new();
        for (server, term, leader) in self.states() {
            if leader {
                leaders.entry(term).or_default().push(server);
            }
        }
        for (term, several) in &leaders {
            assert!(several.len() == 1, "term {term} has several leaders: {several:?}");
        }
        leaders.into_values().next_back().map(|servers| servers[0])
    }

    /// The time until some connected server leads, looking every 20 ms.
    ///
    /// # Panics
    /// If that takes longer than `limit`.
    pub fn wait_for_leader(&self, limit: Duration) -> (usize, Duration) {
        self.wait_and_note(limit, || self.newest_leader())
            .unwrap_or_else(|| panic!("no leader within {limit:?}: {}", self.describe()))
    }

    /// Waits until all connected servers are in one term and just one of them leads it, looking
    /// every 20 ms: how a healed cluster has to be.
    ///
    /// # Panics
    /// If that takes longer than `limit`; says what it looks like then.
    pub fn wait_for_agreed_leader(&self, limit: Duration) -> usize {
        let agreed = self.wait_and_note(limit, || self.agreed_leader());
        let (leader, _) = agreed.unwrap_or_else(|| {
            panic!("not one leader of one term within {limit:?}: {}", self.describe())
        });
        leader
    }

    fn agreed_leader(&self) -> Option<usize> {
        let states = self.states();
        let one_term = states.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let mut leaders = states.iter().filter(|(.., leader)| *leader).map(|(leader, ..)| *leader);
        leaders.next().filter(|_| one_term && leaders.next().is_none())
    }

    /// As [`Cluster::wait_for`]; how long it took is told in the summary.
    fn wait_and_note(
        &self,
        limit: Duration,
        look: impl Fn() -> Option<usize>,
    ) -> Option<(usize, Duration)> {
        let (leader, waited) = self.wait_for(limit, look)?;
        self.note_wait(|waits| &mut waits.leader, waited);
        Some((leader, waited))
    }

    /// What `look` finds, and how long it took to be there.
    fn wait_for(
        &self,
        limit: Duration,
        look: impl Fn() -> Option<usize>,
    ) -> Option<(usize, Duration)> {
        let started = Instant::now();
        loop {
            if let Some(leader) = look() {
                return Some((leader, started.elapsed()));
            }
            if started.elapsed() >= limit {
                return None;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The connected servers' terms and roles, for people.
    pub fn describe(&self) -> String {
        let told = |(server, term, leader): &(usize, Term, bool)| {
            format!("S{server} {} {term}", if *leader { "leads" } else { "is in" })
        };
        self.states().iter().map(told).collect::<Vec<_>>().join(", ")
    }

    /// Has `server` elected, if its log allows it: the others stand still until its election timer
    /// has run out, and their requests are lost until it leads the newest term. True if it does
    /// within `limit`.
    pub fn elect(&self, server: usize, limit: Duration) -> bool {
        let faults = self.silence_all_but(server);
        let started = Instant::now();
        let leads = || self.newest_leader().filter(|&leader| leader == server);
        let mut elected = leads().is_some();
        while !elected && started.elapsed() < limit {
            self.hold_all_but(server, ELECTION_TIMERS_WITHIN);
            elected = self.wait_for(ELECTED_WITHIN, leads).is_some();
        }
        for ((from, to), faults) in faults {
            self.network.set_faults(from, to, &faults);
        }
        elected
    }

    /// Has the requests of all other servers lost, while answers arrive; returns what was before.
    fn silence_all_but(&self, server: usize) -> Vec<((usize, usize), Faults)> {
        let others = (0..self.len()).filter(|&other| other != server);
        let links = others.flat_map(|from| (0..self.len()).map(move |to| (from, to)));
        let silence = |(from, to)| {
            let before = self.network.faults(from, to);
            let silenced = Faults { request_loss_ppm: 1_000_000, ..before.clone() };
            self.network.set_faults(from, to, &silenced);
            ((from, to), before)
        };
        links.map(silence).collect()
    }

    fn hold_all_but(&self, server: usize, length: Duration) {
        let others: Vec<_> = (0..self.len())
            .filter(|&other| other != server && !self.servers[other].is_paused())
            .collect();
        others.iter().for_each(|&other| self.pause(other));
        thread::sleep(length);
        others.iter().for_each(|&other| self.resume(other));
    }

    /// The term that all connected servers are in.
    ///
    /// # Panics
    /// If they are not in one term.
    pub fn check_terms(&self) -> Term {
        let states = self.states();
        let (first, term, _) = *states.first().expect("no server is connected");
        for (server, other, _) in states {
            assert!(other == term, "S{first} is in term {term}, but S{server} in term {other}");
        }
        term
    }

    /// That nobody among the connected servers claims to lead.
    ///
    /// # Panics
    /// If somebody does.
    pub fn check_no_leader(&self) {
        for (server, term, leader) in self.states() {
            assert!(!leader, "S{server} claims to lead term {term}, but has no majority");
        }
    }
}
