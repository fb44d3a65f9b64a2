//! The state of a run, and the points at which threads may switch.
//!
//! A [`World`] lives on the stack of the OS thread that runs it. Its [`Core`] sits in a `RefCell`
//! that is borrowed for a few lines at a time and never across a switch: whoever holds the borrow
//! is alone, and sees a state between two switch points.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::TryRng;

use super::decisions::{DecisionKind, Recorder};
use super::futex::Objects;
use super::group::{GroupId, Groups};
use super::report::Failure;
use super::strategy::{Stall, Strategy, ThreadId};
use super::thread::{State, Threads};
use super::timers::{TimerAction, Timers};
use super::watchdog::Pulse;
use super::{Config, Stats};
use crate::random::Stream;
use crate::trace;

/// Virtual nanoseconds that each call into this crate costs. Without a price, a loop that polls
/// a clock or a `try_lock` would never see time pass.
pub(crate) const STEP_COST_NS: u64 = 100;

/// After so many calls an observer is taken to wait for somebody by polling.
const OBSERVER_STEPS_MAX: u64 = 10_000;

/// A simulated world: everything a run consists of but the code it runs.
pub(crate) struct World {
    /// Tells this world's object keys from those of worlds before it in the same process. It is
    /// part of no decision.
    pub(crate) serial: u32,
    pub(crate) core: RefCell<Core>,
    /// The thread that runs now; none while the scheduler does, or a thread lets observers look.
    running: Cell<Option<ThreadId>>,
    /// Depth of sections in which no switch may happen.
    pinned: Cell<u32>,
    pub(crate) pulse: Arc<Pulse>,
    /// The trace, if this run is recorded. Beside the core: logs are written in the middle of it.
    pub(crate) recorder: RefCell<Option<trace::Recorder>>,
    seed: u64,
}

pub(crate) struct Core {
    /// Virtual time, nanoseconds since the world began.
    pub(crate) now: u64,
    pub(crate) steps: u64,
    pub(crate) switches: u64,
    pub(crate) threads: Threads,
    pub(crate) groups: Groups,
    pub(crate) objects: Objects,
    pub(crate) timers: Timers,
    pub(crate) runnable: Vec<ThreadId>,
    /// Runnable observers: they go before everybody else, and cost nothing.
    pub(crate) observers: VecDeque<ThreadId>,
    /// The thread chosen at a switch point, for the scheduler to resume.
    pub(crate) next: Option<ThreadId>,
    /// Members of a crashing group that can go on unwinding.
    pub(crate) dying: VecDeque<ThreadId>,
    pub(crate) crashes: Vec<GroupId>,
    pub(crate) strategy: Box<dyn Strategy>,
    pub(crate) recorder: Recorder,
    pub(crate) failure: Option<Failure>,
    /// What a panic in a timer's callback said.
    pub(super) callback_panic: Option<String>,
    pub(crate) leaked: Vec<String>,
    /// The first thread has returned, or the run has failed.
    pub(crate) over: bool,
    entropy: Stream,
    max_steps: u64,
    pub(crate) max_time: u64,
}

static WORLDS: AtomicU64 = AtomicU64::new(1);

impl World {
    pub(crate) fn new(config: &Config) -> Self {
        let core = Core {
            now: 0,
            steps: 0,
            switches: 0,
            threads: Threads::default(),
            groups: Groups::new(config.seed),
            objects: Objects::default(),
            timers: Timers::default(),
            runnable: Vec::new(),
            observers: VecDeque::new(),
            next: None,
            dying: VecDeque::new(),
            crashes: Vec::new(),
            strategy: config.strategy.build(config.seed),
            recorder: Recorder::new(config.decisions),
            failure: None,
            callback_panic: None,
            leaked: Vec::new(),
            over: false,
            entropy: Stream::new(config.seed, "hash keys", 0),
            max_steps: config.max_steps,
            max_time: u64::try_from(config.max_time.as_nanos()).unwrap_or(u64::MAX),
        };
        let pulse = Arc::new(Pulse::new(&core.threads.labels));
        Self {
            serial: WORLDS.fetch_add(1, Ordering::Relaxed) as u32,
            core: RefCell::new(core),
            running: Cell::new(None),
            pinned: Cell::new(0),
            pulse,
            recorder: RefCell::new(config.record.then(trace::Recorder::new)),
            seed: config.seed,
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The running thread; none in the scheduler and its timer callbacks.
    #[inline]
    pub(crate) fn running(&self) -> Option<ThreadId> {
        self.running.get()
    }

    pub(super) fn set_running(&self, thread: Option<ThreadId>) {
        self.running.set(thread);
    }

    /// The running thread, for calls that only a thread may make.
    #[track_caller]
    pub(crate) fn me(&self, call: &str) -> ThreadId {
        let running = self.running.get();
        running.unwrap_or_else(|| panic!("{call} was called in a timer callback: it may not block"))
    }

    pub(crate) fn now(&self) -> u64 {
        self.core.borrow().now
    }

    pub(crate) fn fill_entropy(&self, bytes: &mut [u8]) {
        let Ok(()) = self.core.borrow_mut().entropy.try_fill_bytes(bytes);
    }

    /// The next number of the running thread's server.
    pub(crate) fn draw_for_current_group(&self) -> u64 {
        let mut core = self.core.borrow_mut();
        let group = core.group_of(self.running.get());
        let drawn = core.groups.draw(group);
        core.record(DecisionKind::Draw, drawn, self.running.get());
        drawn
    }

    /// Runs `f` as a section without a switch point.
    pub(crate) fn pinned<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Unpin<'a>(&'a Cell<u32>);
        impl Drop for Unpin<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        self.pinned.set(self.pinned.get() + 1);
        let _unpin = Unpin(&self.pinned);
        f()
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned.get() > 0
    }

