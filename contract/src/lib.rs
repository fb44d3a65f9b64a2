//! What a lab asks for: the interfaces between an implementation and its tests.
//!
//! A Raft is a type that implements [`RaftNode`]. The tests make servers of it with
//! [`RaftNode::make`], hand it ends to its peers, a [`Disk`], and a channel for what it applies;
//! from then on it is on its own. The names are those of the MIT labs, so that their handouts
//! still read. A key-value service is a pair of types, for the server ([`KvNode`]) and its clients
//! ([`Clerk`]).
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
//! | `StartKVServer(servers, me, persister, maxraftstate)` | [`KvNode::make`] |
//! | `MakeClerk(servers)`, `Get`, `Put`, `Append` | [`Clerk::make`], [`Clerk::get`], ... |

mod disk;
mod kv;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use labrpc::{ClientEnd, Service};
use labrt::channel::Sender;
use serde::{Deserialize, Serialize};

pub use disk::{Disk, DiskBackend, DiskError, Journal, Persister};
pub use kv::{Clerk, ClerkError, KvNode};

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
    /// Committed entries go to `apply`, in order and without gaps; that channel is bounded, a
    /// rendezvous in the suites of Raft, so sending blocks until the service takes messages. This
    /// must return at once: the work
    /// is done by threads of the node's own ([`labrt::thread::spawn`]). A service reads its
    /// snapshot ([`Disk::read_snapshot`]) before it calls this: afterwards there may be a newer
    /// one, of which it will be told.
    fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, apply: Sender<ApplyMsg>) -> Arc<Self>;

    /// The RPC services that the node's peers call.
    fn services(self: &Arc<Self>) -> Vec<Service>;

    /// Starts agreement on `command`, and returns at once: the index and term at which it will be
    /// committed, if ever; `None` if this server does not believe to be the leader.
    fn start(&self, command: Vec<u8>) -> Option<(Index, Term)>;

    /// The current term, and whether this server believes to be the leader.
    fn get_state(&self) -> (Term, bool);

    /// The service has a snapshot of everything up to and including `index`, which it has applied:
    /// the log up to there is not needed any more. It may block while the snapshot is written. A
    /// snapshot that is not newer than the one the node has changes nothing; one without a byte is
    /// none. Labs 2A to 2C never
    /// call it.
    ///
    /// On the disk, the snapshot and the log that begins after it belong together at any moment.
    fn snapshot(&self, index: Index, snapshot: Vec<u8>) {
        let _ = (index, snapshot);
    }

    /// ReadIndex (dissertation, 6.4), optional: an index such that a service that has applied it
    /// shows all that was acknowledged before this call. Blocks until a majority has confirmed that
    /// this server still led after the call was made; for an election time-out or two at most, and
    /// then takes itself for deposed.
    ///
    /// # Errors
    /// See [`ReadIndexError`]. With any of them a read can go through the log instead.
    fn read_index(&self) -> Result<Index, ReadIndexError> {
        Err(ReadIndexError::Unsupported)
    }

    /// Leadership transfer (dissertation, 3.10), optional: has server `to` caught up and elected in
    /// place of this one. Blocks until this server does not lead any more.
    ///
    /// # Errors
    /// See [`TransferError`]: then this server goes on as before.
    fn transfer_leadership(&self, to: usize) -> Result<(), TransferError> {
        let _ = to;
        Err(TransferError::Unsupported)
    }

    /// The node is not needed any more: its threads should end soon. A crash does not call this.
    fn kill(&self);
}

/// Why [`RaftNode::read_index`] has no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadIndexError {
    /// This implementation cannot do that, or it is switched off.
    Unsupported,
    /// This server does not lead, or has stopped leading meanwhile.
    NotLeader,
    /// This server leads, but no entry of its term is committed yet: so it cannot know what is.
    NotReady,
}

impl fmt::Display for ReadIndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "this Raft has no ReadIndex",
            Self::NotLeader => "this server does not lead",
            Self::NotReady => "no entry of the leader's term is committed yet",
        })
    }
}

impl Error for ReadIndexError {}

/// Why [`RaftNode::transfer_leadership`] did not transfer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferError {
    /// This implementation cannot do that, or it is switched off.
    Unsupported,
    /// This server does not lead.
    NotLeader,
    /// There is no such server, or it is this one.
    NoSuchPeer,
    /// It was not elected within an election time-out, or another transfer was asked for.
    TimedOut,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsupported => "this Raft has no leadership transfer",
            Self::NotLeader => "this server does not lead",
            Self::NoSuchPeer => "there is no such peer to transfer leadership to",
            Self::TimedOut => "the other server was not elected in time",
        })
    }
}

impl Error for TransferError {}

/// What a Raft server tells its service, in the order of the log.
///
/// After a start, the first entry told is the one after the snapshot on the disk
/// ([`Disk::read_snapshot`]), from which the service has restored itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplyMsg {
    /// An entry is committed.
    Command {
        /// Its place in the log.
        index: Index,
        /// What [`RaftNode::start`] was given.
        command: Vec<u8>,
    },
    /// The service's state is to be replaced by a snapshot that a leader sent. It is never behind
    /// what the service was told before, and the next entry told is the one after it.
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
