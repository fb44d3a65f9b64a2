//! Whether this machine is fit for the labs.
//!
//! ```text
//! ok    cores      2
//! warn  disk       1.2 GB free in /home/me/raft/target. Debug and release builds take some 3 GB:
//!                  make room, or set CARGO_TARGET_DIR to a folder on another disk
//! ```
//!
//! A line for each thing looked at. `warn`: runs work, but one should know this of them. `bad`:
//! something that the labs need is missing. In sim, a run depends on none of it but its time: a
//! slow disk or a late clock matters in real time alone, so neither is ever `bad`.
//!
//! What is measured is limited in time, and so is each program that is asked: together they end
//! within some seconds, whatever hangs. Measuring comes before asking, for what is asked keeps the
//! cores busy.
//!
//! # Left out
//! The network: nothing leaves this machine. Whether the tests pass: `lab grade` says so.

mod machine;
mod toolchain;

use std::fmt;
use std::process::ExitCode;

use labrt::settings::{Settings, SettingsError};
use labrt::time::{Duration, Instant};
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

use crate::refusal::Refusal;
use crate::sandbox;
use crate::say::say;

/// Say whether this machine is fit for the labs, and what to do if not.
///
/// Looks at cores, memory, disk and clock, at the toolchain, and at limits and variables that would
/// change a run. It takes a few seconds. The exit status is 1 if something is bad.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Whether submissions can be graded here. Most people need not.
fn class(locked_in: Result<(), Refusal>) -> Finding {
    match locked_in {
        Ok(()) => Finding::ok("class", "submissions can be locked in, for lab grade --submissions"),
        Err(Refusal(why)) => {
            Finding::warn("class", format!("lab grade --submissions does not work here: {why}"))
        }
    }
}

/// All of it ends by then.
const TIME_MAX: Duration = Duration::from_millis(4_500);
/// Characters in a line, and those before a finding's text.
const WIDTH: usize = 100;
const INDENT: &str = "                 ";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Ok,
    Warn,
    Bad,
}

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    state: State,
    /// What was looked at.
    thing: &'static str,
    /// What was found; if it is not fine, what that means and what to do.
    text: String,
}

impl Finding {
    fn ok(thing: &'static str, text: impl Into<String>) -> Self {
        Self { state: State::Ok, thing, text: text.into() }
    }

    fn warn(thing: &'static str, text: impl Into<String>) -> Self {
        Self { state: State::Warn, thing, text: text.into() }
    }

    fn bad(thing: &'static str, text: impl Into<String>) -> Self {
        Self { state: State::Bad, thing, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Bad => "bad",
        };
        let options = Options::new(WIDTH)
            .subsequent_indent(INDENT)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .wrap_algorithm(WrapAlgorithm::FirstFit)
            .break_words(false);
        let line = format!("{state:<5} {:<10} {}", self.thing, self.text);
        f.write_str(&textwrap::fill(&line, options))
    }
}

pub(crate) fn run(_: &Args) -> Result<ExitCode, Refusal> {
    let deadline = Instant::now() + TIME_MAX;
    let mut worst = State::Ok;
    let mut tell = |findings: Vec<Finding>| {
        for finding in findings {
            worst = worst.max(finding.state);
            say(format_args!("{finding}\n"));
        }
    };
    let workspace = toolchain::workspace(deadline);
    let target = workspace.as_ref().ok().map(|workspace| workspace.target_directory.clone());
    tell(machine::look(&target.unwrap_or_else(|| "target".into())));
    tell(toolchain::look(&workspace, deadline));
    let set = std::env::vars_os().map(|(name, value)| (text(&name), text(&value)));
    tell(vec![variables(set, Settings::from_env().err()), class(sandbox::check())]);
    Ok(if worst == State::Bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// Variables that change what a run does.
const VARIABLES: [&str; 7] =
    ["LAB_WORLD", "LAB_SEED", "LAB_SEEDS", "LAB_STRATEGY", "LAB_CHECK", "RUST_LOG", "CI"];

fn variables(all: impl Iterator<Item = (String, String)>, wrong: Option<SettingsError>) -> Finding {
    const THING: &str = "variables";
    let ours = |name: &str| name.starts_with("LAB_") || VARIABLES.contains(&name);
    let mut set: Vec<(String, String)> = all.filter(|(name, _)| ours(name)).collect();
    set.sort_unstable();
    if let Some(error) = wrong {
        return Finding::bad(THING, format!("{error}. Until then no test runs"));
    }
    if set.is_empty() {
        return Finding::ok(THING, "none is set that would change a run");
    }
    let pairs: Vec<String> = set.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let unknown = set.iter().map(|(name, _)| &**name).filter(|name| !VARIABLES.contains(name));
    let unknown: Vec<&str> = unknown.collect();
    let unknown = match &unknown[..] {
        [] => String::new(),
        names => format!(". Nobody reads {}: is it misspelt?", names.join(", ")),
    };
    let pairs = pairs.join(" ");
    Finding::warn(
        THING,
        format!("{pairs}: tests that cargo runs obey them. Unset what you do not mean{unknown}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Finding {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
        variables(pairs, None)
    }

    #[test]
    fn variables_that_change_a_run_are_told_and_others_are_not() {
        let none = of(&[("PATH", "/bin"), ("RUSTFLAGS", "-g"), ("LABEL", "x")]);
        assert_eq!(none, Finding::ok("variables", "none is set that would change a run"));
        let some = of(&[("RUST_LOG", "debug"), ("LAB_SEED", "7")]);
        let expected = "LAB_SEED=7 RUST_LOG=debug: tests that cargo runs obey them. Unset what you \
                        do not mean";
        assert_eq!(some, Finding::warn("variables", expected));
    }

    #[test]
    fn a_misspelt_variable_is_told() {
        let misspelt = of(&[("LAB_SEEED", "7")]);
        assert_eq!(misspelt.state, State::Warn);
        assert!(misspelt.text.ends_with("Nobody reads LAB_SEEED: is it misspelt?"), "{misspelt}");
    }

    #[test]
    fn a_finding_is_a_line_and_a_long_one_goes_on_below_its_text() {
        assert_eq!(Finding::ok("cores", "2").to_string(), "ok    cores      2");
        let long = Finding::warn("disk", "word ".repeat(30).trim_end());
        let expected = format!(
            "warn  disk       {}\n{INDENT}{}",
            "word ".repeat(16).trim_end(),
            "word ".repeat(14).trim_end()
        );
        assert_eq!(long.to_string(), expected);
    }
}
