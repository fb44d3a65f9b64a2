//! The replicated key-value service: what its servers and its clients are asked for.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use labrpc::{ClientEnd, Service};
use serde::{Deserialize, Serialize};

use crate::{Disk, Term};

/// A server of the replicated key-value service, the Raft beneath it included.
///
/// As with [`RaftNode`](crate::RaftNode), all of it runs on threads of one server, which may crash
/// at any time.
pub trait KvNode: Send + Sync + Sized + 'static {
    /// What its clients use.
    type Clerk: Clerk;

    /// Starts server number `me` of `peers.len()`, with what an earlier incarnation left on
    /// `disk`; returns at once.
    ///
    /// `peers[i]` is the end from which this server calls server `i`; `peers[me]` is not used.
    /// If there is a `max_raft_state`, the server takes a snapshot when
    /// [`Disk::raft_state_size`] comes near so many bytes; if there is none, it never does.
    fn make(
        peers: Vec<ClientEnd>,
        me: usize,
        disk: Disk,
        max_raft_state: Option<usize>,
    ) -> Arc<Self>;

    /// The RPC services that peers and clients call: Raft's, and its own.
    fn services(self: &Arc<Self>) -> Vec<Service>;

    /// Raft's current term, and whether this server believes to be the leader.
    fn get_state(&self) -> (Term, bool);

    /// The server is not needed any more: its threads should end soon. A crash does not call this.
    fn kill(&self);
}

/// A client of the key-value service.
///
/// An operation is retried until a server has answered it, for ever if need be, and takes effect
/// exactly once, at one moment between call and return. A key that nobody has written has the
/// empty value.
pub trait Clerk: Send + Sized + 'static {
    /// A client that calls server `i` from `servers[i]`; returns at once. These numbers need not
    /// be those by which the servers know themselves.
    fn make(servers: Vec<ClientEnd>) -> Self;

    /// The key's value.
    ///
    /// # Errors
    /// [`ClerkError`], from services that have such a thing.
    fn get(&mut self, key: &str) -> Result<String, ClerkError>;

    /// Replaces the key's value.
    ///
    /// # Errors
    /// As [`Clerk::get`].
    fn put(&mut self, key: &str, value: &str) -> Result<(), ClerkError>;

    /// Adds to the end of the key's value.
    ///
    /// # Errors
    /// As [`Clerk::get`].
    fn append(&mut self, key: &str, value: &str) -> Result<(), ClerkError>;

    /// The client goes: what the servers keep for it is not needed any more.
    fn close(self) {}
}

/// Why an operation came to nothing, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClerkError {
    /// The service keeps nothing about this client any more, because too many others came after
    /// it. Whether the operation took effect is unknown, and trying it again might be a second
    /// time; the next operation begins a session anew.
    SessionEnded,
    /// The operation has so many bytes, and the service takes no more than `max`. It was not
    /// tried.
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        max: usize,
    },
}

impl fmt::Display for ClerkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SessionEnded => f.write_str(
                "the service has ended this client's session, to make room for others; whether \
                 the operation took effect is unknown",
            ),
            Self::TooLarge { bytes, max } => {
                write!(f, "an operation of {bytes} bytes is too large: {max} are the most")
            }
        }
    }
}

impl Error for ClerkError {}
