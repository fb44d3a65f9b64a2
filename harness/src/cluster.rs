//! What tests call: a cluster of servers, and the checks that the labs' tests are written with.
//!
//! A check that fails panics with a sentence, which ends the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use contract::{RaftNode, Term};
use labrpc::{Faults, Network, NodeId};
use labrt::random::{self, RngExt, Stream};
use labrt::thread::{self, Builder};
use labrt::time::{self, Instant};
use labrt::trace::{self, EventKind};
use serde::{Deserialize, Serialize};

use crate::disk::DiskFaults;
use crate::oracle::Oracle;
use crate::plan::{CrashPlan, Crashes};
use crate::server::{LocalServer, ServerHandle, Surroundings};

/// A new leader must be there so soon after the old one is gone.
pub const LEADER_WITHIN: Duration = Duration::from_secs(5);

/// How often the monitor looks at servers, and for locks that are held too long.
const MONITOR_EVERY: Duration = Duration::from_millis(250);

/// A cluster under test.
pub struct Cluster {
    servers: Vec<Arc<dyn ServerHandle>>,
    network: Network,
    oracle: Arc<Oracle>,
    crashes: Arc<Crashes>,
    started: Duration,
}

/// What a test took: the result line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// World time.
    pub time: Duration,
    /// Servers in the cluster.
    pub servers: usize,
    /// RPCs submitted.
    pub rpcs: u64,
    /// Bytes of requests, and of replies that arrived.
    pub bytes: u64,
    /// Entries that were applied.
    pub commands: u64,
}

impl Cluster {
    /// Starts `servers` servers on a reliable network, where a caller may wait up to 7 s for a
    /// server that is gone, as in all the labs' Raft tests.
    pub fn new<R: RaftNode>(servers: usize) -> Self {
        let cluster = Self::not_started::<R>(servers);
        cluster.start_all();
        cluster
    }

    fn not_started<R: RaftNode>(servers: usize) -> Self {
        let network = Network::new(servers);
        network.set_all_faults(&Faults::reliable().with_long_delays());
        let (oracle, crashes) = (Arc::new(Oracle::default()), Arc::new(Crashes::default()));
        let around = Surroundings {
            network: network.clone(),
            oracle: Arc::clone(&oracle),
            crashes: Arc::clone(&crashes),
        };
        let server = |me| -> Arc<dyn ServerHandle> {
            Arc::new(LocalServer::<R>::new(me, servers, around.clone()))
        };
        let cluster = Self {
            servers: (0..servers).map(server).collect(),
            network,
            oracle,
            crashes,
            started: time::world_time(),
        };
        cluster.set_arbitrary_clocks();
        cluster.watch_messages();
        cluster.watch_reads();
        cluster
    }

    /// Clocks that go right, and show nothing in common.
    fn set_arbitrary_clocks(&self) {
        if labrt::in_simulation() {
            for (me, server) in self.servers.iter().enumerate() {
                let mut stream = random::stream("clock", me as u64);
                server.set_clock(
                    stream.duration(Duration::ZERO..Duration::from_secs(1_000)),
                    1_000_000,
                );
            }
        }
    }

    /// After every message that a server handled or got back, the oracle looks at it.
    fn watch_messages(&self) {
        let crashes = Arc::clone(&self.crashes);
        let servers: Vec<_> = self.servers.iter().map(Arc::downgrade).collect();
        self.network.set_hook(move |message| {
            let changed = match message.stage {
                labrpc::Stage::Answered => Some(message.to),
                labrpc::Stage::Replied => Some(message.from),
                _ => None,
            };
            if let Some(server) = changed.and_then(|node| servers.get(node)?.upgrade()) {
                server.nudge();
            }
            crashes.note_message(message);
        });
    }

    /// A server whose handlers are all blocked answers nothing, so it is looked at from time to
    /// time as well. In virtual time a read that takes a second waits for a lock. (In real time the
    /// machine may just be busy.)
    fn watch_reads(&self) {
        if labrt::in_simulation() {
            let oracle = Arc::clone(&self.oracle);
            let servers: Vec<_> = self.servers.iter().map(Arc::downgrade).collect();
            Builder::new().name("monitor").observer().spawn(move || {
                loop {
                    thread::sleep(MONITOR_EVERY);
                    oracle.look_for_held_locks();
                    servers.iter().filter_map(Weak::upgrade).for_each(|server| server.nudge());
                }
            });
        }
    }

    fn start_all(&self) {
        for server in &self.servers {
            server.restart();
        }
    }

    /// The number of servers.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether the cluster has no server at all.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// One server.
    pub fn server(&self, server: usize) -> &dyn ServerHandle {
        &*self.servers[server]
    }

    /// The network between the servers, which are its nodes 0, 1, ...
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A stream of random numbers for the test's script.
    pub fn script(&self) -> Stream {
        random::stream("script", 1)
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        trace::record(None, "test", EventKind::Note, text);
    }

