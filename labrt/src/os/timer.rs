//! One thread per process that makes calls at their time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::group;

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Calls {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    callbacks: std::collections::BTreeMap<u64, Callback>,
    sequence: u64,
}

#[derive(Default)]
struct Timer {
    calls: Mutex<Calls>,
    changed: Condvar,
}

pub(crate) fn after(delay: Duration, callback: Callback) {
    if delay.is_zero() {
        return group::uninterrupted(|| call(callback));
    }
    static TIMER: OnceLock<&'static Timer> = OnceLock::new();
    let timer = TIMER.get_or_init(start);
    let mut calls = timer.calls.lock();
    calls.sequence += 1;
    let number = calls.sequence;
    // A time that cannot be told does not come.
    let Some(at) = Instant::now().checked_add(delay) else { return };
    calls.heap.push(Reverse((at, number)));
    calls.callbacks.insert(number, callback);
    timer.changed.notify_one();
}

fn start() -> &'static Timer {
    let timer: &'static Timer = Box::leak(Box::default());
    let spawned = std::thread::Builder::new().name("timer".into()).spawn(|| run(timer));
    spawned.unwrap_or_else(|error| panic!("no OS thread for timers: {error}"));
    timer
}

fn run(timer: &Timer) {
    let mut calls = timer.calls.lock();
    loop {
        let Some(&Reverse((at, number))) = calls.heap.peek() else {
            timer.changed.wait(&mut calls);
            continue;
        };
        if at > Instant::now() {
            timer.changed.wait_until(&mut calls, at);
            continue;
        }
        calls.heap.pop();
        let callback = calls.callbacks.remove(&number);
        parking_lot::MutexGuard::unlocked(&mut calls, || {
            if let Some(callback) = callback {
                call(callback);
            }
        });
    }
}

/// A callback's panic fails the run, and leaves the timer thread to the other callbacks.
fn call(callback: Callback) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(callback)) {
        super::fail(format!("{} in a timer's callback", crate::thread::panic_text(&*payload)));
    }
}
