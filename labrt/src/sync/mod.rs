//! Locks and condition variables, with parking_lot's shapes: no poisoning, `lock()` gives the
//! guard itself.
//!
//! In a simulated world a lock is the same `parking_lot` lock, tried and waited for: one OS
//! thread runs everything, so it never blocks that thread. The world records who holds a lock and
//! since which line, and a circle of waiting locks is reported at once as a deadlock.

mod condvar;
mod mutex;
mod rwlock;
mod shared;

pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::{Mutex, MutexGuard};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use shared::Shared;
