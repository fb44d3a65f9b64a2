//! Waiting for a condition on what a [`Mutex`](super::Mutex) protects.

use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::mutex::{Mutex, MutexGuard};
use crate::os;
use crate::raw::{self, Mode};
use crate::sim::futex::{ObjectId, WaitFor, Woken};
use crate::time::{self, Instant};

/// A condition variable; see [`parking_lot::Condvar`]. A wait may end without a notification, so
/// check the condition in a loop.
#[derive(Debug, Default)]
pub struct Condvar {
    id: ObjectId,
    inner: parking_lot::Condvar,
    /// Notifications on OS threads so far.
    notified: AtomicU64,
}

/// Whether a wait ended by its time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// True if the wait ended by its time-out.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition variable that nobody waits for.
    pub const fn new() -> Self {
        Self {
            id: ObjectId::new(),
            inner: parking_lot::Condvar::new(),
            notified: AtomicU64::new(0),
        }
    }

    /// Wakes one of those who wait.
    #[track_caller]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all who wait.
    #[track_caller]
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    #[track_caller]
    fn notify(&self, count: usize) {
        if let Some(world) = raw::world() {
            world.point(Location::caller());
            self.id.wake(&world, count);
            return;
        }
        self.notified.fetch_add(1, Ordering::Release);
        if count == 1 {
            self.inner.notify_one();
        } else {
            self.inner.notify_all();
        }
    }

    /// Releases the lock, waits for a notification, and takes the lock again.
    #[track_caller]
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        let place = Location::caller();
        match raw::mode() {
            Mode::Plain => self.inner.wait(&mut guard.inner),
            Mode::Grouped => {
                self.wait_as_member(guard, None, place);
            }
            Mode::Sim => {
                self.wait_in_sim(guard, None, place);
                raise_if_dying();
            }
        }
    }

    /// As [`Condvar::wait`], for the outermost loop of a thread: false if the thread's server has
    /// crashed, and then the thread must return. In a simulated world it is not unwound then, which
    /// is the same for whoever looks on, and costs far less.
    #[must_use]
    #[track_caller]
    pub fn wait_or_end<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) -> bool {
        match raw::mode() {
            Mode::Sim => self.wait_in_sim(guard, None, Location::caller()) != Woken::Dying,
            _ => {
                self.wait(guard);
                true
            }
        }
    }

    /// As [`Condvar::wait_or_end`], until `deadline` at the latest.
    #[must_use]
    #[track_caller]
    pub fn wait_until_or_end<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> bool {
        match raw::mode() {
            Mode::Sim => {
                let left = deadline.duration_since(Instant::now());
                let place = Location::caller();
                self.wait_in_sim(guard, time::sim_deadline(left), place) != Woken::Dying
            }
            _ => {
                self.wait_until(guard, deadline);
                true
            }
        }
    }

    /// As [`Condvar::wait`], for at most `timeout`.
    #[track_caller]
    pub fn wait_for<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        let place = Location::caller();
        WaitTimeoutResult(match raw::mode() {
            Mode::Plain => self.inner.wait_for(&mut guard.inner, timeout).timed_out(),
            Mode::Grouped => !self.wait_as_member(guard, Some(timeout), place),
            Mode::Sim => {
                let woken = self.wait_in_sim(guard, time::sim_deadline(timeout), place);
                raise_if_dying();
                // A thread that is being ended waits no more: its time is over.
                matches!(woken, Woken::TimedOut | Woken::Dying)
            }
        })
    }

    /// As [`Condvar::wait`], until `deadline` at the latest.
    #[track_caller]
    pub fn wait_until<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        let left = deadline.duration_since(Instant::now());
        self.wait_for(guard, left)
    }

    /// As [`Condvar::wait`], as long as `condition` holds.
    #[track_caller]
    pub fn wait_while<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) {
        while condition(&mut **guard) {
            self.wait(guard);
        }
    }

    /// On a server's OS thread: true if there was a notification.
    fn wait_as_member<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Option<Duration>,
        place: &'static Location<'static>,
    ) -> bool {
        let before = self.notified.load(Ordering::Acquire);
        os::group::wait_on(place, timeout, |slice| {
            let timed_out = self.inner.wait_for(&mut guard.inner, slice).timed_out();
            // One that came between two slices found nobody waiting.
            !timed_out || self.notified.load(Ordering::Acquire) != before
        })
    }

    /// Why the wait ended.
    fn wait_in_sim<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Option<u64>,
        place: &'static Location<'static>,
    ) -> Woken {
        let world = raw::world().expect("a simulated thread runs inside its world");
        world.point(place);
        let key = self.id.key(&world);
        let lock = Mutex::id_of(guard);
        let mut woken = Woken::Ready;
        let mutex = parking_lot::MutexGuard::mutex(&guard.inner);
        parking_lot::MutexGuard::unlocked(&mut guard.inner, || {
            world.release(lock, 1);
            woken = world.wait(&[key], deadline, WaitFor::Notification, place, || true);
            // `unlocked` takes the lock again by blocking the OS thread, so it has to be free
            // when this closure returns; no switch comes in between.
            world.wait_until_free(lock, place, || !mutex.is_locked());
        });
        world.note_holder(lock, WaitFor::Lock, place);
        woken
    }
}

/// The thread ends here if its server has crashed.
fn raise_if_dying() {
    let world = raw::world().expect("a simulated thread runs inside its world");
    world.raise_if_dying(world.me("a wait"));
}
