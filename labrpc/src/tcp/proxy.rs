//! The network's faults between servers that are processes.
//!
//! A server that is a program was given addresses and calls them; it must not know that there are
//! faults. So each direction of each link is an address of its own, a [`Proxy`] in the process that
//! runs the test: server 1 is told that server 2 is there, and nobody else is. What is called there
//! goes through the [`Network`], as if it had been called on an end of it, and comes out at the
//! server that [`Network::serve_at`] says is at that node:
//!
//! ```text
//! process of server 1            the test's process                      process of server 2
//! Client ──request──▶ Proxy 1 to 2 ──▶ Network: faults, counts, hook ──▶ Client ──▶ Server
//!        ◀──answer───              ◀──                               ◀──
//! ```
//!
//! So there is one fault model, and it is that of the simulated network, down to the numbers that
//! it draws: a message that is lost is answered with an error at once, and one into a cut link when
//! the labs' delay is over. Frames are taken apart and put together again on the way: whatever else
//! the bytes of a connection may be, what is lost, held back or repeated is a whole call.
//!
//! # Left out
//! The faults of TCP itself, half a frame or a connection that breaks: a server that is killed
//! leaves those. A call costs two hops through sockets instead of one, and a thread here while it
//! is under way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use labrt::group::Group;

use super::frame::Request;
use super::{Client, Limits, Server};
use crate::network::Route;
use crate::service::Handler;
use crate::{Network, NodeId, RpcError};

/// One direction of a link between two processes, as an address.
#[derive(Debug)]
pub struct Proxy(Server);

impl Proxy {
    /// Listens on a free port of this machine: what is called there, node `from` calls at node `to`
    /// of `network`. Its threads belong to `group`.
    ///
    /// # Errors
    /// If no port can be listened on.
    ///
    /// # Panics
    /// In a simulated world, which has no sockets; if either is not a node of the network.
    pub fn bind(network: &Network, from: NodeId, to: NodeId, group: &Group) -> io::Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let route = Box::new(network.route(from, to));
        Server::bind_handler(anywhere, group, route, &Limits::DEFAULT).map(Self)
    }

    /// Where the node is told that the other one is.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }
}

impl Handler for Route {
    fn call(&self, service: &str, method: &str, args: &[u8]) -> Result<Vec<u8>, RpcError> {
        self.pass_on(service.to_owned().into(), method.to_owned().into(), args.to_vec())
    }
}

impl Handler for Client {
    fn call(&self, service: &str, method: &str, args: &[u8]) -> Result<Vec<u8>, RpcError> {
        self.pass_on(&Request { service, method, args })
    }
}

impl Network {
    /// Has the server at the other end of `client` run at `node`, in place of what ran there
    /// before. Threads of `group` wait for its answers; once that has crashed, nothing of it
    /// arrives.
    pub fn serve_at(&self, node: NodeId, group: &Group, client: &Client) {
        self.serve_by(node, group, Box::new(client.clone()));
    }
}
