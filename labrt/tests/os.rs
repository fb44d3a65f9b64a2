//! Servers made of OS threads: how they crash and pause, and what is refused in the wrong world.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use labrt::group::Group;
use labrt::sim::{Config, run};
use labrt::sync::{Condvar, Mutex, Shared};
use labrt::{channel, select, thread};

const LONG: Duration = Duration::from_secs(1000);

/// Waits (in real time) until `reached`, for a generous while.
fn until(what: &str, reached: impl Fn() -> bool) {
    let started = Instant::now();
    while !reached() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The failure of the OS worlds is one per process: tests that look at it go one by one.
fn alone() -> impl Drop {
    static ALONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    ALONE.lock()
}

/// Starts `body` in a group, crashes the group once the body is under way, and wants it ended.
fn crash_ends<T>(body: impl FnOnce() -> T + Send + 'static) {
    let _alone = alone();
    let group = Group::new("S1", 1, 0);
    let (begun_tx, begun) = channel::bounded(0);
    let handle = group.spawn("victim", move || {
        begun_tx.send(()).expect("the test waits");
        let _ = body();
    });
    begun.recv().expect("the victim begins");
    group.crash();
    assert!(!group.is_alive());
    until("the victim's end", || group.members().is_empty());
    let payload = handle.join().expect_err("it was killed");
    assert!(payload.is::<thread::Killed>());
    assert_eq!(labrt::take_failure(), None, "being killed is no failure");
}

#[test]
fn a_crash_ends_threads_that_receive() {
    let (_tx, rx) = channel::unbounded::<u32>();
    let timed = rx.clone();
    crash_ends(move || rx.recv());
    crash_ends(move || timed.recv_timeout(LONG));
}

#[test]
fn a_crash_ends_threads_that_send() {
    let (tx, _rx) = channel::bounded::<u32>(0);
    let timed = tx.clone();
    crash_ends(move || tx.send(1));
    crash_ends(move || timed.send_timeout(1, LONG));
}

#[test]
fn a_crash_ends_threads_that_sleep() {
    crash_ends(|| thread::sleep(LONG));
}

#[test]
fn a_crash_ends_threads_that_wait_for_a_condition() {
    crash_ends(|| {
        let lock = Mutex::new(());
        Condvar::new().wait_while(&mut lock.lock(), |()| true);
    });
    crash_ends(|| {
        let lock = Mutex::new(());
        let _ = Condvar::new().wait_for(&mut lock.lock(), LONG);
    });
}

#[test]
fn a_servers_wait_for_a_condition_ends_by_its_time_or_a_notification_and_by_nothing_else() {
    let _alone = alone();
    let state = Arc::new((Mutex::new(false), Condvar::new()));
    let (theirs, limit) = (Arc::clone(&state), Duration::from_millis(250));
    let waits = Group::new("S1", 1, 0).spawn("waits", move || {
        let (lock, condvar) = &*theirs;
        let (mut guard, begun) = (lock.lock(), Instant::now());
        assert!(condvar.wait_for(&mut guard, limit).timed_out(), "nobody notified it");
        assert!(begun.elapsed() >= limit, "its time was not over");
        *guard = true;
        assert!(!condvar.wait_for(&mut guard, LONG).timed_out());
        assert!(!*guard, "it was woken before it was notified");
        *guard = true;
        condvar.wait(&mut guard);
        assert!(!*guard, "it was woken before it was notified");
    });
    let (lock, condvar) = &*state;
    for _ in 0..2 {
        until("it waits", || *lock.lock());
        // Several of the slices in which it waits.
        std::thread::sleep(limit);
        *lock.lock() = false;
        condvar.notify_one();
    }
    waits.join().expect("it is notified");
}

#[test]
fn a_crash_while_a_selected_message_is_computed_takes_effect_after_it_was_sent() {
    let _alone = alone();
    for capacity in [0, 1] {
        let group = Group::new("S1", 1, 0);
        let (tx, rx) = channel::bounded(capacity);
        let (lock, its) = (Mutex::new(7), group.clone());
        let sends = group.spawn("sends", move || {
            let compute = || {
                its.crash();
                *lock.lock()
            };
            select! { send(tx, compute()) -> sent => assert!(sent.is_ok()) }
            thread::yield_now();
        });
        assert_eq!(rx.recv(), Ok(7));
        assert!(sends.join().is_err(), "it ends at its next call");
    }
}

#[test]
fn a_crash_ends_threads_that_select_join_or_spin() {
    let (tx, rx) = channel::bounded::<u32>(0);
    crash_ends(move || {
        select! {
            recv(rx) -> _ => {},
            send(tx, 1) -> _ => {},
        }
    });
    crash_ends(|| select! { recv(channel::never::<u32>()) -> _ => {}, default(LONG) => {} });
    crash_ends(|| thread::spawn(|| thread::sleep(LONG)).join());
    crash_ends(|| {
        loop {
            thread::yield_now();
        }
    });
}

#[test]
fn destructors_of_a_crashed_thread_may_lock_and_see_channels_disconnected() {
    struct End(Arc<Mutex<u32>>, channel::Sender<u32>);
    impl Drop for End {
        fn drop(&mut self) {
            *self.0.lock() += 1;
            assert!(self.1.send(1).is_err(), "the outside hears nothing of it");
            thread::sleep(LONG);
        }
    }
    let lock = Arc::new(Mutex::new(0));
    let (tx, rx) = channel::bounded(5);
    let end = End(Arc::clone(&lock), tx);
    crash_ends(move || {
        let _end = end;
        thread::sleep(LONG);
    });
    assert_eq!((*lock.lock(), rx.recv().is_err()), (1, true));
}

#[test]
fn members_names_threads_that_are_left_with_their_last_call() {
    let group = Group::new("S5", 5, 0);
    let free = Arc::new(AtomicBool::new(false));
    let (gate, begun) = (Arc::clone(&free), Arc::new(AtomicBool::new(false)));
    let theirs = Arc::clone(&begun);
    let handle = group.spawn("stubborn", move || {
        thread::checkpoint();
        theirs.store(true, Ordering::SeqCst);
        while !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    until("the thread's beginning", || begun.load(Ordering::SeqCst));
    group.crash();
    let members = group.members();
    assert_eq!(members.len(), 1);
    assert!(members[0].starts_with("S5/stubborn at labrt/tests/os.rs:"), "{members:?}");
    free.store(true, Ordering::SeqCst);
    assert!(handle.join().is_ok(), "it never called us again");
    assert!(group.members().is_empty());
}

#[test]
fn a_server_that_is_paused_in_a_section_does_not_keep_others_out_of_it() {
    let group = Group::new("S1", 1, 0);
    let shared = Arc::new(Shared::new(0));
    let theirs = Arc::clone(&shared);
    // It hardly ever is outside of a section.
    group.spawn("counter", move || {
        let (nudge, _nudges) = channel::bounded(1);
        loop {
            theirs.with(|count| {
                *count += 1;
                for _ in 0..100 {
                    let _ = nudge.try_send(());
                }
            });
            thread::yield_now();
        }
    });
    let (done_tx, done) = channel::bounded(1);
    let (paused, ours) = (group.clone(), Arc::clone(&shared));
    thread::spawn(move || {
        for _ in 0..100 {
            let before = ours.with(|count| *count);
            until("it runs", || ours.with(|count| *count) > before);
            paused.pause();
            ours.with(|count| *count);
            paused.resume();
        }
        done_tx.send(()).expect("the test waits");
    });
    let ended = done.recv_timeout(Duration::from_secs(20));
    group.resume();
    assert!(ended.is_ok(), "a paused server holds what others need");
    group.crash();
}

#[test]
fn a_paused_server_stands_still_until_it_is_resumed() {
    let group = Group::new("S1", 1, 0);
    let count = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&count);
    group.spawn("counter", move || {
        loop {
            thread::yield_now();
            theirs.fetch_add(1, Ordering::SeqCst);
        }
    });
    let now = || count.load(Ordering::SeqCst);
    until("the counter's beginning", || now() > 0);
    group.pause();
    // At most one step is under way when the pause begins.
    let paused_at = now();
    std::thread::sleep(Duration::from_millis(50));
    assert!(now() <= paused_at + 1);
    let before = now();
    group.resume();
    until("the counter's going on", || now() > before + 10);
    group.pause();
    group.crash();
    until("the end of a paused server", || group.members().is_empty());
}

#[test]
fn a_panic_of_a_servers_thread_is_kept_as_the_runs_failure() {
    let _alone = alone();
    let group = Group::new("S8", 8, 0);
    let handle = group.spawn("applier", || panic!("index {} is out of order", 3));
    assert!(handle.join().is_err());
    let failure = labrt::take_failure();
    assert_eq!(failure.as_deref(), Some("index 3 is out of order in S8/applier"));
}

/// What a simulated thread that does `wrong` is told.
fn told_in_sim<T: Send + 'static>(wrong: impl FnOnce() -> T + Send + 'static) -> String {
    let outcome = run(&Config::new(1), wrong);
    outcome.result.map(drop).expect_err("it is refused").to_string()
}

#[test]
fn os_objects_are_refused_inside_the_simulation() {
    let (tx, rx) = channel::bounded::<u32>(1);
    let theirs = rx.clone();
    let made_outside = "this channel was made outside the simulation: make it inside the world";
    assert!(told_in_sim(move || theirs.recv()).contains(made_outside));
    assert!(told_in_sim(move || tx.send(1)).contains(made_outside));
    let text = told_in_sim(move || select! { recv(rx) -> _ => {} });
    assert!(text.contains("a select over channels of two worlds"), "{text}");
    let handle = thread::spawn(|| ());
    let text = told_in_sim(move || handle.join());
    assert!(text.contains("this thread is an OS thread: a simulated thread cannot wait"), "{text}");
    let group = Group::new("S1", 1, 0);
    let text = told_in_sim(move || group.spawn("lost", || ()));
    assert!(
        text.contains("group S1 belongs to OS threads: make it inside the simulation"),
        "{text}"
    );
}

fn panic_of<T>(wrong: impl FnOnce() -> T) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wrong)).map(drop);
    let payload = payload.expect_err("it is refused");
    let text = payload.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| payload.downcast_ref::<&str>().copied().unwrap_or_default().into())
}

