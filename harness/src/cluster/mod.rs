//! What tests call: a cluster of servers, and the checks that the labs' tests are written with.
//!
//! A check that fails panics with a sentence, which ends the run. Who leads is looked at in
//! `election.rs`, what is committed in `agreement.rs`.

mod agreement;
mod election;
mod snapshots;

use std::sync::{Arc, Weak};
use std::time::Duration;

use contract::RaftNode;
use labrpc::{Faults, Network, NodeId};
use labrt::random::{self, Stream};
use labrt::sync::Shared;
use labrt::thread::{self, Builder};
use labrt::time::{self, Instant};
use labrt::trace::{self, EventKind};
use serde::{Deserialize, Serialize};

use crate::disk::DiskFaults;
use crate::oracle::Oracle;
use crate::plan::{CrashPlan, Crashes, Planned};
use crate::process::{ProcessServer, Site};
use crate::server::{Kind, LocalServer, RaftKind, ServerHandle, ServicePolicy, Surroundings};
pub use agreement::AGREED_WITHIN;
pub use election::LEADER_WITHIN;
pub use snapshots::OutOfTurn;
use snapshots::Snapshots;

/// How often the monitor looks at servers, and for locks that are held too long.
const MONITOR_EVERY: Duration = Duration::from_millis(250);

/// A cluster under test. Clones are the same cluster: the threads of a test each have one.
#[derive(Clone)]
pub struct Cluster {
    servers: Arc<[Arc<dyn ServerHandle>]>,
    network: Network,
    /// The faults of a network that has none.
    usual: Faults,
    oracle: Arc<Oracle>,
    crashes: Arc<Crashes>,
    tally: Arc<Shared<Tally>>,
    snapshots: Arc<Shared<Snapshots>>,
    started: Duration,
}

/// What the test itself did so far.
#[derive(Default)]
struct Tally {
    /// Commands made by [`Cluster::fresh_command`].
    commands: u64,
    waits: Waits,
}

/// The longest that a test had to wait for what must come in time: how near a run came to a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// For a leader, of [`LEADER_WITHIN`].
    pub leader: Duration,
    /// For agreement on a command, of [`AGREED_WITHIN`].
    pub agreement: Duration,
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
    /// Entries that were applied, or operations of clients that returned.
    pub commands: u64,
    /// Syncs of journals.
    pub syncs: u64,
    /// The longest waits.
    pub waits: Waits,
}

impl Summary {
    /// Adds another run's, for averages; of waits, the longest count.
    pub fn add(&mut self, other: &Self) {
        self.time += other.time;
        self.servers = other.servers;
        self.rpcs += other.rpcs;
        self.bytes += other.bytes;
        self.commands += other.commands;
        self.syncs += other.syncs;
        self.waits.leader = self.waits.leader.max(other.waits.leader);
        self.waits.agreement = self.waits.agreement.max(other.waits.agreement);
    }
}

/// What servers are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MadeOf {
    /// Threads of this process, simulated or not.
    Threads,
    /// A process each.
    Processes,
}

fn handles<K: Kind>(
    servers: usize,
    around: &Surroundings,
    kind: &K,
    made_of: MadeOf,
) -> Arc<[Arc<dyn ServerHandle>]> {
    let local = |me| -> Arc<dyn ServerHandle> {
        Arc::new(LocalServer::new(me, servers, around.clone(), kind.clone()))
    };
    if made_of == MadeOf::Threads {
        return (0..servers).map(local).collect();
    }
    let site = Site::new(&around.network, servers).map(Arc::new);
    let site = site.unwrap_or_else(|error| panic!("there is no place for processes: {error}"));
    let process = |me| -> Arc<dyn ServerHandle> {
        Arc::new(ProcessServer::new(me, kind.role(), &site, around.clone()))
    };
    (0..servers).map(process).collect()
}

impl Cluster {
    /// Starts `servers` servers on a reliable network, where a caller may wait up to 7 s for a
    /// server that is gone, as in all the labs' Raft tests.
    ///
    /// They are threads of this process.
    pub fn new<R: RaftNode>(servers: usize) -> Self {
        Self::of_raft::<R>(servers, MadeOf::Threads)
    }

    pub(crate) fn of_raft<R: RaftNode>(servers: usize, made_of: MadeOf) -> Self {
        let usual = Faults::reliable().with_long_delays();
        Self::start_servers((servers, 0), usual, &RaftKind::<R>::new(), made_of)
    }

