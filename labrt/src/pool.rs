//! Threads that are used again: what serves requests without spawning a thread for each.

use std::fmt;
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

    /// A pool whose threads belong to the group of whoever makes it.
    pub fn in_current_group(name: &'static str) -> Self {
        Self::of(Group::current(), name)
    }

    fn of(group: Option<Group>, name: &'static str) -> Self {
        Self(Arc::new(Inner { group, name, state: Shared::default() }))
    }

    /// Runs `job` on an idle thread, or on a new one. Nobody runs it if the pool is closed, or its
    /// group has crashed, or whoever calls this is being ended with its server.
    #[track_caller]
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut order: Order = Some(Box::new(job));
        while let Some(idle) = self.0.state.with(|state| state.idle.pop()) {
            match idle.try_send(order) {
                Ok(()) => return,
                Err(error) => order = error.into_inner(),
            }
        }
        if self.may_start() {
            self.start(order);
        }
    }

    /// Ends the threads that have no job, and has the others end after the job they are at.
    #[track_caller]
    pub fn close(&self) {
        let idle = self.0.state.with(|state| {
            state.closed = true;
            std::mem::take(&mut state.idle)
        });
        for thread in idle {
            // A thread that is gone need not be told.
            let _ = thread.try_send(None);
        }
    }

    fn may_start(&self) -> bool {
        let Inner { group, state, .. } = &*self.0;
        group.as_ref().is_none_or(Group::is_alive) && !state.with(|state| state.closed)
    }

    /// A new thread, which begins with an order.
    #[track_caller]
    fn start(&self, first: Order) {
        let Inner { group, name, state } = &*self.0;
        let number = state.with(|state| {
            state.started += 1;
            state.started
        });
        let pool = Arc::clone(&self.0);
        let thread = Builder::new().name(format!("{name}-{number}"));
        let thread = group.iter().fold(thread, Builder::group);
        thread.spawn(move || pool.work(first));
    }
}

impl Inner {
    /// Does what it is told to, until it is told that there is no more, or need not be kept.
    fn work(&self, first: Order) {
        let (inbox, orders) = channel::bounded(1);
        let mut order = first;
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
