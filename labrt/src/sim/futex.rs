//! The one way to wait, and the one way to wake: a deterministic futex.
//!
//! Everything that blocks in a simulated world waits on *keys*. A key is the small number that a
//! lock, a channel or a join handle gets at its first use in a world; addresses would not do, for
//! they differ between runs, and a freed one comes back as another object's.
//!
//! [`World::wait`] checks `still_blocked` and enqueues without a switch point in between, so a
//! wake-up cannot fall into the gap. Whoever is woken checks again: a wake-up is a hint, not a
//! promise. [`Core::wake`] lets the strategy choose *which* waiters go on.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

use super::decisions::DecisionKind;
use super::strategy::ThreadId;
use super::thread::{State, Wait};
use super::timers::TimerAction;
use super::world::{Core, World};

/// What threads wait on.
pub(crate) type Key = u32;

/// What a waiting thread waits for, as its report says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitFor {
    Lock,
    ReadLock,
    WriteLock,
    Notification,
    Message,
    Room,
    Select,
    Join,
    Time,
    Nothing,
}

impl WaitFor {
    /// Locks are waited for even by a thread that is being ended: its destructors need them.
    pub(super) fn is_lock(self) -> bool {
        matches!(self, Self::Lock | Self::ReadLock | Self::WriteLock)
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// It did not have to wait at all.
    Ready,
    /// Something woke it: check again.
    ByKey(Key),
    /// Its deadline passed.
    TimedOut,
    /// Its group has crashed: nothing is waited for any more.
    Dying,
}

/// The number of an object in the world it is used in: none until its first use there.
#[derive(Debug, Default)]
pub(crate) struct ObjectId(AtomicU64);

impl ObjectId {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The object's key in `world`.
    #[inline]
    pub(crate) fn key(&self, world: &World) -> Key {
        let id = self.0.load(Ordering::Relaxed);
        if (id >> 32) as u32 == world.serial {
            return id as u32;
        }
        let key = world.core.borrow_mut().objects.add();
        self.0.store(u64::from(world.serial) << 32 | u64::from(key), Ordering::Relaxed);
        key
    }

    /// The key, if the object has one in `world`: without it, nobody can be waiting.
    pub(super) fn known(&self, world: &World) -> Option<Key> {
        let id = self.0.load(Ordering::Relaxed);
        ((id >> 32) as u32 == world.serial).then_some(id as u32)
    }

    /// How many wait for this object; who was woken does so no more, though it has not run yet.
    pub(crate) fn waiters(&self, world: &World) -> usize {
        let key = self.known(world);
        key.map_or(0, |key| world.core.borrow().objects.get(key).waiters.len())
    }

    /// Wakes up to `count` of those who wait for this object.
    #[inline]
    pub(crate) fn wake(&self, world: &World, count: usize) {
        if let Some(key) = self.known(world) {
            world.core.borrow_mut().wake(key, count);
        }
    }
}

impl Drop for ObjectId {
    fn drop(&mut self) {
        let Some(world) = crate::raw::world() else {
            return;
        };
        if let Some(key) = self.known(&world) {
            world.core.borrow_mut().objects.remove(key);
        }
    }
}

/// Who holds a lock, and where it was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) thread: ThreadId,
    pub(crate) place: &'static Location<'static>,
}

#[derive(Default)]
pub(crate) struct Object {
    pub(super) waiters: Vec<ThreadId>,
    pub(crate) holder: Option<Holder>,
    /// Who shares it, once for each time.
    pub(crate) readers: Vec<Holder>,
    /// The thread whose turn it is to have this lock: see `lock.rs`.
    pub(super) heir: Option<ThreadId>,
}

/// The objects of a world by key. A dropped object's key is used again, so that a long run with
/// a channel per request does not grow.
#[derive(Default)]
pub(crate) struct Objects {
    by_key: Vec<Object>,
    free: Vec<Key>,
    /// Locks that have an heir.
    heirs: u32,
}

impl Objects {
    fn add(&mut self) -> Key {
        if let Some(key) = self.free.pop() {
            return key;
        }
        self.by_key.push(Object::default());
        Key::try_from(self.by_key.len() - 1).expect("a world has fewer than 2^32 objects")
    }

    fn remove(&mut self, key: Key) {
        let object = &mut self.by_key[key as usize];
        object.holder = None;
        object.readers.clear();
        self.heirs -= u32::from(object.heir.take().is_some());
        // With waiters left (a leaked thread's), the key is not used again.
        if object.waiters.is_empty() {
            self.free.push(key);
        }
    }

    pub(crate) fn get(&self, key: Key) -> &Object {
        &self.by_key[key as usize]
    }

    pub(super) fn get_mut(&mut self, key: Key) -> &mut Object {
        &mut self.by_key[key as usize]
    }

    /// Has a thread be the next to have a lock, unless another is.
    pub(super) fn make_heir(&mut self, key: Key, thread: ThreadId) {
        let object = &mut self.by_key[key as usize];
        self.heirs += u32::from(object.heir.is_none());
        object.heir.get_or_insert(thread);
    }

    /// A thread has a lock, or wants it no more; true if it was the heir.
    pub(super) fn disinherit(&mut self, key: Key, thread: ThreadId) -> bool {
        let heir = self.by_key[key as usize].heir.take_if(|heir| *heir == thread);
        self.heirs -= u32::from(heir.is_some());
        heir.is_some()
    }

