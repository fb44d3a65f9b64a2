//! Having a failure again, in a new process.
//!
//! A simulated run that failed is run once more by the same program in a new process, with
//! recording on. That gives the trace, and it proves that the seed has the failure: nothing that
//! the first process carried along (a `static`, an address, the time of day) was needed for it.
//!
//! The new process is told by `LAB_REPLAY` where to write its [`Verdict`], and by
//! `LAB_REPLAY_TRACE` where to put the trace.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::footer::Replayed;
use crate::random::os_entropy;
use crate::sim::{Config, Decision, Failure, Outcome};
use crate::trace::{Event, diagram};

const VERDICT_VARIABLE: &str = "LAB_REPLAY";
const TRACE_VARIABLE: &str = "LAB_REPLAY_TRACE";
/// Events that the diagram of a failure shows.
const DIAGRAM_EVENTS: usize = 50;

/// What a run in a new process came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// The failure in full, if it failed.
    pub failure: Option<String>,
    /// Hash over all decisions.
    pub digest: u64,
    /// Every decision, if they were asked for.
    pub decisions: Vec<Decision>,
    /// The last events, drawn.
    pub diagram: String,
}

/// What this process is asked to do, if it is the new one.
#[derive(Clone, Debug)]
pub struct Request {
    verdict: PathBuf,
    trace: Option<PathBuf>,
}

/// The request that the environment holds, if any.
pub fn requested() -> Option<Request> {
    let verdict = env::var_os(VERDICT_VARIABLE)?.into();
    Some(Request { verdict, trace: env::var_os(TRACE_VARIABLE).map(PathBuf::from) })
}

impl Request {
    /// Whether the trace is wanted; if not, the decisions are.
    pub fn wants_trace(&self) -> bool {
        self.trace.is_some()
    }

    /// Has a run record what is wanted of it, and tell the asking process if it gets stuck.
    pub fn prepare(&self, config: &mut Config) {
        config.record = self.wants_trace();
        config.decisions = !self.wants_trace();
        let request = self.clone();
        config.on_stuck = Some(Arc::new(move |failure| {
            // The process ends here either way; without a verdict the asking one says so.
            let _ = request.answer_stuck(failure);
        }));
    }

    /// Tells the asking process how the run ended. `servers` is how many columns the diagram has.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn answer<T>(&self, outcome: &Outcome<T>, servers: usize) -> io::Result<()> {
        let trace = self.trace.as_ref().map(|folder| write_trace(folder, &outcome.events));
        // The verdict counts also where no trace can be written.
        self.write(&Verdict {
            failure: outcome.result.as_ref().err().map(ToString::to_string),
            digest: outcome.stats.digest,
            decisions: outcome.decisions.clone(),
            diagram: diagram(&outcome.events, servers, DIAGRAM_EVENTS),
        })?;
        trace.unwrap_or(Ok(()))
    }

    /// All there is to tell of a run that is stuck is its failure.
    fn answer_stuck(&self, failure: &Failure) -> io::Result<()> {
        let failure = Some(failure.to_string());
        self.write(&Verdict { failure, ..Verdict::default() })
    }

    fn write(&self, verdict: &Verdict) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(&self.verdict)?);
        serde_json::to_writer(&mut file, verdict)?;
        file.flush()
    }
}

/// Where the trace of a failed run goes: `target/lab/TEST-SEED`, beside the build that failed.
pub fn trace_folder(test: &str, seed: u64) -> PathBuf {
    trace_folder_of(&env::current_exe().unwrap_or_default(), test, seed)
}

/// The same, of a run of this program. One that is not where cargo has put it,
/// `target/PROFILE/deps/PROGRAM`, leaves traces in the current folder's `target`.
pub fn trace_folder_of(program: &Path, test: &str, seed: u64) -> PathBuf {
    lab_folder_of(program).join(format!("{}-{seed}", test.replace("::", "-")))
}

/// Where a program of tests leaves its files: `target/lab`, as above.
pub fn lab_folder_of(program: &Path) -> PathBuf {
    let is_built = program.parent().is_some_and(|folder| folder.ends_with("deps"));
    let target = program.ancestors().nth(3).filter(|_| is_built).unwrap_or(Path::new("target"));
    target.join("lab")
}

/// A path as a person at the shell would write it.
pub fn shown(path: &Path) -> PathBuf {
    let standing = env::var_os("PWD").map(PathBuf::from).unwrap_or_default();
    path.strip_prefix(standing).unwrap_or(path).to_path_buf()
}

/// Writes `log.txt` and `events.jsonl` into `folder`.
///
/// # Errors
/// If the folder cannot be made or a file cannot be written.
pub fn write_trace(folder: &Path, events: &[Event]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut log = BufWriter::new(File::create(folder.join("log.txt"))?);
    let mut lines = BufWriter::new(File::create(folder.join("events.jsonl"))?);
    for event in events {
        writeln!(log, "{}", event.log_line())?;
        serde_json::to_writer(&mut lines, event)?;
        writeln!(lines)?;
    }
    log.flush()?;
    lines.flush()
}

/// Runs `command` as a replay and reads its verdict. With a folder for the trace it records what
/// happens, without one every decision.
///
/// # Errors
/// In a sentence, if the process could not be started or left no verdict.
pub fn run(mut command: Command, trace: Option<&Path>) -> Result<Verdict, String> {
    let verdict = env::temp_dir().join(format!("labrt-replay-{:016x}", os_entropy()));
    command.env(VERDICT_VARIABLE, &verdict).env_remove(TRACE_VARIABLE);
    command.env_remove("LAB_CHECK");
    if let Some(folder) = trace {
        command.env(TRACE_VARIABLE, folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().map_err(|error| format!("it could not be started: {error}"))?;
    let text = fs::read(&verdict).map_err(|_| format!("it ended with {status}, told nothing"));
    let _ = fs::remove_file(&verdict);
    serde_json::from_slice(&text?).map_err(|error| format!("its verdict is damaged: {error}"))
}

/// Compares a replay with the failure it was to repeat, given in full.
pub fn compare(failure: &str, replay: &Result<Verdict, String>) -> Replayed {
    match replay {
        Err(reason) => Replayed::Differently(reason.clone()),
        Ok(Verdict { failure: None, .. }) => Replayed::Differently("it passed".into()),
        Ok(Verdict { failure: Some(again), .. }) if again == failure => Replayed::Same,
        Ok(Verdict { failure: Some(again), .. }) => {
            let first_line = again.lines().next().unwrap_or_default();
            Replayed::Differently(format!("it failed with {first_line}"))
        }
    }
}
