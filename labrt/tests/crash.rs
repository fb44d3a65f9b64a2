//! What a server's crash does to its threads, to what they held, and to everybody else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use labrt::group::Group;
use labrt::sim::{Config, FailureKind, Outcome, StrategyKind, run};
use labrt::sync::{Condvar, Mutex, RwLock, Shared};
use labrt::time::Instant;
use labrt::{channel, select, thread, timer};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Runs `body` over seeds and strategies; each run must pass and leak nobody.
fn over_seeds(body: impl Fn() + Clone + Send + 'static) {
    for outcome in outcomes(body) {
        outcome.result.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(outcome.stats.leaked, Vec::<String>::new());
    }
}

fn outcomes(body: impl Fn() + Clone + Send + 'static) -> impl Iterator<Item = Outcome<()>> {
    (0..60).map(move |seed| {
        let strategy = StrategyKind::ALL[seed as usize % 3];
        run(&Config::new(seed).with_strategy(strategy), body.clone())
    })
}

fn server(number: usize) -> Group {
    Group::new(&format!("S{number}"), number, 0)
}

/// Sets its flag when dropped.
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn new() -> (Self, Arc<AtomicBool>) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&flag)), flag)
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a closure when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_lock_held_by_a_crashed_thread_is_free_and_goes_to_the_survivor() {
    over_seeds(|| {
        let lock = Arc::new(Mutex::new(0));
        let group = server(1);
        let theirs = Arc::clone(&lock);
        group.spawn("holder", move || {
            let _held = theirs.lock();
            thread::sleep(Duration::from_secs(1000));
        });
        thread::sleep(SECOND);
        assert!(lock.try_lock().is_none());
        let waiter = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || *lock.lock() += 1)
        };
        thread::sleep(SECOND);
        group.crash();
        assert!(waiter.join().is_ok());
        assert_eq!(*lock.lock(), 1);
    });
}

#[test]
fn a_crash_takes_no_virtual_time_and_nobody_else_runs_meanwhile() {
    over_seeds(|| {
        let turns = Arc::new(AtomicU32::new(0));
        let group = server(1);
        for _ in 0..5 {
            let turns = Arc::clone(&turns);
            group.spawn("member", move || {
                let lock = Mutex::new(());
                let before = Arc::clone(&turns);
                let _slow_end = OnDrop(|| {
                    // Several switch points while unwinding.
                    let seen = before.load(Ordering::Relaxed);
                    for _ in 0..100 {
                        drop(lock.lock());
                        thread::yield_now();
                    }
                    assert_eq!(before.load(Ordering::Relaxed), seen);
                });
                thread::sleep(Duration::from_secs(1000));
            });
        }
        let busy = Arc::clone(&turns);
        server(2).spawn("busy", move || {
            loop {
                busy.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
            }
        });
        thread::sleep(MS);
        let (turns_before, time_before) =
            (turns.load(Ordering::Relaxed), labrt::time::world_time());
        group.crash();
        assert_eq!(labrt::time::world_time(), time_before);
        assert_eq!(turns.load(Ordering::Relaxed), turns_before);
        assert!(!group.is_alive());
    });
}

#[test]
fn every_kind_of_wait_ends_with_the_crash_and_runs_its_destructors() {
    over_seeds(|| {
        let group = server(1);
        let mut flags = Vec::new();
        let mut start = |body: Box<dyn FnOnce() + Send>| {
            let (flag, set) = Flag::new();
            flags.push(set);
            group.spawn("waiter", move || {
                let _flag = flag;
                body();
                unreachable!("a wait that nobody ends has ended");
            })
        };
        let (held, keep) = (Arc::new(Mutex::new(())), Arc::new(RwLock::new(())));
        let (lock, readers, writers) = (Arc::clone(&held), Arc::clone(&keep), Arc::clone(&keep));
        let _held = held.lock();
        let _read = keep.write();
        let (tx, rx) = channel::unbounded::<u32>();
        let (full, _full_rx) = channel::bounded(1);
        full.send(0).expect("there is room for one");
        let (rendezvous, _rendezvous_rx) = channel::bounded::<u32>(0);
        let (select_rx, select_tx) = (rx.clone(), rendezvous.clone());
        let forever = thread::spawn(|| thread::sleep(Duration::from_secs(100_000)));
        let handles = [
            start(Box::new(move || drop(lock.lock()))),
            start(Box::new(move || drop(readers.read()))),
            start(Box::new(move || drop(writers.write()))),
            start(Box::new(move || rx.recv().map_or((), |_| ()))),
            start(Box::new(move || full.send(1).unwrap_or(()))),
            start(Box::new(move || rendezvous.send(1).unwrap_or(()))),
            start(Box::new(|| thread::sleep(Duration::from_secs(5000)))),
            start(Box::new(move || drop(forever.join()))),
            start(Box::new(|| channel::never::<u32>().recv().map_or((), |_| ()))),
            start(Box::new(|| assert!(channel::after(Duration::from_secs(5000)).recv().is_err()))),
            start(Box::new(|| Condvar::new().wait(&mut Mutex::new(()).lock()))),
            start(Box::new(move || {
                select! {
                    recv(select_rx) -> _ => {},
                    send(select_tx, 5) -> _ => {},
                }
            })),
        ];
        thread::sleep(SECOND);
        group.crash();
        assert!(flags.iter().all(|flag| flag.load(Ordering::Relaxed)));
        for handle in handles {
            let ended = handle.join().expect_err("it was killed");
            assert!(ended.is::<thread::Killed>());
        }
        drop(tx);
    });
}

