//! What a person chooses when a test is run: world, seeds, strategy. All of it comes from the
//! environment, so that `cargo test` takes it too.
//!
//! | variable | values | default |
//! |---|---|---|
//! | `LAB_WORLD` | `sim`, `threads`, `processes` | `sim` |
//! | `LAB_SEED` | a number: exactly this seed | |
//! | `LAB_SEEDS` | how many seeds, from 0 | a few fixed ones and a fresh one |
//! | `LAB_STRATEGY` | `random-walk`, `pct`, `plain` | follows from the seed |
//! | `LAB_CHECK` | `determinism`: run each seed again in a new process and compare | |
//! | `CI` | set to anything but `false`: fixed seeds only | |

use std::env;
use std::fmt;
use std::str::FromStr;

use crate::random;
use crate::sim::StrategyKind;

/// A night's campaign is well below this, and a list of so many fits in memory.
const SEEDS_MAX: u64 = 100_000_000;
/// Seeds that every run of the tests includes.
const FIXED_SEEDS: u64 = 8;

/// Where code under test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorldKind {
    /// Coroutines in virtual time.
    Sim,
    /// OS threads in real time.
    Threads,
    /// A process for each server, in real time.
    Processes,
}

impl WorldKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sim, Self::Threads, Self::Processes];

    /// The value of `LAB_WORLD`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Threads => "threads",
            Self::Processes => "processes",
        }
    }

    /// Whether time is what a clock on the wall shows, and no run can be had again.
    pub fn is_real(self) -> bool {
        self != Self::Sim
    }
}

impl FromStr for WorldKind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|world| world.name() == name).ok_or(())
    }
}

/// The choices of one run of the tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the tests run.
    pub world: WorldKind,
    /// The seeds to run, in this order.
    pub seeds: Vec<u64>,
    /// The one of `seeds` that nobody ever chose, if any: worth printing.
    pub fresh: Option<u64>,
    /// The strategy, if it is not to follow from the seed.
    pub strategy: Option<StrategyKind>,
    /// Run each seed twice and compare every decision.
    pub check_determinism: bool,
}

