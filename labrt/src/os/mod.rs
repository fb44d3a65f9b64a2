//! OS threads: thin wrappers, and what a server's crash needs beyond them.
//!
//! A thread outside every group pays one thread-local read per call. A group's thread also looks
//! at its group's flags: paused, it waits; crashed, it unwinds. Blocking calls of such threads
//! notice a crash while they wait: sleeps, selects and sending because they also wait for the
//! group's death; receiving and condition variables because they look up a few times a second, for
//! it costs too much there.

pub(crate) mod channel;
pub(crate) mod group;
pub(crate) mod thread;
pub(crate) mod timer;

use std::cell::RefCell;

use parking_lot::Mutex;
use rand::Rng;

use crate::random::{Stream, os_entropy};

static SEED: Mutex<Option<u64>> = Mutex::new(None);
static FAILURE: Mutex<Option<String>> = Mutex::new(None);

thread_local! {
    static RNG: RefCell<Option<Stream>> = const { RefCell::new(None) };
}

pub(crate) fn seed() -> Option<u64> {
    *SEED.lock()
}

pub(crate) fn set_seed(seed: u64) {
    *SEED.lock() = Some(seed);
}

/// The next number of this OS thread's own generator.
pub(crate) fn draw() -> u64 {
    RNG.with_borrow_mut(|rng| {
        rng.get_or_insert_with(|| Stream::new(os_entropy(), "os thread", 0)).next_u64()
    })
}

/// Keeps the first failure.
pub(crate) fn fail(message: String) {
    FAILURE.lock().get_or_insert(message);
}

pub(crate) fn take_failure() -> Option<String> {
    FAILURE.lock().take()
}
