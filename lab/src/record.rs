//! What is kept of a run: a line of JSON, for `--json`, `--resume` and `lab merge`.

use serde::{Deserialize, Serialize};

use labrt::settings::WorldKind;
use labrt::time::Duration;

use crate::selection::Selected;
use crate::worker::{How, Outcome, Run};
use crate::workspace;

/// What a test target with the suites is called, unless a crate has several.
pub(crate) const USUAL_TARGET: &str = "labs";

/// A run. A file has one to a line; times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) test: String,
    pub(crate) package: String,
    /// The test target, which most often is `labs`.
    pub(crate) target: String,
    pub(crate) world: String,
    /// None if it followed from the seed.
    pub(crate) strategy: Option<String>,
    pub(crate) seed: u64,
    /// Real time that the run took.
    pub(crate) took_us: u64,
    /// Time that passed in the run's world, up to its end or its failure.
    pub(crate) time_us: u64,
    /// How it failed, in one line; none if it passed.
    pub(crate) failure: Option<String>,
}

/// Test, world, strategy and seed.
pub(crate) type RunKey = (Key, String, Option<String>, u64);

impl Record {
    pub(crate) fn new(test: &Selected, how: &How, run: &Run) -> Self {
        let (time, failure) = match &run.outcome {
            Outcome::Passed(summary) => (summary.time, None),
            Outcome::Failed { time, message } => (*time, Some(first_line(message))),
        };
        Self {
            test: test.test().name.clone(),
            package: test.target.package.clone(),
            target: test.target.name.clone(),
            world: how.world.name().to_string(),
            strategy: how.strategy.map(|strategy| strategy.name().to_string()),
            seed: run.seed,
            took_us: micros(run.took),
            time_us: micros(time),
            failure,
        }
    }

    /// What makes a run the same as another.
    pub(crate) fn run(&self) -> RunKey {
        (self.key(), self.world.clone(), self.strategy.clone(), self.seed)
    }

    /// Crate, target and test.
    pub(crate) fn key(&self) -> Key {
        Key { package: self.package.clone(), target: self.target.clone(), test: self.test.clone() }
    }

    /// The command that has the run again, for whoever has this one run.
    pub(crate) fn replay(&self) -> String {
        self.replay_by(workspace::this_program())
    }

    /// The same for somebody who starts this program in the way of `lab`.
    pub(crate) fn replay_by(&self, lab: &str) -> String {
        let Self { package, test, seed, .. } = self;
        let target = match self.target == USUAL_TARGET {
            true => String::new(),
            false => format!(" --target {}", self.target),
        };
        let world = match self.world == WorldKind::Sim.name() {
            true => String::new(),
            false => format!(" --world {}", self.world),
        };
        let strategy =
            self.strategy.as_ref().map(|name| format!(" --strategy {name}")).unwrap_or_default();
        format!("{lab} replay {test} --seed {seed} -p {package}{target}{world}{strategy}")
    }
}

/// Which test a run is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) package: String,
    pub(crate) target: String,
    pub(crate) test: String,
}

impl Key {
    pub(crate) fn of(test: &Selected) -> Self {
        Self {
            package: test.target.package.clone(),
            target: test.target.name.clone(),
            test: test.test().name.clone(),
        }
    }
}

/// What failures of one kind have in common: the message, with a `#` for each number. Which server
/// it was, and when, differs from seed to seed.
pub(crate) fn signature(failure: &str) -> String {
    let mut signature = String::new();
    for character in failure.chars() {
        match character {
            '0'..='9' | '.' if signature.ends_with('#') => {}
            '0'..='9' => signature.push('#'),
            other => signature.push(other),
        }
    }
    signature
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_differ_in_numbers_only_have_one_signature() {
        let one = signature("two leaders in term 12: S1, S4 at 0.983 s");
        assert_eq!(one, signature("two leaders in term 3: S0, S2 at 14.2 s"));
        assert_eq!(one, "two leaders in term #: S#, S# at # s");
        assert_ne!(one, signature("no leader within 5 s"));
    }
}
