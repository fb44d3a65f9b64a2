//! How a program has a test target tell what tests it has, and run one of them.
//!
//! The runner does this with itself, for each test has a process of its own, and `lab` with any
//! crate's target. A target that finds the variable `LAB_REQUEST` is asked for something. Both what
//! it is asked and what it answers are in a file that it is given for its standard input: the first
//! line is the request, and it adds its answer, one [`Event`] a line. Nothing of it is on standard
//! output: that belongs to the code under test, which may print whatever it likes. Nor is the
//! request in the environment, where that code would find which seeds come. Before any of it runs,
//! the file is put elsewhere, and standard input is empty.
//!
//! What is left out: code under test runs in the process that reports on it. The file has no name
//! by then. Without `unsafe`, which a kit forbids, `/proc` leads to it, and a program that may
//! trace the process that started it can take it over; a class is graded without either. Who grants
//! one of them to code that is written to forge its report gets a forged one.

use std::env;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use labrt::settings::WorldKind;
use labrt::sync::Shared;
use serde::{Deserialize, Serialize};

use super::case::TestCase;
use crate::Summary;

/// The variable that says to a process that it is asked for something, and in which version.
const VARIABLE: &str = "LAB_REQUEST";

/// Programs and targets of different versions do not understand each other.
pub const VERSION: u32 = 4;

/// Why a test of the journal was skipped.
pub const KEEPS_NO_JOURNAL: &str =
    "this Raft saves its state as a whole (Persister), and not change by change (Journal)";

/// Runs of one test, one after the other in one process. World and strategy are chosen by
/// `LAB_WORLD` and `LAB_STRATEGY`, as always.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The test's full name.
    pub test: String,
    /// The seeds, in this order.
    pub seeds: Vec<RangeInclusive<u64>>,
    /// Whether to go on after a failure; on OS threads nobody can, for the failed run's threads may
    /// still be there.
    pub keep_going: bool,
}

/// What a test target has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The target's [`VERSION`].
    pub version: u32,
    /// The crate that the target belongs to.
    pub package: String,
    /// The tests that concern its implementation, in the suites' order.
    pub tests: Vec<TestInfo>,
}

/// A test, as it is told to another program: see [`TestCase`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestInfo {
    /// `initial_election_2A`.
    pub name: String,
    /// `2A`.
    pub part: String,
    /// What must hold.
    pub claim: String,
    /// What the claim rests on.
    pub paper: String,
    /// What passing is worth.
    pub points: u32,
    /// Whether it mirrors a test of the MIT labs.
    pub mirrored: bool,
    /// Servers in its cluster.
    pub servers: usize,
    /// Where it makes no sense.
    pub skips: Vec<Skip>,
    /// Whether it makes sense only for servers that use their disk's journal.
    pub needs_journal: bool,
}

/// A world in which a test makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// Its name.
    pub world: String,
    /// Why.
    pub reason: String,
}

impl Skip {
    fn all_of(case: &TestCase) -> Vec<Self> {
        let skip = |world: &WorldKind| {
            let reason = case.worlds.reason_against(*world)?.to_string();
            Some(Self { world: world.name().to_string(), reason })
        };
        WorldKind::ALL.iter().filter_map(skip).collect()
    }
}

impl TestInfo {
    /// Why it makes no sense in a world, if so.
    pub fn skipped_in(&self, world: WorldKind) -> Option<&str> {
        let skip = self.skips.iter().find(|skip| skip.world == world.name())?;
        Some(&skip.reason)
    }
}

impl From<&TestCase> for TestInfo {
    fn from(case: &TestCase) -> Self {
        Self {
            name: case.name.to_string(),
            part: case.part().to_string(),
            claim: case.claim.to_string(),
            paper: case.paper.to_string(),
            points: case.points,
            mirrored: case.mirrored,
            servers: case.servers,
            skips: Skip::all_of(case),
            needs_journal: case.needs_journal,
        }
    }
}

