//! Starting a test's process and watching it: what it says, and how it ends.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use labrt::thread;

use super::child::{Assignment, FailedRun, TestResult};

/// Of what a test prints, so much is kept, the last.
const OUTPUT_MAX: usize = 64 * 1024;

/// How a test's process ended.
pub(super) struct Ended {
    /// Its result; or, if it left none, why.
    pub(super) result: Result<TestResult, String>,
    /// The last of what it printed.
    pub(super) output: String,
}

/// Runs `command` with `assignment` to its end. `captured` keeps what it prints; otherwise that
/// goes where ours goes.
pub(super) fn run(mut command: Command, assignment: &Assignment, captured: bool) -> Ended {
    let text = serde_json::to_string(assignment).unwrap_or_default();
    command.env(super::CHILD_VARIABLE, text).stdin(Stdio::null());
    if captured {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let _ = fs::remove_file(&assignment.result);
    let (status, output) = match run_to_end(&mut command) {
        Ok(ended) => ended,
        Err(error) => {
            let result = Err(format!("the test's process could not be started: {error}"));
            return Ended { result, output: String::new() };
        }
    };
    let result = read_result(&assignment.result).ok_or_else(|| describe(status));
    Ended { result: result.map(|result| with_death(result, status)), output }
}

/// A process that died in the middle of a run: that run has failed.
fn with_death(mut result: TestResult, status: ExitStatus) -> TestResult {
    if let Some(seed) = result.running.take() {
        let message = describe(status);
        let (time, text, diagram) = (Duration::ZERO, message.clone(), String::new());
        let died = Some(status.to_string());
        result.failed = Some(FailedRun { seed, time, message, text, diagram, died });
    }
    result
}

fn run_to_end(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    let mut child = command.spawn()?;
    // Each in a thread of its own: a pipe that nobody reads would block the test.
    let readers = [
        child.stdout.take().map(|pipe| thread::spawn(move || last_of(pipe))),
        child.stderr.take().map(|pipe| thread::spawn(move || last_of(pipe))),
    ];
    let status = child.wait()?;
    let parts = readers.into_iter().flatten().map(|reader| reader.join().unwrap_or_default());
    let bytes: Vec<u8> = parts.flatten().collect();
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads to the end and keeps the last of it.
fn last_of(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = VecDeque::new();
    let mut buffer = [0; 8 * 1024];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        kept.extend(&buffer[..length]);
        let excess = kept.len().saturating_sub(OUTPUT_MAX);
        kept.drain(..excess);
    }
    kept.into()
}

fn read_result(path: &Path) -> Option<TestResult> {
    let text = fs::read(path).ok()?;
    let _ = fs::remove_file(path);
    serde_json::from_slice(&text).ok()
}

/// Where a child is to leave its result.
pub(super) fn result_path(test: &str) -> std::path::PathBuf {
    env::temp_dir().join(format!("lab-{}-{test}.json", std::process::id()))
}

#[cfg(unix)]
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal() {
        Some(6) => "the test's process aborted (a panic inside a destructor?)".to_string(),
        Some(9) => "the test's process was killed (out of memory?)".to_string(),
        Some(11) => "the test's process crashed (a stack overflow?)".to_string(),
        Some(signal) => format!("the test's process was ended by signal {signal}"),
        None => format!("the test's process left no result and ended with {status}"),
    }
}
