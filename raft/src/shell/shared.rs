//! What all threads of a server share, and the one way to the core.

use std::sync::Arc;
use std::time::Duration;

use contract::{Persister, Term};
use labrpc::ClientEnd;
use labrt::random::{self, Rng};
use labrt::sync::{Condvar, Mutex};
use labrt::time::Instant;

use super::rpc::{self, RaftRpcClient};
use super::state::{State, ToDo, View};
use super::writer;
use crate::core::{Config, Input, LogPosition, Moment, Node, ServerId};

pub(super) struct Shell {
    pub(super) peers: Vec<RaftRpcClient>,
    pub(super) persister: Persister,
    /// The zero of the core's clock.
    pub(super) started: Instant,
    pub(super) state: Mutex<State>,
    /// The ticker waits here for an earlier deadline, or the end.
    pub(super) deadline_moved: Condvar,
    /// The disk writer waits here for something to write, or the end.
    pub(super) to_write: Condvar,
}

impl Shell {
    pub(super) fn new(
        peers: Vec<ClientEnd>,
        me: ServerId,
        persister: Persister,
        config: Config,
    ) -> Self {
        let started = Instant::now();
        let hard_state = writer::restore(me, &persister.read_state());
        let last_log = LogPosition::default();
        let node = Node::new(me, peers.len(), config, hard_state, last_log, moment(started));
        let node = node.unwrap_or_else(|error| panic!("S{me} cannot start: {error}"));
        View::of(&node).tell_start();
        Self {
            peers: peers.into_iter().map(RaftRpcClient::new).collect(),
            persister,
            started,
            state: Mutex::new(State::new(node)),
            deadline_moved: Condvar::new(),
            to_write: Condvar::new(),
        }
    }

    pub(super) fn get_state(&self) -> (Term, bool) {
        let state = self.state.lock();
        (state.node.current_term(), state.node.is_leader() && !state.is_killed())
    }

    pub(super) fn kill(&self) {
        self.state.lock().kill();
        self.deadline_moved.notify_all();
        self.to_write.notify_all();
    }

    /// Gives the core one input, and does what it wants done. `input` is asked for under the lock,
    /// and not at all once the server is killed.
    pub(super) fn step(self: &Arc<Self>, input: impl FnOnce(&mut State) -> Input) {
        let mut state = self.state.lock();
        if state.is_killed() {
            return;
        }
        let input = input(&mut state);
        let todo = state.step(moment(self.started), input);
        drop(state);
        self.carry_out(todo);
    }

    fn carry_out(self: &Arc<Self>, todo: ToDo) {
        if todo.wake_ticker {
            self.deadline_moved.notify_one();
        }
        if todo.wake_writer {
            self.to_write.notify_one();
        }
        for (to, request) in todo.calls {
            rpc::spawn_caller(self, to, request);
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
