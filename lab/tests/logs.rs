//! `lab logs` on traces that runs left, as a person uses it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use labrt::group::Group;
use labrt::trace::{self, EventKind};
use labrt::{channel, replay, sim, thread};
use tempfile::TempDir;

/// Runs two servers that vote, and gives the folder with the trace.
fn recorded() -> TempDir {
    let mut config = sim::Config::new(7).with_strategy(sim::StrategyKind::Plain);
    config.record = true;
    let outcome = sim::run(&config, || {
        let (tx, rx) = channel::unbounded();
        for me in 0..3_usize {
            let tx = tx.clone();
            let group = Group::new(&format!("S{me}"), me, 0);
            group.spawn("main", move || {
                thread::sleep(Duration::from_millis(100 * (me as u64 + 1)));
                trace::role(me, 1, if me == 0 { "candidate" } else { "follower" });
                let kind = EventKind::Arrived { from: (me + 2) % 3 };
                trace::record(Some(me), "rpc", kind, || "request_vote".to_string());
                trace::record(Some(me), "persist", EventKind::Note, || "saved 42 B".to_string());
                tx.send(me).expect("the test waits");
            });
        }
        for _ in 0..3 {
            rx.recv().expect("each server tells when it is done");
        }
        trace::record(None, "test", EventKind::Note, || "disconnect S0".to_string());
        let kind = EventKind::Lost { from: 1 };
        trace::record(Some(0), "rpc", kind, || "re request_vote".to_string());
    });
    assert_eq!(outcome.result, Ok(()));
    let folder = TempDir::new().expect("a folder can be made");
    replay::write_trace(folder.path(), &outcome.events).expect("a trace can be written");
    folder
}

fn logs(log: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.arg("logs").arg(log).args(arguments).stdin(Stdio::null());
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

fn output(mut command: Command) -> Output {
    command.output().expect("lab starts")
}

fn text(log: &Path, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = output(logs(log, arguments));
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("it is text")
}

fn refusal(log: &Path, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = output(logs(log, arguments));
    assert_eq!((status.code(), stdout.len()), (Some(2), 0));
    String::from_utf8(stderr).expect("it is text")
}

#[test]
fn a_recorded_run_is_shown_with_a_column_for_each_server() {
    let trace = recorded();
    let expected = "    time  | test              | S0                | S1                | S2
   0.100  |                   | candidate 1       |                   |
   0.100  |                   | S2-> request_vote |                   |
   0.100  |                   | saved 42 B        |                   |
   0.200  |                   |                   | follower 1        |
   0.200  |                   |                   | S0-> request_vote |
   0.200  |                   |                   | saved 42 B        |
   0.300  |                   |                   |                   | follower 1
   0.300  |                   |                   |                   | S1-> request_vote
   0.300  |                   |                   |                   | saved 42 B
   0.300  | disconnect S0     |                   |                   |
   0.300  |                   | S1-x re           |                   |
          |                   | request_vote      |                   |
";
    assert_eq!(text(trace.path(), &["--cols", "90"]), expected);
}

#[test]
fn each_form_of_a_trace_shows_the_same() {
    let trace = recorded();
    let events = text(&trace.path().join("events.jsonl"), &[]);
    assert_eq!(text(&trace.path().join("log.txt"), &[]), events);
    assert_eq!(text(trace.path(), &[]), events);
    assert!(events.lines().all(|line| line.chars().count() <= 100), "{events}");
    for file in ["events.jsonl", "log.txt"] {
        let mut piped = logs(Path::new("-"), &[]);
        piped.stdin(fs::File::open(trace.path().join(file)).expect("it is there"));
        assert_eq!(String::from_utf8_lossy(&output(piped).stdout), events, "{file}");
    }
}

#[test]
fn topics_servers_and_times_are_chosen() {
    let trace = recorded();
    let rows = |arguments: &[&str]| text(trace.path(), arguments).lines().count() - 1;
    assert_eq!(rows(&[]), 12);
    assert_eq!(rows(&["--only", "vote,test"]), 4);
    assert_eq!(rows(&["--drop", "rpc"]), 7);
    assert_eq!(rows(&["--server", "S1"]), 3);
    assert_eq!(rows(&["--from", "0.15s", "--to", "250ms"]), 3);
    let Output { status, stdout, stderr } = output(logs(trace.path(), &["--only", "snapshot"]));
    assert!(status.success() && stdout.is_empty());
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(said, "this log has no event, or none of those that are asked for\n");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_insist() {
    let trace = recorded();
    let plain = text(trace.path(), &[]);
    assert!(!plain.contains('\u{1b}'));
    let mut forced = logs(trace.path(), &[]);
    forced.env("CLICOLOR_FORCE", "1");
    let forced = String::from_utf8(output(forced).stdout).expect("it is text");
    assert!(forced.contains("\u{1b}[33m") && forced.len() > plain.len(), "{forced}");
    let mut no_color = logs(trace.path(), &[]);
    no_color.env("NO_COLOR", "1");
    assert_eq!(String::from_utf8_lossy(&output(no_color).stdout), plain);
}

#[test]
fn what_is_no_trace_is_refused_in_a_sentence() {
    let trace = recorded();
    let said = refusal(trace.path(), &["--server", "S7"]);
    assert_eq!(said, "error: this log has no S7, only test, S0, S1, S2\n");
    let events = trace.path().join("events.jsonl");
    let whole = fs::read_to_string(&events).expect("it is there");
    fs::write(&events, whole.replacen("\"server\":1", "\"server\":one", 1)).expect("it is ours");
    let said = refusal(trace.path(), &[]);
    assert!(said.contains("events.jsonl, line 4, is not an event as a trace has them"), "{said}");
    let said = refusal(trace.path(), &["--only", "elektion"]);
    assert!(said.contains("the topics are election, replicate, commit, persist"), "{said}");
    let empty = TempDir::new().expect("a folder can be made");
    let said = refusal(empty.path(), &[]);
    assert!(said.contains("holds neither events.jsonl nor log.txt"), "{said}");
    let said = refusal(Path::new("nowhere_2A-0"), &[]);
    assert!(said.contains("there is no file nowhere_2A-0, and no trace of that name in"), "{said}");
}

#[test]
fn a_reader_who_has_seen_enough_ends_it_silently() {
    let folder = TempDir::new().expect("a folder can be made");
    let path = folder.path().join("log.txt");
    let line = "   0.100000000 S1    commit    a line among very many\n";
    fs::write(&path, line.repeat(50_000)).expect("a file can be written");
    let mut command = logs(&path, &[]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lab starts");
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    stdout.read_line(&mut first).expect("it can be read");
    drop(stdout);
    let ended = child.wait_with_output().expect("lab ends");
    assert!(first.contains("| S1") && ended.status.success(), "{first}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_live_log_is_shown_as_it_comes_and_other_lines_as_they_are() {
    let mut command = logs(Path::new("-"), &["--cols", "40", "--server", "S1"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("lab starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut shown = |line: &str, lines: usize| {
        writeln!(stdin, "{line}").expect("lab reads");
        let mut text = String::new();
        for _ in 0..lines {
            stdout.read_line(&mut text).expect("lab answers");
        }
        text
    };
    assert_eq!(shown("running 1 test", 1), "running 1 test\n");
    let line = "   0.312416300 S1    candidate 3       election  2 of 3 votes";
    let expected = "    time  topic     | S1
   0.312  election  | candidate 3
   0.312  election  | 2 of 3 votes
";
    assert_eq!(shown(line, 3), expected);
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("it can be read");
    assert!(rest.is_empty() && child.wait().expect("lab ends").success());
}
