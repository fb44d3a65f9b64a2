//! What one pass of the suites costs: each test once, one seed, one thread, the oracle on.
//!
//! ```text
//! cargo bench -p tests --bench pass
//! ```
//!
//! Everything runs on one OS thread at a time and hardly waits for anything, so wall-clock time
//! stands for CPU time; of several passes the fastest is the least disturbed.

use std::hint::black_box;
use std::time::Duration;

use corosensei::Coroutine;
use harness::runner::{TestCase, simulate};
use labrt::sim::Config;
use labrt::time::Instant;

const PASSES: u64 = 20;
const SWITCHES: u64 = 2_000_000;

fn main() {
    let yardstick = yardstick();
    println!("yardstick, a bare coroutine's switch and back: {yardstick:?}");
    let mut total = Duration::ZERO;
    for case in tests::SUITES.iter().copied().flatten() {
        let (time, rpcs) = fastest(case);
        total += time;
        println!("{:<24} {:>9.3} ms {rpcs:>7} RPCs", case.name, time.as_secs_f64() * 1e3);
    }
    let yardsticks = total.as_secs_f64() / yardstick.as_secs_f64() / 1e6;
    println!("one pass: {total:?} = {yardsticks:.2} million yardsticks");
}

/// The fastest of several runs of seed 1, and how many RPCs it made.
fn fastest(case: &'static TestCase) -> (Duration, u64) {
    let run = |_| {
        let started = Instant::now();
        let outcome = simulate::<raft::Raft>(case, &Config::new(1));
        let summary = outcome.result.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        (started.elapsed(), summary.rpcs)
    };
    (0..PASSES).map(run).min().unwrap_or_default()
}

/// Round robin over 50 coroutines that do nothing but suspend.
fn yardstick() -> Duration {
    let forever = |yielder: &corosensei::Yielder<(), ()>, ()| -> () {
        loop {
            yielder.suspend(());
        }
    };
    let mut coroutines: Vec<Coroutine<(), (), ()>> =
        (0..50).map(|_| Coroutine::new(forever)).collect();
    let started = Instant::now();
    for number in 0..SWITCHES as usize {
        black_box(coroutines[number % 50].resume(()));
    }
    let time = started.elapsed();
    coroutines.iter_mut().for_each(Coroutine::force_unwind);
    time / SWITCHES as u32
}
