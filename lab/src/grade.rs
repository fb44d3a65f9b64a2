//! Every test over the same seeds, and what that is worth.
//!
//! In sim a grade is a fact about the code. The seeds are fixed, virtual time does not know how
//! fast the machine is, and the limits that do are far from what a correct run takes; so it comes
//! out the same on any machine, as often as one likes.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use harness::runner::protocol::KEEPS_NO_JOURNAL;
use labrt::time::Duration;
use serde::Serialize;

use crate::campaign::{self, Plan, Seeds};
use crate::options::{Running, duration};
use crate::progress::Progress;
use crate::record::{Key, Record};
use crate::refusal::{Refusal, because};
use crate::report;
use crate::say::say;
use crate::scoreboard::scoreboard;
use crate::selection::{self, Selected};
use crate::stop::Stop;
use crate::stress::in_world;
use crate::submissions;
use crate::tally::Tally;
use crate::targets::{self, Build};
use crate::worker::{self, How, Outcome, Run};
use crate::workspace;

/// Run the suites over fixed seeds, and print points by part and test.
///
/// Each test runs in processes of its own: one that hangs, crashes, or eats memory costs its own
/// points and no others. The exit status is 0 only if every test passed, and 130 if it was stopped.
/// For a class, whose points are in the table, it is 1 only if a report or a row could not be
/// written.
///
///   lab grade                        all parts
///   lab grade 2A 2B                  two of them
///   lab grade --seeds 100 --rule share
///   lab grade --submissions DIR --kit DIR --seed-file SECRET
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Parts (2A), tests, or pieces of their names [default: all tests]
    pub(crate) tests: Vec<String>,
    /// Seeds that each test is run on, from 0
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// What a test is worth if some seeds fail
    #[arg(long, value_name = "RULE", default_value = "all")]
    pub(crate) rule: Rule,
    /// Use the seeds in this file instead, numbers with white space between them
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    seed_file: Option<PathBuf>,
    /// Grade every folder in this one, each locked in with a clean kit (needs --kit)
    #[arg(long, value_name = "DIR", requires = "kit")]
    #[arg(conflicts_with_all = ["json", "junit", "gradescope"])]
    submissions: Option<PathBuf>,
    /// The clean kit that submissions are put into, as lab new makes it
    #[arg(long, value_name = "DIR", requires = "submissions")]
    pub(crate) kit: Option<PathBuf>,
    /// The table of a class, a new file: a row for each submission
    #[arg(long, value_name = "FILE", default_value = "grades.csv", requires = "submissions")]
    pub(crate) out: PathBuf,
    /// Where each submission's report is written
    #[arg(long, value_name = "DIR", default_value = "reports", requires = "submissions")]
    pub(crate) reports: PathBuf,
    /// End the build of a submission after this time
    #[arg(long, value_name = "TIME")]
    #[arg(value_parser = duration, default_value = "5m", requires = "submissions")]
    pub(crate) build_limit: Duration,
    /// Print the grade as JSON, and nothing else
    #[arg(long)]
    json: bool,
    /// Write a JUnit report, as continuous integration reads it
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write Gradescope's results.json
    #[arg(long, value_name = "FILE")]
    gradescope: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) running: Running,
    #[command(flatten)]
    build: Build,
}

/// What a test is worth if some seeds fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rule {
    /// Nothing: all seeds must pass, and a test is run up to the first that fails
    All,
    /// The share of seeds that passed
    Share,
}

/// What came of the suites.
#[derive(Debug, Serialize)]
pub(crate) struct Grade {
    pub(crate) world: &'static str,
    pub(crate) seeds: u64,
    pub(crate) rule: Rule,
    pub(crate) points: f64,
    pub(crate) of: u32,
    pub(crate) tests: Vec<TestGrade>,
}

