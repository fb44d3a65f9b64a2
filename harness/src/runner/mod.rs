//! Runs tables of tests: over worlds and seeds, each in a process of its own.
//!
//! The flags and filters are libtest's, so `cargo test 2A`, `cargo test NAME -- --exact` and
//! nextest work as everywhere. What libtest cannot do is done here: a test that hangs, aborts,
//! overflows its stack or floods its output costs itself alone; a test that makes no sense in a
//! world is skipped with a reason; a part that is misspelt is an error; every test's line
//! says what it took; and the failures' last lines come last of all. And before anything is run,
//! the sources under test are looked through for what would keep a run from being had again.

mod case;
mod child;
mod command;
mod print;
pub mod protocol;
mod source_check;
mod test_process;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use labrt::footer::{Footer, Replayed};
use labrt::replay::{self, Verdict as ReplayVerdict};
use labrt::settings::{Settings, WorldKind};
use labrt::sync::Shared;
use labrt::thread;
use libtest_mimic::{Arguments, Trial};

pub use case::{Body, Implementation, TestCase, Worlds};
pub use child::simulate;
pub(crate) use command::this_program;
use command::{command_line, end_with_cargo, replay_command};
use print::Printer;
use protocol::{Batch, Description, Event, FailedRun, Report};
pub use test_process::describe as describe_exit;
use test_process::{Ended, TestResult};

use crate::{Summary, process};

/// Tests that run side by side in real time: they sleep most of it.
const PARALLEL_IN_REAL_TIME: usize = 4;
/// Exit status for a bad setting or filter.
const USAGE_EXIT_STATUS: u8 = 2;

