//! One process that runs a batch of seeds of one test: watched, limited, and gone when it is told
//! to.
//!
//! A test that hangs, aborts, overflows its stack or eats memory costs its own run: the process is
//! ended with everything that it started, that seed has failed, and another process goes on behind it.
//! What a test prints goes nowhere; a failed seed is had again for that.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::Summary;
use harness::runner::describe_exit;
use harness::runner::protocol::{self, Batch, Event, Request, VARIABLE, ranges};
use labrt::settings::WorldKind;
use labrt::sim::StrategyKind;
use labrt::thread;
use labrt::time::{Duration, Instant};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::limits::Limits;
use crate::refusal::{Refusal, because};
use crate::selection::Selected;
use crate::targets::Target;

/// How often a worker looks for news.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// A report runs a seed, and replays it; each of them may take as long as a worker may be silent.
const RUNS_IN_A_REPORT: u32 = 2;

/// How runs are run.
#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) world: WorldKind,
    pub(crate) strategy: Option<StrategyKind>,
    pub(crate) limits: Limits,
    /// Whether a test is run on once it has failed.
    pub(crate) keep_going: bool,
}

/// A run that came to its end.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// Real time that it took.
    pub(crate) took: Duration,
    pub(crate) outcome: Outcome,
}

impl Run {
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Passed(Summary),
    Failed {
        /// World time of the failure.
        time: Duration,
        /// In one line.
        message: String,
    },
}

/// When all workers are to end: as soon as somebody says so, or at some time.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    told: Arc<AtomicBool>,
    at: Option<Instant>,
}

/// What a shell gives a program that Ctrl-C has stopped.
pub(crate) const STOPPED_EXIT_STATUS: u8 = 130;

impl Stop {
    /// One that Ctrl-C tells, or whoever ends us.
    ///
    /// # Errors
    /// If signals cannot be caught.
    pub(crate) fn on_signal() -> Result<Self, Refusal> {
        let stop = Self::default();
        let on_signal = stop.clone();
        let caught = ctrlc::set_handler(move || on_signal.now());
        caught.map_err(because("Ctrl-C cannot be caught"))?;
        Ok(stop)
    }

    /// After this time, too.
    pub(crate) fn or_after(self, time: Option<Duration>) -> Self {
        Self { at: time.and_then(|time| Instant::now().checked_add(time)), ..self }
    }

    pub(crate) fn now(&self) {
        self.told.store(true, Ordering::Relaxed);
    }

    /// Whether it was told, and has not just run out of time.
    pub(crate) fn was_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    pub(crate) fn is_now(&self) -> bool {
        self.was_told() || self.at.is_some_and(|at| Instant::now() >= at)
    }
}

/// Runs `seeds` of a test, in one process or, should that die, in several, and tells each run.
/// Ends early if it is told to stop.
///
/// # Errors
/// If no process can be started.
pub(crate) fn run(
    test: &Selected,
    seeds: &[u64],
    how: &How,
    stop: &Stop,
    tell: &mut dyn FnMut(Run),
) -> io::Result<()> {
    let mut rest = seeds;
    while !rest.is_empty() && !stop.is_now() {
        let (mut told, mut failed) = (0, false);
        let ended = Worker::start(test, rest, how)?.watch(stop, how, &mut |run: Run| {
            told += 1;
            failed |= run.has_failed();
            tell(run);
        });
        if failed && !how.keep_going {
            return Ok(());
        }
        rest = &rest[told.min(rest.len())..];
        if let (Some((message, took)), [seed, more @ ..]) = (ended, rest) {
            let outcome = Outcome::Failed { time: Duration::ZERO, message };
            tell(Run { seed: *seed, took, outcome });
            rest = if how.keep_going { more } else { &[] };
        }
    }
    Ok(())
}

/// A process at work.
struct Worker {
    child: Child,
    report: File,
    /// What was read of the report and is no whole line yet.
    rest: Vec<u8>,
    /// Of its last news.
    heard: Instant,
    folder: TempDir,
}

impl Worker {
    fn start(test: &Selected, seeds: &[u64], how: &How) -> io::Result<Self> {
        let folder = TempDir::with_prefix("lab-")?;
        let (told, report) = protocol::report()?;
        let name = test.test().name.clone();
        let batch = Batch { test: name.clone(), seeds: ranges(seeds), keep_going: how.keep_going };
        let request = serde_json::to_string(&Request::new(Some(batch)))?;
        let Target { program, folder: place, .. } = &*test.target;
        let mut command = how.limits.command(program, place, folder.path())?;
        command.args([&*name, "--exact"]).env(VARIABLE, request);
        set_environment(&mut command, how, None);
        // Files that a test makes go with it.
        command.env("TMPDIR", folder.path());
        command.stdin(told).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.process_group(0).spawn()?;
        Ok(Self { child, report, rest: Vec::new(), heard: Instant::now(), folder })
    }

