//! One process that runs a batch of seeds of one test: watched, limited, and gone when it is told
//! to.
//!
//! A test that hangs, aborts, overflows its stack or eats memory costs its own run: the process is
//! ended with everything that it started, that seed has failed, and another process goes on behind
//! it. What a test prints goes nowhere; a failed seed is had again for that.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use harness::Summary;
use harness::runner::describe_exit;
use harness::runner::protocol::{self, Batch, Event, ranges};
use labrt::settings::WorldKind;
use labrt::sim::StrategyKind;
use labrt::thread;
use labrt::time::{Duration, Instant};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::limits::Limits;
use crate::selection::Selected;
use crate::stop::Stop;
use crate::targets::Target;
use crate::together::{self, Watch};

/// How often a worker looks for news.
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// A report runs a seed, and replays it; each of them may take as long as a worker may be silent.
const RUNS_IN_A_REPORT: u32 = 2;
/// So much of a report is kept: its end, where the failure is told.
const REPORT_BYTES_MAX: u64 = 16 << 20;

/// How runs are run.
#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) world: WorldKind,
    pub(crate) strategy: Option<StrategyKind>,
    pub(crate) limits: Limits,
    /// A process is ended when it has told nothing for so long.
    pub(crate) silence: Duration,
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
    /// Whether it has told anything: no code under test runs before that.
    has_begun: bool,
    memory: Watch,
    folder: TempDir,
}

impl Worker {
    fn start(test: &Selected, seeds: &[u64], how: &How) -> io::Result<Self> {
        let folder = TempDir::with_prefix("lab-")?;
        let name = test.test().name.clone();
        let batch = Batch { test: name.clone(), seeds: ranges(seeds), keep_going: how.keep_going };
        let Target { program, folder: place, .. } = &*test.target;
        // Files that a test makes go with it.
        let mut command = how.limits.command(program, place, folder.path());
        command.args([&*name, "--exact"]);
        set_environment(&mut command, how, None);
        let report = protocol::ask(&mut command, Some(&batch))?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.process_group(0).spawn()?;
        let memory = Watch::on(child.id(), how.limits.together);
        let (rest, heard) = (Vec::new(), Instant::now());
        Ok(Self { child, report, rest, heard, has_begun: false, memory, folder })
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
                return self.end(status, stop);
            }
            if stop.is_now() {
                self.kill();
                return None;
            }
            let silent = self.heard.elapsed();
            if silent > how.silence {
                self.kill();
                return Some((too_late(silent), silent));
            }
            if self.memory.is_beyond() {
                self.kill();
                return Some((together::too_much(how.limits.together), silent));
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
        self.has_begun = true;
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

    fn end(&mut self, status: ExitStatus, stop: &Stop) -> Option<(String, Duration)> {
        // What it started may have outlived it.
        self.kill();
        if !self.has_begun {
            stop.hear(status);
            if stop.was_told() {
                return None;
            }
        }
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

/// Has a failed run again, for everything that there is to say about it: the whole report, whose
/// last lines are the footer; or as much of it as there is when we are to stop, or it has gone too
/// far.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn report(test: &Selected, seed: u64, how: &How, stop: &Stop) -> io::Result<String> {
    let folder = TempDir::with_prefix("lab-")?;
    let mut output = tempfile::tempfile()?;
    let Target { program, folder: place, .. } = &*test.target;
    let mut limits = how.limits.clone();
    // Nothing that is told counts here, and the runner finds itself in /proc for the replay.
    limits.sandbox.iter_mut().for_each(|sandbox| sandbox.proc = true);
    let mut command = limits.command(program, place, folder.path());
    command.args([&*test.test().name, "--exact"]);
    set_environment(&mut command, how, Some(seed));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command.stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut child = command.process_group(0).spawn()?;
    wait(&mut child, how.silence * RUNS_IN_A_REPORT, limits.together, stop)?;
    end_of(&mut output)
}

/// The end of what a file has, as much as a person may read.
fn end_of(file: &mut File) -> io::Result<String> {
    let begin = file.metadata()?.len().saturating_sub(REPORT_BYTES_MAX);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.take(REPORT_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(if begin > 0 { format!("({begin} bytes before this are left out)\n{text}") } else { text })
}

/// How a process came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Itself(ExitStatus),
    /// It had to be ended: after this time.
    TooLate(Duration),
    /// With what it started it had more memory than this.
    TooMuch(u64),
    /// We are to stop.
    Stopped,
}

impl End {
    /// The status of a process that ended by itself.
    ///
    /// # Errors
    /// In a sentence, why it had to be ended.
    pub(crate) fn status(self) -> Result<ExitStatus, String> {
        match self {
            Self::Itself(status) => Ok(status),
            Self::TooLate(time) => Err(too_late(time)),
            Self::TooMuch(limit) => Err(together::too_much(limit)),
            Self::Stopped => Err("it was stopped".to_string()),
        }
    }
}

fn too_late(time: Duration) -> String {
    format!("it did not end within {time:.0?}, and was killed")
}

/// Waits for a process of a group of its own, and ends the whole group: when it has ended, or after
/// this time, or with more memory than this, or when we are to stop.
///
/// # Errors
/// If it cannot be waited for.
pub(crate) fn wait(
    child: &mut Child,
    longest: Duration,
    together: u64,
    stop: &Stop,
) -> io::Result<End> {
    let (began, mut memory) = (Instant::now(), Watch::on(child.id(), together));
    let end = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(End::Itself(status)),
            Ok(None) if stop.is_now() => break Ok(End::Stopped),
            Ok(None) if began.elapsed() >= longest => break Ok(End::TooLate(longest)),
            Ok(None) if memory.is_beyond() => break Ok(End::TooMuch(together)),
            Ok(None) => thread::sleep(LOOK_EVERY),
            Err(error) => break Err(error),
        }
    };
    kill_group(child);
    end
}