    /// Cuts a server off from all others.
    pub fn disconnect(&self, server: usize) {
        self.tell(|| format!("disconnect S{server}"));
        self.network.set_connected(server, false);
    }

    /// Connects a server again.
    pub fn connect(&self, server: usize) {
        self.tell(|| format!("connect S{server}"));
        self.network.set_connected(server, true);
    }

    /// Cuts one direction of a link, or heals it.
    pub fn cut_one_way(&self, from: NodeId, to: NodeId, cut: bool) {
        self.tell(|| format!("{} S{from} to S{to}", if cut { "cut" } else { "heal" }));
        self.network.set_cut(from, to, cut);
    }

    /// Crashes a server, wherever it is.
    pub fn crash(&self, server: usize) {
        self.tell(|| format!("crash S{server}"));
        self.servers[server].crash();
    }

    /// Starts a server on what is on its disk.
    pub fn restart(&self, server: usize) {
        self.tell(|| format!("restart S{server}"));
        self.servers[server].restart();
    }

    /// Stops a server for a while without killing it.
    pub fn pause(&self, server: usize) {
        self.tell(|| format!("pause S{server}"));
        self.servers[server].pause();
    }

    /// Lets a paused server go on.
    pub fn resume(&self, server: usize) {
        self.tell(|| format!("resume S{server}"));
        self.servers[server].resume();
    }

    /// Has a server crash at a moment to come.
    pub fn plan_crash(&self, plan: CrashPlan) {
        self.tell(|| format!("planned: S{} at {:?} {}", plan.server, plan.point, plan.nth));
        self.crashes.plan(plan);
    }

    /// Takes back the crashes that have not happened.
    pub fn clear_plans(&self) {
        self.crashes.clear();
    }

    /// Starts every server that does not run, or whose disk has failed, connects all, and removes
    /// every fault.
    pub fn heal(&self) {
        self.tell(|| "heal everything".to_string());
        self.clear_plans();
        self.network.set_all_faults(&Faults::reliable().with_long_delays());
        for server in 0..self.len() {
            self.network.set_connected(server, true);
            for peer in 0..self.len() {
                self.network.set_cut(server, peer, false);
            }
            let handle = &self.servers[server];
            handle.set_disk_faults(&DiskFaults::default());
            if !handle.is_running() || handle.has_failed_disk() {
                self.restart(server);
            }
            self.servers[server].resume();
        }
    }

    /// The connected servers that run, each with its state.
    fn states(&self) -> Vec<(usize, Term, bool)> {
        let connected = (0..self.len()).filter(|&server| self.network.is_connected(server));
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
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(random::rng().random_range(450..550)));
            if let Some(leader) = self.newest_leader() {
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
        let started = Instant::now();
        loop {
            if let Some(leader) = self.newest_leader() {
                return (leader, started.elapsed());
            }
            assert!(started.elapsed() < limit, "no leader within {limit:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until all connected servers are in one term and just one of them leads it, looking
    /// every 20 ms: how a healed cluster has to be.
    ///
    /// # Panics
    /// If that takes longer than `limit`; says what it looks like then.
    pub fn wait_for_agreed_leader(&self, limit: Duration) -> usize {
        let started = Instant::now();
        loop {
            let states = self.states();
            let leaders: Vec<_> = states.iter().filter(|(.., leader)| *leader).collect();
            let one_term = states.windows(2).all(|pair| pair[0].1 == pair[1].1);
            if let ([(leader, ..)], true) = (&leaders[..], one_term) {
                return *leader;
            }
            let told: Vec<String> = states
                .iter()
                .map(|(server, term, leader)| {
                    format!("S{server} {} {term}", if *leader { "leads" } else { "is in" })
                })
                .collect();
            assert!(
                started.elapsed() < limit,
                "not one leader of one term within {limit:?}: {}",
                told.join(", ")
            );
            thread::sleep(Duration::from_millis(20));
        }
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

    /// What the test took so far.
    pub fn summary(&self) -> Summary {
        let counts = self.network.counts();
        Summary {
            time: time::world_time().saturating_sub(self.started),
            servers: self.len(),
            rpcs: counts.rpcs,
            bytes: counts.bytes,
            commands: self.oracle.agreed(),
        }
    }
}

impl Cluster {
    /// On OS threads: ends every server, and waits until their threads are gone.
    ///
    /// # Errors
    /// Names the threads that are still there after `limit`.
    pub(crate) fn end_on_os_threads(&self, limit: Duration) -> Result<(), String> {
        for server in &self.servers {
            let _ = server.kill();
            server.crash();
        }
        let started = Instant::now();
        loop {
            let left: Vec<String> =
                self.servers.iter().flat_map(|server| server.stragglers()).collect();
            if left.is_empty() {
                return Ok(());
            }
            if started.elapsed() > limit {
                let count = left.len();
                let names = left.join("\n  ");
                return Err(format!(
                    "{count} threads of crashed servers are alive {limit:?} later:\n  {names}"
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
