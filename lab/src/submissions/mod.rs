//! A whole class: each submission built and graded with the same clean kit, locked in, one row each.
//!
//! Nobody trusts a submission. It is built where no solution can be read, and run as nobody, without a
//! network, in its own small world ([`Sandbox`](crate::sandbox::Sandbox)). Whatever it does costs its own grade: the next one
//! begins with nothing that it left.
//!
//! What is left out: code under test runs in the process that reports on it. Printing results does not
//! help it, and the open report has neither a name nor a place in `/proc` there, nor can another process take it
//! over; `unsafe`, with which it could be guessed at, is forbidden by the kit. Limits are those of a process:
//! many processes together have more memory, and the scratch folder takes what the disk has. Secret seeds are known to a run, and its report
//! names the one that failed. Who gives grades that matter reads the sources of the best.

mod course;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use harness::runner::protocol::TestInfo;
use serde::Serialize;
use tempfile::TempDir;

use crate::campaign::Seeds;
use crate::grade::{self, Args, Grade, points, scoreboard};
use crate::refusal::{Refusal, because};
use crate::sandbox::{self, Sandbox};
use crate::say::say;
use crate::selection;
use crate::targets;
use crate::worker::{How, STOPPED_EXIT_STATUS, Stop};
use course::{Built, Course, KIT_BUILD_TIME};

/// What came of a submission.
enum Verdict {
    Graded(Box<Grade>, String),
    /// It cannot be run, and why, in one line and in full.
    Failed(&'static str, String),
}

/// A row of the table.
#[derive(Serialize)]
struct Row<'a> {
    submission: &'a str,
    status: &'a str,
    points: String,
    of: u32,
    passed: usize,
    tests: usize,
    parts: String,
    first_failure: String,
    report: String,
}

/// Grades every folder in `submissions`.
pub(crate) fn run(args: &Args, submissions: &Path, stop: &Stop) -> Result<ExitCode, Refusal> {
    let Some(kit) = &args.kit else {
        return Err(Refusal::new(
            "--submissions needs --kit DIR, a clean kit to put them into: lab new DIR makes one",
        ));
    };
    sandbox::check()?;
    let names = folders(submissions)?;
    let work =
        TempDir::with_prefix("lab-class-").map_err(because("there is no place to work in"))?;
    open_to_all(work.path())?;
    eprintln!("getting the kit and its dependencies together");
    let course = Course::prepare(kit, work.path())?;
    // The kit itself fails its tests, and says what there is to be had.
    let class = Class { args, course, seeds: args.seeds()?, how: args.how() };
    let of = class.points_to_be_had(stop)?;
    fs::create_dir_all(&args.reports).map_err(because("the reports' folder cannot be made"))?;
    let what = format!("{} cannot be written", args.out.display());
    let table = fs::File::create_new(&args.out).map_err(because(what.clone()))?;
    let mut table = csv::Writer::from_writer(table);
    let mut graded = 0;
    for name in &names {
        // Whatever goes wrong with one submission is its own row.
        let verdict = class.grade(&submissions.join(name), stop);
        let verdict = verdict.unwrap_or_else(|Refusal(said)| Verdict::Failed("not graded", said));
        if stop.is_now() {
            break;
        }
        let report = args.reports.join(format!("{name}.txt"));
        let text = format!("{name}\n\n{}", full(&verdict));
        fs::write(&report, text).map_err(because("a report cannot be written"))?;
        let row = row(name, &verdict, &report, &of);
        say(format_args!("{name}: {} of {} points, {}\n", row.points, row.of, row.status));
        table.serialize(row).map_err(because(what.clone()))?;
        table.flush().map_err(because(what.clone()))?;
        graded += 1;
    }
    let rule = grade::rule_in_words(args.rule);
    let of = if graded < names.len() { format!(" of {}", names.len()) } else { String::new() };
    say(format_args!("{graded}{of} submissions are in {}; {rule}\n", args.out.display()));
    Ok(if stop.is_now() { ExitCode::from(STOPPED_EXIT_STATUS) } else { ExitCode::SUCCESS })
}

/// What all submissions have in common.
struct Class<'a> {
    args: &'a Args,
    course: Course,
    seeds: Seeds,
    how: How,
}

