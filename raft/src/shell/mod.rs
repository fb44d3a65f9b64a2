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
//! `start` and every request get the lock at once, whatever hangs elsewhere.
//!
//! The moment of a step is read under the lock, so that time never runs backwards for the core.
//!
//! # The threads
//!
//! | thread | waits for | brings | file |
//! |---|---|---|---|
//! | ticker | the core's next deadline | `Tick` | `ticker.rs` |
//! | disk writer | something to write, then the disk | `Persisted` | `writer.rs` |
//! | applier | something that the service had no room for | nothing | `applier.rs` |
//! | the service's own, in `snapshot` | the disk writer | `Node::compact` | `shared.rs` |
//! | the service's own, in other calls | the core's answer | what is asked | `shared.rs` |
//! | the network's, for a request | nothing, or the disk | `Request`, `Persisted` | `rpc.rs` |
//! | the network's or a bringer, for a reply | nothing | `Reply` | `rpc.rs` |
//!
//! **The ticker** sleeps until the deadline it last saw. A step that moves the deadline to an
//! earlier time than that, as by becoming the leader, wakes it. Nearly every message moves it to a
//! later one, and wakes nobody: the ticker wakes once in vain and sleeps again.
//!
//! **The writer** takes all updates that have come since it last looked, appends each to the
//! journal as a record, and has the disk sync once (group commit). Every update has to get there,
//! and in order, for each says what *changed*. While the disk works the server goes on; what it
//! wants to say meanwhile the core holds back until the write is done. One thread at a time is at
//! the disk: the writer, or who brought a request.
//!
//! **Handing over.** What is committed goes to the service in the order of the log, one message at
//! a time. Whoever's step moved the commit index does that, for as long as the channel to the
//! service has room: no thread has to be woken for it. One thread at a time does; another that
//! comes meanwhile goes, as its entries will be seen. Nothing is queued for a slow service but what
//! is in the log anyway, and if what comes next has been compacted, the snapshot goes instead. When
//! the channel is full, **the applier** goes on, and may take as long as the service likes; the
//! service may call this server meanwhile, which is why no lock is held.
//!
//! **A request** is given to the core by the thread that the network has for it. Most answers are
//! there with the step. If a write stands before the answer, whoever makes that durable
//! sends it; nobody waits for it. But if nobody is at the disk, the thread does that write itself,
//! there and then: to have the writer woken would take a follower about as long as half the write
//! does. (It tells the network first that it will block.) What the request told it to be committed
//! it hands over after that: the leader waits for the write, hardly anybody for a follower's
//! service.
//!
//! **A call** leaves with the thread whose step wanted it, as to begin one does not block, on the
//! network or over TCP, and nobody waits for its reply: a call to a dead server may take seconds,
//! and heartbeats are due every 100 ms all the same, to that server too. The reply is given to the
//! core by the thread that reads it, over TCP; on the network by a **bringer**, a thread of a pool
//! of which hardly ever another has to be spawned. A call that fails is no input: the next
//! heartbeat or election is the repetition.
//!
//! # One command, from `start` to the service
//!
//! `start` has the core append it, and returns its index and term at once. The step sends the
//! calls, and leaves an update to the writer. At each follower the thread that brings the request
//! has the core compare and store, and writes that. The replies come back; as soon as a majority is
//! durable, the step moves the commit index, and its thread hands over. The followers hand over
//! with the next AppendEntries; a thread that writes what that brings, after its write.
//!
//! # One snapshot, from the service to the disk
//!
//! `snapshot` has the core forget what the snapshot covers, which leaves an update to the writer,
//! and waits. The writer sees among what it takes that there is a new snapshot, this one or a
//! leader's. So it appends none of it, but takes under the same lock *all* there is: hard state,
//! snapshot, log. That covers every update so far, in whatever order they came, and replaces all
//! that the disk had, at once. What comes later is appended behind it. When it is durable,
//! `snapshot` returns, so that a service which looks at the size of the log next sees that it has
//! shrunk.
//!
//! The same happens without a new snapshot when most of the journal is garbage (`writer.rs`): votes
//! alone do not fill a disk.
//!
//! # Ends
//!
//! A crash ends every thread wherever it is, and needs nothing done here. (Most are unwound.
//! Ticker, writer and applier, which mostly wait, are told of it where they do, and return: a
//! simulated world that ends crashes every server, and unwinding costs more than many a test.) What
//! the next incarnation finds is what the disk had when it happened; if that is not what a Raft
//! server wrote, the server refuses to start. To begin again from nothing could mean a second vote
//! in a term, or an entry less on a majority of disks, and that is what Raft must never do.
//!
//! [`kill`](contract::RaftNode::kill) ends the threads one by one: ticker, writer and applier are
//! woken and leave, bringers that have no reply in hand too, whoever waits for a snapshot to be
//! written goes, and the channels close on which reads and transfers wait. Requests
//! that wait for an answer get none: their responders are dropped, and the caller hears that the
//! call is lost. A made-up refusal would have to name a term and would claim that the logs differ;
//! no answer at all claims nothing. A killed server keeps its term, but leads no longer.
//!
//! **A disk that fails** has the same end as `kill`. After a failed sync nobody knows what is on
//! the disk, and no second try will tell; so the server says nothing any more, and whoever starts
//! it again has it read what is there.
//!
//! # What is left out
//!
//! * Snapshots beside the running service, by copy-on-write: paper, section 7. A service makes them
//!   as it likes; Raft has the bytes in memory, once, for as long as they are the newest.
//! * A limit to calls under way: there is one for each heartbeat that a peer has not answered. If a
//!   call takes 7 s to fail, those are 70 with the labs' heartbeats, and 230 with a service's.

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
