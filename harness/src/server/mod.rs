//! The handle by which a test reaches a server, and the program that every server runs.
//!
//! A test never holds a node. It sends a request to the server's program, a request runs on a
//! thread of the server's own group, and its answer comes back; if the server is dead, or dies
//! meanwhile, the answer is [`Gone`]. Requests and answers are plain data: so a server is threads
//! of this process (`local`), or a process of its own ([`crate::process`]).

mod kind;
mod local;
mod program;
mod service;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use contract::{Index, Term};
use labrpc::Network;

use crate::disk::DiskFaults;
use crate::oracle::Oracle;
use crate::plan::Crashes;
pub(crate) use kind::{Kind, KvKind, RaftKind, Role, Seat};
pub(crate) use local::LocalServer;
pub(crate) use program::{Call, Program, Request, Response};
pub use service::ServicePolicy;
pub(crate) use service::{SNAPSHOT_MARK, Snapshot};
pub(crate) use witness::Witness;

/// The server is dead, or died before it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What a test can do with one server, whatever the server is made of.
pub trait ServerHandle: Send + Sync {
    /// Offers a command: its index and term if the server believes to be the leader.
    ///
    /// # Errors
    /// [`Gone`] if the server is not running, or crashes before it has answered.
    fn start(&self, command: Vec<u8>) -> Result<Option<(Index, Term)>, Gone>;

    /// The server's term, and whether it believes to be the leader.
    ///
    /// # Errors
    /// [`Gone`] if the server is not running, or crashes before it has answered.
    fn get_state(&self) -> Result<(Term, bool), Gone>;

    /// Asks the node to end its threads, as [`RaftNode::kill`](contract::RaftNode::kill) does.
    ///
    /// # Errors
    /// [`Gone`] if the server is not running, or crashes before it has answered.
    fn kill(&self) -> Result<(), Gone>;

    /// Ends the server at once, wherever it is. Nothing is called, nothing is saved.
    fn crash(&self);

    /// Starts the server on what is on its disk; crashes it before that if it runs.
    fn restart(&self);

    /// Whether the server runs (paused or not).
    fn is_running(&self) -> bool;

    /// Whether the server is paused: then it answers nothing until it is resumed.
    fn is_paused(&self) -> bool;

    /// Stops the server's threads, until [`ServerHandle::resume`].
    fn pause(&self);

    /// Lets a paused server go on.
    fn resume(&self);

    /// Has something observed about the server looked at again, soon.
    fn nudge(&self);

    /// Threads of crashed incarnations that are still there (on OS threads), by name and place.
    fn stragglers(&self) -> Vec<String>;

    /// The threads that the node has spawned and that have not ended, and the handlers of calls to
    /// it, by name and place.
    fn threads(&self) -> Vec<String>;

    /// Sets the server's clock, from its next start on: see `labrt::group::Group::set_clock`.
    fn set_clock(&self, offset: Duration, rate_ppm: u64);

    /// Sets what may go wrong with the server's disk, from now on.
    fn set_disk_faults(&self, faults: &DiskFaults);

    /// Says what the service on top of a Raft does, from now on. A key-value service decides for
    /// itself.
    fn set_service_policy(&self, policy: &ServicePolicy);

    /// How many bytes Raft has on the server's disk, the snapshot aside.
    fn raft_state_size(&self) -> usize;

    /// How many bytes the snapshot on the server's disk has.
    fn snapshot_size(&self) -> usize;

    /// How often the server's journal was to be synced: never, if it uses the disk's other view.
    fn syncs(&self) -> u64;

    /// Whether the disk has failed since the server was started: then the server can do no better
    /// than to stop, and be started again.
    fn has_failed_disk(&self) -> bool;
}

/// What a server shares with its cluster.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) network: Network,
    pub(crate) oracle: Arc<Oracle>,
    pub(crate) crashes: Arc<Crashes>,
}

/// An incarnation's name in reports.
pub(crate) fn name_of(server: usize, incarnation: u64) -> String {
    match incarnation {
        1 => format!("S{server}"),
        later => format!("S{server}.{later}"),
    }
}

/// Whether a thread, by its name and place, belongs to the server's program, or is a handler that
/// waits for its next call.
pub(crate) fn is_of_the_harness(thread: &str) -> bool {
    let is_idle = thread.contains("/rpc-") && thread.contains("labrt/src/pool.rs");
    is_idle || thread.contains("harness/src/server/")
}
