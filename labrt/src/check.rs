//! Tests of thread code, in a line: [`check`] runs a closure over many seeds.
//!
//! ```
//! use labrt::{check, channel, thread};
//!
//! check(|| {
//!     let (tx, rx) = channel::unbounded();
//!     thread::spawn(move || tx.send(42));
//!     assert_eq!(rx.recv(), Ok(42));
//! });
//! ```
//!
//! In a `#[test]` function a failure ends with the seed and the command that repeats it, and has
//! been repeated by then. `LAB_WORLD`, `LAB_SEED`, `LAB_SEEDS`, `LAB_STRATEGY` and `LAB_CHECK` are
//! heeded ([`crate::settings`]).

use std::cell::Cell;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::footer::{Footer, Replayed};
use crate::replay::{self, Request, Verdict};
use crate::settings::{Settings, WorldKind};
use crate::sim::{self, Config, Failure, Outcome, first_difference};
use crate::{os, random, thread};

type Body = Arc<dyn Fn() + Send + Sync>;

/// Tells a replay which of a test's calls to [`check`] it is to repeat.
const NUMBER_VARIABLE: &str = "LAB_REPLAY_CHECK";

thread_local! {
    /// Calls to [`check`] on this thread so far: libtest gives each test a thread of its own.
    static CHECKS: Cell<u64> = const { Cell::new(0) };
}

/// Runs on OS threads have one seed and one failure per process: they go one by one.
static ALONE: Mutex<()> = Mutex::new(());

/// What is being run: the `number`-th call to [`check`] in the test of this name.
#[derive(Clone)]
struct Test {
    name: String,
    number: u64,
}

/// Runs `body` in a simulated world for each seed of the settings, or once on OS threads if they
/// want real time.
///
/// # Panics
/// If a run fails, with everything there is to know about it; if the settings cannot be
/// understood.
#[track_caller]
pub fn check(body: impl Fn() + Send + Sync + 'static) {
    let settings = Settings::from_env().unwrap_or_else(|error| panic!("{error}"));
    let body: Body = Arc::new(body);
    let number = CHECKS.replace(CHECKS.get() + 1);
    if let Some(request) = replay::requested() {
        if env::var(NUMBER_VARIABLE).is_ok_and(|wanted| wanted == number.to_string()) {
            answer(&request, &settings, &body);
        }
        return;
    }
    let test = Test { name: test_name(), number };
    match settings.world {
        // The threads of a closure cannot be taken apart into processes.
        WorldKind::Threads | WorldKind::Processes => {
            on_os_threads(&test, &settings, &body);
        }
        WorldKind::Sim => {
            for &seed in &settings.seeds {
                in_sim(&test, &settings, seed, &body).unwrap_or_else(|text| panic!("{text}"));
            }
        }
    }
}

/// The test that libtest runs on this thread, by the name it gave the thread.
fn test_name() -> String {
    std::thread::current().name().unwrap_or("main").to_string()
}

fn config(settings: &Settings, seed: u64) -> Config {
    Config::new(seed).with_strategy(settings.strategy_of(seed))
}

fn run(config: &Config, body: &Body) -> Outcome<()> {
    let body = Arc::clone(body);
    sim::run(config, move || body())
}

fn answer(request: &Request, settings: &Settings, body: &Body) {
    let mut config = config(settings, settings.seeds[0]);
    request.prepare(&mut config);
    let outcome = run(&config, body);
    request.answer(&outcome, 0).unwrap_or_else(|error| panic!("no verdict was written: {error}"));
}

fn in_sim(test: &Test, settings: &Settings, seed: u64, body: &Body) -> Result<(), String> {
    let mut config = config(settings, seed);
    let (this, of) = (test.clone(), settings.clone());
    // The process ends there.
    config.on_stuck =
        Some(Arc::new(move |failure| eprintln!("{}", tell(&this, &of, seed, failure))));
    let mut outcome = run(&config, body);
    if let Err(failure) = outcome.result {
        return Err(tell(test, settings, seed, &failure));
    }
    if let [first, ..] = &outcome.stats.leaked[..] {
        let message = format!("a thread could not be ended: {first}");
        return Err(footer(test, settings, seed, message).to_string());
    }
    if settings.check_determinism {
        config.decisions = true;
        outcome = run(&config, body);
        compare_with_new_process(test, settings, seed, &outcome)?;
    }
    Ok(())
}

/// The second run in this process against the first run in a new one: what differs comes from
/// outside the world.
fn compare_with_new_process(
    test: &Test,
    settings: &Settings,
    seed: u64,
    outcome: &Outcome<()>,
) -> Result<(), String> {
    let verdict = replay::run(command_of_replay(test, settings, seed), None)?;
    match first_difference(&outcome.decisions, &verdict.decisions) {
        None => Ok(()),
        Some(difference) => Err(format!("{}, seed {seed}: {difference}", test.name)),
    }
}

fn command_of_replay(test: &Test, settings: &Settings, seed: u64) -> Command {
    let program = env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let mut command = Command::new(program);
    command.args([&test.name, "--exact", "--nocapture"]).env("LAB_SEED", seed.to_string());
    command.env(NUMBER_VARIABLE, test.number.to_string());
    if let Some(strategy) = settings.strategy {
        command.env("LAB_STRATEGY", strategy.name());
    }
    command
}

/// Everything there is to say about a failed run; it is run again for that.
fn tell(test: &Test, settings: &Settings, seed: u64, failure: &Failure) -> String {
    let folder = replay::trace_folder(&test.name, seed);
    let verdict = replay::run(command_of_replay(test, settings, seed), Some(&folder));
    let replayed = replay::compare(&failure.to_string(), &verdict);
    let footer = Footer {
        time: failure.time,
        replayed,
        trace: Some(folder),
        ..footer(test, settings, seed, failure.message.clone())
    };
    let diagram = verdict.map(|verdict: Verdict| verdict.diagram).unwrap_or_default();
    format!("{failure}\n\n{diagram}\n{footer}")
}

/// The last lines, as far as they are the same in both worlds.
fn footer(test: &Test, settings: &Settings, seed: u64, message: String) -> Footer {
    let is_sim = settings.world == WorldKind::Sim;
    Footer {
        test: test.name.clone(),
        world: if is_sim { WorldKind::Sim.name() } else { WorldKind::Threads.name() },
        seed,
        strategy: is_sim.then(|| settings.strategy_of(seed)),
        time: Duration::ZERO,
        message,
        command: command_line(&test.name, settings, seed),
        replayed: Replayed::NotTried,
        trace: None,
    }
}

fn command_line(test: &str, settings: &Settings, seed: u64) -> String {
    // Cargo tells a test which package it belongs to.
    let package = env::var("CARGO_PKG_NAME").map(|name| format!("-p {name} ")).unwrap_or_default();
    format!("{}LAB_SEED={seed} cargo test {package}{test} -- --exact", settings.assignments())
}

fn on_os_threads(test: &Test, settings: &Settings, body: &Body) {
    let _alone = ALONE.lock();
    let seed = settings.seeds[0];
    random::set_os_seed(seed);
    let result = catch_unwind(AssertUnwindSafe(|| body()));
    // A server's thread fails first if the body panics because of it.
    let panicked = result.err().map(|payload| thread::panic_text(&*payload));
    if let Some(message) = os::take_failure().or(panicked) {
        panic!("{}", footer(test, settings, seed, message));
    }
}
