//! The shell: threads that carry events to the core, and its wishes to the world.
//!
//! # What it is for
//!
//! The core decides, and does nothing. Somebody has to look at the clock, answer the peers'
//! requests, call the peers, write to the disk, and hand the service what is committed: that is the
//! shell. It decides nothing that Raft is about; each thread in here has an input to bring and an
//! effect to carry out.
//!
//! # The step
//!
//! Everything goes through one place, `shared.rs`: take the lock, give the core one input, sort
//! what it wants done, release the lock, do it. Nothing that can block happens under the lock: no
//! call to a peer, no write to the disk, no handing over to the service, no sleep. So `get_state`,
//! `start` and every handler get the lock at once, whatever hangs elsewhere.
//!
//! The moment of a step is read under the lock, so that time never runs backwards for the core.
//!
//! # The threads
//!
//! | thread | waits for | brings | file |
//! |---|---|---|---|
//! | ticker | the core's next deadline | `Tick` | `ticker.rs` |
//! | disk writer | something to write, then the disk | `Persisted` | `writer.rs` |
//! | applier | something committed, then the service | nothing | `applier.rs` |
//! | the service's own, in `snapshot` | the disk writer | `Node::compact` | `shared.rs` |
//! | the service's own, in `read_index` or `transfer_leadership` | the core's answer | the question | `shared.rs` |
//! | handler, one per request | the disk, the core's answer | `Request`, `Persisted` | `rpc.rs` |
//! | caller, one per call | the peer | `Reply` | `rpc.rs` |
//!
//! **The ticker** sleeps until the deadline it last saw. A step that moves the deadline to an
//! earlier time, as by becoming the leader, wakes it; one that moves it to a later time does not,
//! since that is what nearly every message does: the ticker wakes once in vain and sleeps again.
//!
//! **The writer** takes all updates that have come since it last looked, appends each to the
//! journal as a record, and has the disk sync once (group commit). Every update has to get there,
//! and in order, for each says what *changed*. While the disk works the server goes on; what it
//! wants to say meanwhile the core holds back until the write is done. One thread at a time is at the
//! disk: the writer, or a handler.
//!
//! **The applier** has a place in the log and takes what comes after it, one committed entry at a
//! time, when the service is ready for it: nothing is queued for a slow service but what is in the
//! log anyway. If what comes next has been compacted, it takes the snapshot instead. The channel to
//! the service is a rendezvous, so the send may take as long as the service likes; and the service
//! may call this server meanwhile, which is why no lock is held.
//!
//! **A handler** takes the core's answer from the step that its request was. If a write stands
//! before the answer, the handler leaves a channel and blocks until it comes through. If nobody is at
//! the disk, it does that write itself first, as it has to wait for it anyway: to have the writer woken,
//! and to be woken by it, would take a follower about as long as half the write does.
//!
//! **A caller** waits for the reply to a call, brings it, and goes on with the call that follows from
//! it: a chain of AppendEntries to one peer stays on one thread. The call itself leaves with the
//! thread whose step wanted it, as to begin one does not block, on the network or over TCP. A call to a dead server may block for
//! seconds, and heartbeats are due every 100 ms all the same, to that server too, so no call may
//! wait for another: each call that the core wants beside that has a thread of its own. The threads
//! come from a pool, and hardly ever does one have to be spawned. A call that fails is no input:
//! the next heartbeat or election is the repetition.
//!
//! # One command, from `start` to the service
//!
//! `start` has the core append it, and returns its index and term at once. The step leaves an
//! update to the writer, sends the calls, and leaves their replies to callers. Followers' handlers
//! have their cores compare and store, and write that. The reply comes back with a caller; as soon as a majority
//! is durable that step moves the commit index, and wakes the applier. The followers' appliers
//! follow with the next AppendEntries.
//!
//! # One snapshot, from the service to the disk
//!
//! `snapshot` has the core forget what the snapshot covers, which leaves an update to the writer, and
//! waits. The writer sees among what it takes that there is a new snapshot, this one or a leader's.
//! So it appends none of it, but takes under the same lock *all* there is: hard state, snapshot,
//! log. That covers every update so far, in whatever order they came, and replaces all that the disk
//! had, at once. What comes later is appended behind it. When it is durable, `snapshot` returns, so
//! that a service which looks at the size of the log next sees that it has shrunk.
//!
//! The same happens without a new snapshot when most of the journal is garbage (`writer.rs`): votes
//! alone do not fill a disk.
//!
//! # Ends
//!
//! A crash ends every thread wherever it is, and needs nothing done here. (Most are unwound. Ticker,
//! writer and applier, which mostly wait, are told of it where they do, and return: a simulated world
//! that ends crashes every server, and unwinding costs more than many a test.) What the next
//! incarnation finds is what the disk had when it happened; if that is not what a Raft server
//! wrote, the server refuses to start. To begin again from nothing could mean a second vote in a
//! term, or an entry less on a majority of disks, and that is what Raft must never do.
//!
//! [`kill`](contract::RaftNode::kill) ends the threads one by one: ticker, writer and applier are
//! woken and leave, idle callers too, the others when their call returns, whoever waits for a
//! snapshot to be written goes, and the channels close on which handlers, reads and transfers wait.
//! A handler then has no answer (if it is at the disk itself, once that write is done), and says
//! just that: its reply is `None`, which the caller takes for a lost call. A made-up refusal would
//! have to name a term and would claim that the logs differ; no answer at all claims nothing. A
//! killed server keeps its term, but leads no longer.
//!
//! **A disk that fails** has the same end as `kill`. After a failed sync nobody knows what is on
//! the disk, and no second try will tell; so the server says nothing any more, and whoever starts
//! it again has it read what is there.
//!
//! # What is left out
//!
//! * Snapshots beside the running service, by copy-on-write: paper, section 7. A service makes them
//!   as it likes; Raft has the bytes in memory, once, for as long as they are the newest.
//! * A limit to callers: one waits for each heartbeat that a peer has not answered. If a call takes
//!   7 s to fail, those are 70 with the labs' heartbeats, and 230 with a service's.