#[test]
fn an_outermost_loop_that_waits_to_the_end_is_told_of_it_and_returns() {
    over_seeds(|| {
        let (lock, moved) = (Arc::new(Mutex::new(())), Arc::new(Condvar::new()));
        let returned = Arc::new(AtomicU32::new(0));
        let group = server(1);
        let waits: [fn(&Condvar, &Mutex<()>) -> bool; 2] = [
            |moved, lock| moved.wait_or_end(&mut lock.lock()),
            |moved, lock| moved.wait_until_or_end(&mut lock.lock(), Instant::now() + SECOND),
        ];
        for wait in waits {
            let (lock, moved) = (Arc::clone(&lock), Arc::clone(&moved));
            let returned = Arc::clone(&returned);
            group.spawn("loop", move || {
                while wait(&moved, &lock) {}
                returned.fetch_add(1, Ordering::Relaxed);
            });
        }
        thread::sleep(3 * SECOND / 2);
        moved.notify_all();
        // Neither is on its way between two waits then.
        thread::sleep(SECOND / 2);
        group.crash();
        assert_eq!(returned.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_destructor_may_wait_for_a_lock_of_its_own_server() {
    over_seeds(|| {
        let group = server(1);
        let lock = Arc::new(Mutex::new(0));
        let (first, second) = (Arc::clone(&lock), Arc::clone(&lock));
        group.spawn("needs the lock to end", move || {
            let _end = OnDrop(|| *second.lock() += 1);
            thread::sleep(Duration::from_secs(1000));
        });
        group.spawn("holds it", move || {
            let _held = first.lock();
            thread::sleep(Duration::from_secs(1000));
        });
        thread::sleep(SECOND);
        group.crash();
        assert_eq!(*lock.lock(), 1);
    });
}

#[test]
fn a_destructor_that_needs_another_servers_lock_is_leaked_and_named() {
    for outcome in outcomes(|| {
        let group = server(1);
        let lock = Arc::new(Mutex::new(0));
        let _held = lock.lock();
        let theirs = Arc::clone(&lock);
        group.spawn("stubborn", move || {
            let _end = OnDrop(|| *theirs.lock() += 1);
            thread::sleep(Duration::from_secs(1000));
        });
        thread::sleep(SECOND);
        group.crash();
        thread::sleep(SECOND);
    }) {
        assert!(outcome.result.is_ok());
        let [leaked] = &*outcome.stats.leaked else { panic!("{:?}", outcome.stats.leaked) };
        assert!(leaked.starts_with("S1/stubborn at ") && leaked.contains("crash.rs"), "{leaked}");
    }
}

#[test]
fn a_timed_lock_in_a_destructor_times_out_if_another_server_holds_it() {
    over_seeds(|| {
        let group = server(1);
        let lock = Arc::new(Mutex::new(0));
        let _held = lock.lock();
        let theirs = Arc::clone(&lock);
        let (flag, ended) = Flag::new();
        group.spawn("patient", move || {
            let _flag = flag;
            let _end = OnDrop(|| assert!(theirs.try_lock_for(SECOND).is_none()));
            thread::sleep(Duration::from_secs(1000));
        });
        thread::sleep(SECOND);
        group.crash();
        assert!(ended.load(Ordering::Relaxed));
    });
}

#[test]
fn a_loop_that_catches_panics_is_ended_all_the_same() {
    over_seeds(|| {
        let group = server(1);
        let (flag, ended) = Flag::new();
        let caught = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&caught);
        group.spawn("catcher", move || {
            let _flag = flag;
            while count.load(Ordering::Relaxed) < 20 {
                let result = catch_unwind(AssertUnwindSafe(|| thread::sleep(SECOND * 1000)));
                count.fetch_add(u32::from(result.is_err()), Ordering::Relaxed);
            }
            thread::sleep(SECOND);
        });
        thread::sleep(SECOND);
        group.crash();
        assert_eq!(caught.load(Ordering::Relaxed), 20);
        assert!(ended.load(Ordering::Relaxed));
    });
}

#[test]
fn a_thread_that_waits_in_a_destructor_is_ended_there_and_drops_the_rest() {
    over_seeds(|| {
        let group = server(1);
        let (flag, ended) = Flag::new();
        let (begun_tx, begun) = channel::unbounded();
        let also_begun = begun_tx.clone();
        group.spawn("returns", move || {
            let _flag = flag;
            let _waits = OnDrop(|| {
                let _ = begun_tx.send(());
                thread::sleep(SECOND * 1000);
                unreachable!("it slept through its crash");
            });
        });
        let (flag, also_ended) = Flag::new();
        group.spawn("panics", move || {
            let _flag = flag;
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _waits = OnDrop(|| {
                    let _ = also_begun.send(());
                    thread::sleep(SECOND * 1000);
                });
                panic!("a planted panic");
            }));
            assert!(caught.is_err());
            thread::yield_now();
            unreachable!("it lives on after its crash");
        });
        assert!(begun.recv().is_ok() && begun.recv().is_ok());
        group.crash();
        assert!(ended.load(Ordering::Relaxed) && also_ended.load(Ordering::Relaxed));
    });
}

