//! Threads that are used again: what serves requests without spawning a thread for each.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::channel;
use crate::group::Group;
use crate::sync::Shared;
use crate::thread::Builder;

/// Idle threads kept; beyond that they end.
const IDLE_MAX: usize = 32;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// The idle threads' inboxes; the last to become idle is the first to work again.
    idle: VecDeque<channel::Sender<Job>>,
    started: u64,
}

/// A pool of threads in one group. There is no limit: a job that blocks for seconds, as a call to
/// a dead server does, must not hold up the others.
#[derive(Clone)]
pub struct Pool {
    group: Group,
    name: &'static str,
    state: Arc<Shared<State>>,
}

impl Pool {
    /// A pool whose threads belong to `group` and are called `name`-1, `name`-2, ...
    pub fn new(group: &Group, name: &'static str) -> Self {
        Self { group: group.clone(), name, state: Arc::default() }
    }

    /// Runs `job` on an idle thread, or on a new one.
    #[track_caller]
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut job: Job = Box::new(job);
        while let Some(idle) = self.state.with(|state| state.idle.pop_back()) {
            match idle.try_send(job) {
                Ok(()) => return,
                Err(error) => job = error.into_inner(),
            }
        }
        self.start(job);
    }

    #[track_caller]
    fn start(&self, job: Job) {
        let number = self.state.with(|state| {
            state.started += 1;
            state.started
        });
        let state = Arc::clone(&self.state);
        let name = format!("{}-{number}", self.name);
        Builder::new().name(name).group(&self.group).spawn(move || work(&state, job));
    }
}

fn work(state: &Shared<State>, first: Job) {
    let (tx, rx) = channel::bounded(1);
    let mut job = Some(first);
    while let Some(work) = job.take() {
        work();
        let kept = state.with(|state| {
            let kept = state.idle.len() < IDLE_MAX;
            if kept {
                state.idle.push_back(tx.clone());
            }
            kept
        });
        job = if kept { rx.recv_or_end().ok() } else { None };
    }
}
