//! How a program has a test target tell what tests it has, and run one of them.
//!
//! The runner does this with itself, for each test has a process of its own, and `lab` with any
//! crate's target. A target that finds a [`Request`] in the variable [`VARIABLE`] serves it and
//! ends. It answers in a file that it is given for its standard input ([`report`]), one [`Event`] a
//! line, and never on standard output: that belongs to the code under test, which may print whatever
//! it likes. Before any of that code runs, the file is put elsewhere, and standard input is empty.
//!
//! What is left out: code under test runs in the process that reports on it. The file has no name by
//! then. Without `unsafe`, which a kit forbids, `/proc` leads to it, and a program that may trace the
//! process that started it can take it over; a class is graded without either. Who grants one of them to code
//! that is written to forge its report gets a forged one.

use std::env;
use std::fs::File;
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;
use std::time::Duration;

use labrt::settings::WorldKind;
use labrt::sync::Shared;
use serde::{Deserialize, Serialize};

use super::case::TestCase;
use crate::Summary;

/// The variable that holds a request, as JSON.
pub const VARIABLE: &str = "LAB_REQUEST";

/// Programs and targets of different versions do not understand each other.
pub const VERSION: u32 = 3;

/// What a test target is to do, instead of what its arguments say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// The asking program's [`VERSION`].
    pub version: u32,
    /// None asks for a [`Description`].
    pub batch: Option<Batch>,
}

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

/// What requests of all versions have.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Request {
    /// A request of this version.
    pub fn new(batch: Option<Batch>) -> Self {
        Self { version: VERSION, batch }
    }

    /// The request that the environment holds, if any.
    ///
    /// # Errors
    /// In a sentence, if it cannot be understood.
    pub(super) fn from_env() -> Option<Result<Self, String>> {
        let text = env::var(VARIABLE).ok()?;
        Some(match serde_json::from_str(&text) {
            Ok(Version { version }) if version != VERSION => Err(format!(
                "this test target speaks version {VERSION} of the runner's protocol, and who \
                 asks it version {version}: build both from one version of the harness"
            )),
            _ => serde_json::from_str(&text)
                .map_err(|_| format!("{VARIABLE} is for the runner's own use: unset it")),
        })
    }
}

/// Seeds as the ranges that they make up, in the same order.
pub fn ranges(seeds: &[u64]) -> Vec<RangeInclusive<u64>> {
    let ranges = seeds.chunk_by(|seed, next| seed.checked_add(1) == Some(*next));
    ranges.map(|range| range[0]..=range[range.len() - 1]).collect()
}

/// A file without a name, for a report: the end to be given to a process as its standard input, and
/// the end at which to read what it tells.
///
/// # Errors
/// If no file can be made.
pub fn report() -> io::Result<(File, File)> {
    let named = tempfile::NamedTempFile::with_prefix("lab-report-")?;
    let told = File::options().append(true).open(named.path())?;
    Ok((told, named.into_file()))
}

/// Where a process answers. What cannot be written is lost, and whoever asked sees that the last
/// run did not end.
pub(super) struct Report(Shared<File>);

impl Report {
    /// Takes the file that is our standard input, and leaves nothing in its place.
    pub(super) fn open() -> io::Result<Self> {
        let file = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self(Shared::new(file.into())))
    }

    pub(super) fn tell(&self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        // In one piece: the process may die at any moment.
        self.0.with(|file| {
            let _ = file.write_all(&line);
        });
    }
}
