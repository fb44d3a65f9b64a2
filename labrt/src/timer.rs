//! Calls at a later time, without a thread to wait for it.
//!
//! The network delivers its messages this way: a message that was sent is on its way whatever
//! becomes of its sender. The callback must not block; in a simulated world the scheduler runs
//! it, elsewhere one timer thread per process does.

use std::time::Duration;

use crate::{os, raw};

/// Runs `callback` after `delay` (world time). It must not block.
///
/// On OS threads a callback without any delay runs at once on the current thread, in a section that
/// no crash or pause of that thread's server interrupts: it may be about another server.
///
/// In a simulated world that has ended by then it is dropped unrun.
pub fn after(delay: Duration, callback: impl FnOnce() + Send + 'static) {
    match raw::world() {
        Some(world) => world.call_after(delay, Box::new(callback)),
        None => os::timer::after(delay, Box::new(callback)),
    }
}
