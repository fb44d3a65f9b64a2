//! Locks: who holds them, who may have them next, and cycles of holders.
//!
//! Which waiter goes on when a lock is released is the strategy's choice, and whoever runs may take
//! a lock before the waiter that was woken does. So it is with real locks, but not for ever:
//! parking_lot hands a lock over once somebody has waited for about half a millisecond. Without
//! that a schedule can keep a thread from a lock for seconds, which no machine does. Here whoever
//! has waited for [`OVERTAKEN_MAX_NS`] when a lock is released is that lock's *heir*: everybody
//! else but observers waits until it had it.

use std::panic::Location;

use super::futex::{Holder, Key, ObjectId, WaitFor, Woken};
use super::report::Failure;
use super::strategy::ThreadId;
use super::thread::State;
use super::world::{Core, World};

/// A thread that has waited longer for a lock is overtaken no more.
const OVERTAKEN_MAX_NS: u64 = 1_000_000;

impl World {
    /// Acquires a lock: `try_acquire` until it gives something, waiting on `id` in between.
    /// `exclusive` locks record their holder, and a cycle of holders is a deadlock.
    pub(crate) fn acquire<G>(
        &self,
        id: &ObjectId,
        what: WaitFor,
        deadline: Option<u64>,
        place: &'static Location<'static>,
        mut try_acquire: impl FnMut() -> Option<G>,
    ) -> Option<G> {
        let mut wanted_since = None;
        loop {
            if let Some(guard) = self.is_my_turn(id).then(&mut try_acquire).flatten() {
                self.note_holder(id, what, place);
                return Some(guard);
            }
            let key = id.key(self);
            self.note_want(&mut wanted_since);
            if deadline.is_none() {
                self.refuse_cycle(key, place);
                self.raise_if_dying(self.me("a lock"));
            }
            match self.wait(&[key], deadline, what, place, || true) {
                Woken::TimedOut => {
                    self.give_up_turn(key);
                    return None;
                }
                // Whoever waits for another server's lock need not have it to be ended. In a
                // destructor nothing is raised, and the wait goes on.
                Woken::Dying => self.raise_if_dying(self.me("a lock")),
                Woken::Ready | Woken::ByKey(_) => {}
            }
        }
    }

    /// Waits until `is_free`, without raising anything meanwhile.
    pub(crate) fn wait_until_free(
        &self,
        id: &ObjectId,
        place: &'static Location<'static>,
        is_free: impl Fn() -> bool,
    ) {
        let mut wanted_since = None;
        while !(self.is_my_turn(id) && is_free()) {
            let key = id.key(self);
            self.note_want(&mut wanted_since);
            self.refuse_cycle(key, place);
            self.wait(&[key], None, WaitFor::Lock, place, || true);
        }
    }

    /// Whether no other thread is to have the lock first.
    #[inline]
    fn is_my_turn(&self, id: &ObjectId) -> bool {
        let (Some(key), Some(me)) = (id.known(self), self.running()) else { return true };
        let core = self.core.borrow();
        let heir = core.objects.get(key).heir;
        heir.is_none_or(|heir| heir == me || core.threads.get(me).observer)
    }

    /// The running thread is about to wait for a lock, perhaps not for the first time.
    fn note_want(&self, wanted_since: &mut Option<u64>) {
        let me = self.me("a lock");
        let mut core = self.core.borrow_mut();
        let now = core.now;
        core.threads.get_mut(me).wants_lock_since = *wanted_since.get_or_insert(now);
    }

    /// The running thread does not want a lock any more.
    fn give_up_turn(&self, key: Key) {
        let me = self.me("a lock");
        let mut core = self.core.borrow_mut();
        if core.objects.disinherit(key, me) {
            core.wake(key, 1);
        }
    }

    /// The running thread has a lock: records it as the holder (shared ones have no single one).
    #[inline]
    pub(crate) fn note_holder(&self, id: &ObjectId, what: WaitFor, at: &'static Location<'static>) {
        let (key, Some(me)) = (id.key(self), self.running()) else { return };
        let mut core = self.core.borrow_mut();
        let was_heir = core.objects.disinherit(key, me);
        if what != WaitFor::ReadLock {
            core.objects.get_mut(key).holder = Some(Holder { thread: me, place: at });
        } else if was_heir {
            // The others were only kept out by this one: they may share the lock.
            core.wake(key, usize::MAX);
        }
    }

    /// A lock was released: it has no holder, and `count` waiters may try again. So may all
    /// observers: they have it and are done before anybody else moves, however many others want it.
    #[inline]
    pub(crate) fn release(&self, id: &ObjectId, count: usize) {
        let Some(key) = id.known(self) else { return };
        let mut core = self.core.borrow_mut();
        let object = core.objects.get_mut(key);
        object.holder = None;
        // The usual case: nobody wants it.
        if object.heir.is_none() && object.waiters.is_empty() {
            return;
        }
        let heir = object.heir.or_else(|| core.longest_overtaken(key));
        match heir {
            Some(heir) => core.wake_heir(key, heir),
            None => core.wake(key, count),
        }
        core.wake_observers(key);
    }

    /// Fails the run if waiting for `key` would close a cycle of locks.
    fn refuse_cycle(&self, key: Key, place: &'static Location<'static>) {
        let me = self.me("a lock");
        let mut core = self.core.borrow_mut();
        if core.threads.get(me).dying {
            return;
        }
        let Some(cycle) = core.lock_cycle(me, key) else {
            return;
        };
        let failure = Failure::lock_cycle(&core, me, place, &cycle);
        core.fail(failure);
        core.next = Some(me);
        drop(core);
        self.suspend(me);
    }
}

impl Core {
    /// An heir that does not wait is awake already, or finds the lock taken once more and waits
    /// then.
    fn wake_heir(&mut self, key: Key, heir: ThreadId) {
        self.objects.make_heir(key, heir);
        if self.objects.get(key).waiters.contains(&heir) {
            self.end_wait(heir, Woken::ByKey(key));
        }
    }

    /// Of those that wait for a lock, the one that has been overtaken for too long.
    fn longest_overtaken(&self, key: Key) -> Option<ThreadId> {
        let waiters = self.objects.get(key).waiters.iter().copied();
        let ordinary = waiters.filter(|&thread| !self.threads.get(thread).observer);
        let since = |&thread: &ThreadId| self.threads.get(thread).wants_lock_since;
        let longest = ordinary.min_by_key(since)?;
        (self.now - since(&longest) > OVERTAKEN_MAX_NS).then_some(longest)
    }

    fn wake_observers(&mut self, key: Key) {
        let is_observer = |&thread: &ThreadId| self.threads.get(thread).observer;
        let waiters = self.objects.get(key).waiters.iter().copied();
        let observers: Vec<ThreadId> = waiters.filter(is_observer).collect();
        for observer in observers {
            self.end_wait(observer, Woken::ByKey(key));
        }
    }

    /// The threads through which `me`, waiting for `key`, would wait for itself.
    fn lock_cycle(&self, me: ThreadId, key: Key) -> Option<Vec<(Key, Holder)>> {
        let mut cycle = Vec::new();
        let mut key = key;
        loop {
            let holder = self.objects.get(key).holder?;
            cycle.push((key, holder));
            if holder.thread == me {
                return Some(cycle);
            }
            let thread = self.threads.get(holder.thread);
            let stuck = thread.state == State::Waiting && thread.wait.deadline.is_none();
            if !stuck || !thread.wait.what.is_lock() || cycle.len() > 1_000 {
                return None;
            }
            key = *thread.keys.first()?;
        }
    }
}
