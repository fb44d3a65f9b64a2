//! Simulated threads: their table, their life, and how one is ended from outside.
//!
//! A thread is ended by unwinding it. It is resumed with the mark `dying`, and the call into this
//! crate in which it was waiting raises a panic with [`Kill`] as its payload; destructors run as
//! in any unwinding. Two things can go wrong, and are dealt with here:
//!
//! * Code may swallow the unwinding (`catch_unwind` in a loop). When the payload is dropped, the
//!   next call raises it again.
//! * A destructor that runs because of the unwinding must not be made to panic itself, for that
//!   aborts the process. So nothing is raised while the thread unwinds. `std::thread::panicking`
//!   counts per OS thread and may speak of another coroutine, so each thread also keeps a mark of
//!   its own.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::decisions::DecisionKind;
use super::futex::{Key, ObjectId, WaitFor, Woken};
use super::group::GroupId;
use super::report::Failure;
use super::stacks::Stacks;
use super::strategy::ThreadId;
use super::timers::TimerAction;
use super::world::{Core, World};
use crate::raw::{self, Fiber, Suspender, WorldCell};

/// Calls that a thread may make while it is being ended, before it is given up as leaked.
const DYING_STEPS_MAX: u32 = 100_000;

/// Above the numbers of all other threads.
const OBSERVER_NUMBERS: u32 = 1 << 31;

/// Where a thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Runnable,
    Running,
    Waiting,
    /// It cannot be ended; its stack stays for ever.
    Leaked,
    /// The slot is free.
    Finished,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) what: WaitFor,
    pub(crate) place: &'static Location<'static>,
    pub(crate) deadline: Option<u64>,
}

/// What a thread is called in reports; put into words only when there is one.
#[derive(Debug)]
pub(crate) struct Label {
    group: Arc<str>,
    name: Option<String>,
    number: u32,
    spawned_at: &'static Location<'static>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, name, number, spawned_at } = self;
        match name {
            Some(name) => write!(f, "{group}/{name}"),
            None => {
                let (file, line) = (spawned_at.file(), spawned_at.line());
                write!(f, "{group}/thread-{number} (spawned at {file}:{line})")
            }
        }
    }
}

/// The labels of a world's threads, by slot. Apart from the threads, so that the watchdog can read
/// the name of one that is stuck.
#[derive(Debug, Default)]
pub(crate) struct Labels(Mutex<Vec<Label>>);

impl Labels {
    fn set(&self, id: ThreadId, label: Label) {
        let mut labels = self.0.lock();
        // Slots are given out one after the other.
        match labels.get_mut(id as usize) {
            Some(before) => *before = label,
            None => labels.push(label),
        }
    }

    pub(super) fn name(&self, id: ThreadId) -> String {
        self.0.lock().get(id as usize).map(ToString::to_string).unwrap_or_default()
    }
}

/// One simulated thread.
pub(crate) struct Thread {
    /// Counts spawns: the same thread has the same number in every replay.
    pub(crate) number: u32,
    pub(crate) group: GroupId,
    pub(crate) state: State,
    pub(crate) wait: Wait,
    /// While it waits for a lock: since when, not counting wake-ups in vain.
    pub(super) wants_lock_since: u64,
    /// Tells this wait from earlier ones, for timers that come late.
    pub(crate) wait_number: u64,
    pub(crate) keys: Vec<Key>,
    pub(crate) woken: Woken,
    pub(crate) observer: bool,
    pub(crate) steps: u64,
    pub(crate) dying: bool,
    dying_steps: u32,
    /// A panic of this thread's own is, or was, under way.
    unwinding: bool,
    pub(crate) panic_note: Option<String>,
    fiber: Option<Fiber>,
    pub(crate) suspender: Option<Suspender>,
}

/// All threads of a world, by slot.
#[derive(Default)]
pub(crate) struct Threads {
    slots: Vec<Thread>,
    free: Vec<ThreadId>,
    spawned: u32,
    observers: u32,
    stacks: Stacks,
    pub(super) labels: Arc<Labels>,
}

