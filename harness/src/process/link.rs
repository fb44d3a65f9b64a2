//! What the test's process and a server's tell each other, over a socket that the server inherits.
//!
//! It is the server's standard input: nothing that a server prints can be taken for an answer, and
//! when either end is gone, the other one reads to the end of it. A message is its length, in four
//! bytes with the lowest first, and its bytes by labgob.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use contract::{ApplyMsg, Index, Term};
use labgob::Limits;
use labrt::sync::Shared;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::DiskFaults;
use crate::plan::CrashPoint;
use crate::server::{Request, Response, Role, ServicePolicy, Snapshot};

/// Exit status of a server that had to give up, and has said why.
pub(super) const GAVE_UP: i32 = 3;

/// What a server is told first: all that it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    pub(super) role: Role,
    pub(super) me: usize,
    pub(super) incarnation: u64,
    /// Where each peer is, as far as this server knows; its own place is among them.
    pub(super) peers: Vec<SocketAddr>,
    pub(super) folder: PathBuf,
    pub(super) seed: u64,
    pub(super) world_time: Duration,
    pub(super) policy: ServicePolicy,
    pub(super) disk_faults: DiskFaults,
    pub(super) watches_saves: bool,
}

/// What it is told later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToServer {
    /// A question with a number.
    Ask(u64, Request),
    /// The same: which threads are there?
    AskThreads(u64),
    /// The oracle is to look.
    Look,
    SetPolicy(ServicePolicy),
    SetDiskFaults(DiskFaults),
    /// Whether to tell of each save, and to wait for [`ToServer::GoOn`].
    WatchSaves(bool),
    GoOn,
}

/// What it tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum FromServer {
    /// It has begun, and serves here.
    Ready(SocketAddr),
    /// It cannot begin on its disk, and whether that is damaged.
    Refused(String, bool),
    /// The answer to the question of this number.
    Answer(u64, Response),
    Threads(u64, Vec<String>),
    /// What the node said when it was looked at.
    State(Term, bool),
    Applied(ApplyMsg),
    Installed(Index, Snapshot),
    Disk(DiskSizes),
    /// A save is at this point, and waits.
    At(CrashPoint),
    /// A thread has panicked, or the like. It ends now.
    Failed(String),
}

/// What a server's disk is like, since it has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskSizes {
    /// Bytes of Raft's state, the snapshot aside.
    pub(super) raft_state: usize,
    pub(super) snapshot: usize,
    /// Syncs of the journal by this incarnation.
    pub(super) syncs: u64,
    pub(super) failed: bool,
}

/// The end to write to. What several threads write follows one after the other.
pub(super) struct Outbox(Shared<UnixStream>);

/// The end to read from.
pub(super) struct Inbox(UnixStream);

/// Both ends that one side has.
pub(super) fn ends(socket: UnixStream) -> io::Result<(Outbox, Inbox)> {
    let other = socket.try_clone()?;
    Ok((Outbox(Shared::new(socket)), Inbox(other)))
}

impl Outbox {
    /// Sends a message.
    ///
    /// # Errors
    /// If the other side is gone.
    pub(super) fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        let body = labgob::encode(message).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let frame = [&length.to_le_bytes()[..], &body].concat();
        self.0.with(|socket| socket.write_all(&frame))
    }
}

impl Inbox {
    /// The next message; none once the other side is gone.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.read().ok()
    }

    fn read<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut body)?;
        // The other side is the same program.
        let unlimited = Limits { max_bytes: usize::MAX, ..Limits::default() };
        labgob::decode_with(&body, &unlimited).map_err(io::Error::other)
    }
}
