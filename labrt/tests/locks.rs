//! Who has a lock next, in a simulated world.

use std::sync::Arc;
use std::time::Duration;

use labrt::channel;
use labrt::group::Group;
use labrt::sim::{Config, StrategyKind, run};
use labrt::sync::{Condvar, Mutex, RwLock};
use labrt::thread;
use labrt::time::Instant;

const MS: Duration = Duration::from_millis(1);

fn over_seeds(body: fn()) {
    for seed in 0..60 {
        let strategy = StrategyKind::ALL[seed as usize % 3];
        let outcome = run(&Config::new(seed).with_strategy(strategy), body);
        outcome.result.unwrap_or_else(|failure| panic!("seed {seed}, {strategy}: {failure}"));
    }
}

/// Twenty threads of a group that want the lock again as soon as they had it for half a
/// millisecond.
fn crowd(group: &Group, lock: &Arc<(Mutex<()>, Condvar)>) {
    for number in 0..20 {
        let lock = Arc::clone(lock);
        group.spawn(&format!("crowd-{number}"), move || {
            for _ in 0..200 {
                let guard = lock.0.lock();
                thread::sleep(MS / 2);
                drop(guard);
            }
        });
    }
}

/// Its turn comes after those of all who were there before, and of some stalls of 20 ms.
const TURN_WITHIN: Duration = Duration::from_millis(150);

#[test]
fn nobody_is_kept_from_a_lock_by_a_crowd() {
    over_seeds(|| {
        let lock = Arc::new((Mutex::new(()), Condvar::new()));
        crowd(&Group::new("S1", 1, 0), &lock);
        for _ in 0..5 {
            thread::sleep(5 * MS);
            let asked = Instant::now();
            drop(lock.0.lock());
            assert!(asked.elapsed() < TURN_WITHIN, "waited {:?} for a lock", asked.elapsed());
        }
    });
}

#[test]
fn nobody_is_kept_from_coming_back_from_a_wait() {
    over_seeds(|| {
        let lock = Arc::new((Mutex::new(()), Condvar::new()));
        let mut guard = lock.0.lock();
        crowd(&Group::new("S1", 1, 0), &lock);
        for _ in 0..5 {
            let asked = Instant::now();
            lock.1.wait_for(&mut guard, 5 * MS);
            assert!(asked.elapsed() < TURN_WITHIN, "was away for {:?}", asked.elapsed());
        }
    });
}

#[test]
fn who_dies_while_it_is_next_leaves_the_lock_to_the_others() {
    over_seeds(|| {
        let lock = Arc::new((Mutex::new(()), Condvar::new()));
        let (crowded, doomed) = (Group::new("S1", 1, 0), Group::new("S2", 2, 0));
        crowd(&crowded, &lock);
        for number in 0..5 {
            let theirs = Arc::clone(&lock);
            doomed.spawn(&format!("doomed-{number}"), move || {
                loop {
                    drop(theirs.0.try_lock_for(5 * MS));
                    drop(theirs.0.lock());
                }
            });
        }
        thread::sleep(10 * MS);
        doomed.crash();
        crowded.crash();
        drop(lock.0.lock());
    });
}

/// A writer leaves after a while; two readers then need each other to go on.
#[test]
fn readers_that_were_kept_out_come_in_together() {
    over_seeds(|| {
        let lock = Arc::new(RwLock::new(()));
        let writer = lock.write();
        let (there, here) = channel::bounded(0);
        let (theirs, ours) = (Arc::clone(&lock), Arc::clone(&lock));
        let one = thread::spawn(move || {
            let _read = theirs.read();
            there.send(()).expect("the other reader is there");
        });
        let other = thread::spawn(move || {
            let _read = ours.read();
            here.recv().expect("the other reader is there");
        });
        thread::sleep(50 * MS);
        drop(writer);
        one.join().expect("it has the lock");
        other.join().expect("it has the lock");
    });
}

/// One that is to have the lock next finds it shared by another still, and waits once more. An
/// older one, whose server stood still when it was woken, must not be woken in its place.
#[test]
fn who_is_next_stays_next_when_somebody_older_comes_back() {
    over_seeds(|| {
        let lock = Arc::new(RwLock::new(()));
        let (paused, others) = (Group::new("S1", 1, 0), Group::new("S2", 2, 0));
        let first = lock.write();
        let theirs = Arc::clone(&lock);
        let older = paused.spawn("older", move || drop(theirs.write()));
        thread::sleep(MS / 10);
        // Woken before it has waited for long, and stopped before it runs.
        drop(first);
        paused.pause();
        let Some(one_reader) = lock.try_read() else { return };
        let Some(other_reader) = lock.try_read() else { return };
        let theirs = Arc::clone(&lock);
        let younger = others.spawn("younger", move || drop(theirs.write()));
        thread::sleep(3 * MS);
        drop(one_reader);
        thread::sleep(MS);
        paused.resume();
        thread::sleep(MS);
        drop(other_reader);
        younger.join().expect("it had the lock");
        older.join().expect("it had the lock");
    });
}