impl Class<'_> {
    /// How things are run whose code nobody trusts.
    fn untrusted(&self) -> How {
        let mut sandbox = self.course.sandbox(Sandbox::untrusted_user());
        sandbox.show(&self.course.target());
        let mut how = self.how.clone();
        how.limits.sandbox = Some(sandbox);
        how
    }

    /// The points of the tests that are chosen: what the kit's own sources are asked for.
    fn points_to_be_had(&self, stop: &Stop) -> Result<Vec<TestInfo>, Refusal> {
        self.course.take(&self.course.kit).map_err(Refusal)?;
        let messages = match self.course.build(KIT_BUILD_TIME, stop)? {
            Built::Yes(messages) => messages,
            Built::No(said) => {
                return Err(Refusal(format!("the kit itself does not build:\n{said}")));
            }
        };
        let found = targets::among(&messages, &self.untrusted().limits)?;
        let selected = selection::select(&found, &self.args.tests)?;
        Ok(selected.iter().map(|test| test.test().clone()).collect())
    }

    fn grade(&self, submission: &Path, stop: &Stop) -> Result<Verdict, Refusal> {
        if let Err(sentence) = self.course.take(submission) {
            return Ok(Verdict::Failed("incomplete", sentence));
        }
        let messages = match self.course.build(self.args.build_limit, stop)? {
            Built::Yes(messages) => messages,
            Built::No(said) => return Ok(Verdict::Failed("does not build", said)),
        };
        let how = self.untrusted();
        let found = match targets::among(&messages, &how.limits) {
            Ok(found) => found,
            Err(Refusal(sentence)) => return Ok(Verdict::Failed("does not start", sentence)),
        };
        let selected = selection::select(&found, &self.args.tests)?;
        let grade = grade::grade(self.args, &self.seeds, &selected, &how, stop)?;
        // What was stopped is not graded.
        let footer = match stop.is_now() {
            true => String::new(),
            false => grade::first_footer(&grade, &selected, &how, stop)?,
        };
        Ok(Verdict::Graded(Box::new(grade), footer))
    }
}

/// The submissions: folders, by name.
fn folders(submissions: &Path) -> Result<Vec<String>, Refusal> {
    let cannot = || format!("{} cannot be read", submissions.display());
    let entries = fs::read_dir(submissions).map_err(because(cannot()))?;
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    if names.is_empty() {
        return Err(Refusal(format!(
            "{} has no folders: each submission is a folder in it",
            submissions.display()
        )));
    }
    Ok(names)
}

/// A temporary folder is its maker's alone; what is run in it here is run by another user.
fn open_to_all(folder: &Path) -> Result<(), Refusal> {
    use std::os::unix::fs::PermissionsExt as _;
    let all = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder, all).map_err(because("the work folder cannot be opened"))
}

/// Everything there is to say about a submission.
fn full(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Graded(grade, footer) => format!("{}{footer}", scoreboard(grade)),
        Verdict::Failed(status, said) => format!("{status}\n\n{said}\n"),
    }
}

fn row<'a>(name: &'a str, verdict: &'a Verdict, report: &Path, of: &[TestInfo]) -> Row<'a> {
    let report = report.display().to_string();
    match verdict {
        Verdict::Graded(grade, _) => Row {
            submission: name,
            status: "graded",
            points: points(grade.points),
            of: grade.of,
            passed: grade.tests.iter().filter(|test| test.failed == 0).count(),
            tests: grade.tests.len(),
            parts: parts(grade),
            first_failure: first_failure(grade),
            report,
        },
        Verdict::Failed(status, said) => Row {
            submission: name,
            status,
            points: points(0.0),
            of: of.iter().map(|test| test.points).sum(),
            passed: 0,
            tests: of.len(),
            parts: String::new(),
            first_failure: said.lines().find(|line| !line.is_empty()).unwrap_or_default().into(),
            report,
        },
    }
}

/// `2A 10/20, 2B 3/31`.
fn parts(grade: &Grade) -> String {
    let parts = grade.tests.chunk_by(|a, b| a.part == b.part).map(|part| {
        let earned = points(part.iter().map(|test| test.points).sum());
        let of: u32 = part.iter().map(|test| test.of).sum();
        format!("{} {earned}/{of}", part[0].part)
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn first_failure(grade: &Grade) -> String {
    let told = |test: &grade::TestGrade| {
        let failure = test.first_failure.as_ref()?;
        Some(format!("{} seed {}: {}", test.test, failure.seed, failure.message))
    };
    grade.tests.iter().find_map(told).unwrap_or_default()
}

/// Seeds as somebody wrote them down: numbers, with anything white between them.
pub(crate) fn read_seeds(path: &PathBuf) -> Result<Seeds, Refusal> {
    let text = fs::read_to_string(path)
        .map_err(because(format!("the seeds in {} cannot be read", path.display())))?;
    let mut seeds: Vec<u64> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in line.split_whitespace() {
            seeds.push(word.parse().map_err(|_| {
                Refusal(format!(
                    "{}, line {}: {word:?} is not a seed, a number from 0 to 2^64 - 1",
                    path.display(),
                    number + 1
                ))
            })?);
        }
    }
    match seeds.is_empty() {
        true => Err(Refusal(format!("{} has no seeds", path.display()))),
        false => Ok(Seeds::List(seeds.into())),
    }
}