/// A line of a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Event {
    /// The answer to a request without a batch.
    Describes(Description),
    /// A run begins. If no line follows, the process died in it.
    Began {
        /// Its seed.
        seed: u64,
    },
    /// The run passed.
    Passed {
        /// Its seed.
        seed: u64,
        /// Time that it took here, in real time.
        took: Duration,
        /// What it took in its world.
        summary: Summary,
        /// Threads that could not be ended.
        leaked: Vec<String>,
    },
    /// The run failed.
    Failed {
        /// Time that it took here, in real time.
        took: Duration,
        /// How it failed.
        run: FailedRun,
    },
}

/// A run that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedRun {
    /// Its seed.
    pub seed: u64,
    /// World time of the failure.
    pub time: Duration,
    /// In one line.
    pub message: String,
    /// Everything there is to say.
    pub text: String,
    /// The last events, drawn, if they are known already.
    pub diagram: String,
    /// How the process ended, if it ended in the middle of the run.
    pub died: Option<String>,
}

/// What the variable holds, as JSON, in all versions.
#[derive(Serialize, Deserialize)]
struct Version {
    version: u32,
}

/// Seeds as the ranges that they make up, in the same order.
pub fn ranges(seeds: &[u64]) -> Vec<RangeInclusive<u64>> {
    let ranges = seeds.chunk_by(|seed, next| seed.checked_add(1) == Some(*next));
    ranges.map(|range| range[0]..=range[range.len() - 1]).collect()
}

/// Has a process of a test target asked for these runs, or else for its [`Description`], and gives
/// the file in which to read what it tells.
///
/// # Errors
/// If no file can be made, or written.
pub fn ask(command: &mut Command, batch: Option<&Batch>) -> io::Result<File> {
    let named = tempfile::NamedTempFile::with_prefix("lab-report-")?;
    let mut told = File::options().read(true).append(true).open(named.path())?;
    told.write_all(&line(&batch)?)?;
    let mut answer = named.into_file();
    answer.seek(SeekFrom::End(0))?;
    command.env(VARIABLE, serde_json::to_string(&Version { version: VERSION })?).stdin(told);
    Ok(answer)
}

/// Takes away that a process was asked for something, for one that it starts.
pub(crate) fn ask_nothing(command: &mut Command) {
    command.env_remove(VARIABLE);
}

/// What this process is asked for, if anything, and where it is to answer.
///
/// # Errors
/// In a sentence, if that cannot be understood.
pub(super) fn asked() -> Option<Result<(Option<Batch>, Report), String>> {
    let version = env::var(VARIABLE).ok()?;
    Some(match serde_json::from_str(&version) {
        Ok(Version { version: VERSION }) => Report::open()
            .map_err(|error| format!("what is asked for is to be in standard input: {error}")),
        Ok(Version { version }) => Err(format!(
            "this test target speaks version {VERSION} of the runner's protocol, and who \
             asks it version {version}: build both from one version of the harness"
        )),
        Err(_) => Err(format!("{VARIABLE} is for the runner's own use: unset it")),
    })
}

fn line(of: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(of)?;
    line.push(b'\n');
    Ok(line)
}

/// Where a process answers. What cannot be written is lost, and whoever asked sees that the last
/// run did not end.
pub(super) struct Report(Shared<File>);

impl Report {
    /// Takes the file that is our standard input, with what it asks for, and leaves nothing in its
    /// place.
    fn open() -> io::Result<(Option<Batch>, Self)> {
        let mut file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let mut request = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut request)?;
        Ok((serde_json::from_slice(&request)?, Self(Shared::new(file))))
    }

    pub(super) fn tell(&self, event: &Event) {
        let Ok(line) = line(event) else { return };
        // In one piece: the process may die at any moment.
        self.0.with(|file| {
            let _ = file.write_all(&line);
        });
    }
}