    /// A switch point: costs a little virtual time, and another thread may run here.
    ///
    /// In a thread of a crashed group this is where its unwinding begins.
    #[inline]
    pub(crate) fn point(&self, place: &'static Location<'static>) {
        let Some(me) = self.running.get() else { return };
        if self.is_pinned() {
            return;
        }
        let mut core = self.core.borrow_mut();
        core.steps += 1;
        self.pulse.beat(core.steps, core.now, place);
        let thread = core.threads.get_mut(me);
        thread.steps += 1;
        if thread.dying {
            drop(core);
            self.dying_point(me, place);
            return;
        }
        let (group, observer) = (thread.group, thread.observer);
        if core.groups.counts_down(group) {
            drop(core);
            self.crash(group);
            return;
        }
        match core.go_on(me, group, observer) {
            GoOn::Now => {}
            GoOn::AfterObservers => {
                drop(core);
                self.let_observers_look(me);
            }
            GoOn::WhenResumed => {
                drop(core);
                self.leave_cpu(me);
            }
        }
    }

    /// Suspends the running thread, which may be ended meanwhile.
    fn leave_cpu(&self, me: ThreadId) {
        self.suspend(me);
        self.raise_if_dying(me);
    }

    /// Runs the observers in the middle of the running thread: the way by the scheduler would cost
    /// as much as what they do. What they want of the scheduler comes before the thread goes on.
    fn let_observers_look(&self, me: ThreadId) {
        loop {
            let Some(observer) = self.core.borrow_mut().next_observer() else { break };
            self.resume(observer);
        }
        self.set_running(Some(me));
        self.pulse.enter(me);
        let mut core = self.core.borrow_mut();
        if core.needs_scheduler() {
            core.next = Some(me);
            drop(core);
            self.leave_cpu(me);
        }
    }

    /// Lets the others go first, if there are any.
    pub(crate) fn yield_now(&self, place: &'static Location<'static>) {
        if let Some(me) = self.running.get() {
            let mut core = self.core.borrow_mut();
            if !core.threads.get(me).observer {
                core.strategy.yielded(me);
            }
        }
        self.point(place);
    }

    /// Gives the CPU back to whoever resumed this thread. The caller has said in the core what is
    /// to become of it.
    #[inline]
    pub(crate) fn suspend(&self, me: ThreadId) {
        let suspender = self.core.borrow().threads.get(me).suspender;
        suspender.expect("a running thread has told how to suspend it").suspend();
    }

    /// What the run took so far.
    pub(crate) fn stats(&self) -> Stats {
        let core = self.core.borrow();
        Stats {
            time: std::time::Duration::from_nanos(core.now),
            steps: core.steps,
            switches: core.switches,
            threads: core.threads.spawned(),
            digest: core.recorder.digest(),
            leaked: core.leaked.clone(),
        }
    }
}

/// What becomes of the running thread at a switch point.
enum GoOn {
    Now,
    AfterObservers,
    /// It leaves the CPU; by whom it is found again has been arranged.
    WhenResumed,
}

impl Core {
    #[inline]
    fn go_on(&mut self, me: ThreadId, group: GroupId, observer: bool) -> GoOn {
        let suspends = match observer {
            true => self.must_suspend_observer(me),
            false => self.must_suspend(me, group),
        };
        match suspends {
            true => GoOn::WhenResumed,
            false if observer || self.observers.is_empty() => GoOn::Now,
            false => GoOn::AfterObservers,
        }
    }

    /// Whether the running thread `me` has to leave the CPU.
    #[inline]
    fn must_suspend(&mut self, me: ThreadId, group: GroupId) -> bool {
        self.now += STEP_COST_NS;
        if self.over || !self.crashes.is_empty() {
            self.next = Some(me);
            return true;
        }
        if self.groups.is_paused(group) {
            self.make_runnable(me);
            return true;
        }
        if self.steps > self.max_steps {
            self.fail(Failure::livelock(self, "steps"));
            return true;
        }
        if let Some(stall) = self.strategy.stall(me, self.now) {
            self.stall(me, stall);
            return true;
        }
        if self.wake_due_threads() {
            // A callback or a server's resumption is due, which only the scheduler can run: it
            // then chooses among all, this thread included.
            self.make_runnable(me);
            return true;
        }
        let next = self.pick_with(me);
        if next == me {
            return false;
        }
        self.threads.get_mut(me).state = State::Runnable;
        self.next = Some(next);
        true
    }

