//! State that servers share with the harness.

use std::fmt;

use crate::os;
use crate::raw::{self, WorldCell};

/// A cell for state that outlives servers and is shared between them: the network's, a disk's, a
/// trace's.
///
/// [`Shared::with`] runs a closure as a section without a switch point. So a server that crashes
/// or is paused is never in the middle of one, a reader never sees half a change, and looking at
/// the state does not shift the schedule. The closure must be short and must not block.
///
/// A cell that was made in a simulated world belongs to that world until it ends.
#[derive(Default)]
pub struct Shared<T>(WorldCell<T>);

impl<T> Shared<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        Self(WorldCell::new(value))
    }

    /// Runs `section` with the state.
    ///
    /// # Panics
    /// In a simulated world, if it is called from within itself; on another OS thread while that
    /// world still runs.
    #[inline]
    #[track_caller]
    pub fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        let result = match raw::world() {
            None => os::group::uninterrupted(|| self.0.with(section)),
            Some(world) => world.pinned(|| self.0.with(section)),
        };
        result.expect("a shared cell is used outside the simulated world that made it and runs")
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.with(|state| state.fmt(f)).unwrap_or_else(|| f.write_str("<in a simulated world>"))
    }
}
