//! A whole class: each submission built and graded with the same clean kit, locked in, one row
//! each.
//!
//! Nobody trusts a submission. It is built where no solution can be read, and run without a
//! network, in its own small world ([`Sandbox`](crate::sandbox::Sandbox)), as nobody; or, if who
//! grades is not root, as who grades, of whose files it sees none. Whatever it does costs its own
//! grade: the next one begins with nothing that it left.
//!
//! What a submission can take of the machine while it is run is bounded: memory (`--memory`, for
//! all its processes together, see [`crate::together`], and twice
//! [`TMP_BYTES`](crate::sandbox::TMP_BYTES) in files), time, processes, and no disk at all. A build
//! may write where it builds; what it can write is what a compiler makes of 16 MB of sources in its
//! memory, files of 1 GB at most each.
//!
//! A full disk costs what there is no room for: a report (its row says so), never the rows. Those
//! that cannot be written are kept, written with the next, and in the end printed.
//!
//! What is left out: code under test runs in the process that reports on it. Printing results does
//! not help it, and the open report has neither a name nor a place in `/proc` there, nor can
//! another process take it over; `unsafe`, with which it could be guessed at, is forbidden by the
//! kit. The servers of a cluster are in that one process too, and code that means ill could have
//! them share memory; on OS threads it could take away a failure that an oracle noticed
//! ([`labrt::take_failure`]). Servers as processes of their own are not to be had here: they are
//! found in `/proc`. Buffers of sockets and pipes, which the kernel holds, are not counted. Of
//! secret seeds a report names the one that failed; of those to come no code under test can know.
//! Who gives grades that matter reads the sources of the best.

mod course;
mod table;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use harness::runner::protocol::TestInfo;
use labrt::settings::WorldKind;
use tempfile::TempDir;

use crate::campaign::Seeds;
use crate::grade::{self, Args, Grade};
use crate::refusal::{Refusal, because};
use crate::sandbox::{self, Sandbox, TMP_BYTES};
use crate::say::say;
use crate::scoreboard::{points, rule_in_words, scoreboard};
use crate::selection;
use crate::stop::{STOPPED_EXIT_STATUS, Stop};
use crate::targets;
use crate::together;
use crate::worker::How;
use course::{Allowance, Built, Course, open_to_all};
use table::{Row, Table};

/// What came of a submission.
enum Verdict {
    Graded(Box<Grade>, String),
    /// It cannot be run, and why, in one line and in full.
    Failed(&'static str, String),
}

/// Grades every folder in `submissions`.
pub(crate) fn run(args: &Args, submissions: &Path, stop: &Stop) -> Result<ExitCode, Refusal> {
    let Some(kit) = &args.kit else {
        return Err(Refusal::new(
            "--submissions needs --kit DIR, a clean kit to put them into: lab new DIR makes one",
        ));
    };
    if args.running.world == WorldKind::Processes {
        return Err(Refusal::new(
            "a class is not graded with --world processes: to start its servers, a test has to \
             find itself in /proc, and a submission would find its report there. In sim, which \
             needs no option, and with --world threads it has no /proc",
        ));
    }
    sandbox::check()?;
    // What a person may have got wrong comes before what takes minutes.
    let names = folders(submissions)?;
    let seeds = args.seeds()?;
    check_reports(&args.reports)?;
    let table = Table::create(&args.out)?;
    warn_of_memory(args);
    let work =
        TempDir::with_prefix("lab-class-").map_err(because("there is no place to work in"))?;
    // A temporary folder is its maker's alone.
    open_to_all(work.path()).map_err(because("the work folder cannot be opened"))?;
    eprintln!("getting the kit and its dependencies together");
    let course = Course::prepare(kit, work.path())?;
    let class = Class { args, submissions, course, seeds, how: args.how() };
    // The kit itself fails its tests, and says what there is to be had.
    let of = class.points_to_be_had(stop)?;
    class.grade_all(&names, &of, table, stop)
}

/// The reports' folder must be there, and take files.
fn check_reports(reports: &Path) -> Result<(), Refusal> {
    let takes_files = fs::create_dir_all(reports).and_then(|()| tempfile::tempfile_in(reports));
    let what = format!("reports cannot be written to {}", reports.display());
    takes_files.map(drop).map_err(because(what))
}

/// Says so if runs, each within its limits, can take all of the machine's memory together.
fn warn_of_memory(args: &Args) {
    let of_one = args.how().limits.together.saturating_add(2 * TMP_BYTES);
    let (jobs, mb) = (args.running.jobs(), |bytes: u64| bytes >> 20);
    let Some((_, total)) = together::memory_of_machine() else { return };
    if of_one.saturating_mul(jobs as u64) > total {
        eprintln!(
            "note: this machine has {} MB of memory, and {jobs} runs at a time may have {} MB each \
             (--memory, and {} MB for files): choose less with --memory, or fewer with --jobs, or \
             submissions can take all of it",
            mb(total),
            mb(of_one),
            mb(2 * TMP_BYTES),
        );
    }
}

/// What all submissions have in common.
struct Class<'a> {
    args: &'a Args,
    submissions: &'a Path,
    course: Course,
    seeds: Seeds,
    how: How,
}

