//! What a lab asks for: the interfaces between an implementation and its tests.
//!
//! A Raft is a type that implements [`RaftNode`]. The tests make servers of it with
//! [`RaftNode::make`], hand it ends to its peers, a [`Disk`], and a channel for what it applies;
//! from then on it is on its own. The names are those of the MIT labs, so that their handouts
//! still read.
//!
//! Nothing in here implements anything: a student's crate depends on it, and the tests do.
//!
//! | what the labs call it | here |
//! |---|---|
//! | `Make(peers, me, persister, applyCh)` | [`RaftNode::make`] |
//! | `Start(command)` → index, term, isLeader | [`RaftNode::start`] → `Option<(index, term)>` |
//! | `GetState()` | [`RaftNode::get_state`] |
//! | `Snapshot(index, snapshot)` | [`RaftNode::snapshot`] |
//! | `Kill()` | [`RaftNode::kill`] |
//! | `persister.Save`, `ReadRaftState`, ... | [`Persister::save`], [`Persister::read_state`], ... |

mod disk;

use std::sync::Arc;

use labrpc::{ClientEnd, Service};
use labrt::channel::Sender;
use serde::{Deserialize, Serialize};

pub use disk::{Disk, DiskBackend, DiskError, Journal, Persister};

/// A term (Raft paper, section 5.1): 0 before the first election.
pub type Term = u64;
/// A position in the log: the first entry has index 1.
pub type Index = u64;

/// A Raft server.
///
/// All of it runs on threads of one server, and the server may crash at any time: without
/// warning, without [`kill`](Self::kill), in the middle of anything. What has to outlive that is
/// on the [`Disk`].
pub trait RaftNode: Send + Sync + Sized + 'static {
    /// Starts server number `me` of `peers.len()`, with what an earlier incarnation left on
    /// `disk`.
    ///
    /// `peers[i]` is the end from which this server calls server `i`; `peers[me]` is not used.
    /// Committed entries go to `apply`, in order and without gaps; that channel is a rendezvous,
    /// so sending blocks until the service takes the message. This must return at once: the work
    /// is done by threads of the node's own ([`labrt::thread::spawn`]).
    fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, apply: Sender<ApplyMsg>) -> Arc<Self>;

    /// The RPC services that the node's peers call.
    fn services(self: &Arc<Self>) -> Vec<Service>;

    /// Starts agreement on `command`, and returns at once: the index and term at which it will be
    /// committed, if ever; `None` if this server does not believe to be the leader.
    fn start(&self, command: Vec<u8>) -> Option<(Index, Term)>;

    /// The current term, and whether this server believes to be the leader.
    fn get_state(&self) -> (Term, bool);

    /// The service has a snapshot of everything up to and including `index`: the log before that
    /// is not needed any more. Labs 2A to 2C never call it.
    fn snapshot(&self, index: Index, snapshot: Vec<u8>) {
        let _ = (index, snapshot);
    }

    /// The node is not needed any more: its threads should end soon. A crash does not call this.
    fn kill(&self);
}

/// What a Raft server tells its service, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplyMsg {
    /// An entry is committed.
    Command {
        /// Its place in the log.
        index: Index,
        /// What [`RaftNode::start`] was given.
        command: Vec<u8>,
    },
    /// The service's state is to be replaced by a snapshot that a leader sent.
    Snapshot {
        /// The last entry that the snapshot covers.
        index: Index,
        /// That entry's term.
        term: Term,
        /// What [`RaftNode::snapshot`] was given.
        snapshot: Vec<u8>,
    },
    /// An entry without a command is committed; only implementations that append such entries
    /// send it.
    NoOp {
        /// Its place in the log.
        index: Index,
    },
}