    /// As [`Objects::disinherit`], for all locks.
    pub(super) fn disinherit_everywhere(&mut self, thread: ThreadId) {
        if self.heirs > 0 {
            for key in 0..self.by_key.len() as Key {
                self.disinherit(key, thread);
            }
        }
    }

    pub(crate) fn forget_waiter(&mut self, key: Key, thread: ThreadId) {
        let waiters = &mut self.by_key[key as usize].waiters;
        if waiters[..] == [thread] {
            waiters.clear();
        } else if let Some(index) = waiters.iter().position(|&waiter| waiter == thread) {
            waiters.remove(index);
        }
    }
}

impl World {
    /// Waits until one of `keys` is woken, or until virtual time `deadline`, unless
    /// `still_blocked` says that there is nothing to wait for.
    pub(crate) fn wait(
        &self,
        keys: &[Key],
        deadline: Option<u64>,
        what: WaitFor,
        place: &'static Location<'static>,
        still_blocked: impl FnOnce() -> bool,
    ) -> Woken {
        let me = self.me("a blocking call");
        assert!(!self.is_pinned(), "a blocking call at {place} inside a section without switches");
        if self.core.borrow().threads.get(me).dying && !what.is_lock() {
            return Woken::Dying;
        }
        if !still_blocked() {
            return Woken::Ready;
        }
        let mut core = self.core.borrow_mut();
        if deadline.is_some_and(|deadline| deadline <= core.now) {
            return Woken::TimedOut;
        }
        core.enqueue(me, Wait { what, place, deadline }, keys);
        drop(core);
        self.suspend(me);
        let mut core = self.core.borrow_mut();
        std::mem::replace(&mut core.threads.get_mut(me).woken, Woken::Ready)
    }
}

impl Core {
    fn enqueue(&mut self, me: ThreadId, wait: Wait, keys: &[Key]) {
        for &key in keys {
            self.objects.by_key[key as usize].waiters.push(me);
        }
        let thread = self.threads.get_mut(me);
        if thread.observer {
            // It does not poll: see `must_suspend_observer`.
            thread.steps = 0;
        }
        let number = thread.begin_wait(wait, keys);
        let awaited = !thread.observer;
        if let Some(at) = wait.deadline {
            self.timers.add(at, TimerAction::Wake { thread: me, wait: number }, awaited);
            self.record(DecisionKind::Wait, at, Some(me));
        }
    }

    /// Wakes up to `count` of the threads that wait on `key`; the strategy chooses which.
    /// Observers come last: they must not take a wake-up from anybody.
    #[inline]
    pub(crate) fn wake(&mut self, key: Key, count: usize) {
        if !self.objects.get(key).waiters.is_empty() {
            self.wake_some(key, count);
        }
    }

    fn wake_some(&mut self, key: Key, count: usize) {
        if count >= self.objects.get(key).waiters.len() {
            return self.wake_all(key);
        }
        for _ in 0..count {
            let waiters = &self.objects.by_key[key as usize].waiters;
            let Some(thread) = self.choose_waiter(waiters.len(), key) else {
                return;
            };
            self.end_wait(thread, Woken::ByKey(key));
        }
    }

    /// Wakes all: nothing is to be chosen, for which of them runs first is seen later.
    fn wake_all(&mut self, key: Key) {
        while let Some(&first) = self.objects.get(key).waiters.first() {
            self.end_wait(first, Woken::ByKey(key));
        }
    }

    fn choose_waiter(&mut self, waiters: usize, key: Key) -> Option<ThreadId> {
        let list = &self.objects.by_key[key as usize].waiters;
        if waiters <= 1 {
            return list.first().copied();
        }
        let threads = &self.threads;
        let ordinary = |thread: &ThreadId| !threads.get(*thread).observer;
        let candidates: Vec<ThreadId> = list.iter().copied().filter(ordinary).collect();
        match candidates.len() {
            0 => list.first().copied(),
            1 => Some(candidates[0]),
            _ => {
                let chosen = candidates[self.strategy.pick_waiter(&candidates)];
                self.record(DecisionKind::Wake, u64::from(self.threads.get(chosen).number), None);
                Some(chosen)
            }
        }
    }

    /// Takes a thread out of everything it waits on, and makes it runnable.
    pub(crate) fn end_wait(&mut self, thread: ThreadId, woken: Woken) {
        self.leave_queues(thread);
        self.threads.get_mut(thread).woken = woken;
        self.make_runnable(thread);
    }

    /// Takes a thread out of every queue, and its deadline out of the count.
    pub(crate) fn leave_queues(&mut self, id: ThreadId) {
        let thread = self.threads.get_mut(id);
        let timed = thread.wait.deadline.take().is_some();
        let awaited = timed && !thread.observer;
        thread.wait_number += 1;
        for key in thread.keys.drain(..) {
            self.objects.forget_waiter(key, id);
        }
        if awaited {
            self.timers.disarm();
        }
        if timed {
            let threads = &self.threads;
            self.timers.forsake(|action| threads.is_stale(action));
        }
    }

    /// A deadline passed: the thread goes on, if that was the deadline of its present wait.
    pub(crate) fn time_out(&mut self, thread: ThreadId, wait: u64) {
        let waits = self.threads.get(thread).wait_number == wait;
        if waits && self.threads.get(thread).state == State::Waiting {
            self.end_wait(thread, Woken::TimedOut);
        }
    }
}
