//! What all threads of a server share, and the one way to the core.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use contract::{ApplyMsg, Disk, Index, Journal, ReadIndexError, Term, TransferError};
use labrpc::{ClientEnd, Responder, ServingThread, Unsent};
use labrt::channel::{Receiver, Sender};
use labrt::pool::Pool;
use labrt::random::{self, Rng};
use labrt::sync::{Condvar, Mutex};
use labrt::time::Instant;

use super::rpc;
use super::state::{Handover, State, ToDo, View};
use super::{applier, writer};
use crate::core::{Config, Input, Moment, Node, Request, ServerId, SnapshotData, WriteId};

pub(super) struct Shell {
    pub(super) me: ServerId,
    pub(super) peers: Vec<ClientEnd>,
    pub(super) disk: Disk,
    pub(super) journal: Journal,
    /// The zero of the core's clock.
    pub(super) started: Instant,
    pub(super) state: Mutex<State>,
    /// The ticker waits here for an earlier deadline, or the end.
    pub(super) deadline_moved: Condvar,
    /// The disk writer waits here for something to write, or the end.
    pub(super) to_write: Condvar,
    /// Who has a snapshot waits here until it is on the disk, or the end.
    written: Condvar,
    /// The applier waits here for what the service has no room for, or the end.
    pub(super) to_hand_over: Condvar,
    /// Ends when the server is killed: for those who wait for somebody else at the same time.
    pub(super) death: Receiver<Infallible>,
    /// Bring peers' replies, where the transport has no threads for that.
    pub(super) bringers: Pool,
}

impl Shell {
    pub(super) fn new(
        peers: Vec<ClientEnd>,
        me: ServerId,
        disk: Disk,
        apply: Sender<ApplyMsg>,
        config: Config,
    ) -> Self {
        let started = Instant::now();
        let journal = disk.journal();
        let persistent = writer::restore(me, &journal);
        let node = Node::new(me, peers.len(), config, persistent, moment(started));
        let node = node.unwrap_or_else(|error| panic!("S{me} cannot start: {error}"));
        View::of(&node).tell_start();
        let (state, death) = State::new(node, apply);
        Self {
            me,
            peers,
            disk,
            journal,
            started,
            state: Mutex::new(state),
            deadline_moved: Condvar::new(),
            to_write: Condvar::new(),
            written: Condvar::new(),
            to_hand_over: Condvar::new(),
            death,
            bringers: Pool::in_current_group("bringer"),
        }
    }

    pub(super) fn get_state(&self) -> (Term, bool) {
        let state = self.state.lock();
        (state.node.current_term(), state.node.is_leader() && !state.is_killed())
    }

    /// Has the leader, if this server is it, append a command.
    pub(super) fn start(self: &Arc<Self>, command: Vec<u8>) -> Option<(Index, Term)> {
        let mut state = self.state.lock();
        // Most servers do not lead: they are spared the copy.
        if state.is_killed() || !state.node.is_leader() {
            return None;
        }
        let (position, todo) = state.propose(command.into());
        drop(state);
        self.carry_out(todo);
        position.map(|position| (position.index, position.term))
    }

    /// Has the server forget what a snapshot of the service covers. Blocks until that is on the
    /// disk, or never will be.
    pub(super) fn snapshot(self: &Arc<Self>, index: Index, snapshot: SnapshotData) {
        let mut state = self.state.lock();
        if state.is_killed() {
            return;
        }
        let (write, todo) = state.compact(index, snapshot);
        drop(state);
        self.carry_out(todo);
        if let Some(write) = write {
            self.wait_until_durable(write);
        }
    }

    /// Blocks until it is clear up to where a read sees all, or that this server does not lead.
    pub(super) fn read_index(self: &Arc<Self>) -> Result<Index, ReadIndexError> {
        let mut state = self.state.lock();
        if state.is_killed() {
            return Err(ReadIndexError::NotLeader);
        }
        let (index, todo) = state.read_index(moment(self.started))?;
        drop(state);
        self.carry_out(todo);
        index.recv().ok().flatten().ok_or(ReadIndexError::NotLeader)
    }

