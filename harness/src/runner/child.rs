//! The process that runs one test, over its seeds, and tells how it went.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use labrt::replay::{self, Request};
use labrt::settings::{Settings, WorldKind};
use labrt::sim::{self, Config, Failure, Outcome, first_difference};
use labrt::sync::Shared;
use labrt::time::Instant;
use labrt::{logger, random, thread, trace};

use super::case::{Implementation, TestCase};
use super::command::{end_with_parent, replay_command};
use super::protocol::{Batch, Event, FailedRun, Report};
use crate::Summary;
use crate::cluster::MadeOf;

/// A test is limited to so much time in its world, as in the labs.
const TIME_LIMIT: Duration = Duration::from_secs(120);
/// Threads of a crashed server must be gone so soon, on OS threads.
const STRAGGLER_LIMIT: Duration = Duration::from_secs(5);

/// The message of a run that another one of its seed does not agree with.
pub(super) const NOT_DETERMINISTIC: &str = "not deterministic: two runs of one seed differ";

impl FailedRun {
    fn new(seed: u64, failure: &Failure) -> Self {
        Self {
            seed,
            time: failure.time,
            message: failure.message.clone(),
            text: failure.to_string(),
            diagram: String::new(),
            died: None,
        }
    }
}

/// Runs a batch of `case`, and reports.
pub(super) fn run(
    case: &'static TestCase,
    implementation: Implementation,
    settings: &Settings,
    batch: &Batch,
    report: Report,
) -> ExitCode {
    logger::init();
    end_with_parent();
    let report = Arc::new(report);
    for seed in batch.seeds.iter().cloned().flatten() {
        report.tell(&Event::Began { seed });
        let started = Instant::now();
        let ran = match settings.world {
            WorldKind::Sim => in_sim(case, implementation, settings, seed, &report),
            WorldKind::Threads => in_real_time(case, implementation, MadeOf::Threads, seed),
            WorldKind::Processes => in_real_time(case, implementation, MadeOf::Processes, seed),
        };
        let took = started.elapsed();
        let failed = ran.is_err();
        report.tell(&match ran {
            Ok((summary, leaked)) => Event::Passed { seed, took, summary, leaked },
            Err(run) => Event::Failed { took, run },
        });
        if failed && !(batch.keep_going && settings.world == WorldKind::Sim) {
            break;
        }
    }
    ExitCode::SUCCESS
}

/// A run that passed: what it took, and the threads that could not be ended.
type Passed = (Summary, Vec<String>);

fn config(settings: &Settings, seed: u64) -> Config {
    let config = Config::new(seed).with_strategy(settings.strategy_of(seed));
    // The lines of a log show roles, which the recorder keeps. Errors are printed without being
    // asked for, and are no reason to record every run.
    let record = log::max_level() > log::LevelFilter::Error;
    Config { max_time: TIME_LIMIT, record, ..config }
}

/// Runs one test once, in a simulated world of this process.
pub fn simulate(
    case: &'static TestCase,
    implementation: Implementation,
    config: &Config,
) -> Outcome<Summary> {
    sim::run(config, move || case.run(&implementation, MadeOf::Threads, |_| {}))
}

fn in_sim(
    case: &'static TestCase,
    implementation: Implementation,
    settings: &Settings,
    seed: u64,
    report: &Arc<Report>,
) -> Result<Passed, FailedRun> {
    let mut config = config(settings, seed);
    let (report, started) = (Arc::clone(report), Instant::now());
    // The process ends there.
    config.on_stuck = Some(Arc::new(move |failure| {
        let run = FailedRun::new(seed, failure);
        report.tell(&Event::Failed { took: started.elapsed(), run });
    }));
    let outcome = simulate(case, implementation, &config);
    let summary = outcome.result.map_err(|failure| FailedRun::new(seed, &failure))?;
    if settings.check_determinism {
        check_determinism(case, implementation, settings, &config)?;
    }
    Ok((summary, outcome.stats.leaked))
}

/// A second run in this process against the first run in a new one: what differs comes from
/// outside the world.
fn check_determinism(
    case: &'static TestCase,
    implementation: Implementation,
    settings: &Settings,
    config: &Config,
) -> Result<(), FailedRun> {
    let config = Config { decisions: true, ..config.clone() };
    let here = simulate(case, implementation, &config);
    let there = replay::run(replay_command(case.name, settings, config.seed), None);
    let difference = match there {
        Err(reason) => Some(format!("the run in a new process told nothing: {reason}")),
        Ok(verdict) => match first_difference(&here.decisions, &verdict.decisions) {
            Some(difference) => Some(difference.to_string()),
            None => verdict.failure.map(|failure| format!("a new process failed: {failure}")),
        },
    };
    let Some(text) = difference else { return Ok(()) };
    let message = NOT_DETERMINISTIC.to_string();
    let (seed, time, diagram) = (config.seed, here.stats.time, String::new());
    Err(FailedRun { seed, time, message, text, diagram, died: None })
}

/// Runs one seed for another process that wants its trace, or its decisions.
pub(super) fn answer(
    case: &'static TestCase,
    implementation: Implementation,
    settings: &Settings,
    request: &Request,
) -> ExitCode {
    logger::init();
    logger::set_recording(request.wants_trace());
    let mut config = config(settings, settings.seeds[0]);
    request.prepare(&mut config);
    match request.answer(&simulate(case, implementation, &config), case.servers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("no verdict was written: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the threads of a real-time run tell each other.
#[derive(Default)]
struct Progress {
    summary: Option<Summary>,
    panic: Option<String>,
}

fn in_real_time(
    case: &'static TestCase,
    implementation: Implementation,
    made_of: MadeOf,
    seed: u64,
) -> Result<Passed, FailedRun> {
    random::set_os_seed(seed);
    trace::start_on_os_threads();
    let started = Instant::now();
    let progress: Arc<Shared<Progress>> = Arc::default();
    let theirs = Arc::clone(&progress);
    let test = thread::spawn(move || {
        let ran = panic::catch_unwind(AssertUnwindSafe(|| {
            case.run(&implementation, made_of, |cluster| cluster.end_in_real_time(STRAGGLER_LIMIT))
        }));
        theirs.with(|progress| match ran {
            Ok(summary) => progress.summary = Some(summary),
            Err(payload) => progress.panic = Some(thread::panic_text(&*payload)),
        });
    });
    while !test.is_finished() {
        thread::sleep(Duration::from_millis(5));
        let failure = labrt::take_failure().or_else(|| {
            let late = started.elapsed() > TIME_LIMIT + STRAGGLER_LIMIT;
            late.then(|| format!("the test did not end within {TIME_LIMIT:?}"))
        });
        if let Some(message) = failure {
            return Err(failed_in_real_time(case, seed, started, message));
        }
    }
    let Progress { summary, panic } = progress.with(std::mem::take);
    let failure = labrt::take_failure().or(panic);
    match (summary, failure) {
        (Some(summary), None) => Ok((summary, Vec::new())),
        (_, failure) => {
            let message = failure.unwrap_or_else(|| "the test ended without a result".into());
            Err(failed_in_real_time(case, seed, started, message))
        }
    }
}

fn failed_in_real_time(case: &TestCase, seed: u64, started: Instant, message: String) -> FailedRun {
    let diagram = trace::diagram(&trace::take_from_os_threads(), case.servers, 50);
    let text = message.clone();
    FailedRun { seed, time: started.elapsed(), message, text, diagram, died: None }
}
