//! Threads that are used again: what serves requests without spawning a thread for each.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::channel;
use crate::group::Group;
use crate::sync::Shared;
use crate::thread::Builder;

/// Idle threads kept; beyond that they end. So many have been busy at the same time before, and may
/// be again in a moment: requests that wait for the same write to a disk come and go together, and
/// to start a thread for each takes longer than most else that is done for it.
const IDLE_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// What comes into a thread's inbox: a job, or none to tell it that there will be no more.
type Order = Option<Job>;

#[derive(Default)]
struct State {
    /// The idle threads' inboxes; the last to become idle is the first to work again.
    idle: VecDeque<channel::Sender<Order>>,
    started: u64,
    closed: bool,
}

/// A pool of threads in one group. There is no limit: a job that blocks for seconds, as a call to
/// a dead server does, must not hold up the others.
#[derive(Clone)]
pub struct Pool {
    /// None for the group of whoever has the pool do something.
    group: Option<Group>,
    name: &'static str,
    state: Arc<Shared<State>>,
}

impl Pool {
    /// A pool whose threads belong to `group` and are called `name`-1, `name`-2, ...
    pub fn new(group: &Group, name: &'static str) -> Self {
        Self { group: Some(group.clone()), name, state: Arc::default() }
    }

    /// A pool for the threads of one group, to which its own threads then belong as well.
    pub fn in_current_group(name: &'static str) -> Self {
        Self { group: None, name, state: Arc::default() }
    }

    /// Runs `job` on an idle thread, or on a new one.
    #[track_caller]
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut order: Order = Some(Box::new(job));
        while let Some(idle) = self.state.with(|state| state.idle.pop_back()) {
            match idle.try_send(order) {
                Ok(()) => return,
                Err(error) => order = error.into_inner(),
            }
        }
        order.into_iter().for_each(|job| self.start(job));
    }

    /// Ends the idle threads, and has the others end after the job they are at.
    #[track_caller]
    pub fn close(&self) {
        let idle = self.state.with(|state| {
            state.closed = true;
            std::mem::take(&mut state.idle)
        });
        for thread in idle {
            // A thread that is gone need not be told.
            let _ = thread.try_send(None);
        }
    }

    #[track_caller]
    fn start(&self, job: Job) {
        let number = self.state.with(|state| {
            state.started += 1;
            state.started
        });
        let state = Arc::clone(&self.state);
        let thread = Builder::new().name(format!("{}-{number}", self.name));
        let thread = self.group.iter().fold(thread, Builder::group);
        thread.spawn(move || work(&state, job));
    }
}

fn work(state: &Shared<State>, first: Job) {
    let (tx, rx) = channel::bounded(1);
    let mut job = Some(first);
    while let Some(work) = job.take() {
        work();
        let kept = state.with(|state| {
            let kept = !state.closed && state.idle.len() < IDLE_MAX;
            if kept {
                state.idle.push_back(tx.clone());
            }
            kept
        });
        job = if kept { rx.recv_or_end().ok().flatten() } else { None };
    }
}
