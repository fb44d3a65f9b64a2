//! The kinds of node that a server may have, as its program sees them.

use std::marker::PhantomData;
use std::sync::Arc;

use contract::{Disk, Index, KvNode, RaftNode, Term};
use labrpc::{ClientEnd, Service};
use labrt::channel;
use labrt::group::Group;
use labrt::sync::Shared;

use serde::{Deserialize, Serialize};

use super::service::{LogService, ServicePolicy};
use super::witness::Witness;

/// What a node and its service are given, their disk aside.
pub(crate) struct Seat {
    pub(crate) me: usize,
    pub(crate) group: Group,
    pub(crate) peers: Vec<ClientEnd>,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) policy: Arc<Shared<ServicePolicy>>,
}

/// A kind of node as another process can be told of it, which knows the types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A Raft under a service of the harness's own.
    Raft,
    /// A key-value service, with its `max_raft_state`.
    Kv(Option<usize>),
}

/// A kind of node: how it is made, and how it is asked.
pub(crate) trait Kind: Clone + Send + Sync + 'static {
    /// The node's type.
    type Node: Send + Sync + 'static;

    /// What a process is told that is to run such a node.
    fn role(&self) -> Role;

    /// Makes a node, and whatever the harness puts on top of it.
    fn make(&self, seat: Seat, disk: Disk) -> Arc<Self::Node>;
    /// The services that others call.
    fn services(node: &Arc<Self::Node>) -> Vec<Service>;
    /// Term, and whether the node believes to lead.
    fn get_state(node: &Self::Node) -> (Term, bool);
    /// Offers a command of the test's own.
    fn start(node: &Self::Node, command: Vec<u8>) -> Option<(Index, Term)>;
    /// Asks the node to end.
    fn kill(node: &Self::Node);
}

/// A Raft under a service of the harness's own.
pub(crate) struct RaftKind<R>(PhantomData<fn() -> R>);

impl<R> RaftKind<R> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R> Clone for RaftKind<R> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<R: RaftNode> Kind for RaftKind<R> {
    type Node = R;

    fn role(&self) -> Role {
        Role::Raft
    }

    fn make(&self, mut seat: Seat, disk: Disk) -> Arc<R> {
        let (apply, applied) = channel::bounded(0);
        let peers = std::mem::take(&mut seat.peers);
        let service = LogService::restore(&seat, &disk);
        let node = R::make(peers, seat.me, disk, apply);
        let below = Arc::clone(&node);
        seat.group.spawn("applier", move || service.run(&below, &applied));
        node
    }

    fn services(node: &Arc<R>) -> Vec<Service> {
        node.services()
    }

    fn get_state(node: &R) -> (Term, bool) {
        node.get_state()
    }

    fn start(node: &R, command: Vec<u8>) -> Option<(Index, Term)> {
        node.start(command)
    }

    fn kill(node: &R) {
        node.kill();
    }
}

/// A key-value service with whatever Raft it brings.
pub(crate) struct KvKind<K> {
    max_raft_state: Option<usize>,
    node: PhantomData<fn() -> K>,
}

impl<K> KvKind<K> {
    pub(crate) fn new(max_raft_state: Option<usize>) -> Self {
        Self { max_raft_state, node: PhantomData }
    }
}

impl<K> Clone for KvKind<K> {
    fn clone(&self) -> Self {
        Self::new(self.max_raft_state)
    }
}

impl<K: KvNode> Kind for KvKind<K> {
    type Node = K;

    fn role(&self) -> Role {
        Role::Kv(self.max_raft_state)
    }

    fn make(&self, seat: Seat, disk: Disk) -> Arc<K> {
        K::make(seat.peers, seat.me, disk, self.max_raft_state)
    }

    fn services(node: &Arc<K>) -> Vec<Service> {
        node.services()
    }

    fn get_state(node: &K) -> (Term, bool) {
        node.get_state()
    }

    /// Commands are its clerks' business.
    fn start(_: &K, _: Vec<u8>) -> Option<(Index, Term)> {
        None
    }

    fn kill(node: &K) {
        node.kill();
    }
}