/// What a thread is to be.
pub(crate) struct NewThread {
    pub(crate) name: Option<String>,
    pub(crate) group: GroupId,
    pub(crate) observer: bool,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Thread {
    fn new(number: u32, group: GroupId, observer: bool, place: &'static Location<'static>) -> Self {
        Self {
            number,
            group,
            state: State::Runnable,
            wait: Wait { what: WaitFor::Nothing, place, deadline: None },
            wants_lock_since: 0,
            wait_number: 0,
            keys: Vec::new(),
            woken: Woken::Ready,
            observer,
            steps: 0,
            dying: false,
            dying_steps: 0,
            unwinding: false,
            panic_note: None,
            fiber: None,
            suspender: None,
        }
    }

    pub(super) fn begin_wait(&mut self, wait: Wait, keys: &[Key]) -> u64 {
        self.state = State::Waiting;
        self.wait = wait;
        self.wait_number += 1;
        keys.iter().for_each(|&key| self.keys.push(key));
        self.wait_number
    }

    /// The thread loses the CPU though it waits for nothing.
    pub(super) fn begin_stall(&mut self, until: u64) -> u64 {
        let place = self.wait.place;
        self.begin_wait(Wait { what: WaitFor::Nothing, place, deadline: Some(until) }, &[])
    }

    /// Whether this thread is in the middle of a panic. Only to be asked by the thread itself.
    fn is_unwinding(&mut self) -> bool {
        self.unwinding = self.unwinding && std::thread::panicking();
        self.unwinding
    }

    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, State::Leaked | State::Finished)
    }
}

impl Threads {
    #[inline]
    pub(crate) fn get(&self, id: ThreadId) -> &Thread {
        &self.slots[id as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ThreadId) -> &mut Thread {
        &mut self.slots[id as usize]
    }

    fn add(&mut self, new: NewThread, group_name: &Arc<str>) -> ThreadId {
        let NewThread { name, group, observer, spawned_at } = new;
        let number = self.next_number(observer);
        let label = Label { group: Arc::clone(group_name), name, number, spawned_at };
        let thread = Thread::new(number, group, observer, spawned_at);
        let id = self.put(thread);
        self.labels.set(id, label);
        id
    }

    /// Puts a thread into a free slot.
    fn put(&mut self, thread: Thread) -> ThreadId {
        if let Some(id) = self.free.pop() {
            let before = std::mem::replace(self.get_mut(id), thread);
            // Timers of the thread that had the slot before are none of this one's.
            self.get_mut(id).wait_number = before.wait_number + 1;
            self.get_mut(id).keys = before.keys;
            return id;
        }
        self.slots.push(thread);
        ThreadId::try_from(self.slots.len() - 1).expect("a world has fewer than 2^32 threads")
    }

    /// Observers are numbered apart: they must not shift the numbers of the others.
    fn next_number(&mut self, observer: bool) -> u32 {
        if observer {
            self.observers += 1;
            return OBSERVER_NUMBERS + self.observers;
        }
        self.spawned += 1;
        self.spawned
    }

    pub(crate) fn spawned(&self) -> u64 {
        u64::from(self.spawned)
    }

    /// Each thread's name by its number, as far as their slots still tell.
    pub(crate) fn names_by_number(
        &self,
        name: impl Fn(ThreadId) -> String,
    ) -> BTreeMap<u32, String> {
        (0..).zip(&self.slots).map(|(id, thread)| (thread.number, name(id))).collect()
    }

    /// Whether nobody waits for this timer any more.
    pub(super) fn is_stale(&self, action: &TimerAction) -> bool {
        match action {
            TimerAction::Wake { thread, wait } => self.get(*thread).wait_number != *wait,
            TimerAction::Resume { .. } | TimerAction::Call(_) => false,
        }
    }

    /// The threads that have not ended, by slot.
    pub(crate) fn alive(&self) -> impl Iterator<Item = (ThreadId, &Thread)> {
        (0..).zip(&self.slots).filter(|(_, thread)| thread.is_alive())
    }
}

/// The payload of the panic that ends a thread. Dropping it means that somebody caught it.
struct Kill {
    world: u32,
    thread: ThreadId,
    /// The slot may be another thread's by the time somebody drops a payload that he kept.
    number: u32,
}

impl Drop for Kill {
    fn drop(&mut self) {
        let Some(world) = raw::world() else { return };
        if world.serial != self.world {
            return;
        }
        if let Ok(mut core) = world.core.try_borrow_mut() {
            let thread = core.threads.get_mut(self.thread);
            thread.unwinding &= thread.number != self.number;
        }
    }
}

/// What joining a thread that was ended from outside gives as its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed;

/// Where a thread's result waits for whoever joins it.
pub(crate) struct Packet<T> {
    result: WorldCell<Option<std::thread::Result<T>>>,
    finished: ObjectId,
}

impl<T> Packet<T> {
    fn put(&self, world: &World, result: std::thread::Result<T>) {
        self.result.with(|slot| *slot = Some(result));
        self.finished.wake(world, usize::MAX);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.result.with(|result| result.is_some()).unwrap_or(false)
    }
}

impl World {
    /// Makes a thread. It runs when the scheduler picks it.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        new: NewThread,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Arc<Packet<T>> {
        let packet = Arc::new(Packet { result: WorldCell::new(None), finished: ObjectId::new() });
        let theirs = Arc::clone(&packet);
        let id = self.core.borrow_mut().add_thread(new, self.running());
        let stack = self.core.borrow_mut().threads.stacks.take();
        let fiber = Fiber::new(stack, move |suspender| {
            let world = raw::world().expect("a simulated thread runs inside its world");
            world.core.borrow_mut().threads.get_mut(id).suspender = Some(suspender);
            world.run_body(id, body, &theirs);
        });
        let mut core = self.core.borrow_mut();
        core.threads.get_mut(id).fiber = Some(fiber);
        core.make_runnable(id);
        packet
    }

