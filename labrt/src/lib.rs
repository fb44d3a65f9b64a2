//! One runtime, two back ends: ordinary blocking thread code, in virtual time or on OS threads.
//!
//! Code under test spawns threads, locks, waits on condition variables and channels, and sleeps,
//! as Rust programmers do every day. It only takes those from this crate instead of `std`. Then
//! the same build runs in two ways, chosen when it runs:
//!
//! * **On OS threads**, where each call goes straight to `parking_lot`, `crossbeam-channel` or
//!   `std::thread`.
//! * **In a simulated world** ([`sim::run`]), where threads are coroutines, time is a number that
//!   jumps to the next deadline, and one seed decides which thread runs when. An hour passes in a
//!   fraction of a second, and a failure happens again whenever its seed is run again.
//!
//! ```
//! use labrt::{channel, sim, thread, time};
//! use std::time::Duration;
//!
//! let outcome = sim::run(&sim::Config::new(7), || {
//!     let (tx, rx) = channel::unbounded();
//!     let started = time::Instant::now();
//!     thread::spawn(move || {
//!         thread::sleep(Duration::from_secs(1800));
//!         tx.send("half an hour later").expect("the receiver waits");
//!     });
//!     let message = rx.recv().expect("the sender sends");
//!     (message, started.elapsed() >= Duration::from_secs(1800))
//! });
//! assert_eq!(outcome.result, Ok(("half an hour later", true)));
//! ```
//!
//! | instead of | use |
//! |---|---|
//! | `std::thread` | [`thread`] |
//! | `std::sync::{Mutex, RwLock, Condvar}`, `parking_lot` | [`sync`] (parking_lot's shapes) |
//! | `std::sync::mpsc`, `crossbeam_channel` | [`channel`] (crossbeam's shapes), [`select!`] |
//! | `std::time::Instant` | [`time`] |
//! | `rand::rng()` | [`random`] |
//!
//! A *server* is a [`group::Group`] of threads. It can crash: all its threads end at once, and
//! what they held is released. That works in both back ends.
//!
//! # The seam
//! Each front module asks once per call which world the OS thread runs (`raw::mode`) and then
//! takes one of two paths, into `sim/` or `os/`. No `cfg`, no rebuild, no second code path in the
//! code under test.
//!
//! # Tests
//! [`check`] runs thread code over many seeds in any `#[test]` function. A failure is repeated in
//! a new process before it is told, and ends with the command that repeats it.
//!
//! # Left out
//! `thread::park`, scoped threads and barriers: the labs do not need them. Async: code under test
//! is ordinary code. Weak memory orders: see loom.

pub mod channel;
mod check;
pub mod footer;
pub mod group;
pub mod logger;
pub(crate) mod os;
pub mod pool;
pub mod random;
mod raw;
pub mod replay;
pub mod settings;
pub mod sim;
pub mod sync;
pub mod thread;
pub mod time;
pub mod timer;
pub mod trace;

pub use check::check;

/// Whether the current thread runs in a simulated world.
pub fn in_simulation() -> bool {
    raw::mode() == raw::Mode::Sim
}

/// Fails the run with `message`, from wherever a check beside the test notices: no panic, no
/// unwinding of the thread that happened to look. Only the first failure of a run counts.
///
/// In `sim` the run ends at the next switch point. In the OS worlds the failure is kept for
/// whoever runs the test ([`take_failure`]).
pub fn fail(message: impl Into<String>) {
    match raw::world() {
        Some(world) => world.fail(message.into()),
        None => os::fail(message.into()),
    }
}

/// Takes the first failure of the OS worlds that [`fail`], or a server's thread that panicked,
/// left behind.
pub fn take_failure() -> Option<String> {
    os::take_failure()
}
