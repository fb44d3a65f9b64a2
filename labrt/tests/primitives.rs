//! Locks, channels, select, threads and time: one body, in every world it makes sense in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use labrt::channel::{
    self, RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError, bounded, unbounded,
};
use labrt::group::Group;
use labrt::pool::Pool;
use labrt::sim::{Config, StrategyKind, run};
use labrt::sync::{Condvar, Mutex, RwLock, Shared};
use labrt::time::Instant;
use labrt::{select, thread, timer};

const MS: Duration = Duration::from_millis(1);
/// Long enough that it never runs out on a real machine either.
const LONG: Duration = Duration::from_secs(60);

fn in_sim(body: fn()) {
    for seed in 0..100 {
        let strategy = StrategyKind::ALL[seed as usize % 3];
        let outcome = run(&Config::new(seed).with_strategy(strategy), body);
        outcome.result.unwrap_or_else(|failure| panic!("seed {seed}, {strategy}: {failure}"));
        assert_eq!(outcome.stats.leaked, Vec::<String>::new());
    }
}

fn in_os_group(body: fn()) {
    let group = Group::new("S1", 1, 0);
    group.spawn("body", body).join().expect("the body passes in a group");
    assert_eq!(group.members(), Vec::<String>::new());
}

/// Makes three tests of each body: simulated over seeds, on OS threads, and inside a group there.
macro_rules! in_all_worlds {
    ($(fn $name:ident() $body:block)*) => {$(
        mod $name {
            use super::*;

            fn body() $body

            #[test]
            fn in_sim() {
                super::in_sim(body);
            }

            #[test]
            fn on_os_threads() {
                body();
            }

            #[test]
            fn in_an_os_group() {
                super::in_os_group(body);
            }
        }
    )*};
}

