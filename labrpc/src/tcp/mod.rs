//! The same services and ends over TCP, for servers that are processes.

mod client;
mod connection;
pub mod frame;
mod handlers;
mod limits;
mod server;

use std::panic::Location;

pub use client::Client;
pub use limits::{Limits, Options};
pub use server::Server;

use frame::{Frame, Kind};

/// How often a thread looks for what it waits for before it falls asleep, letting others run in
/// between: to fall asleep and be woken takes longer than many an answer does.
const GLANCES: usize = 8;

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