    fn run_body<T>(&self, id: ThreadId, body: impl FnOnce() -> T, packet: &Packet<T>) {
        let dying = self.core.borrow().threads.get(id).dying;
        let result = catch_unwind(AssertUnwindSafe(move || {
            if dying {
                // It was ended before it began: only what the closure owns has to go.
                drop(body);
                self.raise(id);
            }
            body()
        }));
        let result = result.map_err(|payload| self.thread_panicked(id, payload));
        packet.put(self, result);
    }

    /// A thread's panic fails the run, unless the panic is what ends the thread.
    fn thread_panicked(&self, id: ThreadId, payload: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
        let dying = self.core.borrow().threads.get(id).dying;
        if dying || payload.is::<Kill>() {
            drop(payload);
            return Box::new(Killed);
        }
        let mut core = self.core.borrow_mut();
        let note = core.threads.get_mut(id).panic_note.take();
        let failure = Failure::panic(&core, id, note.unwrap_or_else(|| "a panic".to_string()));
        core.fail(failure);
        payload
    }

    /// Called by the panic hook, on the panicking thread. False if nobody will tell this panic:
    /// it is the scheduler's own, or the second one of a thread that unwinds already, which will
    /// abort the process.
    pub(crate) fn note_panic(&self, note: String) -> bool {
        let Ok(mut core) = self.core.try_borrow_mut() else {
            return false;
        };
        let Some(me) = self.running() else {
            core.callback_panic = Some(note);
            return self.is_pinned();
        };
        let thread = core.threads.get_mut(me);
        thread.panic_note = Some(note);
        !std::mem::replace(&mut thread.unwinding, true)
    }

    /// Waits for a thread's end and takes its result.
    pub(crate) fn join<T>(
        &self,
        packet: &Packet<T>,
        place: &'static Location<'static>,
    ) -> std::thread::Result<T> {
        self.point(place);
        let key = packet.finished.key(self);
        loop {
            if let Some(result) = packet.result.with(Option::take).flatten() {
                return result;
            }
            let blocked = || !packet.is_finished();
            if self.wait(&[key], None, WaitFor::Join, place, blocked) == Woken::Dying {
                self.raise_if_dying(self.me("join"));
                return Err(Box::new(Killed));
            }
        }
    }

    /// Resumes a thread until it suspends or ends.
    pub(super) fn resume(&self, id: ThreadId) {
        let mut fiber = {
            let mut core = self.core.borrow_mut();
            core.switches += 1;
            let thread = core.threads.get_mut(id);
            thread.state = State::Running;
            thread.fiber.take().expect("a thread that is resumed has a stack")
        };
        self.set_running(Some(id));
        self.pulse.enter(id);
        let ended = fiber.resume();
        self.pulse.leave();
        self.set_running(None);
        let mut core = self.core.borrow_mut();
        if ended {
            core.retire(id);
            core.threads.stacks.give_back(fiber.into_stack());
        } else {
            let thread = core.threads.get_mut(id);
            thread.fiber = Some(fiber);
            // A panic that it has caught by now.
            thread.is_unwinding();
        }
    }