    /// Starts so many servers of one kind, beside which the network has nodes for so many clients.
    /// `usual` are the faults of a network that has none.
    pub(crate) fn start_servers<K: Kind>(
        (servers, clients): (usize, usize),
        usual: Faults,
        kind: &K,
        made_of: MadeOf,
    ) -> Self {
        let network = Network::new(servers + clients);
        network.set_all_faults(&usual);
        let oracle = Arc::new(match made_of {
            MadeOf::Threads => Oracle::default(),
            MadeOf::Processes => Oracle::that_hears_late(),
        });
        let crashes = Arc::new(Crashes::default());
        let around = Surroundings {
            network: network.clone(),
            oracle: Arc::clone(&oracle),
            crashes: Arc::clone(&crashes),
        };
        let cluster = Self {
            servers: handles(servers, &around, kind, made_of),
            network,
            usual,
            oracle,
            crashes,
            tally: Arc::default(),
            snapshots: Arc::default(),
            started: time::world_time(),
        };
        cluster.set_arbitrary_clocks();
        cluster.watch_messages();
        cluster.watch_reads();
        cluster.servers.iter().for_each(|server| server.restart());
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
        let snapshots = Arc::clone(&self.snapshots);
        let servers: Vec<_> = self.servers.iter().map(Arc::downgrade).collect();
        self.network.set_hook(move |message| {
            snapshots.with(|snapshots| snapshots.note(message));
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

    /// Removes the faults of one direction of a link, but for a cut.
    pub fn heal_link(&self, from: NodeId, to: NodeId) {
        self.network.set_faults(from, to, &self.usual);
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

    /// Says what the service on top of each Raft does, from now on.
    pub fn set_service_policy(&self, policy: &ServicePolicy) {
        self.servers.iter().for_each(|server| server.set_service_policy(policy));
    }

    /// The most bytes that Raft has on a server's disk, the snapshot aside.
    pub fn largest_raft_state(&self) -> usize {
        self.servers.iter().map(|server| server.raft_state_size()).max().unwrap_or_default()
    }

    /// The most bytes that a snapshot on a server's disk has.
    pub fn largest_snapshot(&self) -> usize {
        self.servers.iter().map(|server| server.snapshot_size()).max().unwrap_or_default()
    }

    /// How many snapshots have arrived late at a server, or again. A server's own messages alone
    /// tell, so this holds for any Raft.
    pub fn snapshots_out_of_turn(&self) -> OutOfTurn {
        self.snapshots.with(|snapshots| snapshots.out_of_turn())
    }

    /// The faults that the network has when nothing is set.
    pub fn usual_faults(&self) -> &Faults {
        &self.usual
    }

    /// Cuts the servers into sides that cannot reach each other; servers on no side reach nobody.
    /// Clients reach all.
    pub fn partition(&self, sides: &[Vec<usize>]) {
        self.tell(|| format!("partition {sides:?}"));
        let side_of = |server| sides.iter().position(|side| side.contains(&server));
        for from in 0..self.len() {
            for to in (0..self.len()).filter(|&to| to != from) {
                let together = side_of(from).is_some() && side_of(from) == side_of(to);
                self.network.set_cut(from, to, !together);
            }
        }
    }

    /// Has all servers reach each other again, but for those that were disconnected.
    pub fn end_partition(&self) {
        self.partition(&[(0..self.len()).collect()]);
    }

    /// Whether a server is connected, and not paused. It may have crashed.
    pub fn is_reachable(&self, server: usize) -> bool {
        self.network.is_connected(server) && !self.servers[server].is_paused()
    }

    /// Has a server crash at a moment to come.
    pub fn plan_crash(&self, plan: CrashPlan) -> Planned {
        self.tell(|| format!("planned: S{} at {:?} {}", plan.server, plan.point, plan.nth));
        self.crashes.plan(plan)
    }

    /// Takes back the crashes that have not happened.
    pub fn clear_plans(&self) {
        self.crashes.clear();
    }

    /// Starts every server that does not run, or whose disk has failed, connects all, and removes
    /// every fault. A sync that is under way may fail after that all the same.
    pub fn heal(&self) {
        self.tell(|| "heal everything".to_string());
        self.clear_plans();
        self.network.set_all_faults(&self.usual);
        for server in 0..self.len() {
            self.network.set_connected(server, true);
            for node in 0..self.network.nodes() {
                self.network.set_cut(server, node, false);
                self.network.set_cut(node, server, false);
            }
            let handle = &self.servers[server];
            handle.set_disk_faults(&DiskFaults::default());
            if !handle.is_running() || handle.has_failed_disk() {
                self.restart(server);
            }
            self.servers[server].resume();
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
            syncs: self.servers.iter().map(|server| server.syncs()).sum(),
            waits: self.tally.with(|tally| tally.waits),
        }
    }
}

impl Cluster {
    /// In real time: ends every server, and waits until their threads are gone.
    ///
    /// # Panics
    /// Names the threads that are still there after `limit`.
    pub(crate) fn end_in_real_time(&self, limit: Duration) {
        self.servers.iter().for_each(|server| server.crash());
        let started = Instant::now();
        loop {
            let left: Vec<String> =
                self.servers.iter().flat_map(|server| server.stragglers()).collect();
            if left.is_empty() {
                return;
            }
            assert!(
                started.elapsed() <= limit,
                "{} threads of crashed servers are alive {limit:?} later:\n  {}",
                left.len(),
                left.join("\n  ")
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}
