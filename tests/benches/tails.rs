//! How near correct Rafts come to the suites' time limits: a limit that a correct Raft may miss
//! is wrong.
//!
//! ```text
//! cargo bench -p tests --bench tails -- 1000
//! ```
//!
//! runs every test over so many seeds (100 if no number is given), on both Rafts, with the
//! strategies mixed as always, and prints for each kind of wait how long the longest of a run was.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::runner::{Implementation, TestCase, simulate};
use harness::{AGREED_WITHIN, LEADER_WITHIN, Waits};
use labrt::settings::Settings;
use labrt::sim::Config;
use labrt::sync::Shared;
use labrt::thread;
use plain_raft::PlainRaft;
use raft::Raft;

/// A test's longest waits, a run each.
type Runs = Vec<(&'static str, Waits)>;
/// What can be waited for: its name, its limit, and how long a run waited.
type Kind = (&'static str, Duration, fn(&Waits) -> Duration);

fn main() -> ExitCode {
    let number = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let Ok(seeds) = number.as_deref().unwrap_or("100").parse() else {
        eprintln!("the argument must be a number of seeds");
        return ExitCode::FAILURE;
    };
    print("our Raft", &measure(seeds, Implementation::new().raft::<Raft>()));
    print("the plain Raft", &measure(seeds, Implementation::new().raft::<PlainRaft>()));
    ExitCode::SUCCESS
}

fn run(case: &'static TestCase, raft: Implementation, config: &Config) -> Waits {
    let outcome = simulate(case, raft, config);
    outcome.result.unwrap_or_else(|failure| panic!("{} {failure}", case.name)).waits
}

/// All tests over so many seeds, on as many OS threads as there are CPUs.
fn measure(seeds: u64, raft: Implementation) -> Runs {
    let (next, runs) = (Arc::new(AtomicU64::new(0)), Arc::new(Shared::new(Runs::new())));
    let worker = |_| {
        let (next, runs) = (Arc::clone(&next), Arc::clone(&runs));
        thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return;
                }
                let of_seed = of_seed(seed, raft);
                runs.with(|runs| runs.extend(of_seed));
            }
        })
    };
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let workers: Vec<_> = (0..cpus).map(worker).collect();
    workers.into_iter().for_each(|worker| worker.join().expect("a run failed"));
    runs.with(std::mem::take)
}

fn of_seed(seed: u64, raft: Implementation) -> Runs {
    let settings = Settings::from_env().unwrap_or_else(|error| panic!("{error}"));
    let config = Config::new(seed).with_strategy(settings.strategy_of(seed));
    let cases = tests::SUITES.iter().copied().flatten().filter(|case| case.concerns(&raft));
    cases.map(|case| (case.name, run(case, raft, &config))).collect()
}

fn print(raft: &str, runs: &Runs) {
    println!("{raft}: the longest wait of each of {} runs", runs.len());
    let kinds: [Kind; 2] = [
        ("a leader", LEADER_WITHIN, |waits| waits.leader),
        ("agreement", AGREED_WITHIN, |waits| waits.agreement),
    ];
    for (name, limit, wait) in kinds {
        let mut sorted: Vec<_> = runs.iter().map(|(test, waits)| (wait(waits), *test)).collect();
        sorted.retain(|(wait, _)| !wait.is_zero());
        sorted.sort_unstable();
        let Some(&(worst, test)) = sorted.last() else { continue };
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].0.as_secs_f64();
        println!(
            "  {name:<10} p50 {:.2} s, p99 {:.2} s, p99.9 {:.2} s, most {:.2} s ({test}); limit \
             {limit:?}",
            at(0.5),
            at(0.99),
            at(0.999),
            worst.as_secs_f64()
        );
    }
}
