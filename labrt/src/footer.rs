//! The last lines of every failing run, whatever ran it: what failed, and the command that
//! repeats it.
//!
//! ```text
//! FAIL 2A initial_election · sim · seed 40826 · 14.207 s · two leaders in term 12: S1, S4
//! replay   LAB_SEED=40826 cargo test initial_election_2A -- --exact    (replayed: same failure)
//! trace    target/lab/initial_election_2A-40826/                       log.txt, events.jsonl
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::replay;
use crate::sim::StrategyKind;

/// Whether a failure could be had again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// A new process failed in the same way, at the same virtual nanosecond.
    Same,
    /// A new process failed otherwise, or passed: nondeterminism, ours or the code's.
    Differently(String),
    /// It was not tried: this world cannot repeat a run, or this is the replay itself.
    NotTried,
}

/// What the last lines say.
#[derive(Clone, Debug)]
pub struct Footer {
    /// The test's full name.
    pub test: String,
    /// `sim`, `threads` or `processes`.
    pub world: &'static str,
    /// The seed that failed.
    pub seed: u64,
    /// How it was scheduled, in `sim`.
    pub strategy: Option<StrategyKind>,
    /// World time of the failure.
    pub time: Duration,
    /// What failed, in one line.
    pub message: String,
    /// The command that has it again.
    pub command: String,
    /// What came of trying that.
    pub replayed: Replayed,
    /// Where the trace is, if there is one; only files that exist are listed.
    pub trace: Option<PathBuf>,
}

impl fmt::Display for Footer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { test, world, seed, time, message, .. } = self;
        let strategy = self.strategy.map(|strategy| format!(" {strategy}")).unwrap_or_default();
        let seconds = time.as_secs_f64();
        let message = message.lines().next().unwrap_or_default();
        writeln!(f, "FAIL {test} · {world}{strategy} · seed {seed} · {seconds:.3} s · {message}")?;
        self.write_command(f)?;
        match &self.trace {
            Some(folder) => self.write_trace(f, folder),
            None => Ok(()),
        }
    }
}

impl Footer {
    fn write_command(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match &self.replayed {
            Replayed::Same => "(replayed: same failure)".to_string(),
            Replayed::Differently(how) => format!("(NOT the same again: {how})"),
            Replayed::NotTried => String::new(),
        };
        let label = if self.world == "sim" { "replay" } else { "stress" };
        let width = self.width();
        let line = format!("{label:<8} {:<width$}  {outcome}", self.command);
        writeln!(f, "{}", line.trim_end())
    }

    fn write_trace(&self, f: &mut fmt::Formatter<'_>, folder: &Path) -> fmt::Result {
        let files: Vec<&str> = ["log.txt", "events.jsonl"]
            .into_iter()
            .filter(|file| folder.join(file).exists())
            .collect();
        if files.is_empty() {
            return Ok(());
        }
        let (width, shown) = (self.width(), format!("{}/", replay::shown(folder).display()));
        writeln!(f, "{:<8} {shown:<width$}  {}", "trace", files.join(", "))
    }

    fn width(&self) -> usize {
        let folder = self
            .trace
            .as_ref()
            .map_or(0, |folder| replay::shown(folder).display().to_string().len() + 1);
        self.command.len().max(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer {
            test: "figure8_2C".into(),
            world: "sim",
            seed: 40826,
            strategy: Some(StrategyKind::RandomWalk),
            time: Duration::from_millis(14_207),
            message: "two leaders in term 12: S1, S4\nmore".into(),
            command: "LAB_SEED=40826 cargo test figure8_2C -- --exact".into(),
            replayed: Replayed::Same,
            trace: Some("/nowhere".into()),
        }
    }

    #[test]
    fn the_footer_names_test_world_seed_time_failure_and_the_command() {
        let expected = "\
FAIL figure8_2C · sim random-walk · seed 40826 · 14.207 s · two leaders in term 12: S1, S4
replay   LAB_SEED=40826 cargo test figure8_2C -- --exact  (replayed: same failure)
";
        assert_eq!(footer().to_string(), expected);
    }

    #[test]
    fn a_replay_that_differs_is_shouted() {
        let replayed = Replayed::Differently("it passed".into());
        let text = Footer { replayed, ..footer() }.to_string();
        assert!(text.contains("(NOT the same again: it passed)"), "{text}");
    }
}
