//! Starting a test's process and watching it: what it says, and how it ends.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use labrt::thread;

use super::protocol::{self, Batch, Event, FailedRun};
use crate::Summary;

/// Of what a test prints, so much is kept, the last.
const OUTPUT_MAX: usize = 64 * 1024;

/// How a test's process ended.
pub(super) struct Ended {
    /// How its runs went; or, if there was none, why.
    pub(super) result: Result<TestResult, String>,
    /// The last of what it printed.
    pub(super) output: String,
}

/// How a test went.
#[derive(Clone, Debug, Default)]
pub(super) struct TestResult {
    /// Seeds that passed.
    pub(super) passed: u64,
    /// Their summaries, added up.
    pub(super) total: Summary,
    /// The first that failed.
    pub(super) failed: Option<FailedRun>,
    /// Threads that could not be ended.
    pub(super) leaked: Vec<String>,
}

impl TestResult {
    fn take(&mut self, event: Event) {
        match event {
            Event::Describes(_) | Event::Began { .. } => {}
            Event::Passed { summary, leaked, .. } => {
                self.passed += 1;
                self.total.add(&summary);
                self.leaked.extend(leaked);
            }
            Event::Failed { run, .. } => {
                self.failed.get_or_insert(run);
            }
        }
    }
}

/// Runs `command` with `batch` to its end. `captured` keeps what it prints; otherwise that goes
/// where ours goes.
pub(super) fn run(mut command: Command, batch: &Batch, captured: bool) -> Ended {
    if captured {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let (status, output, text) = match ask(&mut command, batch) {
        Ok(ended) => ended,
        Err(error) => {
            let result = Err(format!("the test's process could not be started: {error}"));
            return Ended { result, output: String::new() };
        }
    };
    let mut events = text.lines().filter_map(|line| serde_json::from_str(line).ok()).peekable();
    let result = events.peek().is_some().then(|| {
        let mut result = TestResult::default();
        events.for_each(|event| result.take(event));
        with_death(result, &batch.seeds, status)
    });
    Ended { result: result.ok_or_else(|| describe(status)), output }
}

/// How the process ended, what it printed, and what it reported.
fn ask(command: &mut Command, batch: &Batch) -> io::Result<(ExitStatus, String, String)> {
    let mut report = protocol::ask(command, Some(batch))?;
    let (status, output) = run_to_end(command)?;
    let mut text = Vec::new();
    report.read_to_end(&mut text)?;
    Ok((status, output, String::from_utf8_lossy(&text).into_owned()))
}

/// A process that ended before it had told of every seed: the first that is missing has failed.
fn with_death(
    mut result: TestResult,
    seeds: &[RangeInclusive<u64>],
    status: ExitStatus,
) -> TestResult {
    let passed = usize::try_from(result.passed).unwrap_or(usize::MAX);
    let missing = seeds.iter().cloned().flatten().nth(passed);
    if let (None, Some(seed)) = (&result.failed, missing) {
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

/// How a test's process ended that left its run without a result, in a few words.
#[cfg(unix)]
pub fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal() {
        Some(6) => "the test's process aborted (a panic inside a destructor?)".to_string(),
        Some(9) => "the test's process was killed (out of memory?)".to_string(),
        Some(11) => "the test's process crashed (a stack overflow?)".to_string(),
        Some(signal) => format!("the test's process was ended by signal {signal}"),
        None => format!("the test's process left no result and ended with {status}"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn seeds_that_a_process_told_nothing_of_have_not_passed() {
        let failed = |passed, seeds: &[RangeInclusive<u64>]| {
            let told = TestResult { passed, ..TestResult::default() };
            with_death(told, seeds, ExitStatus::from_raw(0)).failed.map(|run| run.seed)
        };
        assert_eq!(failed(3, &[0..=1, 7..=7]), None);
        assert_eq!(failed(2, &[0..=1, 7..=7]), Some(7), "it ended well, and before the last run");
        assert_eq!(failed(0, &[0..=1, 7..=7]), Some(0));
    }
}
