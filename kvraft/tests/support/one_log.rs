//! A Raft without consensus: all servers share one log, and the test says who leads, what is
//! committed, and what is lost.
//!
//! It does nothing that a Raft might not do: a leader's uncommitted entries may be replaced by
//! others, a server may hear of its deposition late, a follower may lag and be sent a snapshot.

use std::sync::Arc;

use contract::{ApplyMsg, Disk, Index, RaftNode, ReadIndexError, Term, TransferError};
use labrpc::{ClientEnd, Service};
use labrt::channel::{self, Receiver, SendTimeoutError, Sender};
use labrt::sync::{Mutex, Shared};
use labrt::thread::{self, Builder};
use labrt::time::Duration;

/// How often a node that hands over an entry looks whether it was killed.
const PATIENCE: Duration = Duration::from_millis(100);

/// What the log answers to a request for confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadIndex {
    Unsupported,
    NotReady,
    /// What a leader has: the commit index, after so long.
    After(Duration),
}

/// The log. Clones share it.
#[derive(Clone)]
pub(crate) struct OneLog(Arc<Inner>);

struct Inner {
    /// No lock: a server that is paused while it holds one would stop all the others.
    state: Shared<State>,
    /// Wakes each server's applier.
    wake: Vec<(Sender<()>, Receiver<()>)>,
}

struct State {
    /// The entry at index 1 is the first; none for a no-op.
    entries: Vec<Option<Vec<u8>>>,
    term: Term,
    leader: Option<usize>,
    committed: Index,
    /// Nothing is committed.
    held: bool,
    /// Up to which index each server's applier may go.
    limits: Vec<Index>,
    /// Up to which index each server's applier is.
    applied: Vec<Index>,
    /// Which index each server's stored snapshot covers.
    covered: Vec<Index>,
    /// The newest snapshot: what a leader sends to those who need what it covers.
    snapshot: (Index, Vec<u8>),
    /// Whether entries that a snapshot covers are thrown away.
    compacting: bool,
    start_takes: Duration,
    /// Neither `start` nor `read_index` returns.
    stalled: bool,
    read_index: ReadIndex,
    starts: u64,
    /// How often confirmation was asked for, and how often of a leader.
    read_indexes: u64,
    confirmations: u64,
    snapshots: u64,
    /// Bytes that a server's state has beside its log.
    ballast: usize,
    transfers: Vec<(usize, usize)>,
}

impl OneLog {
    pub(crate) fn new(servers: usize) -> Self {
        let state = State {
            entries: Vec::new(),
            term: 1,
            leader: Some(0),
            committed: 0,
            held: false,
            limits: vec![Index::MAX; servers],
            applied: vec![0; servers],
            covered: vec![0; servers],
            snapshot: (0, Vec::new()),
            compacting: false,
            start_takes: Duration::ZERO,
            stalled: false,
            read_index: ReadIndex::Unsupported,
            starts: 0,
            read_indexes: 0,
            confirmations: 0,
            snapshots: 0,
            ballast: 0,
            transfers: Vec::new(),
        };
        let wake = (0..servers).map(|_| channel::bounded(1)).collect();
        Self(Arc::new(Inner { state: Shared::new(state), wake }))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = self.0.state.with(change);
        for (wake, _) in &self.0.wake {
            // One that was woken and has not looked yet need not be woken again.
            let _ = wake.try_send(());
        }
        result
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.0.state.with(|state| look(state))
    }

    /// A new term, and its leader.
    pub(crate) fn elect(&self, leader: Option<usize>) {
        self.change(|state| {
            state.term += 1;
            state.leader = leader;
        });
    }

    /// What is started stays uncommitted, until this is taken back.
    pub(crate) fn hold(&self, held: bool) {
        self.change(|state| {
            state.held = held;
            state.commit();
        });
    }

    /// A new term, and its leader, which does not have what is not committed.
    pub(crate) fn elect_without_tail(&self, leader: usize) {
        self.change(|state| {
            state.entries.truncate(state.committed as usize);
            state.term += 1;
            state.leader = Some(leader);
        });
    }

    /// Appends a no-op and has it committed.
    pub(crate) fn append_no_op(&self) {
        self.change(|state| {
            state.entries.push(None);
            state.commit();
        });
    }