#[test]
fn a_thread_that_has_caught_a_panic_is_ended_while_another_waits_for_its_lock_in_a_destructor() {
    over_seeds(|| {
        let group = server(1);
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        group.spawn("waits", move || {
            let _waits = OnDrop(|| drop(theirs.lock()));
            thread::sleep(SECOND * 1000);
        });
        group.spawn("catches", move || {
            assert!(catch_unwind(|| panic!("a planted panic")).is_err());
            let _held = lock.lock();
            loop {
                thread::sleep(SECOND * 1000);
            }
        });
        thread::sleep(SECOND);
        group.crash();
        assert_eq!(group.members(), Vec::<String>::new());
    });
}

#[test]
fn payloads_that_are_kept_do_not_keep_a_thread_alive_or_hurt_another() {
    over_seeds(|| {
        let group = server(1);
        let (flag, ended) = Flag::new();
        let kept = Arc::new(Shared::new(Vec::new()));
        let theirs = Arc::clone(&kept);
        group.spawn("keeper", move || {
            let _flag = flag;
            for _ in 0..10 {
                let result = catch_unwind(AssertUnwindSafe(|| thread::sleep(SECOND * 1000)));
                theirs.with(|kept| kept.extend(result.err()));
            }
        });
        thread::sleep(SECOND);
        group.crash();
        assert!(ended.load(Ordering::Relaxed));
        // The slot is another thread's now, and the payloads are dropped while that one unwinds.
        let second = server(2);
        let (theirs, lock) = (Arc::clone(&kept), Arc::new(Mutex::new(())));
        second.spawn("heir", move || {
            let _end = OnDrop(|| {
                drop(theirs.with(std::mem::take));
                drop(lock.lock());
                assert_eq!(channel::never::<u32>().recv(), Err(channel::RecvError));
            });
            thread::sleep(SECOND * 1000);
        });
        thread::sleep(SECOND);
        second.crash();
        assert!(kept.with(|kept| kept.is_empty()));
    });
}

#[test]
fn a_thread_may_crash_its_own_server() {
    over_seeds(|| {
        let group = server(1);
        let (flag, ended) = Flag::new();
        let (sibling_flag, sibling_ended) = Flag::new();
        group.spawn("sibling", move || {
            let _flag = sibling_flag;
            thread::sleep(SECOND * 1000);
        });
        let own = group.clone();
        let handle = group.spawn("suicide", move || {
            let _flag = flag;
            own.crash();
            unreachable!("it goes no further");
        });
        assert!(handle.join().is_err());
        assert!(ended.load(Ordering::Relaxed) && sibling_ended.load(Ordering::Relaxed));
    });
}