    /// The observer that goes first, unless the scheduler has to come before it.
    fn next_observer(&mut self) -> Option<ThreadId> {
        if self.needs_scheduler() { None } else { self.observers.pop_front() }
    }

    /// Whether something is due that only the scheduler can do.
    fn needs_scheduler(&self) -> bool {
        self.over || !self.crashes.is_empty() || self.timers.due(self.now).is_some()
    }

    /// An observer goes on as long as it likes, but not for ever: one that polls for what only an
    /// ordinary thread can bring about takes its turn among those.
    fn must_suspend_observer(&mut self, me: ThreadId) -> bool {
        let polls = self.threads.get(me).steps.is_multiple_of(OBSERVER_STEPS_MAX);
        if self.steps > self.max_steps {
            self.fail(Failure::livelock(self, "steps"));
        } else if polls {
            self.now += STEP_COST_NS;
            self.threads.get_mut(me).state = State::Runnable;
            self.runnable.push(me);
        }
        polls || self.over
    }

    /// The running thread leaves the CPU for what only the scheduler can do, and goes on then. An
    /// observer may not take the place of the thread that was chosen before it came.
    pub(super) fn come_back(&mut self, me: ThreadId) {
        if self.threads.get(me).observer {
            self.threads.get_mut(me).state = State::Runnable;
            self.observers.push_front(me);
        } else {
            self.next = Some(me);
        }
    }

    /// Chooses among the runnable threads and `me`; all but the chosen one are on the list then.
    fn pick_with(&mut self, me: ThreadId) -> ThreadId {
        if self.runnable.is_empty() {
            return me;
        }
        self.runnable.push(me);
        self.pick()
    }

    /// Chooses among the runnable threads (there is one) and takes it off the list.
    pub(super) fn pick(&mut self) -> ThreadId {
        if let [only] = self.runnable[..] {
            self.runnable.clear();
            return only;
        }
        let index = self.strategy.pick(&self.runnable);
        let picked = self.runnable.swap_remove(index);
        self.record(DecisionKind::Pick, u64::from(self.threads.get(picked).number), None);
        picked
    }

    /// Takes the CPU from `me`, or from its whole server, for a while.
    fn stall(&mut self, me: ThreadId, stall: Stall) {
        let length = match stall {
            Stall::Thread(length) | Stall::Server(length) => length.as_nanos() as u64,
        };
        self.record(DecisionKind::Stall, length, Some(me));
        let until = self.now + length;
        let group = self.threads.get(me).group;
        if matches!(stall, Stall::Server(_)) && self.groups.is_server(group) {
            self.pause_until(group, until);
            self.make_runnable(me);
        } else {
            let wait = self.threads.get_mut(me).begin_stall(until);
            self.timers.add(until, TimerAction::Wake { thread: me, wait }, true);
        }
    }

    /// Makes the threads runnable whose time has come. True if something else is due first.
    #[inline]
    pub(super) fn wake_due_threads(&mut self) -> bool {
        self.timers.due(self.now).is_some() && self.wake_those_due()
    }

    fn wake_those_due(&mut self) -> bool {
        while let Some(action) = self.timers.due(self.now) {
            let TimerAction::Wake { thread, wait } = *action else {
                return true;
            };
            self.timers.pop();
            self.time_out(thread, wait);
            self.timers.stale_is_gone();
        }
        false
    }

    /// Puts a thread where the scheduler finds it.
    pub(crate) fn make_runnable(&mut self, thread: ThreadId) {
        let (group, observer, dying) = {
            let thread = self.threads.get_mut(thread);
            thread.state = State::Runnable;
            (thread.group, thread.observer, thread.dying)
        };
        if dying {
            self.dying.push_back(thread);
        } else if self.groups.is_paused(group) {
            self.groups.park(group, thread);
        } else if observer {
            self.observers.push_back(thread);
        } else {
            self.runnable.push(thread);
        }
    }

    pub(crate) fn record(&mut self, kind: DecisionKind, value: u64, running: Option<ThreadId>) {
        let running = running.map(|thread| self.threads.get(thread));
        if running.is_some_and(|thread| thread.observer) {
            return;
        }
        self.recorder.record(kind, value, self.now, running.map_or(0, |thread| thread.number));
    }

    /// Notes the first thing that went wrong, and ends the run.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.over = true;
        self.failure.get_or_insert(failure);
    }

    pub(crate) fn group_of(&self, thread: Option<ThreadId>) -> GroupId {
        thread.map_or(GroupId::ROOT, |thread| self.threads.get(thread).group)
    }
}

impl World {
    /// One of `count` (above 1) alternatives, as the strategy would choose among threads.
    pub(crate) fn choose(&self, count: usize) -> usize {
        let mut core = self.core.borrow_mut();
        let drawn = core.groups.draw_choice(count as u64);
        core.record(DecisionKind::Draw, drawn, self.running.get());
        drawn as usize
    }
}