    /// Lets a server apply entries up to `limit` for now.
    pub(crate) fn limit(&self, server: usize, limit: Index) {
        self.change(|state| state.limits[server] = limit);
    }

    /// Throws away entries that are covered by a snapshot: who still needs one is sent that.
    pub(crate) fn compact(&self) {
        self.change(|state| state.compacting = true);
    }

    pub(crate) fn set_start_takes(&self, takes: Duration) {
        self.change(|state| state.start_takes = takes);
    }

    /// Has `start` and `read_index` take until this is taken back.
    pub(crate) fn stall(&self, stalled: bool) {
        self.change(|state| state.stalled = stalled);
    }

    pub(crate) fn set_read_index(&self, read_index: ReadIndex) {
        self.change(|state| state.read_index = read_index);
    }

    /// How often a leader was offered something.
    pub(crate) fn starts(&self) -> u64 {
        self.look(|state| state.starts)
    }

    /// How often a confirmation was asked for.
    pub(crate) fn read_indexes(&self) -> u64 {
        self.look(|state| state.read_indexes)
    }

    pub(crate) fn last_index(&self) -> Index {
        self.look(|state| state.entries.len() as Index)
    }

    /// How often a leader was asked for a confirmation.
    pub(crate) fn confirmations(&self) -> u64 {
        self.look(|state| state.confirmations)
    }

    /// How often a server took a snapshot.
    pub(crate) fn snapshots(&self) -> u64 {
        self.look(|state| state.snapshots)
    }

    /// Which index a server's snapshot covers.
    pub(crate) fn covered(&self, server: usize) -> Index {
        self.look(|state| state.covered[server])
    }

    /// Has every server's state be larger by so many bytes, which no snapshot makes smaller.
    pub(crate) fn set_ballast(&self, bytes: usize) {
        self.change(|state| state.ballast = bytes);
    }

    /// Who was to hand over to whom.
    pub(crate) fn transfers(&self) -> Vec<(usize, usize)> {
        self.look(|state| state.transfers.clone())
    }

    /// Server `me` on this log.
    pub(crate) fn node(&self, me: usize, disk: Disk, apply: Sender<ApplyMsg>) -> Arc<OneLogNode> {
        let covered = covered_on(&disk);
        self.change(|state| {
            state.covered[me] = covered;
            state.applied[me] = covered;
        });
        let (log, saving, killed) = (self.clone(), Mutex::new(()), Mutex::new(false));
        let node = Arc::new(OneLogNode { log, me, disk, saving, killed });
        let applier = Arc::clone(&node);
        Builder::new().name("log-applier").spawn(move || applier.run(&apply));
        node
    }
}

impl State {
    fn commit(&mut self) {
        if !self.held {
            self.committed = self.entries.len() as Index;
        }
    }

    /// What server `me` is told next, having applied `applied`.
    fn next_for(&self, me: usize, applied: Index) -> Option<ApplyMsg> {
        let index = applied + 1;
        if index > self.committed.min(self.limits[me]) {
            return None;
        }
        let (covered, snapshot) = &self.snapshot;
        if self.compacting && index <= *covered {
            let snapshot = snapshot.clone();
            return Some(ApplyMsg::Snapshot { index: *covered, term: self.term, snapshot });
        }
        Some(match &self.entries[applied as usize] {
            Some(command) => ApplyMsg::Command { index, command: command.clone() },
            None => ApplyMsg::NoOp { index },
        })
    }

    /// What server `me` has in its log after its snapshot, in bytes.
    fn stored(&self, me: usize, covered: Index) -> usize {
        let entries = self.entries.iter().take(self.applied[me] as usize).skip(covered as usize);
        self.ballast + entries.flatten().map(Vec::len).sum::<usize>()
    }
}

/// One server on the log.
pub(crate) struct OneLogNode {
    log: OneLog,
    me: usize,
    disk: Disk,
    saving: Mutex<()>,
    killed: Mutex<bool>,
}