#[test]
fn in_a_section_without_switches_a_crash_takes_effect_after_it() {
    over_seeds(|| {
        let group = server(1);
        let cell = Arc::new(Shared::new(0));
        let (own, shared) = (group.clone(), Arc::clone(&cell));
        let handle = group.spawn("pinned", move || {
            shared.with(|state| {
                own.crash();
                thread::yield_now();
                *state = 1;
            });
            thread::checkpoint();
            shared.with(|state| *state = 2);
        });
        assert!(handle.join().is_err());
        assert_eq!(cell.with(|state| *state), 1);
    });
}

#[test]
fn a_timer_callback_may_crash_a_server() {
    over_seeds(|| {
        let group = server(1);
        let (flag, ended) = Flag::new();
        group.spawn("member", move || {
            let _flag = flag;
            loop {
                thread::yield_now();
            }
        });
        let victim = group.clone();
        timer::after(MS, move || victim.crash());
        thread::sleep(SECOND);
        assert!(ended.load(Ordering::Relaxed));
    });
}

#[test]
fn a_wake_up_that_a_crashed_thread_did_not_act_upon_goes_to_another() {
    over_seeds(|| {
        let (victim, survivor) = (server(1), server(2));
        let state = Arc::new((Mutex::new(0_u32), Condvar::new()));
        let (tx, rx) = channel::unbounded::<u32>();
        let wait = |group: &Group| {
            let (state, rx) = (Arc::clone(&state), rx.clone());
            let of_condvar = group.spawn("condvar", move || {
                let mut tokens = state.0.lock();
                state.1.wait_while(&mut tokens, |tokens| *tokens == 0);
                *tokens -= 1;
            });
            (of_condvar, group.spawn("channel", move || rx.recv().is_ok()))
        };
        let _victims = wait(&victim);
        let survivors = wait(&survivor);
        thread::sleep(SECOND);
        // The wake-ups and the crash fall between two switch points: whoever was chosen has not
        // run. The lock is free, so a woken waiter needs nothing but the CPU.
        let (of_timer, pending) = (Arc::clone(&state), tx.clone());
        timer::after(MS, move || {
            *of_timer.0.lock() = 1;
            of_timer.1.notify_one();
            assert!(pending.try_send(7).is_ok());
            victim.crash();
        });
        assert!(survivors.0.join().is_ok());
        assert_eq!(survivors.1.join().ok(), Some(true));
    });
}

#[test]
fn destructors_may_join_send_receive_and_spawn() {
    over_seeds(|| {
        let group = server(1);
        let (tx, rx) = channel::unbounded::<&str>();
        let (inner_tx, inner_rx) = channel::bounded::<u32>(0);
        let (flag, spawned_dropped) = Flag::new();
        let own = group.clone();
        group.spawn("busy at its end", move || {
            let mut child = Some(thread::spawn(|| thread::sleep(SECOND * 1000)));
            let mut flag = Some(flag);
            let _end = OnDrop(move || {
                let child = child.take().map(thread::JoinHandle::join);
                assert!(child.is_some_and(|joined| joined.is_err()));
                assert!(tx.send("the outside hears nothing of it").is_err());
                assert!(inner_tx.try_send(1).is_err());
                assert!(inner_tx.send_timeout(1, SECOND).is_err());
                assert!(inner_rx.recv().is_err());
                assert!(inner_rx.recv_timeout(SECOND).is_err());
                assert!(inner_rx.try_recv().is_err());
                let chosen = select! {
                    recv(inner_rx) -> message => message.is_ok(),
                    send(inner_tx, 3) -> sent => sent.is_ok(),
                    default(SECOND) => false,
                };
                assert!(!chosen);
                select! {
                    send(inner_tx, 3) -> sent => assert!(sent.is_err()),
                    recv(inner_rx) -> message => assert!(message.is_err()),
                }
                let (lock, condvar) = (Mutex::new(()), Condvar::new());
                assert!(condvar.wait_for(&mut lock.lock(), SECOND).timed_out());
                thread::sleep(SECOND);
                let flag = flag.take();
                let handle = own.spawn("never to run", move || {
                    let _flag = flag;
                    unreachable!("a crashed server's thread began");
                });
                assert!(handle.join().is_err());
            });
            thread::sleep(SECOND * 1000);
        });
        thread::sleep(SECOND);
        let before = labrt::time::world_time();
        group.crash();
        assert_eq!(labrt::time::world_time(), before);
        assert!(spawned_dropped.load(Ordering::Relaxed));
        assert_eq!(rx.recv(), Err(channel::RecvError));
    });
}