impl Class<'_> {
    /// Grades one after the other; whatever goes wrong with one is its own row.
    fn grade_all(
        &self,
        names: &[String],
        of: &[TestInfo],
        mut table: Table,
        stop: &Stop,
    ) -> Result<ExitCode, Refusal> {
        let (mut graded, mut all_reports) = (0, true);
        for name in names {
            let verdict = self.grade(&self.submissions.join(name), stop);
            let verdict =
                verdict.unwrap_or_else(|Refusal(said)| Verdict::Failed("not graded", said));
            if stop.is_now() {
                break;
            }
            let report = self.write_report(name, &verdict);
            all_reports &= report.is_ok();
            let row = row(name, &verdict, report, of);
            say(format_args!("{name}: {} of {} points, {}\n", row.points, row.of, row.status));
            if let Err(error) = table.add(&row) {
                eprintln!("error: {name}'s row cannot be written, and is kept: {error}");
            }
            graded += 1;
        }
        let all_rows = self.say_end(graded, names.len(), &mut table);
        Ok(match stop.is_now() {
            true => ExitCode::from(STOPPED_EXIT_STATUS),
            false if all_reports && all_rows => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    /// Gives the report's path.
    fn write_report(&self, name: &str, verdict: &Verdict) -> Result<String, String> {
        let path = self.args.reports.join(format!("{name}.txt"));
        let shown = path.display().to_string();
        fs::write(&path, format!("{name}\n\n{}", full(verdict))).map_err(|error| {
            eprintln!("error: {name}'s report cannot be written to {shown}: {error}");
            format!("not written: {error}")
        })?;
        Ok(shown)
    }

    /// Says where the rows are; those that are nowhere else, it prints. Whether there are none of
    /// these.
    fn say_end(&self, graded: usize, all: usize, table: &mut Table) -> bool {
        let (rule, out) = (rule_in_words(self.args.rule), self.args.out.display());
        let of = if graded < all { format!(" of {all}") } else { String::new() };
        let missing = table.missing();
        if missing.is_empty() {
            say(format_args!("{graded}{of} submissions are in {out}; {rule}\n"));
        } else {
            say(format_args!("{graded}{of} submissions are graded; {rule}\n{missing}"));
            eprintln!("error: the rows above could not be written to {out}");
        }
        missing.is_empty()
    }

    /// How things are run whose code nobody trusts.
    fn untrusted(&self) -> How {
        let processes = self.args.running.processes();
        let mut sandbox = self.course.sandbox(Sandbox::untrusted_user(), processes);
        sandbox.show(&self.course.target());
        let mut how = self.how.clone();
        how.limits.sandbox = Some(sandbox);
        how
    }

    /// The points of the tests that are chosen: what the kit's own sources are asked for.
    fn points_to_be_had(&self, stop: &Stop) -> Result<Vec<TestInfo>, Refusal> {
        self.course.take(&self.course.kit).map_err(Refusal)?;
        let user = Sandbox::untrusted_user();
        self.course.check_reach(&self.course.sandbox(user, self.args.running.processes()))?;
        let messages = match self.course.build(Allowance::OF_KIT, stop)? {
            Built::Yes(messages) => messages,
            Built::No(said) => {
                return Err(Refusal(format!("the kit itself does not build:\n{said}")));
            }
        };
        let found = targets::among(&messages, &self.untrusted(), stop)?;
        let selected = selection::select(&found, &self.args.tests)?;
        Ok(selected.iter().map(|test| test.test().clone()).collect())
    }

    fn grade(&self, submission: &Path, stop: &Stop) -> Result<Verdict, Refusal> {
        if let Err(sentence) = self.course.take(submission) {
            return Ok(Verdict::Failed("incomplete", sentence));
        }
        let most = Allowance::of_submission(self.args.build_limit);
        let messages = match self.course.build(most, stop)? {
            Built::Yes(messages) => messages,
            Built::No(said) => return Ok(Verdict::Failed("does not build", said)),
        };
        let how = self.untrusted();
        let found = match targets::among(&messages, &how, stop) {
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

/// Everything there is to say about a submission.
fn full(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Graded(grade, footer) => format!("{}{footer}", scoreboard(grade)),
        Verdict::Failed(status, said) => format!("{status}\n\n{said}\n"),
    }
}

fn row<'a>(
    name: &'a str,
    verdict: &'a Verdict,
    report: Result<String, String>,
    of: &[TestInfo],
) -> Row<'a> {
    let report = report.unwrap_or_else(|why_not| why_not);
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
