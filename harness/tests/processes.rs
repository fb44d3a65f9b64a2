//! Servers that are processes (`examples/processes.rs`): they do what other servers do, their
//! deaths are told, and nothing of them stays.
#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use labrt::thread::sleep;
use labrt::time::Instant;

/// The example, to be run in a folder of its own, in which it also leaves its servers' files.
struct Example {
    folder: tempfile::TempDir,
}

impl Example {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("there is room for a folder") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // target/PROFILE/deps/THIS -> target/PROFILE/examples/processes
        let this = env::current_exe().expect("a running program has a path");
        let profile = this.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
        let mut command = Command::new(profile.join("examples/processes"));
        for name in ["LAB_SEED", "LAB_SEEDS", "LAB_STRATEGY", "LAB_CHECK"] {
            command.env_remove(name);
        }
        command.args(arguments).env("LAB_WORLD", "processes").current_dir(&self.folder);
        command
    }

    /// Runs it, and gives its output and exit status.
    fn run(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let output = self.command(arguments).output();
        let Output { status, stdout, stderr } =
            output.expect("the example is built by cargo test -p harness");
        let text = [stdout, stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), status.code())
    }

    /// What clusters have left.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("target/lab/processes"));
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

#[test]
fn they_do_what_other_servers_do() {
    let example = Example::new();
    let (text, status) = example.run(&["0P"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("5 passed; 0 failed"), "{text}");
    assert_eq!(example.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_server_that_ends_by_itself_fails_the_test_and_says_how() {
    let example = Example::new();
    let (text, status) = example.run(&["0Q"]);
    assert_eq!(status, Some(1), "{text}");
    for said in [
        "FAIL panics_in_a_server_0Q · processes",
        "as it was told in S1/main",
        "S1 is a process that ended by itself, with exit status: 7",
        "S1 is a process that ended by itself, with signal: 6 (SIGABRT)",
        "LAB_WORLD=processes LAB_SEED=",
    ] {
        assert!(text.contains(said), "{said:?} is missing in\n{text}");
    }
    assert_eq!(example.files(), Vec::<PathBuf>::new());
}

/// A process as /proc shows it.
#[derive(Clone, Debug)]
struct Process {
    id: u32,
    parent: u32,
    state: char,
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("Linux has it");
    let stats = entries.flatten().filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    stats.filter_map(|stat| parse(&stat)).collect()
}

/// `id (name) state parent ...`; the name may be anything.
fn parse(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let id = before.split_whitespace().next()?.parse().ok()?;
    Some(Process { id, parent: fields.next()?.parse().ok()?, state })
}

fn children_of(parent: u32) -> Vec<Process> {
    processes().into_iter().filter(|process| process.parent == parent).collect()
}

fn is_there(id: u32) -> bool {
    processes().iter().any(|process| process.id == id && process.state != 'Z')
}

const SOON: Duration = Duration::from_secs(20);

fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < SOON, "it never came to this: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// Starts a test that has a server stopped: its runner, the test's process, and the processes of
/// that.
fn start_and_stop_a_server(example: &Example) -> (Child, u32, Vec<u32>) {
    let mut command = example.command(&["holds_a_stopped_server_0R"]);
    let runner = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let runner = runner.expect("the example is built by cargo test -p harness");
    let (harness, below) = wait_for("a server is stopped", || {
        let harness = children_of(runner.id()).first()?.id;
        let below = children_of(harness);
        let stopped = below.iter().any(|process| process.state == 'T');
        stopped.then(|| (harness, below.iter().map(|process| process.id).collect::<Vec<_>>()))
    });
    assert_eq!(below.len(), 4, "three servers and a keeper");
    assert_eq!(example.files().len(), 1, "the cluster's folder");
    (runner, harness, below)
}

fn kill(process: u32) {
    let id = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    let id = id.expect("the system gave that number");
    rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("it is ours");
}

fn check_nothing_is_left(example: &Example, processes: &[u32]) {
    wait_for("no process is left", || (!processes.iter().any(|&id| is_there(id))).then_some(()));
    wait_for("no file is left", || example.files().is_empty().then_some(()));
}

#[test]
fn nothing_is_left_of_a_test_that_is_killed_while_a_server_is_stopped() {
    let example = Example::new();
    let (mut runner, harness, below) = start_and_stop_a_server(&example);
    kill(harness);
    check_nothing_is_left(&example, &below);
    let status = runner.wait().expect("it is ours");
    assert_eq!(status.code(), Some(1), "the runner tells of a test that was killed");
}

#[test]
fn nothing_is_left_of_a_runner_that_is_killed() {
    let example = Example::new();
    let (mut runner, harness, below) = start_and_stop_a_server(&example);
    kill(runner.id());
    runner.wait().expect("it is ours");
    check_nothing_is_left(&example, &[below, vec![harness]].concat());
}
