//! State that servers share with the harness.

use std::fmt;

use crate::raw;

/// A cell for state that outlives servers and is shared between them: the network's, a disk's, a
/// trace's.
///
/// [`Shared::with`] runs a closure as a section without a switch point. So a server that crashes
/// is never in the middle of one, a reader never sees half a change, and looking at the state
/// does not shift the schedule. The closure must be short and must not block.
#[derive(Default)]
pub struct Shared<T>(parking_lot::Mutex<T>);

impl<T> Shared<T> {
    /// A cell that holds `value`.
    pub const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// Runs `section` with the state.
    ///
    /// # Panics
    /// In a simulated world, if it is called from within itself.
    #[track_caller]
    pub fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> R {
        match raw::world() {
            None => section(&mut self.0.lock()),
            Some(world) => world.pinned(|| {
                let mut state = self.0.try_lock().expect("a shared cell is used inside itself");
                section(&mut state)
            }),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
