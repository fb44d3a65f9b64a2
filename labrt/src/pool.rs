//! Threads that are used again: what serves requests without spawning a thread for each.

use std::collections::{BTreeMap, VecDeque};
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

/// What comes into a thread's inbox: a job, or none to tell it that there will be no more.
type Order = Option<Job>;

/// A thread of a pool that waits for its next job.
struct Waiting {
    number: u64,
    inbox: channel::Sender<Order>,
}

#[derive(Default)]
struct State {
    /// The last to become idle is the first to work again.
    idle: VecDeque<Waiting>,
    /// Threads kept for a job to come, by their numbers.
    reserved: BTreeMap<u64, channel::Sender<Order>>,
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
        while let Some(idle) = self.take_idle() {
            match idle.inbox.try_send(order) {
                Ok(()) => return,
                Err(error) => order = error.into_inner(),
            }
        }
        self.start(order);
    }

    /// Keeps an idle thread, or a new one, for a job that is not known yet. It belongs to the group
    /// of whoever asks for it, and not of whoever has the job in the end.
    #[track_caller]
    pub fn reserve(&self) -> Reserved {
        let Waiting { number, inbox } = self.take_idle().unwrap_or_else(|| self.start(None));
        let too_late = self.state.with(|state| match state.closed {
            true => Some(inbox),
            false => state.reserved.insert(number, inbox),
        });
        dismiss(too_late);
        Reserved { number, state: Arc::clone(&self.state) }
    }

    /// Ends the threads that have no job, and has the others end after the job they are at.
    #[track_caller]
    pub fn close(&self) {
        let (idle, reserved) = self.state.with(|state| {
            state.closed = true;
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.reserved))
        });
        dismiss(idle.into_iter().map(|idle| idle.inbox).chain(reserved.into_values()));
    }

    fn take_idle(&self) -> Option<Waiting> {
        self.state.with(|state| state.idle.pop_back())
    }

    /// A new thread, which does `first`, if that is a job, and then waits for more.
    #[track_caller]
    fn start(&self, first: Order) -> Waiting {
        let number = self.state.with(|state| {
            state.started += 1;
            state.started
        });
        let (inbox, orders) = channel::bounded::<Order>(1);
        let (state, theirs) = (Arc::clone(&self.state), inbox.clone());
        let thread = Builder::new().name(format!("{}-{number}", self.name));
        let thread = self.group.iter().fold(thread, Builder::group);
        thread.spawn(move || {
            let mut order = first.map_or_else(|| orders.recv_or_end(), |job| Ok(Some(job)));
            while let Ok(Some(job)) = order {
                job();
                let inbox = theirs.clone();
                if state.with(|state| state.keep(Waiting { number, inbox })).is_err() {
                    return;
                }
                order = orders.recv_or_end();
            }
        });
        Waiting { number, inbox }
    }
}

/// Tells threads that there will be no more jobs. Those that are gone need not be told.
fn dismiss(inboxes: impl IntoIterator<Item = channel::Sender<Order>>) {
    for inbox in inboxes {
        let _ = inbox.try_send(None);
    }
}

impl State {
    /// Notes a thread as idle; or gives it back, if it is to end.
    fn keep(&mut self, thread: Waiting) -> Result<(), Waiting> {
        if self.closed || self.idle.len() >= IDLE_MAX {
            return Err(thread);
        }
        self.idle.push_back(thread);
        Ok(())
    }
}

/// A thread of a pool that is kept for a job to come. Dropped without one, it is idle again.
pub struct Reserved {
    number: u64,
    state: Arc<Shared<State>>,
}

impl Reserved {
    /// Has the thread run `job`. If its group has crashed or its pool was closed, nobody does; nor
    /// if whoever calls this is itself being ended with its server.
    pub fn run(self, job: impl FnOnce() + Send + 'static) {
        if let Some(inbox) = self.take() {
            let _ = inbox.try_send(Some(Box::new(job)));
        }
    }

    /// The thread's inbox; none if it is not reserved any more.
    fn take(&self) -> Option<channel::Sender<Order>> {
        self.state.with(|state| state.reserved.remove(&self.number))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let Some(inbox) = self.take() else { return };
        let thread = Waiting { number: self.number, inbox };
        let too_many = self.state.with(|state| state.keep(thread)).err();
        dismiss(too_many.map(|thread| thread.inbox));
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reserved { .. }")
    }
}