    /// Tells runs as they end. Gives the reason if the process ended in the middle of one, and how
    /// long that took.
    fn watch(
        mut self,
        stop: &Stop,
        how: &How,
        tell: &mut dyn FnMut(Run),
    ) -> Option<(String, Duration)> {
        loop {
            let status = self.child.try_wait().ok().flatten();
            self.read(tell);
            if let Some(status) = status {
                return self.end(status);
            }
            if stop.is_now() {
                self.kill();
                return None;
            }
            let silent = self.heard.elapsed();
            if silent > how.limits.silence {
                self.kill();
                return Some((
                    format!("it did not end within {silent:.0?}, and was killed"),
                    silent,
                ));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Takes what the report has more.
    fn read(&mut self, tell: &mut dyn FnMut(Run)) {
        if !matches!(self.report.read_to_end(&mut self.rest), Ok(1..)) {
            return;
        }
        self.heard = Instant::now();
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Event::Passed { seed, took, summary, .. }) => {
                    tell(Run { seed, took, outcome: Outcome::Passed(summary) });
                }
                Ok(Event::Failed { took, run }) => {
                    let outcome = Outcome::Failed { time: run.time, message: run.message };
                    tell(Run { seed: run.seed, took, outcome });
                }
                Ok(Event::Began { .. } | Event::Describes(_)) | Err(_) => {}
            }
        }
    }

    fn end(&mut self, status: ExitStatus) -> Option<(String, Duration)> {
        // What it started may have outlived it.
        self.kill();
        Some((describe_exit(status), self.heard.elapsed()))
    }

    fn kill(&mut self) {
        kill_group(&mut self.child);
        let _ = fs::remove_dir_all(self.folder.path());
    }
}

/// Ends a process with all that it started.
fn kill_group(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Has a test's process know world, strategy and seed from us alone.
pub(crate) fn set_environment(command: &mut Command, how: &How, seed: Option<u64>) {
    for name in ["LAB_SEED", "LAB_SEEDS", "LAB_STRATEGY", "LAB_CHECK", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.env("LAB_WORLD", how.world.name());
    if let Some(strategy) = how.strategy {
        command.env("LAB_STRATEGY", strategy.name());
    }
    if let Some(seed) = seed {
        command.env("LAB_SEED", seed.to_string());
    }
}

/// Has a failed run again, for everything that there is to say about it: the whole report, whose last
/// lines are the footer; or as much of it as there is when we are to stop.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn report(test: &Selected, seed: u64, how: &How, stop: &Stop) -> io::Result<String> {
    let folder = TempDir::with_prefix("lab-")?;
    let path = folder.path().join("report.txt");
    let output = File::create_new(&path)?;
    let Target { program, folder: place, .. } = &*test.target;
    let mut limits = how.limits.clone();
    // Nothing that is told counts here, and the runner finds itself in /proc for the replay.
    limits.sandbox.iter_mut().for_each(|sandbox| sandbox.proc = true);
    let mut command = limits.command(program, place, folder.path())?;
    command.args([&*test.test().name, "--exact"]);
    set_environment(&mut command, how, Some(seed));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output);
    let mut child = command.process_group(0).spawn()?;
    wait(&mut child, how.limits.silence * RUNS_IN_A_REPORT, stop)?;
    Ok(String::from_utf8_lossy(&fs::read(&path)?).into_owned())
}

/// Waits for a process of a group of its own, and ends the whole group: when it has ended, or after
/// this time, or when we are to stop. None if it had not ended by itself.
///
/// # Errors
/// If it cannot be waited for.
pub(crate) fn wait(
    child: &mut Child,
    longest: Duration,
    stop: &Stop,
) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    let mut ended = child.try_wait()?;
    while ended.is_none() && began.elapsed() < longest && !stop.is_now() {
        thread::sleep(LOOK_EVERY);
        ended = child.try_wait()?;
    }
    kill_group(child);
    Ok(ended)
}

/// The last lines of a report, which say how to have the failure again.
pub(crate) fn footer(report: &str) -> Option<&str> {
    report.rfind("\nFAIL ").map(|start| report[start..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell that would go on for long, and so would what it starts.
    fn endless() -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 1000 & wait"]).process_group(0);
        command.spawn().expect("there is a shell")
    }

    #[test]
    fn what_does_not_end_is_ended_after_its_time_or_when_we_are_to_stop() {
        let mut child = endless();
        let ended = wait(&mut child, Duration::from_millis(20), &Stop::default());
        assert!(matches!(ended, Ok(None)), "{ended:?}");
        let (mut child, stop) = (endless(), Stop::default());
        stop.now();
        let ended = wait(&mut child, Duration::from_secs(1_000), &stop);
        assert!(matches!(ended, Ok(None)), "{ended:?}");
        let group = Pid::from_raw(child.id().cast_signed()).expect("it has a number");
        // Once nobody is left in it, there is no such group.
        while rustix::process::test_kill_process_group(group).is_ok() {
            thread::sleep(LOOK_EVERY);
        }
    }
}