/// The program of a test target: runs those cases of `suites` that concern an implementation, as
/// arguments and environment say. `package` is the crate that the target belongs to, and `sources`
/// its folder of source files.
pub fn main(
    package: &'static str,
    sources: &str,
    implementation: Implementation,
    suites: &[&'static [TestCase]],
) -> ExitCode {
    if let Some(played) = process::play(|role, newborn| implementation.serve(role, newborn)) {
        return played;
    }
    let (cases, foreign): (Vec<&'static TestCase>, Vec<_>) =
        suites.iter().copied().flatten().partition(|case| case.concerns(&implementation));
    for case in &cases {
        assert!(case.is_complete(), "{} has no claim, no ground for it, or no points", case.name);
    }
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => return refuse(&error.to_string()),
    };
    if let Some(asked) = protocol::asked() {
        let served =
            asked.and_then(|it| serve(package, sources, implementation, &settings, &cases, it));
        return served.unwrap_or_else(|sentence| refuse(&sentence));
    }
    let arguments = Arguments::from_args();
    if arguments.list {
        return list(&arguments, &cases);
    }
    let selected: Vec<&'static TestCase> =
        cases.iter().copied().filter(|case| is_selected(&arguments, case)).collect();
    if let Some(request) = replay::requested() {
        return match selected[..] {
            [case] => child::answer(case, implementation, &settings, &request),
            _ => refuse("a replay is of one test"),
        };
    }
    match &arguments.filter {
        Some(filter) if selected.is_empty() && names_a_part(filter) => {
            let named = foreign.iter().any(|case| is_selected(&arguments, case));
            nothing_selected(filter, named, &implementation, &cases)
        }
        filter => match source_check::check(Path::new(sources)) {
            Ok(()) => {
                let unmatched = filter.clone().filter(|text| !is_in_a_name(text, suites));
                let run = Run::new(package, arguments, settings, cases.len());
                let ended = run.all(&implementation.homes(), &selected);
                unmatched.iter().for_each(|filter| note_no_match(filter));
                ended
            }
            Err(sentence) => refuse(&sentence),
        },
    }
}

/// Does what another process asks for.
///
/// # Errors
/// In a sentence, if it cannot be done.
fn serve(
    package: &str,
    sources: &str,
    implementation: Implementation,
    settings: &Settings,
    cases: &[&'static TestCase],
    (batch, report): (Option<Batch>, Report),
) -> Result<ExitCode, String> {
    let Some(batch) = batch else {
        // Whoever asks is about to run them.
        source_check::check(Path::new(sources))?;
        let tests = cases.iter().map(|&case| case.into()).collect();
        let package = package.to_string();
        report.tell(&Event::Describes(Description { version: protocol::VERSION, package, tests }));
        return Ok(ExitCode::SUCCESS);
    };
    let named = cases.iter().find(|case| case.name == batch.test);
    let case = named.ok_or_else(|| format!("there is no test {:?} here", batch.test))?;
    Ok(child::run(case, implementation, settings, &batch, report))
}

/// A filter names a part, and none of the tests here. That is a mistake, unless they are tests of a
/// Raft that is tested elsewhere, and only a service on it here.
fn nothing_selected(
    filter: &str,
    is_foreign: bool,
    implementation: &Implementation,
    cases: &[&TestCase],
) -> ExitCode {
    match (is_foreign, implementation.has_raft()) {
        (false, _) => no_match(filter, cases),
        (true, true) => refuse(&format!(
            "{filter:?} is about a key-value service, and this target has none; with one it says \
             tests::main!(MyRaft, MyKv)"
        )),
        (true, false) => {
            println!("\n{filter:?} is about a Raft, and this target tests a service on one only\n");
            ExitCode::SUCCESS
        }
    }
}

fn refuse(sentence: &str) -> ExitCode {
    eprintln!("error: {sentence}");
    ExitCode::from(USAGE_EXIT_STATUS)
}

/// Whether a filter is meant for the suites: it ends with a part, as `2A` or `NAME_2A`, or is one
/// in small letters. Others may be meant for the unit tests of the same crate.
fn names_a_part(filter: &str) -> bool {
    let is_part = |text: &str| matches!(text.as_bytes(), [b'0'..=b'9', b'A'..=b'Z']);
    let end = filter.len().checked_sub(2).and_then(|at| filter.get(at..));
    end.is_some_and(is_part) || is_part(&filter.to_ascii_uppercase())
}

/// The sentence comes last, where it is seen: the names may be a hundred.
fn no_match(filter: &str, cases: &[&TestCase]) -> ExitCode {
    let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    eprintln!("  {}", names.join("\n  "));
    refuse(&format!("none of these tests matches {filter:?}; a name ends with its part, as 2A"))
}

fn is_in_a_name(filter: &str, suites: &[&[TestCase]]) -> bool {
    suites.iter().copied().flatten().any(|case| case.name.contains(filter))
}

/// It may be a unit test of the same crate that is meant: no mistake, then.
fn note_no_match(filter: &str) {
    println!("note: no graded test matches {filter:?}; cargo test -- --list has their names\n");
}

/// Lists as libtest does, for people and for nextest.
fn list(arguments: &Arguments, cases: &[&TestCase]) -> ExitCode {
    let trial = |case: &&TestCase| Trial::test(case.name, || Ok(()));
    libtest_mimic::run(arguments, cases.iter().map(trial).collect()).exit_code()
}

fn is_selected(arguments: &Arguments, case: &TestCase) -> bool {
    let matches = |filter: &String| match arguments.exact {
        true => case.name == filter,
        false => case.name.contains(filter.as_str()),
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

/// What became of a test.
enum Verdict {
    Passed(Box<TestResult>),
    Skipped(&'static str),
    Failed(Told),
}

/// What is said of a failure: at length, and in the last lines of all.
struct Told {
    details: String,
    footer: String,
}

/// One run of a selection of tests.
struct Run {
    package: &'static str,
    arguments: Arguments,
    settings: Settings,
    cases: usize,
}

impl Run {
    fn new(
        package: &'static str,
        arguments: Arguments,
        settings: Settings,
        cases: usize,
    ) -> Arc<Self> {
        Arc::new(Self { package, arguments, settings, cases })
    }

    /// Runs the tests of `what` side by side, and prints as they end.
    fn all(self: Arc<Self>, what: &str, selected: &[&'static TestCase]) -> ExitCode {
        end_with_cargo();
        let printer = Printer::begin(what, &self.settings, selected);
        let printer = Arc::new(Shared::new(printer));
        let queue = Arc::new(Shared::new(selected.iter().rev().copied().collect::<Vec<_>>()));
        let worker = |_| {
            let (run, queue, printer) =
                (Arc::clone(&self), Arc::clone(&queue), Arc::clone(&printer));
            thread::spawn(move || {
                while let Some(case) = queue.with(Vec::pop) {
                    let verdict = run.one(case);
                    printer.with(|printer| printer.test(case, &verdict));
                }
            })
        };
        let workers: Vec<_> = (0..self.parallelism()).map(worker).collect();
        for worker in workers {
            let _ = worker.join();
        }
        let filtered_out = self.cases - selected.len();
        let passed = printer.with(|printer| printer.end(selected.len(), filtered_out));
        if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn parallelism(&self) -> usize {
        let by_world = match self.settings.world {
            WorldKind::Sim => available_parallelism().map_or(1, usize::from),
            WorldKind::Threads | WorldKind::Processes => PARALLEL_IN_REAL_TIME,
        };
        self.arguments.test_threads.unwrap_or(by_world).max(1)
    }

    fn one(&self, case: &'static TestCase) -> Verdict {
        if let Some(reason) = case.worlds.reason_against(self.settings.world) {
            return Verdict::Skipped(reason);
        }
        if self.arguments.ignored {
            return Verdict::Skipped("it is not an ignored test");
        }
        let mut command = this_program();
        // Nobody reads them but people who look at a list of processes.
        command.args([case.name, "--exact"]);
        let ended = test_process::run(command, &self.batch(case), !self.arguments.nocapture);
        self.judge(case, ended)
    }

    /// All seeds, up to the first that fails.
    fn batch(&self, case: &TestCase) -> Batch {
        let seeds = protocol::ranges(&self.settings.seeds);
        Batch { test: case.name.to_string(), seeds, keep_going: false }
    }

    fn judge(&self, case: &'static TestCase, ended: Ended) -> Verdict {
        match ended.result {
            Ok(TestResult { failed: Some(failed), .. }) => {
                Verdict::Failed(self.tell(case, &failed, &ended.output))
            }
            Ok(TestResult { total: Summary { syncs: 0, .. }, .. }) if case.needs_journal => {
                Verdict::Skipped(protocol::KEEPS_NO_JOURNAL)
            }
            Ok(result) => Verdict::Passed(Box::new(result)),
            Err(reason) => {
                let (name, output) = (case.name, said(&ended.output));
                let details = format!("{name} claims: {} ({})\n{output}", case.claim, case.paper);
                Verdict::Failed(Told { details, footer: format!("FAIL {name} · {reason}\n") })
            }
        }
    }

    /// Everything there is to say about a failed run, its footer last. In `sim` it is run again
    /// for that, in a new process and with recording on.
    fn tell(&self, case: &TestCase, failed: &FailedRun, output: &str) -> Told {
        let in_sim = self.settings.world == WorldKind::Sim;
        let folder = replay::trace_folder(case.name, failed.seed);
        let (replayed, diagram) = if in_sim {
            let command = replay_command(case.name, &self.settings, failed.seed);
            let verdict = replay::run(command, Some(&folder));
            let replayed = compare(failed, &verdict);
            (replayed, verdict.map(|verdict| verdict.diagram).unwrap_or_default())
        } else {
            (Replayed::NotTried, failed.diagram.clone())
        };
        let footer = Footer {
            test: case.name.to_string(),
            world: self.settings.world.name(),
            seed: failed.seed,
            strategy: in_sim.then(|| self.settings.strategy_of(failed.seed)),
            time: failed.time,
            message: failed.message.clone(),
            command: command_line(self.package, case.name, &self.settings, failed.seed),
            replayed,
            trace: in_sim.then_some(folder),
        };
        let (name, claim, paper) = (case.name, case.claim, case.paper);
        let (text, output) = (&failed.text, said(output));
        let details = format!("{name} claims: {claim} ({paper})\n{diagram}\n{text}\n{output}");
        Told { details, footer: footer.to_string() }
    }
}

/// Whether a replay repeated a failure. Where the process died, the replay's must die alike; a run
/// that only differs from another has no failure to repeat.
fn compare(failed: &FailedRun, verdict: &Result<ReplayVerdict, String>) -> Replayed {
    match (&failed.died, verdict) {
        (Some(status), Err(reason)) if reason.contains(status) => Replayed::Same,
        (None, Ok(_)) if failed.message == child::NOT_DETERMINISTIC => Replayed::NotTried,
        _ => replay::compare(&failed.text, verdict),
    }
}

/// What a test printed, with a heading, if it printed anything.
fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!("its output:\n{output}\n") }
}