#[test]
fn threads_that_never_started_drop_what_they_own() {
    over_seeds(|| {
        let group = server(1);
        let (flag, dropped) = Flag::new();
        let (tx, rx) = channel::unbounded::<u32>();
        let own = group.clone();
        timer::after(MS, move || {
            own.spawn("unstarted", move || {
                let _flag = flag;
                drop(tx);
                unreachable!("it began after the crash");
            });
            own.crash();
        });
        assert!(rx.recv().is_err());
        assert!(dropped.load(Ordering::Relaxed));
    });
}

#[test]
fn a_thread_spawned_into_a_dead_group_ends_at_once() {
    over_seeds(|| {
        let group = server(1);
        group.crash();
        let (flag, dropped) = Flag::new();
        let handle = group.spawn("late", move || {
            let _flag = flag;
            unreachable!("a crashed server's thread began");
        });
        assert!(handle.join().is_err_and(|payload| payload.is::<thread::Killed>()));
        assert!(dropped.load(Ordering::Relaxed));
    });
}

#[test]
fn what_a_crashed_server_was_about_to_send_is_not_delivered() {
    over_seeds(|| {
        let group = server(1);
        let (tx, rx) = channel::bounded::<u32>(0);
        let (full_tx, full_rx) = channel::bounded::<u32>(1);
        full_tx.send(1).expect("there is room for one");
        let theirs = (tx.clone(), full_tx.clone());
        group.spawn("rendezvous", move || theirs.0.send(1));
        group.spawn("full", move || theirs.1.send(2));
        thread::sleep(SECOND);
        group.crash();
        assert_eq!(rx.try_recv(), Err(channel::TryRecvError::Empty));
        assert_eq!(full_rx.try_iter().collect::<Vec<_>>(), [1]);
        drop((tx, full_tx));
    });
}

#[test]
fn a_paused_server_stands_still_and_goes_on_where_it_was() {
    over_seeds(|| {
        let group = server(1);
        let count = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&count);
        group.spawn("counter", move || {
            loop {
                thread::sleep(MS);
                theirs.fetch_add(1, Ordering::Relaxed);
            }
        });
        let spinning = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&spinning);
        group.spawn("spinner", move || {
            loop {
                thread::yield_now();
                theirs.fetch_add(1, Ordering::Relaxed);
            }
        });
        let counts = || (count.load(Ordering::Relaxed), spinning.load(Ordering::Relaxed));
        thread::sleep(MS * 200);
        group.pause();
        let before = counts();
        thread::sleep(SECOND);
        assert_eq!(counts(), before);
        group.resume();
        thread::sleep(MS * 200);
        assert!(counts().0 > before.0 && counts().1 > before.1);
        group.pause();
        group.crash();
    });
}

#[test]
fn a_thread_that_pauses_its_own_server_stops_at_its_next_call() {
    over_seeds(|| {
        let group = server(1);
        let reached = Arc::new(AtomicBool::new(false));
        let (own, theirs) = (group.clone(), Arc::clone(&reached));
        group.spawn("pauses itself", move || {
            own.pause();
            thread::yield_now();
            theirs.store(true, Ordering::Relaxed);
        });
        thread::sleep(SECOND);
        assert!(!reached.load(Ordering::Relaxed));
        group.resume();
        thread::sleep(SECOND);
        assert!(reached.load(Ordering::Relaxed));
    });
}

