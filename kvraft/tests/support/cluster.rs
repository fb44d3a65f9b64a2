//! Servers of a replicated state machine, and the ends from which clients call them.

use std::sync::Arc;

use contract::{ApplyMsg, Disk, RaftNode};
use harness::ServerDisk;
use kvraft::{Config, Server, StateMachine};
use labrpc::{ClientEnd, Network, Stage};
use labrt::channel::Sender;
use labrt::group::Group;
use labrt::sync::Shared;

use super::{OneLog, OneLogNode};

type MakeRaft<R> = dyn Fn(usize, Vec<ClientEnd>, Disk, Sender<ApplyMsg>) -> Arc<R> + Send + Sync;

/// Servers at nodes 0 and up of a network, clients at the nodes after them.
pub(crate) struct Cluster<R: RaftNode, S: StateMachine> {
    pub(crate) network: Network,
    pub(crate) servers: usize,
    pub(crate) disks: Vec<ServerDisk>,
    config: Config,
    make_raft: Arc<MakeRaft<R>>,
    running: Shared<Vec<Option<Running<R, S>>>>,
    incarnations: Shared<u64>,
    raft_calls: Arc<Shared<u64>>,
}

struct Running<R, S: StateMachine> {
    group: Group,
    server: Arc<Server<R, S>>,
}

impl<S: StateMachine> Cluster<OneLogNode, S> {
    /// On one log, in the test's hands.
    pub(crate) fn on_one_log(log: &OneLog, servers: usize, clients: usize, config: Config) -> Self {
        let log = log.clone();
        let make = move |me, _, disk, apply| log.node(me, disk, apply);
        Self::new(servers, clients, config, make)
    }
}

impl<S: StateMachine> Cluster<raft::Raft, S> {
    /// On our Raft.
    pub(crate) fn on_raft(servers: usize, clients: usize, config: Config) -> Self {
        let make = |me, peers, disk, apply| raft::Raft::make(peers, me, disk, apply);
        Self::new(servers, clients, config, make)
    }
}

impl<R: RaftNode, S: StateMachine> Cluster<R, S> {
    fn new(
        servers: usize,
        clients: usize,
        config: Config,
        make_raft: impl Fn(usize, Vec<ClientEnd>, Disk, Sender<ApplyMsg>) -> Arc<R>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let cluster = Self {
            network: Network::new(servers + clients),
            servers,
            disks: (0..servers).map(ServerDisk::new).collect(),
            config,
            make_raft: Arc::new(make_raft),
            running: Shared::new((0..servers).map(|_| None).collect()),
            incarnations: Shared::new(0),
            raft_calls: Arc::default(),
        };
        cluster.count_raft_calls();
        (0..servers).for_each(|server| cluster.start(server));
        cluster
    }

    fn count_raft_calls(&self) {
        let (calls, servers) = (Arc::clone(&self.raft_calls), self.servers);
        self.network.set_hook(move |message| {
            if message.stage == Stage::Sent && message.from < servers {
                calls.with(|calls| *calls += 1);
            }
        });
    }

    /// How often a server has called another one.
    pub(crate) fn messages_between_servers(&self) -> u64 {
        self.raft_calls.with(|calls| *calls)
    }

    /// The servers' ends for client `client`, each client's in another order.
    pub(crate) fn ends(&self, client: usize) -> Vec<ClientEnd> {
        let end = |to| self.network.client_end(self.servers + client, to);
        (0..self.servers).map(|server| end((server + client) % self.servers)).collect()
    }

    /// Starts a server on what is on its disk.
    pub(crate) fn start(&self, me: usize) {
        let incarnation = self.incarnations.with(|count| {
            *count += 1;
            *count
        });
        let group = Group::new(&format!("S{me}"), me, incarnation);
        let peers: Vec<_> = (0..self.servers).map(|to| self.network.client_end(me, to)).collect();
        let (disk, config, servers) = (self.disks[me].mount(&group), self.config, self.servers);
        let make_raft = Arc::clone(&self.make_raft);
        let start = group.spawn("main", move || {
            let raft_disk = disk.clone();
            Server::on(me, servers, disk, config, |apply| make_raft(me, peers, raft_disk, apply))
        });
        let server: Arc<Server<R, S>> = start.join().expect("a server starts");
        self.network.serve(me, &group, server.services());
        self.running.with(|running| running[me] = Some(Running { group, server }));
    }

    pub(crate) fn crash(&self, me: usize) {
        self.network.stop(me);
        let crashed = self.running.with(|running| running[me].take());
        if let Some(Running { group, .. }) = crashed {
            group.crash();
        }
    }

    pub(crate) fn group(&self, me: usize) -> Group {
        self.running.with(|running| running[me].as_ref().expect("it runs").group.clone())
    }

    fn server(&self, me: usize) -> Arc<Server<R, S>> {
        self.running.with(|running| Arc::clone(&running[me].as_ref().expect("it runs").server))
    }

    /// Asks a server to end, on a thread of its own group.
    pub(crate) fn kill(&self, me: usize) {
        let server = self.server(me);
        let killed = self.group(me).spawn("test", move || server.kill());
        killed.join().expect("kill returns");
    }

    /// The most that any server's Raft has on its disk now, in bytes.
    pub(crate) fn largest_raft_state(&self) -> usize {
        let sizes = self.disks.iter().map(ServerDisk::raft_state_size);
        sizes.max().unwrap_or_default()
    }

    /// Who believes to lead, if anybody does.
    pub(crate) fn leader(&self) -> Option<usize> {
        (0..self.servers).find(|&me| {
            let running = self.running.with(|running| running[me].is_some());
            running && self.server(me).get_state().1
        })
    }
}
