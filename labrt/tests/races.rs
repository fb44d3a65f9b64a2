//! Planted races are found, by each strategy in how many of 1,000 seeds; correct code never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use labrt::sim::{Config, FailureKind, StrategyKind, run};
use labrt::sync::{Condvar, Mutex};
use labrt::thread;

const SEEDS: u64 = 1_000;

/// In how many seeds `body` fails under `strategy`, and how.
fn found(strategy: StrategyKind, kind: FailureKind, body: fn()) -> usize {
    let fails = |&seed: &u64| match run(&Config::new(seed).with_strategy(strategy), body).result {
        Ok(()) => false,
        Err(failure) if failure.kind == kind => true,
        Err(failure) => panic!("seed {seed}: {failure}"),
    };
    (0..SEEDS).filter(fails).count()
}

fn assert_found(what: &str, kind: FailureKind, wrong: fn(), right: fn()) {
    for strategy in StrategyKind::ALL {
        let (hits, alarms) = (found(strategy, kind, wrong), found(strategy, kind, right));
        println!("{what}: {strategy} finds it in {hits} of {SEEDS} seeds");
        assert_eq!(alarms, 0, "{what}: {strategy} accuses correct code");
        // Without stalls a race is a matter of luck: that one is here to be compared with.
        assert!(hits > 0 || strategy == StrategyKind::Plain, "{what}: {strategy} finds nothing");
    }
}

/// Handlers that come at their own times and do `step` on one counter; none may be lost.
fn handlers(step: fn(&Mutex<u32>)) {
    let counter = Arc::new(Mutex::new(0));
    let handlers: Vec<_> = (0..10)
        .map(|number| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                for round in 0..10 {
                    thread::sleep(Duration::from_micros(997 + 31 * number + 7 * round));
                    step(&counter);
                }
            })
        })
        .collect();
    handlers.into_iter().for_each(|handler| drop(handler.join()));
    assert_eq!(*counter.lock(), 100, "an increment is lost");
}

#[test]
fn a_check_then_act_race_is_found() {
    fn wrong() {
        handlers(|counter| {
            let seen = *counter.lock();
            *counter.lock() = seen + 1;
        });
    }
    fn right() {
        handlers(|counter| *counter.lock() += 1);
    }
    assert_found("check-then-act", FailureKind::Panic, wrong, right);
}

#[derive(Default)]
struct Door {
    open: AtomicBool,
    lock: Mutex<()>,
    opened: Condvar,
}

/// Rounds in which one thread opens a door and another waits for it by `wait`.
fn doors(open: fn(&Door), wait: fn(&Door)) {
    for round in 0..20 {
        let door = Arc::new(Door::default());
        let opener = Arc::clone(&door);
        let handle = thread::spawn(move || {
            thread::sleep(Duration::from_micros(100 + round));
            open(&opener);
        });
        thread::sleep(Duration::from_micros(103));
        wait(&door);
        assert!(handle.join().is_ok());
    }
}

#[test]
fn a_lost_wake_up_is_found() {
    fn wrong() {
        let open = |door: &Door| {
            door.open.store(true, Ordering::SeqCst);
            door.opened.notify_one();
        };
        doors(open, |door| {
            // The flag is checked without the lock that the opener ought to hold.
            while !door.open.load(Ordering::SeqCst) {
                door.opened.wait(&mut door.lock.lock());
            }
        });
    }
    fn right() {
        let open = |door: &Door| {
            let _guard = door.lock.lock();
            door.open.store(true, Ordering::SeqCst);
            door.opened.notify_one();
        };
        doors(open, |door| {
            let mut guard = door.lock.lock();
            while !door.open.load(Ordering::SeqCst) {
                door.opened.wait(&mut guard);
            }
        });
    }
    assert_found("lost wake-up", FailureKind::Deadlock, wrong, right);
}
