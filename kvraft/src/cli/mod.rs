//! The commands, a file each.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod serve;

use std::fmt::Display;
use std::io::{self, Write as _};

use labrpc::service;
use serde::{Deserialize, Serialize};

/// Our Raft, with the timing and the switches of a service.
pub(crate) type ServiceRaft = raft::Raft<raft::Service>;

/// Tells whoever listens. That nobody does any more is no reason for a server to stop.
pub(crate) fn say(sentence: &dyn Display) {
    let _ = writeln!(io::stdout(), "{sentence}");
}

/// The same, of what went wrong.
pub(crate) fn complain(sentence: &dyn Display) {
    let _ = writeln!(io::stderr(), "{sentence}");
}

service! {
    /// What a server says of itself.
    pub(crate) trait Health, client HealthClient {
        /// How it is.
        fn health(args: ()) -> ServerHealth;
    }
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerHealth {
    /// Its number.
    pub(crate) id: usize,
    /// Its process.
    pub(crate) process: u32,
    /// Raft's current term.
    pub(crate) term: u64,
    /// Whether it believes to lead.
    pub(crate) is_leader: bool,
    /// Bytes of Raft's log on its disk, and of the snapshot.
    pub(crate) raft_state_size: usize,
    pub(crate) snapshot_size: usize,
}