/// What came of one test.
#[derive(Debug, Serialize)]
pub(crate) struct TestGrade {
    pub(crate) test: String,
    pub(crate) part: String,
    pub(crate) package: String,
    pub(crate) claim: String,
    pub(crate) paper: String,
    pub(crate) points: f64,
    pub(crate) of: u32,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Real time of all its runs.
    pub(crate) seconds: f64,
    /// Why it was not run, if it was not: it makes no sense here, and costs nothing.
    pub(crate) skipped: Option<String>,
    /// The failing run with the lowest seed.
    pub(crate) first_failure: Option<FailureGrade>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FailureGrade {
    pub(crate) seed: u64,
    pub(crate) message: String,
    pub(crate) replay: String,
}

/// The runs of one test so far.
#[derive(Default)]
struct Tried {
    passed: u64,
    failed: u64,
    took: Duration,
    /// Syncs of journals, in all runs.
    syncs: u64,
    first: Option<Record>,
}

impl Tried {
    fn take(&mut self, record: Record, run: &Run) {
        self.took += run.took;
        match &run.outcome {
            Outcome::Passed(summary) => {
                self.passed += 1;
                self.syncs += summary.syncs;
            }
            Outcome::Failed { .. } => {
                self.failed += 1;
                if self.first.as_ref().is_none_or(|first| record.seed < first.seed) {
                    self.first = Some(record);
                }
            }
        }
    }

    fn grade(self, test: &Selected, rule: Rule, lab: &str) -> TestGrade {
        let info = test.test();
        let runs = (self.passed + self.failed).max(1);
        let points = match rule {
            Rule::All if self.failed > 0 || self.passed == 0 => 0.0,
            Rule::All => f64::from(info.points),
            Rule::Share => f64::from(info.points) * self.passed as f64 / runs as f64,
        };
        let no_journal = info.needs_journal && self.failed == 0 && self.syncs == 0;
        let skipped = no_journal.then_some(KEEPS_NO_JOURNAL);
        TestGrade {
            points: if no_journal { 0.0 } else { points },
            of: if no_journal { 0 } else { info.points },
            passed: self.passed,
            failed: self.failed,
            seconds: self.took.as_secs_f64(),
            skipped: skipped.map(str::to_string),
            first_failure: self.first.map(|record| FailureGrade {
                seed: record.seed,
                replay: record.replay_by(lab),
                message: record.failure.unwrap_or_default(),
            }),
            ..TestGrade::unknown(test)
        }
    }
}

impl TestGrade {
    pub(crate) fn is_of_same_part(&self, other: &Self) -> bool {
        (&self.package, &self.part) == (&other.package, &other.part)
    }

    /// Before anything was run.
    fn unknown(test: &Selected) -> Self {
        let info = test.test();
        Self {
            test: info.name.clone(),
            part: info.part.clone(),
            package: test.target.package.clone(),
            claim: info.claim.clone(),
            paper: info.paper.clone(),
            points: 0.0,
            of: 0,
            passed: 0,
            failed: 0,
            seconds: 0.0,
            skipped: None,
            first_failure: None,
        }
    }
}

impl Args {
    /// Once a test has lost its points, more seeds tell nothing: a submission that hangs would cost
    /// hours.
    pub(crate) fn how(&self) -> How {
        How { keep_going: self.rule == Rule::Share, ..self.running.how(None) }
    }