    /// Blocks until this server does not lead any more, or has given up to hand over.
    pub(super) fn transfer_leadership(self: &Arc<Self>, to: ServerId) -> Result<(), TransferError> {
        let mut state = self.state.lock();
        if state.is_killed() {
            return Err(TransferError::NotLeader);
        }
        let (ceased, todo) = state.transfer_leadership(moment(self.started), to)?;
        drop(state);
        self.carry_out(todo);
        match ceased.recv() {
            Ok(true) => Ok(()),
            Ok(false) => Err(TransferError::TimedOut),
            // The server was killed.
            Err(_) => Err(TransferError::NotLeader),
        }
    }

    fn wait_until_durable(&self, write: WriteId) {
        let mut state = self.state.lock();
        while !state.is_killed() && !state.node.is_durable(write) {
            self.written.wait(&mut state);
        }
    }

    /// Whoever was at the disk has made this write durable.
    pub(super) fn persisted(self: &Arc<Self>, write: WriteId) {
        let mut state = self.state.lock();
        if state.is_killed() {
            return;
        }
        let todo = state.persisted(moment(self.started), write);
        drop(state);
        self.carry_out(todo);
        self.written.notify_all();
    }

    pub(super) fn kill(&self) {
        self.state.lock().kill();
        self.deadline_moved.notify_all();
        self.to_write.notify_all();
        self.written.notify_all();
        self.to_hand_over.notify_all();
        self.bringers.close();
    }

    /// Gives the core one input, and does what it wants done; nothing once the server is killed.
    pub(super) fn step(self: &Arc<Self>, input: Input) {
        let mut state = self.state.lock();
        if state.is_killed() {
            return;
        }
        // Read under the lock: for the core, time must not run backwards.
        let todo = state.step(moment(self.started), input);
        drop(state);
        self.carry_out(todo);
    }

    /// Gives the core a request; no answer once the server is killed. If the answer has to wait for
    /// the disk and nobody is there, this thread goes there itself: that spares two changes of
    /// threads. The service hears afterwards of what else is committed: the leader waits for this
    /// server, and hardly anybody for its service.
    pub(super) fn request(
        self: &Arc<Self>,
        request: Request,
        responder: Responder,
        thread: &ServingThread<'_>,
    ) {
        let mut state = self.state.lock();
        if state.is_killed() {
            return;
        }
        let (waits, mut todo) = state.request(moment(self.started), request, responder);
        drop(state);
        let writes = waits && std::mem::take(&mut todo.wake_writer);
        let hands_over_later = writes && std::mem::take(&mut todo.hand_over);
        self.carry_out(todo);
        if writes {
            thread.will_block();
            writer::write_waiting(self);
        }
        if hands_over_later {
            applier::hand_over(self);
        }
    }

    /// The service has no room for this now.
    pub(super) fn leave_to_applier(&self, handover: Handover, message: ApplyMsg) {
        let mut state = self.state.lock();
        if !state.is_killed() {
            state.held_up = Some((handover, message));
            drop(state);
            self.to_hand_over.notify_one();
        }
    }

    fn carry_out(self: &Arc<Self>, todo: ToDo) {
        let ToDo { answers, calls, wake_ticker, wake_writer, hand_over } = todo;
        let answer = |(responder, reply)| rpc::answer(responder, &reply);
        let answered: Vec<Unsent> = answers.into_iter().map(answer).collect();
        drop(answered);
        if hand_over {
            applier::hand_over(self);
        }
        // They leave before the writer takes the processor: it is the peers who take longer.
        calls.into_iter().for_each(|call| rpc::call(self, call));
        if wake_writer {
            self.to_write.notify_one();
        }
        if wake_ticker {
            self.deadline_moved.notify_one();
        }
    }

    /// The time on the core's clock.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Now, on a clock that began at `started`, with a random number for it.
fn moment(started: Instant) -> Moment {
    Moment { now: started.elapsed(), jitter: random::rng().next_u32() }
}