    /// Whether the running thread is being ended: then it is in a destructor.
    pub(crate) fn is_ending(&self) -> bool {
        self.running().is_some_and(|me| self.core.borrow().threads.get(me).dying)
    }

    /// Begins, or begins again, the unwinding of the running thread if its group has crashed.
    #[inline]
    pub(crate) fn raise_if_dying(&self, me: ThreadId) {
        if self.core.borrow().threads.get(me).dying {
            self.raise_unless_unwinding(me);
        }
    }

    #[cold]
    fn raise_unless_unwinding(&self, me: ThreadId) {
        let mut core = self.core.borrow_mut();
        let thread = core.threads.get_mut(me);
        if !thread.is_unwinding() {
            thread.unwinding = true;
            drop(core);
            self.raise(me);
        }
    }

    /// Inlined, for each frame costs time in every unwinding.
    #[inline(always)]
    fn raise(&self, thread: ThreadId) -> ! {
        let number = self.core.borrow().threads.get(thread).number;
        resume_unwind(Box::new(Kill { world: self.serial, thread, number }))
    }

    /// A call into this crate by a thread that is being ended.
    #[cold]
    pub(super) fn dying_point(&self, me: ThreadId, place: &'static Location<'static>) {
        let steps = {
            let mut core = self.core.borrow_mut();
            let thread = core.threads.get_mut(me);
            thread.dying_steps += 1;
            thread.dying_steps
        };
        if steps > DYING_STEPS_MAX {
            // Nobody resumes it: the kill loop finds it suspended and counts it as leaked.
            let mut core = self.core.borrow_mut();
            let thread = core.threads.get_mut(me);
            thread.state = State::Waiting;
            thread.wait = Wait { what: WaitFor::Nothing, place, deadline: None };
            drop(core);
            self.suspend(me);
        }
        self.raise_if_dying(me);
    }
}

impl Core {
    fn add_thread(&mut self, new: NewThread, spawner: Option<ThreadId>) -> ThreadId {
        let (group, observer) = (new.group, new.observer);
        let id = self.threads.add(new, self.groups.name(group));
        if !self.groups.is_alive(group) {
            self.threads.get_mut(id).dying = true;
            self.crashes.push(group);
        }
        if !observer {
            self.strategy.spawned(id);
            let number = self.threads.get(id).number;
            self.record(DecisionKind::Spawn, u64::from(number), spawner);
        }
        id
    }

    fn retire(&mut self, id: ThreadId) {
        let thread = self.threads.get_mut(id);
        thread.state = State::Finished;
        thread.suspender = None;
        self.threads.free.push(id);
    }

    /// Marks a thread as dying and takes it out of wherever it waits. Gives the key of a wake-up
    /// that it got and has not acted upon: the wake-up is another waiter's now.
    pub(super) fn condemn(&mut self, id: ThreadId) -> Option<Key> {
        let unused = match self.threads.get(id) {
            Thread { state: State::Runnable, woken: Woken::ByKey(key), .. } => Some(*key),
            _ => None,
        };
        self.objects.disinherit_everywhere(id);
        self.leave_queues(id);
        self.runnable.retain(|&other| other != id);
        self.observers.retain(|&other| other != id);
        self.dying.retain(|&other| other != id);
        self.next = self.next.filter(|&other| other != id);
        let thread = self.threads.get_mut(id);
        thread.dying = true;
        thread.woken = Woken::Dying;
        self.make_runnable(id);
        unused
    }

    /// Gives a thread up that cannot be ended, and says which.
    pub(super) fn leak(&mut self, id: ThreadId) {
        let (name, place) = (self.thread_name(id), self.threads.get(id).wait.place);
        self.leave_queues(id);
        let thread = self.threads.get_mut(id);
        thread.state = State::Leaked;
        // Dropping a coroutine that has started would unwind it by force, and a destructor that
        // blocks would then abort the process: its stack stays where it is.
        std::mem::forget(thread.fiber.take());
        self.leaked.push(format!("{name} at {place}"));
    }
}