/// The last lines of a report, which say how to have the failure again.
pub(crate) fn footer(report: &str) -> Option<&str> {
    report.rfind("\nFAIL ").map(|start| report[start..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell in a group of its own.
    fn shell(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::null()).process_group(0);
        command.spawn().expect("there is a shell")
    }

    /// It would go on for long, and so would what it starts.
    const ENDLESS: &str = "sleep 1000 & wait";
    const LONG: Duration = Duration::from_secs(1_000);

    fn assert_gone(child: &Child) {
        let group = Pid::from_raw(child.id().cast_signed()).expect("it has a number");
        // Once nobody is left in it, there is no such group.
        while rustix::process::test_kill_process_group(group).is_ok() {
            thread::sleep(LOOK_EVERY);
        }
    }

    #[test]
    fn what_does_not_end_is_ended_after_its_time_or_when_we_are_to_stop() {
        let (mut child, time) = (shell(ENDLESS), Duration::from_millis(20));
        let ended = wait(&mut child, time, u64::MAX, &Stop::default());
        assert_eq!(ended.ok(), Some(End::TooLate(time)));
        let (mut child, stop) = (shell(ENDLESS), Stop::default());
        stop.now();
        assert_eq!(wait(&mut child, LONG, u64::MAX, &stop).ok(), Some(End::Stopped));
        assert_gone(&child);
    }

    #[test]
    fn processes_that_together_have_too_much_memory_are_ended() {
        // Each has to hold what it reads until it has all of it: nothing in that is the end of a
        // line.
        let eats = "head -c 40000000 /dev/zero | tail | sleep 1000 & ";
        let mut child = shell(&format!("{}wait", eats.repeat(6)));
        let most = 100_000_000;
        assert_eq!(wait(&mut child, LONG, most, &Stop::default()).ok(), Some(End::TooMuch(most)));
        assert_gone(&child);
    }

    #[test]
    fn of_a_flood_the_end_is_kept() {
        let mut file = tempfile::tempfile().expect("there is room");
        file.set_len(3 << 30).expect("a hole takes no room");
        file.seek(SeekFrom::End(0)).expect("it is a file");
        std::io::Write::write_all(&mut file, b"\nFAIL it").expect("there is room");
        let text = end_of(&mut file).expect("it can be read");
        assert_eq!(footer(&text), Some("FAIL it"));
        assert!((text.len() as u64) < REPORT_BYTES_MAX + 100, "{}", text.len());
    }
}
