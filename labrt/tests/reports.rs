//! What a person reads when a run fails: each report is provoked, and read.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use labrt::group::Group;
use labrt::sim::{Config, Failure, FailureKind, run};
use labrt::sync::{Condvar, Mutex, RwLock};
use labrt::{channel, thread};

const SECOND: Duration = Duration::from_secs(1);

/// The failure of a run of `body`, whose place in the report is this file.
fn failure(config: &Config, body: impl FnOnce() + Send + 'static) -> Failure {
    run(config, body).result.expect_err("the run was made to fail")
}

#[track_caller]
fn assert_says(failure: &Failure, parts: &[&str]) {
    let text = failure.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn a_deadlock_names_every_thread_what_it_waits_for_where_and_who_holds_it() {
    let mut lines = 0;
    for seed in 0..30 {
        let failure = failure(&Config::new(seed), || {
            let group = Group::new("S1", 1, 0);
            let lock = Arc::new(Mutex::new(()));
            let rwlock = Arc::new(RwLock::new(()));
            let (theirs, read) = (Arc::clone(&lock), Arc::clone(&rwlock));
            let (_tx, rx) = channel::unbounded::<u32>();
            group.spawn("holder", move || {
                let _held = theirs.lock();
                let _write = read.write();
                rx.recv()
            });
            thread::sleep(SECOND);
            group.spawn("locker", move || drop(lock.lock()));
            group.spawn("reader", move || drop(rwlock.read()));
            let (full, _full_rx) = channel::bounded::<u32>(0);
            group.spawn("sender", move || full.send(1));
            group.spawn("condvar", || Condvar::new().wait(&mut Mutex::new(()).lock()));
            group.spawn("selector", || channel::Select::new().select().index());
            let _ = thread::spawn(|| channel::never::<u32>().recv()).join();
        });
        assert_eq!(failure.kind, FailureKind::Deadlock);
        assert!(failure.time >= SECOND);
        lines = failure.details.lines().count();
        assert_says(
            &failure,
            &[
                "deadlock: all 8 threads wait and no deadline is set at 1.0",
                "test/main waits for a thread's end at labrt/tests/reports.rs:",
                "S1/holder waits for a message from a channel at labrt/tests/reports.rs:",
                "S1/locker waits for a lock at labrt/tests/reports.rs:",
                ", held by S1/holder since labrt/tests/reports.rs:",
                "S1/reader waits for a read lock at labrt/tests/reports.rs:",
                "S1/sender waits for room in a channel at",
                "S1/condvar waits for a condition variable at",
                "S1/selector waits for one of several channels at",
                "test/thread-8 (spawned at labrt/tests/reports.rs:",
            ],
        );
    }
    assert_eq!(lines, 8);
}

#[test]
fn a_deadlock_is_seen_though_observers_have_timers() {
    let failure = failure(&Config::new(3), || {
        thread::Builder::new().name("monitor").observer().spawn(|| {
            loop {
                thread::sleep(SECOND);
            }
        });
        let _ = channel::never::<u32>().recv();
    });
    assert_eq!(failure.kind, FailureKind::Deadlock);
    assert_says(&failure, &["all 1 threads wait", "test/main waits for a message"]);
}

#[test]
fn what_looks_like_a_deadlock_is_none_while_a_timer_lives() {
    for seed in 0..50 {
        let outcome = run(&Config::new(seed), || {
            let (tx, rx) = channel::unbounded::<u32>();
            // Deadlines that are taken back must not be counted, nor counted twice.
            for _ in 0..20 {
                let tx = tx.clone();
                thread::spawn(move || tx.send(1));
                assert_eq!(rx.recv_timeout(SECOND * 60), Ok(1));
            }
            labrt::timer::after(SECOND * 100, move || assert!(tx.try_send(2).is_ok()));
            rx.recv()
        });
        assert_eq!(outcome.result.ok(), Some(Ok(2)), "seed {seed}");
    }
}

#[test]
fn a_server_that_is_paused_for_ever_is_a_deadlock_that_says_so() {
    let failure = failure(&Config::new(3), || {
        let group = Group::new("S1", 1, 0);
        group.spawn("worker", || {
            loop {
                thread::sleep(SECOND);
            }
        });
        thread::sleep(SECOND * 2);
        group.pause();
        let _ = channel::never::<u32>().recv();
    });
    assert_eq!(failure.kind, FailureKind::Deadlock);
    assert_says(&failure, &["S1/worker", "is paused with its server"]);
}

#[test]
fn two_threads_that_lock_in_opposite_order_are_told_at_once() {
    for seed in 0..30 {
        let failure = failure(&Config::new(seed), || {
            let group = Group::new("S1", 1, 0);
            thread::spawn(|| {
                loop {
                    thread::sleep(SECOND);
                }
            });
            let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
            for (name, first, second) in [("ab", &a, &b), ("ba", &b, &a)] {
                let (first, second) = (Arc::clone(first), Arc::clone(second));
                group.spawn(name, move || {
                    let _first = first.lock();
                    thread::sleep(SECOND);
                    drop(second.lock());
                });
            }
            thread::sleep(SECOND * 1000);
        });
        assert_eq!(failure.kind, FailureKind::Deadlock);
        assert!(failure.time < SECOND * 2, "{failure}");
        assert_says(
            &failure,
            &[
                "deadlock: 2 locks are waited for in a circle",
                "S1/ab waits at labrt/tests/reports.rs:",
                "S1/ba waits at labrt/tests/reports.rs:",
                "held by S1/ab since labrt/tests/reports.rs:",
                "held by S1/ba since labrt/tests/reports.rs:",
            ],
        );
    }
}

#[test]
fn a_writer_that_waits_for_its_own_read_access_in_a_circle_is_told_with_all_readers() {
    let failure = failure(&Config::new(1), || {
        let group = Group::new("S1", 1, 0);
        let (lock, other) = (Arc::new(RwLock::new(())), Arc::new(Mutex::new(())));
        let (reads, holds) = (Arc::clone(&lock), Arc::clone(&other));
        group.spawn("idle", move || {
            let _read = reads.read();
            thread::sleep(SECOND * 1000);
        });
        let reads = Arc::clone(&lock);
        group.spawn("reader", move || {
            let _read = reads.read();
            thread::sleep(SECOND);
            drop(holds.lock());
        });
        group.spawn("writer", move || {
            let _held = other.lock();
            thread::sleep(SECOND * 2);
            drop(lock.write());
        });
        thread::sleep(SECOND * 1000);
    });
    assert!(failure.time < SECOND * 3, "{failure}");
    let circle = ["2 locks are waited for in a circle", "held by S1/reader", "held by S1/writer"];
    assert_says(&failure, &circle);
}

#[test]
fn who_reads_is_named_where_a_writer_waits() {
    let failure = failure(&Config::new(1), || {
        let group = Group::new("S1", 1, 0);
        let lock = Arc::new(RwLock::new(()));
        for name in ["first", "second"] {
            let reads = Arc::clone(&lock);
            group.spawn(name, move || {
                drop(reads.read());
                let _read = reads.read();
                channel::never::<u32>().recv()
            });
        }
        thread::sleep(SECOND);
        drop(lock.write());
    });
    assert_eq!(failure.kind, FailureKind::Deadlock);
    assert_says(&failure, &["test/main waits for a write lock at", ", read by S1/first since"]);
    assert_says(&failure, &[", read by S1/second since labrt/tests/reports.rs:"]);
    assert_eq!(failure.to_string().matches(", read by").count(), 2, "{failure}");
}

#[test]
fn locking_a_lock_twice_is_told_at_once_and_leaks_nobody() {
    let outcome = run(&Config::new(1), || {
        let group = Group::new("S1", 1, 0);
        thread::spawn(|| thread::sleep(SECOND * 1000));
        group.spawn("twice", || {
            let lock = Mutex::new(());
            let _first = lock.lock();
            drop(lock.lock());
        });
        thread::sleep(SECOND * 100);
    });
    let failure = outcome.result.expect_err("a thread waits for itself");
    assert!(failure.time < SECOND);
    assert_says(
        &failure,
        &["deadlock: S1/twice locks #", ", but holds it since labrt/tests/reports.rs:"],
    );
    assert_eq!(outcome.stats.leaked, Vec::<String>::new());
}

#[test]
fn a_livelock_by_steps_names_the_busiest_threads() {
    let config = Config { max_steps: 10_000, ..Config::new(1) };
    let failure = failure(&config, || {
        let group = Group::new("S1", 1, 0);
        group.spawn("quiet", || thread::sleep(SECOND * 1000));
        group.spawn("spinner", || {
            loop {
                thread::yield_now();
            }
        });
        thread::sleep(SECOND * 1000);
    });
    assert_eq!(failure.kind, FailureKind::Livelock);
    assert_says(&failure, &["livelock: the limit of steps is reached"]);
    let busiest = failure.details.lines().nth(1).unwrap_or_default();
    assert!(busiest.contains("S1/spinner made ") && busiest.contains(" calls"), "{failure}");
}

#[test]
fn a_livelock_by_virtual_time_is_told_at_the_limit() {
    let config = Config { max_time: SECOND * 100, ..Config::new(1) };
    let failure = failure(&config, || {
        loop {
            thread::sleep(SECOND);
        }
    });
    assert_eq!(failure.kind, FailureKind::Livelock);
    assert!(failure.time > SECOND * 99 && failure.time < SECOND * 103, "{failure}");
    assert_says(&failure, &["livelock: the limit of virtual time is reached", "test/main made "]);
}

#[test]
fn a_panic_is_told_with_thread_server_time_message_and_place() {
    let failure = failure(&Config::new(1), || {
        Group::new("S2", 2, 0).spawn("applier", || {
            thread::sleep(SECOND * 3);
            panic!("index {} is out of order", 7);
        });
        thread::sleep(SECOND * 10);
    });
    assert_eq!(failure.kind, FailureKind::Panic);
    assert_eq!(failure.thread, "S2/applier");
    assert_eq!(failure.time.as_secs(), 3);
    assert_says(&failure, &["index 7 is out of order (labrt/tests/reports.rs:", "in S2/applier"]);
}

#[test]
fn a_failed_assertion_of_the_first_thread_is_a_panic_of_main() {
    let failure = failure(&Config::new(1), || assert_eq!(1 + 1, 3));
    assert_eq!((failure.kind, &*failure.thread), (FailureKind::Panic, "test/main"));
    assert_says(&failure, &["left: 2", "right: 3"]);
}

#[test]
fn a_verdict_ends_the_run_without_unwinding_whoever_noticed_and_the_first_counts() {
    let failure = failure(&Config::new(1), || {
        Group::new("S1", 1, 0).spawn("oracle", || {
            labrt::fail("two leaders in term 12: S1, S4");
            labrt::fail("a later one");
        });
        thread::sleep(SECOND * 10);
    });
    assert_eq!(failure.kind, FailureKind::Verdict);
    assert_eq!(failure.message, "two leaders in term 12: S1, S4");
    assert!(failure.time < SECOND);
}

#[test]
#[should_panic(expected = "a simulated world was started inside another one")]
fn a_world_inside_a_world_is_refused() {
    let failure = failure(&Config::new(1), || {
        let _ = run(&Config::new(2), || ());
    });
    panic!("{failure}");
}

#[test]
fn a_blocking_call_in_a_timer_callback_is_refused_with_a_sentence() {
    let failure = failure(&Config::new(1), || {
        let (_tx, rx) = channel::unbounded::<u32>();
        labrt::timer::after(SECOND, move || assert!(rx.recv().is_ok()));
        thread::sleep(SECOND * 10);
    });
    assert_says(&failure, &["was called in a timer callback: it may not block"]);
}

#[test]
fn a_blocking_call_inside_a_shared_cell_is_refused_with_a_sentence() {
    let failure = failure(&Config::new(1), || {
        labrt::sync::Shared::new(()).with(|()| thread::sleep(SECOND));
    });
    assert_says(
        &failure,
        &["a blocking call at labrt/tests/reports.rs:", "inside a section without"],
    );
}

/// Runs the test `name` of this binary in a new process as the scenario it then is.
fn in_child(name: &str) -> (Option<i32>, String) {
    let program = std::env::current_exe().expect("a test runs from a file");
    let output = Command::new(program)
        .args([name, "--exact", "--nocapture"])
        .env(SCENARIO, "1")
        .output()
        .expect("the test's own program starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const SCENARIO: &str = "LABRT_REPORTS_SCENARIO";

fn is_child() -> bool {
    std::env::var_os(SCENARIO).is_some()
}

fn impatient() -> Config {
    Config { patience: Duration::from_millis(300), ..Config::new(1) }
}

/// The child's scenario: a server's thread does what the simulation cannot interrupt.
fn get_stuck(stuck: fn()) {
    let _ = run(&impatient(), move || {
        Group::new("S3", 3, 0).spawn("culprit", move || {
            thread::yield_now();
            stuck();
        });
        thread::sleep(SECOND);
    });
}

#[test]
fn a_busy_loop_ends_the_process_with_its_thread_and_last_call() {
    if is_child() {
        return get_stuck(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    let (status, text) = in_child("a_busy_loop_ends_the_process_with_its_thread_and_last_call");
    assert_eq!(status, Some(102), "{text}");
    assert!(text.contains("FAIL busy loop: 0.3 s of CPU time without a call into labrt"), "{text}");
    assert!(text.contains("in S3/culprit"), "{text}");
    assert!(text.contains("its last call was at labrt/tests/reports.rs:"), "{text}");
}

#[test]
fn a_real_sleep_inside_the_simulation_ends_the_process() {
    let name = "a_real_sleep_inside_the_simulation_ends_the_process";
    assert_ends_asleep(name, || std::thread::sleep(SECOND * 1000));
}

#[test]
fn a_std_lock_held_across_a_switch_inside_the_simulation_ends_the_process() {
    let name = "a_std_lock_held_across_a_switch_inside_the_simulation_ends_the_process";
    assert_ends_asleep(name, || {
        let lock = Arc::new(std::sync::Mutex::new(()));
        let theirs = Arc::clone(&lock);
        let (held_tx, held) = channel::bounded(0);
        thread::spawn(move || {
            let _held = theirs.lock();
            held_tx.send(()).map(|()| thread::sleep(SECOND * 1000))
        });
        held.recv().expect("it is held");
        drop(lock.lock());
    });
}

/// The test `name` itself asserts that, and in a new process it is what gets stuck.
fn assert_ends_asleep(name: &str, stuck: fn()) {
    if is_child() {
        return get_stuck(stuck);
    }
    let (status, text) = in_child(name);
    assert_eq!(status, Some(102), "{text}");
    assert!(text.contains("FAIL a std lock, real sleep or IO inside the simulation"), "{text}");
    assert!(text.contains("the OS thread slept for 0.3 s"), "{text}");
    assert!(text.contains("in S3/culprit") && text.contains("use labrt's lock, sleep"), "{text}");
}

#[test]
fn a_loop_that_asks_for_a_state_lets_others_bring_it_about() {
    let outcome = run(&impatient(), || {
        let (tx, rx) = channel::unbounded();
        let sender = thread::spawn(move || {
            thread::sleep(SECOND);
            tx.send(1)
        });
        while rx.is_empty() {}
        while !sender.is_finished() {}
        rx.len()
    });
    assert_eq!(outcome.result.ok(), Some(1));
}

#[test]
fn a_second_panic_that_aborts_the_process_is_not_silent() {
    struct PanicsToo;
    impl Drop for PanicsToo {
        fn drop(&mut self) {
            panic!("the second panic");
        }
    }
    if is_child() {
        let _ = run(&impatient(), || {
            let _second = PanicsToo;
            panic!("the first panic");
        });
        return;
    }
    let (status, text) = in_child("a_second_panic_that_aborts_the_process_is_not_silent");
    assert_eq!(status, None, "it is aborted by a signal: {text}");
    assert!(text.contains("the second panic"), "{text}");
}

#[test]
fn a_long_wait_of_a_real_machine_for_a_quick_world_is_no_failure() {
    let outcome = run(&impatient(), || {
        let (tx, rx) = channel::bounded::<u64>(0);
        thread::spawn(move || (0..400_000).for_each(|i| assert!(tx.send(i).is_ok())));
        rx.iter().count()
    });
    assert_eq!(outcome.result.ok(), Some(400_000));
}
