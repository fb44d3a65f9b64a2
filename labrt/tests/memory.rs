//! Ten thousand worlds in one process leave nothing behind.
//!
//! This file counts allocations, and for that it defines a global allocator: the one place in the
//! tests that has `unsafe` code.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use labrt::group::Group;
use labrt::sim::{Config, run};
use labrt::sync::{Condvar, Mutex};
use labrt::{channel, thread, timer};

struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; the counter touches no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A world with two servers; one crashes in the middle of everything.
fn a_world_with_a_crash() {
    let (tx, rx) = channel::bounded(0);
    let state = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let groups = [Group::new("S0", 0, 0), Group::new("S1", 1, 0)];
    for group in &groups {
        let (tx, rx, lock) = (tx.clone(), rx.clone(), Arc::clone(&state));
        group.spawn("server", move || {
            loop {
                let tx = tx.clone();
                thread::sleep(Duration::from_micros(300));
                thread::spawn(move || tx.send_timeout(vec![1_u8; 100], Duration::from_millis(3)));
                if let Ok(message) = rx.recv_timeout(Duration::from_millis(2)) {
                    lock.0.lock().push(message);
                    lock.1.notify_all();
                }
            }
        });
        let state = Arc::clone(&state);
        group.spawn("waiter", move || {
            let own = Mutex::new(());
            state.1.wait_for(&mut own.lock(), Duration::from_millis(7));
            thread::sleep(Duration::from_secs(100));
        });
    }
    let owned = (tx, Arc::clone(&state));
    timer::after(Duration::from_secs(1000), move || drop(owned));
    thread::sleep(Duration::from_millis(5));
    groups[0].crash();
    thread::sleep(Duration::from_millis(5));
}

/// Resident pages of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[test]
fn ten_thousand_worlds_with_crashes_leave_no_memory_behind() {
    let mut after_warm_up = (0, 0);
    for seed in 0..10_000 {
        let outcome = run(&Config::new(seed), a_world_with_a_crash);
        assert!(outcome.result.is_ok());
        assert_eq!(outcome.stats.leaked, Vec::<String>::new());
        drop(outcome);
        if seed == 500 {
            after_warm_up = (LIVE_BYTES.load(Ordering::Relaxed), resident());
        }
    }
    let live = LIVE_BYTES.load(Ordering::Relaxed).saturating_sub(after_warm_up.0);
    let grown = resident().saturating_sub(after_warm_up.1);
    println!("live bytes grew by {live}, resident memory by {grown}");
    // A kilobyte is one stray buffer of the test's own runner, not one per world.
    assert!(live < 1024, "{live} bytes are left");
    assert!(grown < 20 << 20, "resident memory grew by {grown} bytes");
}
