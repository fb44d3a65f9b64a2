//! Mutual exclusion.

use std::fmt;
use std::hint::cold_path;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::Duration;

use crate::raw::{self, Mode};
use crate::sim::futex::{ObjectId, WaitFor};
use crate::{os, time};

/// A mutual exclusion lock; see [`parking_lot::Mutex`].
///
/// Aligned so that the lock and the first words of what it protects are in one cache line wherever
/// it lies; in two they take a ninth longer.
#[derive(Default)]
#[repr(align(32))]
pub struct Mutex<T: ?Sized> {
    id: ObjectId,
    inner: parking_lot::Mutex<T>,
}

/// Access to what a [`Mutex`] protects, until dropped.
#[must_use = "if unused the Mutex will immediately unlock"]
pub struct MutexGuard<'a, T: ?Sized> {
    // The order matters: the lock is released first, and then the waiters are told.
    pub(super) inner: parking_lot::MutexGuard<'a, T>,
    pub(super) release: Release<'a, 1>,
}

/// Tells up to `WAITERS` threads of a simulated world, on drop, that this lock is free; on OS
/// threads, where the primitive itself tells them, it names no lock. Guards made of two pointers
/// are passed in registers.
pub(super) struct Release<'a, const WAITERS: usize>(pub(super) Option<&'a ObjectId>);

impl<const WAITERS: usize> Drop for Release<'_, WAITERS> {
    #[inline]
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            cold_path();
            release_in_sim(id, WAITERS);
        }
    }
}

#[inline(never)]
fn release_in_sim(id: &ObjectId, waiters: usize) {
    if let Some(world) = raw::world() {
        world.release(id, waiters);
    }
}

impl<T> Mutex<T> {
    /// A lock that protects `value`.
    pub const fn new(value: T) -> Self {
        Self { id: ObjectId::new(), inner: parking_lot::Mutex::new(value) }
    }

    /// What the lock protected.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// On OS threads.
    #[inline]
    fn guard(inner: parking_lot::MutexGuard<'_, T>) -> MutexGuard<'_, T> {
        MutexGuard { inner, release: Release(None) }
    }

    fn guard_in_sim<'a>(&'a self, inner: parking_lot::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard { inner, release: Release(Some(&self.id)) }
    }

    /// Waits until the lock is free, and takes it.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if raw::mode() != Mode::Plain {
            // Out of the way of a plain OS thread.
            cold_path();
            return self.lock_watched(Location::caller());
        }
        Self::guard(self.inner.lock())
    }

    /// Kept out of [`Mutex::lock`], so that the lock of a plain OS thread stays small.
    #[inline(never)]
    fn lock_watched(&self, place: &'static Location<'static>) -> MutexGuard<'_, T> {
        if raw::mode() == Mode::Sim {
            return self.lock_in_sim(None, place).expect("no deadline");
        }
        os::group::checkpoint(place);
        Self::guard(self.inner.lock())
    }

    fn lock_in_sim(
        &self,
        deadline: Option<u64>,
        place: &'static Location<'static>,
    ) -> Option<MutexGuard<'_, T>> {
        let world = raw::world()?;
        world.point(place);
        let try_lock = || self.inner.try_lock();
        let inner = world.acquire(&self.id, WaitFor::Lock, deadline, place, try_lock)?;
        Some(self.guard_in_sim(inner))
    }

    /// Takes the lock if it is free.
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let Some(world) = raw::world() else {
            os::group::checkpoint(Location::caller());
            return self.inner.try_lock().map(Self::guard);
        };
        world.point(Location::caller());
        let inner = self.inner.try_lock()?;
        world.note_holder(&self.id, WaitFor::Lock, Location::caller());
        Some(self.guard_in_sim(inner))
    }

    /// Waits for the lock for at most `timeout`.
    #[track_caller]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        if raw::mode() == Mode::Sim {
            return self.lock_in_sim(time::sim_deadline(timeout), Location::caller());
        }
        os::group::checkpoint(Location::caller());
        self.inner.try_lock_for(timeout).map(Self::guard)
    }

    /// Access without locking: the borrow proves that nobody else has any.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    /// The lock of a guard that a simulated thread has.
    pub(super) fn id_of<'a>(guard: &MutexGuard<'a, T>) -> &'a ObjectId {
        guard.release.0.expect("a simulated thread took this lock")
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: fmt::Debug + ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T: fmt::Debug + ?Sized> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