#[test]
fn an_observer_that_crashes_or_pauses_a_server_loses_no_other_thread() {
    over_seeds(|| {
        let (first, second) = (server(1), server(2));
        let turns = Arc::new(AtomicU32::new(0));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let turns = Arc::clone(&turns);
                thread::spawn(move || {
                    for _ in 0..2_000 {
                        thread::yield_now();
                    }
                    turns.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        for group in [&first, &second] {
            group.spawn("spinner", || {
                loop {
                    thread::yield_now();
                }
            });
        }
        thread::Builder::new().name("watcher").observer().spawn(move || {
            thread::sleep(Duration::from_micros(50));
            first.crash();
            thread::sleep(Duration::from_micros(50));
            second.pause();
            second.crash();
        });
        workers.into_iter().for_each(|worker| assert!(worker.join().is_ok()));
        assert_eq!(turns.load(Ordering::Relaxed), 4);
    });
}

#[test]
fn a_thread_that_will_not_end_is_given_up_and_named() {
    for outcome in outcomes(|| {
        let group = server(1);
        group.spawn("endless", || {
            let _end = OnDrop(|| {
                loop {
                    thread::yield_now();
                }
            });
            thread::sleep(SECOND * 1000);
        });
        thread::sleep(SECOND);
        group.crash();
    }) {
        assert!(outcome.result.is_ok());
        let [leaked] = &*outcome.stats.leaked else { panic!("{:?}", outcome.stats.leaked) };
        assert!(leaked.starts_with("S1/endless at "), "{leaked}");
    }
}

#[test]
fn the_end_of_a_world_ends_everybody_and_drops_timers_with_what_they_own() {
    for seed in 0..20 {
        let (flag, ended) = Flag::new();
        let (timer_flag, timer_dropped) = Flag::new();
        let outcome = run(&Config::new(seed), move || {
            let group = server(1);
            let (tx, rx) = channel::unbounded::<Arc<Mutex<u32>>>();
            tx.send(Arc::default()).expect("its receiver lives");
            let lock = Arc::new(Mutex::new(0));
            drop(lock.lock());
            group.spawn("last", move || {
                let _flag = flag;
                thread::sleep(SECOND * 1000);
            });
            timer::after(SECOND * 1000, move || drop((tx, rx, lock, timer_flag)));
            thread::sleep(SECOND);
        });
        assert!(outcome.result.is_ok());
        assert!(ended.load(Ordering::Relaxed) && timer_dropped.load(Ordering::Relaxed));
        assert_eq!(outcome.stats.leaked, Vec::<String>::new());
    }
}

#[test]
fn a_thread_blocked_on_another_servers_lock_is_ended_without_it() {
    over_seeds(|| {
        let (victim, holder) = (server(1), server(2));
        let lock = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&lock);
        holder.spawn("holder", move || {
            let _held = theirs.lock();
            thread::sleep(SECOND * 1000);
        });
        thread::sleep(SECOND);
        let handle = victim.spawn("blocked", move || drop(lock.lock()));
        thread::sleep(SECOND);
        victim.crash();
        assert!(handle.join().is_err());
    });
}

#[test]
fn a_panic_of_a_server_that_crashed_before_is_no_failure() {
    over_seeds(|| {
        let group = server(1);
        group.spawn("panics when it is told to end", || {
            let caught = catch_unwind(|| thread::sleep(SECOND * 1000));
            assert!(caught.is_ok(), "the sleep was cut short");
        });
        thread::sleep(SECOND);
        group.crash();
    });
}

#[test]
fn a_panic_in_a_timer_callback_fails_the_run() {
    let outcome = run(&Config::new(1), || {
        thread::spawn(|| thread::sleep(SECOND * 1000));
        timer::after(SECOND, || panic!("in the callback"));
        thread::sleep(SECOND * 2);
    });
    let failure = outcome.result.expect_err("the callback panicked");
    assert_eq!(failure.kind, FailureKind::Panic);
    assert!(failure.to_string().contains("in the callback"), "{failure}");
    assert_eq!((failure.time - SECOND).as_micros(), 0);
}

#[test]
fn a_crash_may_fall_on_any_switch_point_and_wakes_no_dead() {
    for seed in 0..200 {
        let outcome = run(&Config::new(seed), move || {
            let (first, second) = (server(1), server(2));
            let (tx, rx) = channel::bounded::<u64>(seed as usize % 3);
            // A lock belongs to one server: who is killed while another one holds it is leaked.
            let locks = [(); 2].map(|()| Arc::new((Mutex::new(0_u64), Condvar::new())));
            for (group, lock) in [&first, &second].into_iter().zip(&locks) {
                for _ in 0..2 {
                    let (lock, tx, rx) = (Arc::clone(lock), tx.clone(), rx.clone());
                    group.spawn("worker", move || {
                        loop {
                            let _ = tx.send_timeout(1, MS);
                            let _ = rx.recv_timeout(MS);
                            let mut count = lock.0.lock();
                            *count += 1;
                            lock.1.notify_one();
                            lock.1.wait_for(&mut count, MS);
                        }
                    });
                }
            }
            first.crash_after(1 + seed);
            thread::sleep(MS * 60);
            assert!(!first.is_alive());
            let before = *locks[1].0.lock();
            let started = Instant::now();
            thread::sleep(MS * 60);
            assert!(*locks[1].0.lock() > before, "the survivors stand still");
            assert!(started.elapsed() >= MS * 60);
        });
        outcome.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        assert_eq!(outcome.stats.leaked, Vec::<String>::new(), "seed {seed}");
    }
}
