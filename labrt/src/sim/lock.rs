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

/// Cycles of more locks than this are told only when nothing else moves any more.
const CYCLE_MAX: usize = 64;

impl World {
    /// Acquires a lock: `try_acquire` until it gives something, waiting on `id` in between.
    /// Locks record their holders, and a cycle of holders is a deadlock.
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
                self.refuse_cycle(key, what, place);
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
            self.refuse_cycle(key, WaitFor::Lock, place);
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

    /// The running thread has a lock: records it as the holder, or as one of the readers.
    #[inline]
    pub(crate) fn note_holder(&self, id: &ObjectId, what: WaitFor, at: &'static Location<'static>) {
        let (key, Some(me)) = (id.key(self), self.running()) else { return };
        let mut core = self.core.borrow_mut();
        let was_heir = core.objects.disinherit(key, me);
        let holder = Holder { thread: me, place: at };
        if what != WaitFor::ReadLock {
            core.objects.get_mut(key).holder = Some(holder);
            return;
        }
        core.objects.get_mut(key).readers.push(holder);
        if was_heir {
            // The others were only kept out by this one: they may share the lock.
            core.wake(key, usize::MAX);
        }
    }

    /// The running thread released a lock: `count` waiters may try again. So may all
    /// observers: they have it and are done before anybody else moves, however many others want it.
    #[inline]
    pub(crate) fn release(&self, id: &ObjectId, count: usize) {
        let Some(key) = id.known(self) else { return };
        let me = self.running();
        let mut core = self.core.borrow_mut();
        let object = core.objects.get_mut(key);
        object.holder = None;
        if let Some(mine) = object.readers.iter().position(|reader| Some(reader.thread) == me) {
            object.readers.swap_remove(mine);
        }
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
    fn refuse_cycle(&self, key: Key, what: WaitFor, place: &'static Location<'static>) {
        let me = self.me("a lock");
        let mut core = self.core.borrow_mut();
        if core.threads.get(me).dying {
            return;
        }
        let mut cycle = Vec::new();
        if !core.closes_cycle(me, what, key, &mut cycle) {
            return;
        }
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

    /// Whether `me`, waiting for `key`, would wait for itself; through whom is then in `path`. A
    /// writer waits for all readers. A reader may wait for others, too, whose turn it is; but they
    /// need not be waiting for a writer, and so that is no circle.
    fn closes_cycle(
        &self,
        me: ThreadId,
        what: WaitFor,
        key: Key,
        path: &mut Vec<(Key, Holder)>,
    ) -> bool {
        let object = self.objects.get(key);
        let readers = if what == WaitFor::WriteLock { &object.readers[..] } else { &[] };
        for &holder in object.holder.iter().chain(readers) {
            path.push((key, holder));
            if holder.thread == me {
                return true;
            }
            if let Some((what, key)) = self.lock_waited_for(holder.thread)
                && path.len() < CYCLE_MAX
                && self.closes_cycle(me, what, key, path)
            {
                return true;
            }
            path.pop();
        }
        false
    }

    /// The lock for which a thread waits, for however long it takes.
    fn lock_waited_for(&self, thread: ThreadId) -> Option<(WaitFor, Key)> {
        let thread = self.threads.get(thread);
        let what = thread.wait.what;
        let is_stuck = thread.state == State::Waiting && thread.wait.deadline.is_none();
        (is_stuck && what.is_lock()).then_some((what, *thread.keys.first()?))
    }
}
