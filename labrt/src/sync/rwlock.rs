//! Many readers or one writer.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use super::mutex::Release;
use crate::os;
use crate::raw::{self, Mode};
use crate::sim::futex::{ObjectId, WaitFor};

/// Readers and writers wait for the same key, so whoever releases wakes all.
const ALL: usize = usize::MAX;

/// A reader-writer lock; see [`parking_lot::RwLock`].
#[derive(Default)]
pub struct RwLock<T: ?Sized> {
    id: ObjectId,
    inner: parking_lot::RwLock<T>,
}

/// Shared access to what a [`RwLock`] protects.
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    // The order matters: the lock is released first, and then the waiters are told.
    inner: parking_lot::RwLockReadGuard<'a, T>,
    _release: Release<'a, ALL>,
}

/// Exclusive access to what a [`RwLock`] protects.
#[must_use = "if unused the RwLock will immediately unlock"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    // The order matters, as above.
    inner: parking_lot::RwLockWriteGuard<'a, T>,
    _release: Release<'a, ALL>,
}

impl<T> RwLock<T> {
    /// A lock that protects `value`.
    pub const fn new(value: T) -> Self {
        Self { id: ObjectId::new(), inner: parking_lot::RwLock::new(value) }
    }

    /// What the lock protected.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    #[inline]
    fn release(&self) -> Release<'_, ALL> {
        Release((raw::mode() == Mode::Sim).then_some(&self.id))
    }

    /// Waits until no writer holds the lock.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let inner = match raw::mode() {
            Mode::Sim => self.acquire(WaitFor::ReadLock, || self.inner.try_read()),
            _ => {
                os::group::checkpoint(Location::caller());
                self.inner.read()
            }
        };
        RwLockReadGuard { inner, _release: self.release() }
    }

    /// Waits until nobody holds the lock.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let inner = match raw::mode() {
            Mode::Sim => self.acquire(WaitFor::WriteLock, || self.inner.try_write()),
            _ => {
                os::group::checkpoint(Location::caller());
                self.inner.write()
            }
        };
        RwLockWriteGuard { inner, _release: self.release() }
    }

    #[track_caller]
    fn acquire<G>(&self, what: WaitFor, try_acquire: impl FnMut() -> Option<G>) -> G {
        let place = Location::caller();
        let world = raw::world().expect("a simulated thread runs inside its world");
        world.point(place);
        let guard = world.acquire(&self.id, what, None, place, try_acquire);
        guard.expect("without a deadline a lock is always acquired")
    }

    /// Shared access, if no writer holds the lock.
    #[track_caller]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        crate::thread::checkpoint();
        let inner = self.inner.try_read()?;
        if let Some(world) = raw::world() {
            world.note_holder(&self.id, WaitFor::ReadLock, Location::caller());
        }
        Some(RwLockReadGuard { inner, _release: self.release() })
    }

    /// Exclusive access, if nobody holds the lock.
    #[track_caller]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        crate::thread::checkpoint();
        let inner = self.inner.try_write()?;
        if let Some(world) = raw::world() {
            world.note_holder(&self.id, WaitFor::WriteLock, Location::caller());
        }
        Some(RwLockWriteGuard { inner, _release: self.release() })
    }

    /// Access without locking: the borrow proves that nobody else has any.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: fmt::Debug + ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