mod applier;
mod profile;
mod rpc;
mod shared;
mod state;
mod ticker;
mod writer;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use contract::{ApplyMsg, Disk, Index, RaftNode, ReadIndexError, Term, TransferError};
use labrpc::ClientEnd;
use labrt::channel::Sender;
use labrt::thread::Builder;

pub use profile::{Labs, Profile, Service};
use shared::Shell;

/// A Raft server: the core and the threads around it, with the configuration of `P`.
pub struct Raft<P = Labs> {
    shell: Arc<Shell>,
    profile: PhantomData<fn() -> P>,
}

impl<P: Profile> RaftNode for Raft<P> {
    /// # Panics
    ///
    /// If the configuration is unsound, or if the disk holds what no server of this cluster wrote.
    fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, apply: Sender<ApplyMsg>) -> Arc<Self> {
        let shell = Arc::new(Shell::new(peers, me, disk, apply, P::config()));
        let ticker = Arc::clone(&shell);
        Builder::new().name("ticker").spawn(move || ticker::run(&ticker));
        let writer = Arc::clone(&shell);
        Builder::new().name("writer").spawn(move || writer::run(&writer));
        let applier = Arc::clone(&shell);
        Builder::new().name("raft-applier").spawn(move || applier::run(&applier));
        Arc::new(Self { shell, profile: PhantomData })
    }

    fn services(self: &Arc<Self>) -> Vec<labrpc::Service> {
        vec![rpc::service(&self.shell)]
    }

    fn start(&self, command: Vec<u8>) -> Option<(Index, Term)> {
        self.shell.start(command)
    }

    fn get_state(&self) -> (Term, bool) {
        self.shell.get_state()
    }

    fn snapshot(&self, index: Index, snapshot: Vec<u8>) {
        self.shell.snapshot(index, snapshot.into());
    }

    /// Blocks for a longest election time-out and a heartbeat at most.
    fn read_index(&self) -> Result<Index, ReadIndexError> {
        self.shell.read_index()
    }

    /// Blocks for a longest election time-out and a heartbeat at most.
    fn transfer_leadership(&self, to: usize) -> Result<(), TransferError> {
        self.shell.transfer_leadership(to)
    }

    fn kill(&self) {
        self.shell.kill();
    }
}

impl<P: Profile> fmt::Debug for Raft<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (term, is_leader) = self.get_state();
        write!(f, "Raft(term {term}{})", if is_leader { ", leader" } else { "" })
    }
}
