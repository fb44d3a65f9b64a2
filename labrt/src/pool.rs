//! Threads that are used again: what serves requests without spawning a thread for each.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::group::Group;
use crate::sync::Shared;
use crate::thread::Builder;
use crate::{channel, os, raw};

/// Idle threads kept; beyond that they end. So many have been busy at the same time before, and may
/// be again in a moment: requests that wait for the same write to a disk come and go together, and
/// to start a thread for each takes longer than most else that is done for it.
const IDLE_MAX: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// What comes into an idle thread's inbox: a job, or none to tell it that there will be no more.
type Order = Option<Job>;

#[derive(Default)]
struct State {
    /// The idle threads' inboxes; the last to become idle is the first to work again.
    idle: Vec<channel::Sender<Order>>,
    started: u64,
    closed: bool,
}

/// A pool of threads in one group. There is no limit: a job that blocks for seconds, as a call to
/// a dead server does, must not hold up the others. Clones share the threads.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    /// None for a test's own threads.
    group: Option<Group>,
    name: &'static str,
    state: Shared<State>,
}

impl Pool {
    /// A pool whose threads belong to `group` and are called `name`-1, `name`-2, ...
    pub fn new(group: &Group, name: &'static str) -> Self {
        Self::of(Some(group.clone()), name)
    }

    /// A pool whose threads belong to the group of whoever makes it, or to none like it.
    pub fn in_current_group(name: &'static str) -> Self {
        Self::of(Group::current(), name)
    }

    fn of(group: Option<Group>, name: &'static str) -> Self {
        Self(Arc::new(Inner { group, name, state: Shared::default() }))
    }

    /// Runs `job` on an idle thread, or on a new one; whoever gives it, be it a thread that is
    /// being ended with its server. Nobody runs it if the pool is closed, or its own group has
    /// crashed.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let pool = Arc::clone(&self.0);
        undisturbed(move || pool.give(Box::new(job)));
    }

    /// Ends the threads that have no job, and has the others end after the job they are at.
    pub fn close(&self) {
        let pool = Arc::clone(&self.0);
        undisturbed(move || pool.dismiss());
    }
}

/// Runs a step in a section without a switch point, which no crash of the current thread's server
/// interrupts: the pool may be another's, and a thread that was taken to be given a job must get
/// it.
fn undisturbed(step: impl FnOnce() + Send + 'static) {
    match raw::world() {
        None => os::group::uninterrupted(step),
        // To a thread that is being ended, all channels are closed.
        Some(world) if world.is_ending() => world.call_after(Duration::ZERO, Box::new(step)),
        Some(world) => world.pinned(step),
    }
}

impl Inner {
    fn give(self: Arc<Self>, job: Job) {
        let mut order = Some(job);
        while let Some(idle) = self.state.with(|state| state.idle.pop()) {
            match idle.try_send(order) {
                Ok(()) => return,
                Err(error) => order = error.into_inner(),
            }
        }
        if let Some(job) = order {
            self.start(job);
        }
    }

    /// A new thread, which does `first` and then waits for more; unless there are to be none.
    fn start(self: Arc<Self>, first: Job) {
        let is_dead = self.group.as_ref().is_some_and(|group| !group.is_alive());
        let number = self.state.with(|state| {
            state.started += 1;
            (!is_dead && !state.closed).then_some(state.started)
        });
        if let Some(number) = number {
            let thread = Builder::new().name(format!("{}-{number}", self.name));
            thread.home(self.group.as_ref()).spawn(move || self.work(first));
        }
    }

    fn dismiss(&self) {
        let idle = self.state.with(|state| {
            state.closed = true;
            std::mem::take(&mut state.idle)
        });
        for thread in idle {
            // A thread that is gone need not be told.
            let _ = thread.try_send(None);
        }
    }

    /// Does one job after the other, until there are no more, or the thread need not be kept.
    fn work(&self, first: Job) {
        let (inbox, orders) = channel::bounded(1);
        let mut order = Some(first);
        while let Some(job) = order.take() {
            job();
            if self.state.with(|state| state.keep(&inbox)) {
                order = orders.recv_or_end().ok().flatten();
            }
        }
    }
}

impl State {
    /// Notes a thread as idle; false if it is to end.
    fn keep(&mut self, inbox: &channel::Sender<Order>) -> bool {
        let is_kept = !self.closed && self.idle.len() < IDLE_MAX;
        if is_kept {
            self.idle.push(inbox.clone());
        }
        is_kept
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.0.name)
    }
}