in_all_worlds! {
    fn a_mutex_excludes() {
        let counter = Arc::new(Mutex::new(0));
        let add = |_| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                for _ in 0..50 {
                    let mut guard = counter.lock();
                    let seen = *guard;
                    thread::yield_now();
                    *guard = seen + 1;
                }
            })
        };
        let threads: Vec<_> = (0..4).map(add).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        assert_eq!(*counter.lock(), 200);
        assert_eq!(Arc::into_inner(counter).map(Mutex::into_inner), Some(200));
    }

    fn try_lock_sees_that_a_lock_is_held() {
        let lock = Mutex::new(1);
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        assert!(lock.try_lock_for(MS).is_none());
        drop(held);
        *lock.try_lock().expect("it is free") = 2;
        assert_eq!(*lock.try_lock_for(MS).expect("it is free"), 2);
    }

    fn readers_share_and_a_writer_is_alone() {
        let lock = Arc::new(RwLock::new(0));
        let (one, other) = (lock.read(), lock.read());
        assert!(lock.try_write().is_none() && lock.try_read().is_some());
        let theirs = Arc::clone(&lock);
        let writer = thread::spawn(move || *theirs.write() += 1);
        thread::sleep(MS);
        drop((one, other));
        writer.join().expect("it writes");
        let write = lock.write();
        assert!(lock.try_read().is_none() && lock.try_write().is_none());
        assert_eq!(*write, 1);
    }

    fn a_condition_variable_hands_over_every_token() {
        let state = Arc::new((Mutex::new(0), Condvar::new()));
        let taker = |_| {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let mut tokens = state.0.lock();
                state.1.wait_while(&mut tokens, |tokens| *tokens == 0);
                *tokens -= 1;
            })
        };
        let takers: Vec<_> = (0..5).map(taker).collect();
        for _ in 0..5 {
            *state.0.lock() += 1;
            state.1.notify_one();
        }
        takers.into_iter().for_each(|taker| taker.join().expect("it gets its token"));
        assert_eq!(*state.0.lock(), 0);
    }

    fn notify_all_wakes_all() {
        let state = Arc::new((Mutex::new(false), Condvar::new()));
        let waiter = |_| {
            let state = Arc::clone(&state);
            thread::spawn(move || state.1.wait_while(&mut state.0.lock(), |open| !*open))
        };
        let waiters: Vec<_> = (0..5).map(waiter).collect();
        thread::sleep(MS);
        *state.0.lock() = true;
        state.1.notify_all();
        waiters.into_iter().for_each(|waiter| waiter.join().expect("it is woken"));
    }

    fn a_timed_wait_ends_by_its_time_and_holds_the_lock_again() {
        let (lock, condvar) = (Mutex::new(0), Condvar::new());
        let started = Instant::now();
        let mut guard = lock.lock();
        while !condvar.wait_until(&mut guard, started + MS * 3).timed_out() {}
        *guard = 1;
        assert!(lock.try_lock().is_none());
        assert!(started.elapsed() >= MS * 3);
    }

    fn an_unbounded_channel_keeps_the_order_and_ends_with_its_senders() {
        let (tx, rx) = unbounded();
        for i in 0..5 {
            tx.send(i).expect("a receiver is left");
        }
        assert_eq!((rx.len(), rx.is_empty(), tx.len()), (5, false, 5));
        assert_eq!(rx.try_recv(), Ok(0));
        drop(tx);
        assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(rx.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }

    fn each_message_goes_to_one_receiver() {
        let (tx, rx) = unbounded();
        let receiver = |_| {
            let rx = rx.clone();
            thread::spawn(move || rx.iter().collect::<Vec<u32>>())
        };
        let receivers: Vec<_> = (0..3).map(receiver).collect();
        (0..30).for_each(|i| tx.send(i).expect("receivers are left"));
        drop(tx);
        let got = receivers.into_iter().flat_map(|thread| thread.join().expect("it receives"));
        assert_eq!(got.collect::<BTreeSet<_>>(), (0..30).collect());
    }

    fn a_full_channel_blocks_and_gives_messages_back() {
        let (tx, rx) = bounded(2);
        assert_eq!((tx.try_send(1), tx.try_send(2)), (Ok(()), Ok(())));
        assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(tx.send_timeout(3, MS), Err(SendTimeoutError::Timeout(3)));
        let theirs = tx.clone();
        let sender = thread::spawn(move || theirs.send(3));
        assert_eq!((rx.recv(), rx.recv(), rx.recv()), (Ok(1), Ok(2), Ok(3)));
        assert_eq!(sender.join().ok(), Some(Ok(())));
        drop(rx);
        assert_eq!(tx.try_send(4), Err(TrySendError::Disconnected(4)));
        assert_eq!(tx.send(4), Err(channel::SendError(4)));
        assert_eq!(tx.send_timeout(4, MS), Err(SendTimeoutError::Disconnected(4)));
    }

    fn a_rendezvous_hands_over_and_holds_nothing() {
        let (tx, rx) = bounded(0);
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(tx.send_timeout(1, MS), Err(SendTimeoutError::Timeout(1)));
        assert_eq!((rx.len(), rx.try_recv()), (0, Err(TryRecvError::Empty)));
        let received = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&received);
        let receiver = thread::spawn(move || {
            for message in rx.iter().take(20) {
                count.store(message, Ordering::SeqCst);
            }
        });
        for i in 1..=20 {
            tx.send(i).expect("the receiver waits");
            // Whoever is back from a send has been met.
            assert!(received.load(Ordering::SeqCst) + 1 >= i);
        }
        receiver.join().expect("it receives");
        assert_eq!(tx.send(21), Err(channel::SendError(21)));
    }

    fn a_rendezvous_sender_gets_its_message_back_when_the_receiver_goes() {
        let (tx, rx) = bounded(0);
        let sender = thread::spawn(move || tx.send(5));
        thread::sleep(MS);
        drop(rx);
        assert_eq!(sender.join().ok(), Some(Err(channel::SendError(5))));
    }

    fn try_send_meets_a_receiver_that_waits() {
        let (tx, rx) = bounded(0);
        let receiver = thread::spawn(move || rx.recv_timeout(LONG));
        let mut tries = 0;
        while tx.try_send(7).is_err() {
            tries += 1;
            assert!(tries < 1_000_000, "nobody waits");
            thread::yield_now();
        }
        assert_eq!(receiver.join().ok(), Some(Ok(7)));
    }

    fn messages_with_senders_inside_are_dropped_without_a_deadlock() {
        let (tx, rx) = unbounded::<channel::Sender<u32>>();
        let (inner, inner_rx) = unbounded();
        tx.send(inner).expect("a receiver is left");
        drop(rx);
        assert_eq!(inner_rx.recv(), Err(channel::RecvError));
    }

    fn after_tick_and_never_keep_their_times() {
        let started = Instant::now();
        let after = channel::after(MS * 4);
        let tick = channel::tick(MS * 3);
        assert_eq!(after.try_recv(), Err(TryRecvError::Empty));
        assert!(channel::never::<u32>().recv_timeout(MS).is_err());
        let at = after.recv().expect("an alarm is never disconnected");
        assert!(at.duration_since(started) >= MS * 4 && started.elapsed() >= MS * 4);
        assert_eq!(after.recv_timeout(MS), Err(RecvTimeoutError::Timeout));
        assert!(tick.recv().is_ok() && tick.recv().is_ok());
        assert!(started.elapsed() >= MS * 6);
    }

    fn select_takes_what_is_ready_and_default_what_is_not() {
        let (tx, rx) = unbounded();
        let (_other_tx, other) = unbounded::<u32>();
        let nothing = select! {
            recv(rx) -> _ => false,
            recv(other) -> _ => false,
            default => true,
        };
        assert!(nothing);
        tx.send(3).expect("a receiver is left");
        let got = select! {
            recv(other) -> _ => None,
            recv(rx) -> message => message.ok(),
            default(LONG) => None,
        };
        assert_eq!(got, Some(3));
        let started = Instant::now();
        let late = select! {
            recv(other) -> _ => false,
            default(MS) => true,
        };
        assert!(late && started.elapsed() >= MS);
        let alarmed = select! {
            recv(other) -> _ => false,
            recv(channel::after(MS)) -> at => at.is_ok(),
        };
        assert!(alarmed);
        drop(tx);
        select! { recv(rx) -> message => assert!(message.is_err()) }
    }

    fn select_sends_where_there_is_room() {
        let (tx, rx) = bounded(1);
        let (full, _full_rx) = bounded(0);
        let sent = select! {
            send(full, 1) -> _ => 1,
            send(tx, 2) -> sent => { sent.expect("a receiver is left"); 2 }
        };
        assert_eq!((sent, rx.recv()), (2, Ok(2)));
        drop(rx);
        select! {
            send(tx, 3) -> sent => assert_eq!(sent, Err(channel::SendError(3))),
            send(full, 1) -> _ => unreachable!("nobody receives"),
        }
    }

    fn select_chooses_each_of_several_that_are_ready() {
        let (tx, rx) = unbounded();
        let mut chosen = [0; 2];
        for _ in 0..200 {
            tx.send(()).expect("a receiver is left");
            select! {
                recv(rx) -> _ => chosen[0] += 1,
                send(tx, ()) -> _ => chosen[1] += 1,
            }
        }
        assert!(chosen[0] > 0 && chosen[1] > 0, "{chosen:?}");
    }

    fn a_rendezvous_between_two_selects_meets() {
        let (tx, rx) = bounded(0);
        let (stop_tx, stop) = bounded::<()>(0);
        let sender_stop = stop.clone();
        let sender = thread::spawn(move || {
            let mut sent = 0;
            while sent < 20 {
                select! {
                    send(tx, sent) -> result => { result.expect("a receiver is left"); sent += 1; }
                    recv(sender_stop) -> _ => unreachable!("nobody stops it"),
                }
            }
        });
        for i in 0..20 {
            select! {
                recv(rx) -> message => assert_eq!(message, Ok(i)),
                recv(stop) -> _ => unreachable!("nobody stops it"),
            }
        }
        sender.join().expect("it sends");
        drop(stop_tx);
    }

    fn a_select_over_two_rendezvous_meets_one_sender() {
        for [one, other] in [["select"; 2], ["try"; 2], ["try", "block"], ["select", "block"]] {
            let (a_tx, a) = bounded(0);
            let (b_tx, b) = bounded(0);
            let receiver = thread::spawn(move || {
                select! {
                    recv(a) -> message => message.is_ok(),
                    recv(b) -> message => message.is_ok(),
                }
            });
            let sender = |(tx, how): (channel::Sender<u32>, &'static str)| {
                thread::spawn(move || {
                    match how {
                        "select" => return select! { send(tx, 1) -> sent => sent.is_ok() },
                        "block" => return tx.send(1).is_ok(),
                        _ => {}
                    }
                    loop {
                        match tx.try_send(1) {
                            Err(TrySendError::Full(_)) => thread::yield_now(),
                            sent => return sent.is_ok(),
                        }
                    }
                })
            };
            let sent = [(a_tx, one), (b_tx, other)].map(sender).map(|sender| sender.join().ok());
            assert!(sent.contains(&Some(true)) && sent.contains(&Some(false)), "{sent:?}");
            assert_eq!(receiver.join().ok(), Some(true));
        }
    }

    fn a_select_that_takes_another_channel_loses_nobodys_wake_up() {
        let (a_tx, a) = unbounded();
        let (b_tx, b) = unbounded();
        let worker = |_| {
            let (a, b) = (a.clone(), b.clone());
            thread::spawn(move || {
                select! {
                    recv(a) -> message => message.is_ok(),
                    recv(b) -> message => message.is_ok(),
                }
            })
        };
        let workers: Vec<_> = (0..4).map(worker).collect();
        for _ in 0..2 {
            a_tx.send(1).expect("receivers are left");
            b_tx.send(2).expect("receivers are left");
        }
        for worker in workers {
            assert_eq!(worker.join().ok(), Some(true));
        }
    }

    fn a_select_may_compute_its_message_while_the_room_is_taken() {
        let (tx, rx) = bounded(1);
        let lock = Mutex::new(1);
        let theirs = tx.clone();
        let other = thread::spawn(move || theirs.send(2));
        let receiver = thread::spawn(move || rx.iter().sum::<i32>());
        select! {
            send(tx, { thread::yield_now(); *lock.lock() }) -> sent => assert!(sent.is_ok()),
            default(LONG) => unreachable!("there is room"),
        }
        other.join().expect("it does not panic").expect("a receiver is left");
        drop(tx);
        assert_eq!(receiver.join().ok(), Some(3));
    }

    fn join_gives_the_result_and_knows_the_end() {
        let handle = thread::Builder::new().name("adder").spawn(|| {
            assert!(thread::current_name().ends_with("/adder"));
            1 + 1
        });
        while !handle.is_finished() {
            thread::yield_now();
        }
        assert_eq!(handle.join().ok(), Some(2));
    }

    fn sleep_and_timers_keep_their_time_and_order() {
        let started = Instant::now();
        let order = Arc::new(Shared::new(Vec::new()));
        for delay in [30, 10, 20] {
            let order = Arc::clone(&order);
            timer::after(MS * delay, move || order.with(|order| order.push(delay)));
        }
        let (tx, rx) = unbounded();
        timer::after(MS * 40, move || assert!(tx.try_send(()).is_ok()));
        assert_eq!(rx.recv(), Ok(()));
        assert_eq!(order.with(|order| order.clone()), [10, 20, 30]);
        assert!(started.elapsed() >= MS * 40);
        thread::sleep(MS);
        assert!(started.elapsed() >= MS * 41);
    }

    fn a_pool_runs_every_job_and_uses_threads_again() {
        let pool = Pool::new(&Group::new("S7", 7, 0), "handler");
        let names = Arc::new(Shared::new(BTreeSet::new()));
        for _ in 0..20 {
            let (tx, rx) = unbounded();
            let names = Arc::clone(&names);
            pool.run(move || {
                names.with(|names| names.insert(thread::current_name()));
                tx.send(()).expect("it is waited for");
            });
            assert_eq!(rx.recv(), Ok(()));
            thread::sleep(MS);
        }
        let names = names.with(|names| names.clone());
        assert!(names.contains("S7/handler-1") && names.len() < 20, "{names:?}");
    }

    fn a_pools_threads_belong_to_who_made_it_and_not_to_who_gives_the_job() {
        let group = Group::new("S7", 7, 0);
        let make = || Pool::in_current_group("helper");
        let (ours, theirs) = (make(), group.spawn("main", make).join().expect("no panic"));
        let (tx, rx) = unbounded();
        let whose = move |pool: &Pool| {
            let tx = tx.clone();
            let server = || Group::current().map(|group| group.server());
            pool.run(move || tx.send(server()).expect("it is waited for"));
        };
        whose(&theirs);
        assert_eq!(rx.recv(), Ok(Some(7)));
        let mine = Group::current().map(|group| group.server());
        let given = ours.clone();
        group.spawn("main", move || whose(&given)).join().expect("no panic");
        assert_eq!(rx.recv(), Ok(mine));
        ours.close();
        while Group::current().is_some_and(|group| group.members().len() > 1) {
            thread::sleep(MS);
        }
    }

    fn a_job_is_done_though_whoever_gives_it_is_being_ended() {
        struct OnDrop<F: FnMut()>(F);
        impl<F: FnMut()> Drop for OnDrop<F> {
            fn drop(&mut self) {
                (self.0)();
            }
        }
        let (pool, (tx, rx)) = (Pool::new(&Group::new("S7", 7, 0), "helper"), unbounded());
        // With an idle thread, and without one.
        let first = tx.clone();
        pool.run(move || first.send(thread::current_name()).expect("it is waited for"));
        assert_eq!(rx.recv(), Ok("S7/helper-1".into()));
        thread::sleep(MS * 10);
        let victim = Group::new("S8", 8, 0);
        let give_two = move || {
            for _ in 0..2 {
                let tx = tx.clone();
                pool.run(move || {
                    tx.send(thread::current_name()).expect("it is waited for");
                    thread::sleep(MS * 10);
                });
            }
        };
        let its = victim.clone();
        let last_deed = move || {
            let deed = OnDrop(give_two);
            // A simulated thread unwinds here, another one goes on to its next call.
            its.crash();
            drop(deed);
        };
        let _ = victim.spawn("main", last_deed).join();
        let done = BTreeSet::from([rx.recv(), rx.recv()].map(|name| name.expect("both are done")));
        assert_eq!(done, BTreeSet::from(["S7/helper-1", "S7/helper-2"].map(String::from)));
    }

    fn the_current_group_is_that_of_the_thread() {
        let group = Group::new("S7", 7, 0);
        let current = || Group::current().map(|group| (group.name().to_string(), group.server()));
        assert_eq!(group.spawn("main", current).join().ok(), Some(Some(("S7".to_string(), 7))));
        let crash = || Group::current().expect("it has one").crash();
        let _ = group.spawn("main", crash).join();
        assert!(!group.is_alive(), "another group crashed");
    }

    fn a_pool_keeps_only_so_many_idle_threads() {
        const JOBS: usize = 1100;
        const KEPT: usize = 1024;
        let group = Group::new("S7", 7, 0);
        let pool = Pool::new(&group, "handler");
        let (release, released) = unbounded::<()>();
        for _ in 0..JOBS {
            let released = released.clone();
            pool.run(move || assert!(released.recv().is_err()));
        }
        let begun = Instant::now();
        let expect = |threads| {
            while group.members().len() != threads {
                assert!(begun.elapsed() < MS * 60_000, "{} threads", group.members().len());
                thread::sleep(MS * 10);
            }
        };
        expect(JOBS);
        drop(release);
        expect(KEPT);
    }

    fn a_pool_that_was_closed_runs_nothing() {
        let group = Group::new("S7", 7, 0);
        let pool = Pool::new(&group, "helper");
        let (idle_tx, idle) = unbounded();
        pool.run(move || idle_tx.send(()).expect("it is waited for"));
        assert_eq!(idle.recv(), Ok(()));
        thread::sleep(MS);
        pool.close();
        while !group.members().is_empty() {
            // Its idle thread ends.
            thread::sleep(MS);
        }
        let (tx, rx) = unbounded();
        pool.run(move || tx.send(()).expect("it is waited for"));
        assert_eq!(rx.recv(), Err(channel::RecvError), "a pool that was closed ran a job");
    }

    fn a_job_for_a_pool_of_a_dead_server_is_dropped() {
        let group = Group::new("S7", 7, 0);
        let pool = Pool::new(&group, "handler");
        pool.run(|| {});
        group.crash();
        for _ in 0..3 {
            let (tx, rx) = unbounded();
            pool.run(move || tx.send(()).expect("it is waited for"));
            assert_eq!(rx.recv(), Err(channel::RecvError), "a dead server's thread ran a job");
        }
    }
}

