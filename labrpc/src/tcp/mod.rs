//! The same services and ends over TCP, for servers that are processes.
//!
//! A service does not know how its calls come, nor a stub how they go: a [`Server`] takes the
//! services that a [`Network`](crate::Network) takes, and a [`Client`] makes the same
//! [`ClientEnd`](crate::ClientEnd)s.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use labrpc::service;
//! use labrpc::tcp::{Client, Limits, Options, Server};
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
//! struct Sum;
//! impl Adder for Sum {
//!     fn add(&self, (a, b): (u64, u64)) -> u64 {
//!         a + b
//!     }
//! }
//!
//! let group = Group::new("S1", 1, 0);
//! let services = vec![AdderClient::service(Arc::new(Sum))];
//! let server = Server::bind(([127, 0, 0, 1], 0).into(), &group, services, &Limits::default())?;
//!
//! let client = Client::new(server.local_addr(), &Options::default());
//! assert!(client.wait_until_connected(Duration::from_secs(10)));
//! let adder = AdderClient::new(client.end());
//! assert_eq!(adder.add(&(2, 3)), Ok(5));
//!
//! server.close();
//! assert!(adder.add(&(2, 3)).is_err());
//! # group.crash();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What a call may expect
//! No more than in the labs: it returns, with the reply or an error, and an error may mean that it
//! was carried out nevertheless. TCP delivers bytes in order and once, or breaks; but a connection
//! that breaks takes its answers with it, and the next one knows nothing of them. So:
//!
//! * A call is sent once. Whoever wants it repeated does that, and knows whether it may.
//! * Without a connection a call is lost at once: nothing queues for a server that is gone, to
//!   fall on it all at once when it comes back. A thread of the client's connects again, after
//!   pauses that double, with chance in them, up to [`Options::retry_time`].
//! * When a connection ends, all calls on it are lost at once.
//! * After [`Options::call_time`] a call is lost, whatever the reason.
//!
//! # The way of a call
//! 1. The calling thread numbers the call, encodes its frame ([`frame`]), and writes it into the
//!    socket itself. If another thread is writing just then, it leaves the frame for that to take
//!    along (`connection.rs`). It waits, or has said what is to be done with the answer.
//! 2. At the server one thread at a time reads the connection. It takes all frames that are there
//!    and runs the calls itself; before one that may block, it has another thread come and go on
//!    with the rest, and with reading (`handlers.rs`).
//! 3. Whoever has the answer writes it, in the same way.
//! 4. The client's reading thread finds the caller by the call's number, and wakes it; or does
//!    itself what is to be done (`client.rs`).
//!
//! So a call changes threads twice within a process at most: before a call that blocks, off its own
//! way, and to wake a caller who waits, for whoever reads cannot know for whom. To fall asleep and
//! be woken again is most of what a call costs; hence a caller without company, and a reader that
//! was brought a lone frame, look around for a moment before they do.
//!
//! # What a stranger may do
//! Cost its own connection. Whatever bytes come, a frame is checked before anything is made of it,
//! memory follows the bytes that came and not what they claim, and the first bad frame ends the
//! connection, with a line in the log that names the peer and the reason. [`Limits`] bounds the
//! rest: how long, how many, how slow.
//!
//! # Left out
//! * Encryption and authentication: this is for one machine, or a network of one's own.
//! * Fairness between the calls of one connection: a long frame delays those behind it.
//! * Back-pressure: who passes a limit is refused, not slowed down. Raft's calls may be lost at
//!   any time anyway, and a caller that hears so soon is better off than one that waits.
//! * Cancelling a call at the server when its caller has given up.
//! * Windows: the sockets' details are those of Unix.

mod client;
mod connection;
pub mod frame;
mod handlers;
mod limits;
mod proxy;
mod server;

use std::panic::Location;

pub use client::Client;
pub use limits::{Limits, Options};
pub use proxy::Proxy;
pub use server::Server;

use frame::{Frame, Kind};

/// How often a thread looks for what it waits for before it falls asleep, letting others run in
/// between: to fall asleep and be woken takes longer than many an answer does.
const GLANCES: usize = 8;

/// The same for a thread that reads a connection, after a frame came: some tens of microseconds,
/// about what a disk takes to sync. A processor that fell asleep is slow to wake, on a virtual
/// machine most of all; and threads that have something to do take their turn in between.
const READER_GLANCES: usize = 100;

/// A frame that its kind says all of.
fn bare_frame(kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = Frame { kind, call: 0, body: &[] };
    frame.encode(0, &mut bytes).expect("an empty body is within every limit");
    bytes
}

/// A socket's other end has no part in virtual time.
fn refuse_in_simulation(place: &'static Location<'static>) {
    assert!(
        !labrt::in_simulation(),
        "a simulated world has no sockets: use labrpc::Network in it ({place})"
    );
}
