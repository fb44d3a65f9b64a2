//! Remote procedure calls over a network that can lose, delay, reorder, duplicate and cut.
//!
//! A service is declared once, typed ([`service!`]); that makes a trait for the server and a stub
//! for its clients. A stub sits on a [`ClientEnd`], one ordered pair of nodes, whose call blocks
//! and always returns: the reply, or an error. A lost request, a lost reply, a dead server and a
//! cut link look all the same to the caller ([`RpcError::Lost`]), as they do in life.
//!
//! ```
//! use std::sync::Arc;
//! use labrpc::{Network, service};
//! use labrt::group::Group;
//!
//! service! {
//!     /// Adds numbers.
//!     pub trait Adder, client AdderClient {
//!         /// The sum of both.
//!         fn add(args: (u64, u64)) -> u64;
//!     }
//! }
//!
//! struct Server;
//! impl Adder for Server {
//!     fn add(&self, (a, b): (u64, u64)) -> u64 {
//!         a + b
//!     }
//! }
//!
//! labrt::check(|| {
//!     let network = Network::new(2);
//!     let group = Group::new("S1", 1, 0);
//!     network.serve(1, &group, vec![AdderClient::service(Arc::new(Server))]);
//!     let adder = AdderClient::new(network.client_end(0, 1));
//!     assert_eq!(adder.add(&(2, 3)), Ok(5));
//!     group.crash();
//!     assert!(adder.add(&(2, 3)).is_err());
//! });
//! ```
//!
//! # The network
//! [`Network`] holds the nodes and, for each direction of each link, its [`Faults`]. A message on
//! its way belongs to the network alone: it arrives though its sender has crashed, and its
//! handler runs on a thread of the receiving server, so that a crash there ends it. Nothing
//! queues for a server that is gone. The same code runs in a simulated world and on OS threads.
//!
//! # Sockets
//! [`tcp`] carries the same calls between processes. [`Transport`] is the seam between the two: a
//! stub does not know which of them it sits on.
//!
//! # Who waits
//! By default a thread waits at either end: the caller's in [`ClientEnd::call`], the server's in
//! the method. Neither has to. A [prompt](Service::prompt) service's calls are answered by whoever
//! has the answer, and [`ClientEnd::call_then`] has the reply brought to what is to be done with
//! it.
//!
//! # Left out
//! Streaming; and deadlines, which the labs' RPCs do not have, on the simulated network. (Over TCP
//! each call has one, [`tcp::Options::call_time`] after it was begun.)

mod client;
mod network;
mod responder;
mod service;
pub mod tcp;

pub use client::{ClientEnd, Pending, RpcError, Started, Then, Transport};
pub use network::{Counts, Faults, Message, Network, NodeId, Stage};
pub use responder::{Responder, ServingThread, Unsent};
pub use service::{Service, decode_args, dispatch};

#[doc(hidden)]
pub use labgob as __labgob;
