//! A cluster made by hand of any Raft: a network, disks that survive, and a group of threads for
//! each server.

use std::sync::{Arc, Weak};
use std::time::Duration;

use contract::{DiskBackend, RaftNode, Term};
use labrpc::Network;
use labrt::channel;
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread;
use labrt::time::Instant;

const LEADER_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Cluster<R> {
    pub(crate) network: Network,
    pub(crate) disks: Vec<Disk>,
    servers: Vec<Server<R>>,
}

/// One incarnation after the other.
struct Server<R> {
    incarnation: u64,
    running: Option<Running<R>>,
}

struct Running<R> {
    group: Group,
    node: Arc<R>,
    /// Gone when nobody holds this incarnation's disk any more.
    trace: Weak<()>,
}

impl<R: RaftNode> Cluster<R> {
    /// On disks that take a tenth of a millisecond.
    pub(crate) fn start(servers: usize) -> Self {
        Self::with_slow_disks(servers, Duration::from_micros(100))
    }

    pub(crate) fn with_slow_disks(servers: usize, save_time: Duration) -> Self {
        let mut cluster = Self {
            network: Network::new(servers),
            disks: (0..servers).map(|_| Disk::new(save_time)).collect(),
            servers: (0..servers).map(|_| Server { incarnation: 0, running: None }).collect(),
        };
        (0..servers).for_each(|server| cluster.restart(server));
        cluster
    }

    /// Starts a server that is not running, on what is on its disk.
    pub(crate) fn restart(&mut self, me: usize) {
        let server = &mut self.servers[me];
        server.incarnation += 1;
        let group = Group::new(&format!("S{me}"), me, server.incarnation);
        let peers = (0..self.disks.len()).map(|to| self.network.client_end(me, to)).collect();
        let life = Arc::new(());
        let trace = Arc::downgrade(&life);
        let disk = contract::Disk::new(Mounted { disk: self.disks[me].clone(), _life: life });
        let (network, members) = (self.network.clone(), group.clone());
        let main = group.spawn("main", move || {
            let (apply, _) = channel::bounded(0);
            let node = R::make(peers, me, disk, apply);
            network.serve(me, &members, node.services());
            node
        });
        let node = main.join().expect("nobody crashes the server meanwhile");
        server.running = Some(Running { group, node, trace });
    }

    pub(crate) fn crash(&mut self, server: usize) {
        self.network.stop(server);
        if let Some(Running { group, .. }) = self.servers[server].running.take() {
            group.crash();
        }
    }

    /// Kills the node. What is returned vanishes when its threads and the network have let go of
    /// it.
    pub(crate) fn kill(&mut self, server: usize) -> Weak<()> {
        let running = self.servers[server].running.take().expect("the server is running");
        let Running { group, node, trace } = running;
        let killer = group.spawn("kill", move || node.kill());
        killer.join().expect("the server does not crash");
        trace
    }

    /// Asked on a thread of the server, as all of its code is.
    pub(crate) fn get_state(&self, server: usize) -> (Term, bool) {
        let Running { group, node, .. } = self.running(server).expect("the server is running");
        let node = Arc::clone(node);
        let answer = group.spawn("get_state", move || node.get_state());
        answer.join().expect("the server does not crash")
    }

    fn running(&self, server: usize) -> Option<&Running<R>> {
        self.servers[server].running.as_ref()
    }

    /// The leaders among the servers that run and are connected, each with its term.
    pub(crate) fn leaders(&self) -> impl Iterator<Item = (usize, Term)> {
        let up = (0..self.servers.len())
            .filter(|server| self.running(*server).is_some() && self.network.is_connected(*server));
        let states = up.map(|server| (server, self.get_state(server)));
        states.filter(|(_, (_, leads))| *leads).map(|(server, (term, _))| (server, term))
    }

    pub(crate) fn wait_for_leader(&self) -> (usize, Term) {
        let started = Instant::now();
        while started.elapsed() < LEADER_WITHIN {
            if let Some(leader) = self.leaders().max_by_key(|(_, term)| *term) {
                return leader;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("no leader within {LEADER_WITHIN:?}");
    }
}

impl<R> Drop for Cluster<R> {
    /// On OS threads the servers would go on for ever.
    fn drop(&mut self) {
        for running in self.servers.iter_mut().filter_map(|server| server.running.take()) {
            running.group.crash();
        }
    }
}

/// Whether it is gone by then.
pub(crate) fn vanishes(trace: &Weak<()>, limit: Duration) -> bool {
    let started = Instant::now();
    while trace.strong_count() > 0 && started.elapsed() < limit {
        thread::sleep(Duration::from_millis(20));
    }
    trace.strong_count() == 0
}

/// What a server has saved, for all its incarnations.
#[derive(Clone)]
pub(crate) struct Disk {
    state: Arc<Shared<Vec<u8>>>,
    save_time: Duration,
}

impl Disk {
    fn new(save_time: Duration) -> Self {
        Self { state: Arc::default(), save_time }
    }

    pub(crate) fn contents(&self) -> Vec<u8> {
        self.state.with(|state| state.clone())
    }
}

/// The disk as one incarnation has it.
struct Mounted {
    disk: Disk,
    _life: Arc<()>,
}

impl DiskBackend for Mounted {
    fn save(&self, state: Vec<u8>, _snapshot: Option<Vec<u8>>) {
        thread::sleep(self.disk.save_time);
        self.disk.state.with(|saved| *saved = state);
    }

    fn read_state(&self) -> Vec<u8> {
        self.disk.contents()
    }

    fn read_snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn raft_state_size(&self) -> usize {
        self.disk.contents().len()
    }
}
