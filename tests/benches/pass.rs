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
use harness::Summary;
use harness::runner::{TestCase, simulate};
use labrt::sim::Config;
use labrt::time::Instant;

const PASSES: u64 = 5;
const SWITCHES: u64 = 2_000_000;

fn main() {
    let yardstick = yardstick();
    println!("yardstick, a bare coroutine's switch and back: {:.1} ns", yardstick * 1e9);
    for suite in tests::SUITES {
        suite.iter().for_each(|case| fastest(case).print(case.name, yardstick));
    }
    for (name, mirrored) in [("the labs' tests", true), ("our own", false)] {
        let cases = tests::SUITES.iter().copied().flatten();
        let costs = cases.filter(|case| case.mirrored == mirrored).map(fastest);
        costs.fold(Cost::default(), Cost::and).print(name, yardstick);
    }
}

/// What one or several tests took.
#[derive(Clone, Copy, Default)]
struct Cost {
    time: Duration,
    rpcs: u64,
    commands: u64,
}

impl Cost {
    fn new(time: Duration, summary: &Summary) -> Self {
        Self { time, rpcs: summary.rpcs, commands: summary.commands }
    }

    fn and(self, other: Self) -> Self {
        Self {
            time: self.time + other.time,
            rpcs: self.rpcs + other.rpcs,
            commands: self.commands + other.commands,
        }
    }

    fn print(&self, name: &str, yardstick: f64) {
        let Self { time, rpcs, commands } = *self;
        let seconds = time.as_secs_f64();
        let millions = seconds / yardstick / 1e6;
        let each = seconds * 1e6 / rpcs.max(1) as f64;
        println!(
            "{name:<24} {:>9.3} ms {millions:>7.3} M yardsticks {rpcs:>7} RPCs {commands:>5} \
             commands {each:>7.2} us an RPC",
            seconds * 1e3
        );
    }
}

/// The fastest of several runs of seed 1.
fn fastest(case: &'static TestCase) -> Cost {
    let run = |_| {
        let started = Instant::now();
        let outcome = simulate::<raft::Raft>(case, &Config::new(1));
        let summary = outcome.result.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
        Cost::new(started.elapsed(), &summary)
    };
    (0..PASSES).map(run).min_by_key(|cost| cost.time).unwrap_or_default()
}

/// Round robin over 50 coroutines that do nothing but suspend: seconds for a switch and back.
fn yardstick() -> f64 {
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
    time.as_secs_f64() / SWITCHES as f64
}
