//! What an observer does in the middle of the thread that woke it, which stays on the CPU.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use labrt::channel::{self, Receiver};
use labrt::group::Group;
use labrt::sim::{Config, FailureKind, Outcome, StrategyKind, run};
use labrt::time::Instant;
use labrt::{thread, timer};

const SECOND: Duration = Duration::from_secs(1);

/// What became of a thread that sends a message at one second, switches once, and goes on.
#[derive(Clone)]
struct Sender {
    group: Group,
    went_on: Arc<AtomicBool>,
}

impl Sender {
    /// The message is received by an observer, which then does `deed`.
    fn and_observer(deed: impl FnOnce(&Group) + Send + 'static) -> Self {
        let (tx, rx) = channel::unbounded();
        let sender = Self { group: Group::new("S1", 1, 0), went_on: Arc::default() };
        sender.be_observed(rx, deed);
        let went_on = Arc::clone(&sender.went_on);
        sender.group.spawn("sender", move || {
            thread::sleep(SECOND);
            tx.send(()).expect("the observer waits for it");
            thread::yield_now();
            went_on.store(true, Ordering::Relaxed);
        });
        sender
    }

    fn be_observed(&self, rx: Receiver<()>, deed: impl FnOnce(&Group) + Send + 'static) {
        let group = self.group.clone();
        thread::Builder::new().name("watcher").observer().spawn(move || {
            assert_eq!(rx.recv(), Ok(()));
            deed(&group);
        });
    }

    fn has_gone_on(&self) -> bool {
        self.went_on.load(Ordering::Relaxed)
    }
}

/// One run per seed, over the strategies.
fn outcomes(body: impl Fn() + Clone + Send + 'static) -> impl Iterator<Item = Outcome<()>> {
    (0..60).map(move |seed| {
        let strategy = StrategyKind::ALL[seed as usize % 3];
        run(&Config::new(seed).with_strategy(strategy), body.clone())
    })
}

fn over_seeds(body: impl Fn() + Clone + Send + 'static) {
    for outcome in outcomes(body) {
        outcome.result.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(outcome.stats.leaked, Vec::<String>::new());
    }
}

#[test]
fn a_thread_whose_server_the_observer_crashes_does_not_go_on() {
    over_seeds(|| {
        let sender = Sender::and_observer(Group::crash);
        thread::sleep(SECOND * 2);
        assert!(!sender.has_gone_on());
    });
}

#[test]
fn a_thread_whose_server_the_observer_pauses_goes_on_after_that() {
    over_seeds(|| {
        let sender = Sender::and_observer(Group::pause);
        thread::sleep(SECOND * 2);
        sender.group.resume();
        thread::sleep(SECOND);
        assert!(sender.has_gone_on());
    });
}

#[test]
fn a_thread_goes_on_when_the_observer_has_ended() {
    over_seeds(|| {
        let sender = Sender::and_observer(|_| ());
        thread::sleep(SECOND * 2);
        assert!(sender.has_gone_on());
    });
}

#[test]
fn an_observers_timer_runs_when_it_is_due() {
    over_seeds(|| {
        let (tx, rx) = channel::unbounded();
        let sender = Sender::and_observer(|_| {
            let set = Instant::now();
            timer::after(Duration::ZERO, move || {
                let _ = tx.try_send(Instant::now() - set);
            });
        });
        // Threads may be stalled; a timer's callback is not one.
        assert!(rx.recv().is_ok_and(|late| late < SECOND / 1_000_000));
        thread::sleep(SECOND);
        assert!(sender.has_gone_on());
    });
}

#[test]
fn a_panic_of_the_observer_fails_the_run_and_names_it() {
    for outcome in outcomes(|| {
        let _sender = Sender::and_observer(|_| panic!("seen: two leaders"));
        thread::sleep(SECOND * 2);
    }) {
        let failure = outcome.result.expect_err("the observer panics");
        assert_eq!(failure.kind, FailureKind::Panic);
        let text = failure.to_string();
        assert!(text.contains("seen: two leaders") && text.contains("watcher"), "{text}");
        assert_eq!(outcome.stats.leaked, Vec::<String>::new());
    }
}
