//! The network: nodes, links, and the way of a call.
//!
//! A call goes through these stages, each of them an event that a hook can watch:
//!
//! 1. **Sent.** The request is counted; its fate on the link from caller to server is drawn: lost,
//!    delayed, duplicated. A timer carries it from here on, not the caller's thread.
//! 2. **Delivered.** If the link was not cut when the request left, nor is now, and the server
//!    lives, the handler runs on a pooled thread of the server's group.
//! 3. **Answered.** The handler is done and the reply leaves; its fate on the way back is drawn.
//!    If the server was cut off or replaced meanwhile, the reply is dropped: the handler ran, and
//!    the caller will never know.
//! 4. **Replied.** The reply arrives, if the link still is whole. A crash of the server after its
//!    answer left does not take that back: this finds out who answers before it saves.
//!
//! A call that can no longer be answered fails: at once if it was lost, as the labs have it, and
//! after a while if nobody is there to answer it.

mod call;
mod faults;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use labrt::group::Group;
use labrt::pool::Pool;
use labrt::random::{self, Stream};
use labrt::sync::Shared;

use crate::service::Handler;
use crate::{ClientEnd, Service};
pub(crate) use call::Route;
pub use faults::Faults;

/// A node of the network: a server or a client, numbered from 0.
pub type NodeId = usize;

/// RPCs and bytes since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls submitted.
    pub rpcs: u64,
    /// Encoded arguments of every request, and encoded replies that were delivered.
    pub bytes: u64,
}

/// A stage of a call, as a hook sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The request has left the caller.
    Sent,
    /// The request is lost.
    RequestLost,
    /// The request has arrived, and its handler is about to run.
    Delivered,
    /// The handler is done, and the reply has left the server.
    Answered,
    /// The reply is lost.
    ReplyLost,
    /// The reply has arrived at the caller.
    Replied,
}

/// One message at one stage.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Where it stands.
    pub stage: Stage,
    /// Numbers the calls of a network.
    pub call: u64,
    /// The caller.
    pub from: NodeId,
    /// The server.
    pub to: NodeId,
    /// The service called.
    pub service: &'a str,
    /// The method called.
    pub method: &'a str,
    /// The encoded request, or the encoded reply once there is one.
    pub bytes: &'a [u8],
}