impl OneLogNode {
    fn wait_while_stalled(&self) {
        while self.log.look(|state| state.stalled) && !*self.killed.lock() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn run(&self, apply: &Sender<ApplyMsg>) {
        let mut applied = self.log.covered(self.me);
        while let Some(message) = self.wait_for_message(applied) {
            applied = match &message {
                ApplyMsg::Command { index, .. }
                | ApplyMsg::Snapshot { index, .. }
                | ApplyMsg::NoOp { index } => *index,
            };
            self.receive(&message, applied);
            if !self.hand_over(apply, message) {
                return;
            }
        }
    }

    fn wait_for_message(&self, applied: Index) -> Option<ApplyMsg> {
        while !*self.killed.lock() {
            let message = self.log.look(|state| state.next_for(self.me, applied));
            if message.is_some() {
                return message;
            }
            let _ = self.log.0.wake[self.me].1.recv_timeout(PATIENCE);
        }
        None
    }

    /// Has the disk hold as many bytes as the log has after the snapshot, and which entry that
    /// covers, and the snapshot if there is a new one.
    fn save(&self, snapshot: Option<(Index, Vec<u8>)>) {
        let _one_at_a_time = self.saving.lock();
        let mut covered = self.log.covered(self.me);
        let snapshot = snapshot.map(|(index, snapshot)| {
            covered = index;
            snapshot
        });
        let stored = self.log.look(|state| state.stored(self.me, covered));
        let state = [covered.to_le_bytes().to_vec(), vec![0; stored]].concat();
        self.disk.persister().save(state, snapshot);
        self.log.change(|state| state.covered[self.me] = covered);
    }

    fn receive(&self, message: &ApplyMsg, applied: Index) {
        self.log.change(|state| state.applied[self.me] = applied);
        self.save(match message {
            ApplyMsg::Snapshot { index, snapshot, .. } => Some((*index, snapshot.clone())),
            _ => None,
        });
    }

    fn hand_over(&self, apply: &Sender<ApplyMsg>, mut message: ApplyMsg) -> bool {
        loop {
            match apply.send_timeout(message, PATIENCE) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(again)) if !*self.killed.lock() => message = again,
                Err(_) => return false,
            }
        }
    }
}

/// Which entry the snapshot on a disk covers; 0 if there is none.
fn covered_on(disk: &Disk) -> Index {
    let state = disk.persister().read_state();
    state.first_chunk().map_or(0, |bytes| Index::from_le_bytes(*bytes))
}

impl RaftNode for OneLogNode {
    fn make(_: Vec<ClientEnd>, _: usize, _: Disk, _: Sender<ApplyMsg>) -> Arc<Self> {
        panic!("a node is made on a log: use OneLog::node")
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        Vec::new()
    }

    fn start(&self, command: Vec<u8>) -> Option<(Index, Term)> {
        let takes = self.log.look(|state| state.start_takes);
        if !takes.is_zero() {
            thread::sleep(takes);
        }
        self.wait_while_stalled();
        self.log.change(|state| {
            if state.leader != Some(self.me) {
                return None;
            }
            state.starts += 1;
            state.entries.push(Some(command));
            state.commit();
            Some((state.entries.len() as Index, state.term))
        })
    }

    fn get_state(&self) -> (Term, bool) {
        self.log.look(|state| (state.term, state.leader == Some(self.me)))
    }

    fn snapshot(&self, index: Index, snapshot: Vec<u8>) {
        self.log.change(|state| {
            state.snapshots += 1;
            if index > state.snapshot.0 {
                state.snapshot = (index, snapshot.clone());
            }
        });
        self.save(Some((index, snapshot)));
    }

    fn read_index(&self) -> Result<Index, ReadIndexError> {
        let (kind, leads, committed) = self.log.change(|state| {
            let leads = state.leader == Some(self.me);
            state.read_indexes += 1;
            state.confirmations += u64::from(leads);
            (state.read_index, leads, state.committed)
        });
        match kind {
            ReadIndex::Unsupported => Err(ReadIndexError::Unsupported),
            _ if !leads => Err(ReadIndexError::NotLeader),
            ReadIndex::NotReady => Err(ReadIndexError::NotReady),
            ReadIndex::After(takes) => {
                thread::sleep(takes);
                self.wait_while_stalled();
                Ok(committed)
            }
        }
    }

    fn transfer_leadership(&self, to: usize) -> Result<(), TransferError> {
        self.log.change(|state| {
            state.transfers.push((self.me, to));
            state.term += 1;
            state.leader = Some(to);
        });
        Ok(())
    }

    fn kill(&self) {
        *self.killed.lock() = true;
        let _ = self.log.0.wake[self.me].0.try_send(());
    }
}
