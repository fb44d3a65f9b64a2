//! Rust's programs, and what cargo says of the crate that we stand in.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use labrt::channel;
use labrt::thread;
use labrt::time::Instant;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Finding, State};
use crate::workspace::{self, Workspace, cargo};

/// What came of asking a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Said(String),
    /// In the words of the program.
    Failed(String),
    /// It is not there, or nobody may start it.
    Absent(String),
    /// Nobody knows then: most often it is there, and the machine has too much to do.
    Late,
}

/// The answer that somebody waits for, and the process that is to give it.
struct Asked {
    answer: channel::Receiver<io::Result<Output>>,
    process: Option<Pid>,
}

fn ask(mut command: Command) -> Asked {
    // A group of its own: what is late ends with all that it started. rustup is to fetch nothing.
    command.process_group(0).env("RUSTUP_AUTO_INSTALL", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (tx, answer) = channel::unbounded();
    let child = command.spawn();
    let process = child.as_ref().ok().map(Pid::from_child);
    thread::spawn(move || {
        // Whoever asked may have gone: it was late.
        let _ = tx.send(child.and_then(std::process::Child::wait_with_output));
    });
    Asked { answer, process }
}

impl Asked {
    fn by(self, deadline: Instant) -> Answer {
        match self.answer.recv_timeout(deadline.duration_since(Instant::now())) {
            Ok(Ok(output)) if output.status.success() => {
                Answer::Said(String::from_utf8_lossy(&output.stdout).trim().to_string())
            }
            Ok(Ok(output)) => {
                Answer::Failed(String::from_utf8_lossy(&output.stderr).trim().to_string())
            }
            Ok(Err(error)) => Answer::Absent(error.to_string()),
            Err(_) => {
                if let Some(process) = self.process {
                    // It may just have ended.
                    let _ = kill_process_group(process, Signal::KILL);
                }
                Answer::Late
            }
        }
    }
}

/// What cargo says of the workspace, or else how it answered.
pub(super) fn workspace(deadline: Instant) -> Result<Workspace, Answer> {
    match ask(workspace::metadata()).by(deadline) {
        Answer::Said(text) => {
            workspace::parse(&text).map_err(|error| Answer::Failed(error.to_string()))
        }
        answer => Err(answer),
    }
}

/// What cargo gives as its reason; behind it come causes and hints.
fn first_line(words: &str) -> String {
    let line = words.lines().find(|line| line.starts_with("error"));
    let line = line.or(words.lines().next()).unwrap_or_default();
    line.trim_start_matches("error: ").to_string()
}

/// Looks at the tools, and at this crate.
pub(super) fn look(workspace: &Result<Workspace, Answer>, deadline: Instant) -> Vec<Finding> {
    let tool = |name| {
        let mut command = cargo();
        command.args([name, "--version"]);
        ask(command)
    };
    let mut rustc = workspace::rustc();
    rustc.arg("-vV");
    let mut version = cargo();
    version.arg("--version");
    let (rustc, version) = (ask(rustc), ask(version));
    let [clippy, fmt, nextest] = ["clippy", "fmt", "nextest"].map(tool);
    let wanted = workspace.as_ref().ok().and_then(Workspace::rust_version);
    let rustc = rustc.by(deadline);
    let offline = match (workspace, host(&rustc)) {
        (Ok(_), Some(host)) => Some(ask(workspace::metadata_of_all(host))),
        _ => None,
    };
    let rules = "Nothing checks that code takes its threads and clocks from labrt (clippy.toml)";
    vec![
        compiler("rustc", &rustc, wanted.as_deref()),
        compiler("cargo", &version.by(deadline), wanted.as_deref()),
        component("clippy", &clippy.by(deadline), rules),
        component("rustfmt", &fmt.by(deadline), "cargo fmt does not work"),
        optional("nextest", &nextest.by(deadline)),
        here(workspace, offline.map(|offline| offline.by(deadline))),
    ]
}

/// The platform that the compiler is for.
fn host(rustc: &Answer) -> Option<&str> {
    let Answer::Said(text) = rustc else { return None };
    text.lines().find_map(|line| line.strip_prefix("host: "))
}

/// `1.95.0` in `rustc 1.95.0-nightly (59807616e 2026-04-14)`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let word = text.split_whitespace().nth(1)?;
    let mut numbers = word.split(['.', '-', '+']).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

fn compiler(thing: &'static str, answer: &Answer, wanted: Option<&str>) -> Finding {
    let text = match answer {
        Answer::Said(text) => text.lines().next().unwrap_or_default(),
        // Whatever it is, nothing can be built here now.
        Answer::Late => return Finding { state: State::Bad, ..late(thing) },
        answer => {
            let why = reason(answer);
            return Finding::bad(thing, format!("{why}. Install Rust from https://rustup.rs"));
        }
    };
    let Some(wanted) = wanted else { return Finding::ok(thing, text) };
    match version(text).zip(version(&format!("rust {wanted}"))) {
        Some((have, least)) if have < least => Finding::bad(
            thing,
            format!("{text}, but this workspace needs {wanted} or later: rustup update stable"),
        ),
        _ => Finding::ok(thing, format!("{text}; {wanted} or later is wanted")),
    }
}

fn component(thing: &'static str, answer: &Answer, without: &str) -> Finding {
    match answer {
        Answer::Said(text) => Finding::ok(thing, text),
        Answer::Late => late(thing),
        answer => {
            let why = reason(answer);
            Finding::warn(thing, format!("{why}. {without}: rustup component add {thing}"))
        }
    }
}

fn optional(thing: &'static str, answer: &Answer) -> Finding {
    match answer {
        Answer::Said(text) => Finding::ok(thing, text.lines().next().unwrap_or_default()),
        Answer::Late => Finding::ok(thing, "it did not answer in time, and is not needed"),
        _ => Finding::ok(thing, "not installed, and not needed"),
    }
}

fn late(thing: &'static str) -> Finding {
    let advice = "Nobody knows whether it works: ask again when the machine has less to do";
    Finding::warn(thing, format!("{}. {advice}", reason(&Answer::Late)))
}

fn reason(answer: &Answer) -> String {
    match answer {
        Answer::Said(text) => text.clone(),
        Answer::Failed(words) => first_line(words),
        Answer::Absent(error) => format!("it could not be started: {error}"),
        Answer::Late => "it did not answer in time".to_string(),
    }
}

/// Whether cargo can work here, and without a network.
fn here(workspace: &Result<Workspace, Answer>, offline: Option<Answer>) -> Finding {
    const THING: &str = "crate";
    match (workspace, offline) {
        (Err(Answer::Late), _) => late(THING),
        (Err(Answer::Absent(why)), _) => {
            Finding::bad(THING, format!("cargo could not be started: {why}"))
        }
        (Err(answer), _) => {
            let (why, advice) =
                (reason(answer), "Go into the folder of your crate; `lab new DIR` makes one");
            Finding::bad(THING, format!("{}. {advice}", why.trim_end_matches('.')))
        }
        (Ok(_), Some(Answer::Said(_))) => {
            Finding::ok(THING, "all that it depends on is here: cargo works offline")
        }
        (Ok(_), Some(Answer::Failed(words))) => Finding::warn(
            THING,
            format!(
                "cargo does not work offline ({}). The first build needs a network: cargo fetch",
                first_line(&words)
            ),
        ),
        (Ok(_), answer) => {
            let why = answer.as_ref().map_or("nobody knows for which platform".into(), reason);
            Finding::warn(THING, format!("whether cargo works offline is not known: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use labrt::time::Duration;

    use super::*;

    fn said(text: &str) -> Answer {
        Answer::Said(text.to_string())
    }

    #[test]
    fn a_compiler_is_held_against_what_the_workspace_wants() {
        let state = |text: &str, wanted| compiler("rustc", &said(text), wanted).state;
        let rustc = "rustc 1.95.0 (59807616e 2026-04-14)\nhost: x86_64-unknown-linux-gnu";
        assert_eq!(state(rustc, Some("1.95")), State::Ok);
        assert_eq!(state("rustc 1.100.0-nightly (x)", Some("1.95")), State::Ok);
        assert_eq!(state(rustc, Some("1.95.1")), State::Bad);
        assert_eq!(state(rustc, Some("2.0")), State::Bad);
        assert_eq!(state(rustc, None), State::Ok);
        assert_eq!(host(&said(rustc)), Some("x86_64-unknown-linux-gnu"));
        let old = compiler("cargo", &said("cargo 1.80.1 (x)"), Some("1.95"));
        let expected =
            "cargo 1.80.1 (x), but this workspace needs 1.95 or later: rustup update stable";
        assert_eq!(old, Finding::bad("cargo", expected));
        let absent = compiler("rustc", &Answer::Absent("not found".to_string()), None);
        assert!(
            absent.state == State::Bad && absent.text.contains("https://rustup.rs"),
            "{absent}"
        );
    }

    #[test]
    fn a_missing_component_is_told_with_the_command_that_adds_it() {
        let failed = Answer::Failed("error: no such command: `clippy`\n\nhelp: more".to_string());
        let expected = "no such command: `clippy`. Nobody looks: rustup component add clippy";
        assert_eq!(component("clippy", &failed, "Nobody looks"), Finding::warn("clippy", expected));
        assert_eq!(optional("nextest", &failed).state, State::Ok);
        assert_eq!(component("clippy", &said("clippy 0.1"), "").state, State::Ok);
    }

    #[test]
    fn a_folder_without_a_crate_is_bad_and_one_that_needs_the_network_is_told() {
        let failed = Answer::Failed("error: could not find `Cargo.toml` in `/tmp`".to_string());
        assert_eq!(here(&Err(failed), None).state, State::Bad);
        let workspace =
            || Ok(Workspace { target_directory: "target".into(), packages: Vec::new() });
        let failed = "    Updating x\nerror: failed to download `serde`\n\nCaused by: offline";
        let fetch = here(&workspace(), Some(Answer::Failed(failed.to_string())));
        let expected = "cargo does not work offline (failed to download `serde`). The first build \
                        needs a network: cargo fetch";
        assert_eq!(fetch, Finding::warn("crate", expected));
        assert_eq!(here(&workspace(), Some(said("{}"))).state, State::Ok);
        assert_eq!(here(&workspace(), Some(Answer::Late)).state, State::Warn);
        assert_eq!(here(&workspace(), None).state, State::Warn);
    }

    #[test]
    fn of_what_is_late_nobody_says_that_it_is_missing() {
        let late = [
            (State::Bad, compiler("rustc", &Answer::Late, Some("1.95"))),
            (State::Warn, component("clippy", &Answer::Late, "Nobody looks")),
            (State::Warn, here(&Err(Answer::Late), None)),
        ];
        for (state, finding) in &late {
            assert_eq!(*state, finding.state, "{finding}");
            let told = "it did not answer in time. Nobody knows";
            assert!(finding.text.starts_with(told), "{finding}");
        }
        assert!(!optional("nextest", &Answer::Late).text.contains("not installed"));
    }

    fn shell(script: &str, milliseconds: u64) -> Answer {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        ask(command).by(Instant::now() + Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_program_that_hangs_is_late_and_ends_with_all_that_it_started() {
        let began = Instant::now();
        let folder = tempfile::TempDir::new().expect("a folder can be made");
        let file = folder.path().join("alive");
        let script = format!("(sleep 1; touch {}) & sleep 60", file.display());
        assert_eq!(shell(&script, 300), Answer::Late);
        assert!(began.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(1_500));
        assert!(!file.exists(), "what it started goes on");
    }

    #[test]
    fn a_program_answers_fails_or_is_not_there() {
        assert_eq!(shell("echo ' yes '", 10_000), said("yes"));
        assert_eq!(shell("echo no >&2; exit 1", 10_000), Answer::Failed("no".to_string()));
        let absent =
            ask(Command::new("/nowhere/at/all")).by(Instant::now() + Duration::from_secs(10));
        assert!(matches!(absent, Answer::Absent(_)));
    }
}