type Hook = Box<dyn FnMut(&Message<'_>) + Send>;

struct Link {
    cut: bool,
    faults: Faults,
    request_delays: Stream,
    reply_delays: Stream,
    reorders: Stream,
    request_losses: Stream,
    reply_losses: Stream,
    copies: Stream,
    unreachable: Stream,
}

/// What runs at a node.
struct Server {
    incarnation: u64,
    group: Group,
    handler: Box<dyn Handler>,
    pool: Pool,
}

struct Node {
    connected: bool,
    server: Option<Arc<Server>>,
    counts: Counts,
}

struct State {
    nodes: Vec<Node>,
    /// By sender, then receiver.
    links: Vec<Vec<Link>>,
    total: Counts,
    calls: u64,
    incarnations: u64,
}

struct Inner {
    state: Shared<State>,
    hook: Shared<Option<Hook>>,
}

/// A simulated network. Clones share it.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

impl Network {
    /// A reliable network of `nodes` nodes, all connected.
    pub fn new(nodes: usize) -> Self {
        let link = |from: usize, to: usize| {
            let stream = |purpose| random::stream(purpose, (from as u64) << 32 | to as u64);
            Link {
                cut: false,
                faults: Faults::reliable(),
                request_delays: stream("link request delays"),
                reply_delays: stream("link reply delays"),
                reorders: stream("link reorders"),
                request_losses: stream("link request losses"),
                reply_losses: stream("link reply losses"),
                copies: stream("link copies"),
                unreachable: stream("link unreachable"),
            }
        };
        let node = |_| Node { connected: true, server: None, counts: Counts::default() };
        let state = State {
            nodes: (0..nodes).map(node).collect(),
            links: (0..nodes).map(|from| (0..nodes).map(|to| link(from, to)).collect()).collect(),
            total: Counts::default(),
            calls: 0,
            incarnations: 0,
        };
        Self(Arc::new(Inner { state: Shared::new(state), hook: Shared::new(None) }))
    }

    /// The end from which node `from` calls node `to`. Once the network is gone, its calls are
    /// lost.
    ///
    /// # Panics
    /// If either is not a node of this network.
    pub fn client_end(&self, from: NodeId, to: NodeId) -> ClientEnd {
        ClientEnd::new(self.route(from, to))
    }

    pub(crate) fn route(&self, from: NodeId, to: NodeId) -> Route {
        let nodes = self.nodes();
        assert!(from < nodes && to < nodes, "there are {nodes} nodes, not {from} and {to}");
        Route { network: Arc::downgrade(&self.0), from, to }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.0.state.with(|state| state.nodes.len())
    }

    /// Has `services` run at `node` by threads of `group`. What ran there before answers nobody any
    /// more.
    pub fn serve(&self, node: NodeId, group: &Group, services: Vec<Service>) {
        self.serve_by(node, group, Box::new(services));
    }

    /// As [`Network::serve`], for any handler.
    pub(crate) fn serve_by(&self, node: NodeId, group: &Group, handler: Box<dyn Handler>) {
        let pool = Pool::new(group, "rpc");
        let replaced = self.0.state.with(|state| {
            state.incarnations += 1;
            let incarnation = state.incarnations;
            let server = Server { incarnation, group: group.clone(), handler, pool };
            state.nodes[node].server.replace(Arc::new(server))
        });
        // What the old services own may call us when it is dropped, so not inside the section.
        drop(replaced);
    }

    /// Has nothing run at `node` any more.
    pub fn stop(&self, node: NodeId) {
        let stopped = self.0.state.with(|state| state.nodes[node].server.take());
        drop(stopped);
    }

    /// Cuts a node off from all others, or connects it again.
    pub fn set_connected(&self, node: NodeId, connected: bool) {
        self.0.state.with(|state| state.nodes[node].connected = connected);
    }

    /// Whether `node` is connected.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.0.state.with(|state| state.nodes[node].connected)
    }

    /// Cuts one direction of a link, or heals it: requests and replies from `from` to `to`.
    pub fn set_cut(&self, from: NodeId, to: NodeId, cut: bool) {
        self.0.state.with(|state| state.links[from][to].cut = cut);
    }

    /// Sets the faults of one direction of a link.
    pub fn set_faults(&self, from: NodeId, to: NodeId, faults: &Faults) {
        self.0.state.with(|state| state.links[from][to].faults = faults.clone());
    }

    /// The faults of one direction of a link.
    pub fn faults(&self, from: NodeId, to: NodeId) -> Faults {
        self.0.state.with(|state| state.links[from][to].faults.clone())
    }

    /// Sets the faults of every link.
    pub fn set_all_faults(&self, faults: &Faults) {
        self.0.state.with(|state| {
            for link in state.links.iter_mut().flatten() {
                link.faults = faults.clone();
            }
        });
    }

    /// Changes the faults of every link.
    pub fn update_faults(&self, mut update: impl FnMut(&mut Faults)) {
        self.0.state.with(|state| {
            for link in state.links.iter_mut().flatten() {
                update(&mut link.faults);
            }
        });
    }

    /// Calls that `node` was the server of.
    pub fn counts_at(&self, node: NodeId) -> Counts {
        self.0.state.with(|state| state.nodes[node].counts)
    }

    /// All calls.
    pub fn counts(&self) -> Counts {
        self.0.state.with(|state| state.total)
    }

    /// Has `hook` called at every stage of every message, in a section without a switch point: it
    /// must not block. It may crash a server, which takes effect right after it.
    pub fn set_hook(&self, hook: impl FnMut(&Message<'_>) + Send + 'static) {
        self.0.hook.with(|slot| *slot = Some(Box::new(hook)));
    }

    fn call_hook(&self, message: &Message<'_>) {
        self.0.hook.with(|hook| {
            if let Some(hook) = hook {
                hook(message);
            }
        });
    }
}

impl State {
    /// Whether a message from `from` to `to` would go through now.
    fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        self.nodes[from].connected && self.nodes[to].connected && !self.links[from][to].cut
    }

    /// The server at `node`, if one lives there.
    fn server(&self, node: NodeId) -> Option<&Arc<Server>> {
        self.nodes[node].server.as_ref().filter(|server| server.group.is_alive())
    }

    /// Whether the server that took a call is still there.
    fn is_same_server(&self, node: NodeId, incarnation: u64) -> bool {
        self.server(node).is_some_and(|server| server.incarnation == incarnation)
    }

    fn count(&mut self, node: NodeId, rpcs: u64, bytes: usize) {
        for counts in [&mut self.total, &mut self.nodes[node].counts] {
            counts.rpcs += rpcs;
            counts.bytes += bytes as u64;
        }
    }

    /// How long a caller waits until it learns that nobody answers.
    fn unreachable_delay(&mut self, from: NodeId, to: NodeId) -> Duration {
        let link = &mut self.links[from][to];
        link.unreachable.duration(link.faults.unreachable_delay.clone())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({} nodes)", self.nodes())
    }
}