#[test]
fn a_tests_own_threads_have_no_group() {
    assert!(Group::current().is_none());
    in_sim(|| assert!(Group::current().is_none()));
}

#[test]
fn virtual_sleep_is_exact_but_for_the_price_of_calls() {
    let config = Config::new(1).with_strategy(StrategyKind::Plain);
    let outcome = run(&config, || {
        let started = Instant::now();
        thread::sleep(Duration::from_secs(1));
        started.elapsed()
    });
    let took = outcome.result.expect("it passes") - Duration::from_secs(1);
    assert!(took < Duration::from_micros(1), "{took:?} too long");
}

#[test]
fn each_server_has_its_own_clock() {
    let config = Config::new(1).with_strategy(StrategyKind::Plain);
    let outcome = run(&config, || {
        let second = Duration::from_secs(1);
        let measure = |rate| {
            let group = Group::new("S", 1, rate);
            group.set_clock(Duration::from_secs(500), rate);
            let slept = group.spawn("sleeper", move || {
                let (local, world) = (Instant::now(), labrt::time::world_time());
                thread::sleep(second);
                (local, local.elapsed(), labrt::time::world_time() - world)
            });
            slept.join().expect("it sleeps")
        };
        for rate in [800_000, 1_000_000, 1_200_000_u64] {
            let (_, local, world) = measure(rate);
            assert_eq!((local - second).as_micros(), 0, "by its own clock it was a second");
            let expected = 1_000_000 * 1_000_000 / rate;
            assert!(world.as_micros().abs_diff(u128::from(expected)) <= 1, "{world:?}");
        }
        let group = Group::new("S", 2, 0);
        group.set_clock(Duration::from_secs(500), 1_000_000);
        let shown = group.spawn("clock", || Instant::now().duration_since(Instant::now() - LONG));
        assert!(shown.join().is_ok_and(|shown| shown < LONG + MS));
    });
    outcome.result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
#[should_panic(expected = "a clock's rate must be within 20 % of true time")]
fn a_clock_that_is_too_wrong_is_refused() {
    Group::new("S", 1, 0).set_clock(Duration::ZERO, 1_200_001);
}

#[test]
fn instants_saturate_at_the_ends_of_time() {
    let now = Instant::now();
    assert_eq!(now - (now + LONG), Duration::ZERO);
    assert_eq!(now + Duration::MAX, now + Duration::MAX + LONG);
    assert!(now.checked_add(Duration::MAX).is_none());
    assert_eq!((now - Duration::MAX).duration_since(now), Duration::ZERO);
}