    pub(crate) fn seeds(&self) -> Result<Seeds, Refusal> {
        match &self.seed_file {
            Some(path) => Seeds::read(path),
            None => Ok(Seeds::Range(0..=self.seeds - 1)),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Refusal> {
    let stop = Stop::on_signal()?;
    let graded = match &args.submissions {
        Some(submissions) => submissions::run(args, submissions, &stop),
        None => grade_own(args, &stop),
    };
    stop.explains(graded, "nothing is graded")
}

/// Grades the crate that we stand in.
fn grade_own(args: &Args, stop: &Stop) -> Result<ExitCode, Refusal> {
    let seeds = args.seeds()?;
    let [mut junit, mut gradescope] = [open(args.junit.as_ref())?, open(args.gradescope.as_ref())?];
    let how = args.how();
    let targets = targets::find(&args.build, &how, stop)?;
    let selected = selection::select(&targets, &args.tests)?;
    let grade = grade(args, &seeds, &selected, &how, stop)?;
    if stop.is_now() {
        return Err(Refusal::new("stopped"));
    }
    if let Some(file) = &mut junit {
        let report = report::junit(&grade).map_err(because("the JUnit report cannot be made"))?;
        write(file, &report)?;
    }
    if let Some(file) = &mut gradescope {
        write(file, &report::gradescope(&grade))?;
    }
    if args.json {
        say(serde_json::to_string_pretty(&grade).unwrap_or_default() + "\n");
    } else {
        say(scoreboard(&grade));
        say(first_footer(&grade, &selected, &how, stop)?);
    }
    let failed = grade.tests.iter().any(|test| test.failed > 0);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs all tests on all seeds.
pub(crate) fn grade(
    args: &Args,
    seeds: &Seeds,
    selected: &[Selected],
    how: &How,
    stop: &Stop,
) -> Result<Grade, Refusal> {
    let (tests, _) = in_world(selected.to_vec(), args.running.world);
    let plan = Plan {
        tests: tests.clone(),
        seeds: seeds.clone(),
        done: std::collections::HashSet::new(),
        how: how.clone(),
        jobs: args.running.jobs(),
    };
    let mut tried: Vec<Tried> = tests.iter().map(|_| Tried::default()).collect();
    let nothing = Tally::of(tests.iter().map(Key::of));
    let mut progress = Progress::begin(&tests, seeds, None, &nothing);
    campaign::run(plan, stop, &mut progress, |place, record, run| {
        tried[place].take(record, run);
        Ok(())
    })?;
    // Whose submission it is has not this tree, but the program itself.
    let lab = if args.submissions.is_some() { "lab" } else { workspace::this_program() };
    let mut tried = tests.iter().zip(tried).map(|(test, tried)| tried.grade(test, args.rule, lab));
    let of_world = |test: &Selected| match test.test().skipped_in(args.running.world) {
        Some(reason) => TestGrade { skipped: Some(reason.to_owned()), ..TestGrade::unknown(test) },
        None => tried.next().expect("each test of this world was tried, in this order"),
    };
    let tests: Vec<TestGrade> = selected.iter().map(of_world).collect();
    Ok(Grade {
        world: args.running.world.name(),
        seeds: seeds.count(),
        rule: args.rule,
        points: tests.iter().map(|test| test.points).sum(),
        of: tests.iter().map(|test| test.of).sum(),
        tests,
    })
}

/// A file for a report, opened before anything is run: a grade must not be lost for a wrong path.
/// What it has stays until there is a grade.
fn open(path: Option<&PathBuf>) -> Result<Option<File>, Refusal> {
    let open = |path: &PathBuf| {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        file.map_err(because(format!("{} cannot be written", path.display())))
    };
    path.map(open).transpose()
}

fn write(file: &mut File, text: &str) -> Result<(), Refusal> {
    // Whoever names a pipe or a terminal finds it empty.
    let emptied = match file.metadata() {
        Ok(data) if data.is_file() => file.set_len(0),
        other => other.map(drop),
    };
    let written = emptied.and_then(|()| file.write_all(text.as_bytes()));
    written.map_err(because("the report cannot be written"))
}

/// The last lines of the first failure, which say how to have it again.
pub(crate) fn first_footer(
    grade: &Grade,
    selected: &[Selected],
    how: &How,
    stop: &Stop,
) -> Result<String, Refusal> {
    let mut both = grade.tests.iter().zip(selected);
    let first = both.find_map(|(test, selected)| Some((test.first_failure.as_ref()?, selected)));
    let Some((failure, test)) = first else { return Ok(String::new()) };
    let report = worker::report(test, failure.seed, how, stop);
    let report = report.map_err(because("the first failure could not be had again"))?;
    let footer = worker::footer(&report);
    let Some(footer) = footer else {
        return Ok(format!("\n{}: {}\n{}\n", test.test().name, failure.message, failure.replay));
    };
    Ok(format!("\n{footer}\n"))
}