#[test]
fn simulated_objects_are_refused_outside() {
    let outcome = run(&Config::new(1), || {
        (channel::bounded::<u32>(1), thread::spawn(|| ()), Group::new("S2", 2, 0))
    });
    let ((tx, rx), handle, group) = outcome.result.expect("it passes");
    let belongs = "this channel belongs to a simulated world: use it inside that world only";
    assert!(panic_of(|| tx.send(1)).contains(belongs));
    assert!(panic_of(|| rx.recv()).contains(belongs));
    assert!(panic_of(|| rx.try_recv()).contains(belongs));
    let text = panic_of(|| handle.join());
    assert!(text.contains("this thread is simulated and its world is gone"), "{text}");
    let text = panic_of(|| group.spawn("lost", || ()));
    assert!(text.contains("group S2 belongs to a simulated world"), "{text}");
    // Drop, pause, resume and crash are never refused.
    group.pause();
    group.resume();
    group.crash();
    assert!(!group.is_alive());
}

#[test]
fn clocks_and_switch_points_belong_to_the_simulation() {
    let group = Group::new("S1", 1, 0);
    let text = panic_of(|| group.set_clock(Duration::ZERO, 1_000_000));
    assert!(text.contains("only a simulated world has clocks to set"), "{text}");
    let text = panic_of(|| group.crash_after(1));
    assert!(text.contains("only a simulated world counts switch points"), "{text}");
}