/// A variable of the environment that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    variable: &'static str,
    value: String,
    wanted: &'static str,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, value, wanted } = self;
        write!(f, "{variable}={value} is not understood: it must be {wanted}")
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the first variable whose value is not understood, and says what it must be.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::read(
            |name| Some(env::var_os(name)?.to_string_lossy().into_owned()),
            random::os_entropy,
        )
    }

    fn read(
        variable: impl Fn(&str) -> Option<String>,
        entropy: impl Fn() -> u64,
    ) -> Result<Self, SettingsError> {
        let error = |variable, value, wanted| SettingsError { variable, value, wanted };
        let number = |name: &'static str, wanted| match variable(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| error(name, text, wanted)),
        };
        let world = match variable("LAB_WORLD") {
            None => WorldKind::Sim,
            Some(text) => {
                let world = text.parse();
                world.map_err(|()| error("LAB_WORLD", text, "sim, threads or processes"))?
            }
        };
        let strategy = match variable("LAB_STRATEGY") {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| error("LAB_STRATEGY", text, "random-walk, pct or plain"))?,
            ),
        };
        let check_determinism = match variable("LAB_CHECK").as_deref() {
            None => false,
            Some("determinism") => true,
            Some(other) => return Err(error("LAB_CHECK", other.into(), "determinism")),
        };
        let seed: Option<u64> = number("LAB_SEED", "a number from 0 to 2^64 - 1")?;
        let count: Option<u64> = number("LAB_SEEDS", "a number of seeds from 1 to 100,000,000")?;
        if let Some(count) = count.filter(|count| !(1..=SEEDS_MAX).contains(count)) {
            let wanted = "a number of seeds from 1 to 100,000,000";
            return Err(error("LAB_SEEDS", count.to_string(), wanted));
        }
        if check_determinism && world.is_real() {
            let wanted = "left out of any world but sim: real threads never repeat a run";
            return Err(error("LAB_CHECK", "determinism".into(), wanted));
        }
        let ci = variable("CI").is_some_and(|value| value != "false");
        // Small enough to be typed.
        let fresh = FIXED_SEEDS + entropy() % 1_000_000_000;
        let (seeds, fresh) = match (seed, count) {
            (Some(seed), _) => (vec![seed], None),
            (None, Some(count)) => ((0..count).collect(), None),
            (None, None) if world.is_real() => (vec![fresh], Some(fresh)),
            (None, None) if ci => ((0..FIXED_SEEDS).collect(), None),
            (None, None) => ((0..FIXED_SEEDS).chain([fresh]).collect(), Some(fresh)),
        };
        Ok(Self { world, seeds, fresh, strategy, check_determinism })
    }

    /// The strategy that runs `seed`: of eight seeds, five are random walks, two are PCT, and one
    /// is plain, so that the eight fixed seeds have them all.
    pub fn strategy_of(&self, seed: u64) -> StrategyKind {
        self.strategy.unwrap_or(match seed % 8 {
            7 => StrategyKind::Plain,
            3 | 6 => StrategyKind::Pct,
            _ => StrategyKind::RandomWalk,
        })
    }

    /// The seeds in a few words.
    pub fn describe_seeds(&self) -> String {
        let fixed = self.seeds.len() - usize::from(self.fresh.is_some());
        match (&*self.seeds, self.fresh) {
            ([only], _) => format!("seed {only}"),
            (_, Some(fresh)) => format!("seeds 0-{} and {fresh} (fresh)", fixed - 1),
            (_, None) => format!("seeds 0-{}", fixed - 1),
        }
    }

    /// The settings besides the seed that a command must repeat to have the same run, as
    /// assignments with a space behind each.
    pub fn assignments(&self) -> String {
        let strategy = self.strategy.map(|strategy| format!("LAB_STRATEGY={strategy} "));
        let check = if self.check_determinism { "LAB_CHECK=determinism " } else { "" };
        let world = match self.world {
            WorldKind::Sim => String::new(),
            real => format!("LAB_WORLD={} ", real.name()),
        };
        format!("{world}{check}{}", strategy.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name);
        Settings::read(|name| find(name).map(|(_, value)| (*value).to_string()), || 77)
    }

    #[test]
    fn the_default_is_sim_with_fixed_seeds_and_a_fresh_one() {
        let settings = read(&[]).expect("an empty environment is fine");
        assert_eq!(settings.world, WorldKind::Sim);
        assert_eq!(settings.seeds, [0, 1, 2, 3, 4, 5, 6, 7, 85]);
        assert_eq!(settings.describe_seeds(), "seeds 0-7 and 85 (fresh)");
    }

    #[test]
    fn ci_runs_fixed_seeds_only() {
        let settings = read(&[("CI", "true")]).expect("CI is fine");
        assert_eq!((settings.seeds.len(), settings.fresh), (8, None));
    }

    #[test]
    fn one_seed_is_exactly_that_seed() {
        let settings = read(&[("LAB_SEED", "40826"), ("LAB_SEEDS", "5")]).expect("numbers");
        assert_eq!(settings.seeds, [40826]);
    }

    #[test]
    fn a_number_of_seeds_counts_from_zero() {
        assert_eq!(read(&[("LAB_SEEDS", "3")]).expect("a number").seeds, [0, 1, 2]);
    }

    #[test]
    fn bad_values_are_refused_with_a_sentence() {
        let refused = |name, value| read(&[(name, value)]).expect_err("refused").to_string();
        assert_eq!(
            refused("LAB_WORLD", "mars"),
            "LAB_WORLD=mars is not understood: it must be sim, threads or processes"
        );
        assert!(refused("LAB_SEED", "-1").contains("LAB_SEED=-1"));
        assert!(refused("LAB_SEEDS", "0").contains("from 1 to 100,000,000"));
        assert!(refused("LAB_STRATEGY", "luck").contains("random-walk, pct or plain"));
        assert!(refused("LAB_CHECK", "spelling").contains("determinism"));
        assert!(refused("LAB_SEEDS", "100000000001").contains("from 1 to 100,000,000"));
        let both = read(&[("LAB_CHECK", "determinism"), ("LAB_WORLD", "threads")]);
        assert!(both.is_err_and(|error| error.to_string().contains("never repeat a run")));
    }
}
