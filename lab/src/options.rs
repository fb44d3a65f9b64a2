//! Options that several commands have, and how they are read.

use std::thread::available_parallelism;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use labrt::settings::WorldKind;
use labrt::sim::StrategyKind;
use labrt::time::Duration;

use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::worker::How;

/// Where tests run, and what a run may use.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Running {
    /// Where the tests run: sim, threads or processes
    #[arg(long, value_name = "NAME", value_parser = world(), default_value = "sim")]
    pub(crate) world: WorldKind,
    /// Worker processes [default: one for each core; four for each on OS threads, which
    /// mostly wait, and two with processes]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    #[command(flatten)]
    memory: Memory,
    /// End a run that has come to no end after this time [default: 60s in sim, 180s in real time]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    limit: Option<Duration>,
}

/// What a run may have of the machine's memory.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Megabytes of memory that each of a test's processes may reserve, and that all of them may
    /// take together
    #[arg(long, value_name = "MB", default_value_t = MEMORY_MB)]
    #[arg(value_parser = clap::value_parser!(u64).range(64..))]
    memory: u64,
}

impl Memory {
    fn bytes(self) -> u64 {
        self.memory.saturating_mul(1 << 20)
    }
}

/// Memory that a run may reserve.
pub(crate) const MEMORY_MB: u64 = 4096;
/// Processes and threads of a user whom nobody trusts. A run in sim has a handful of threads; one
/// in real time has some for each call that is under way.
const PROCESSES_IN_SIM: u64 = 256;
const PROCESSES_IN_REAL_TIME: u64 = 8192;
/// The longest correct run in sim that we know takes a sixth of it, and the usual one a thousandth;
/// one that stands still is ended by its own watchdog after 10 s.
const LIMIT_IN_SIM: Duration = Duration::from_secs(60);
/// A test ends itself after 120 s of its world's time.
const LIMIT_IN_REAL_TIME: Duration = Duration::from_secs(180);
const JOBS_PER_CORE_ON_THREADS: usize = 4;
/// A test has up to seven servers, and each message passes three processes.
const JOBS_PER_CORE_ON_PROCESSES: usize = 2;

impl Running {
    /// Whether world and strategy go together.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check(&self, strategy: Option<StrategyKind>) -> Result<(), Refusal> {
        check(self.world, strategy)
    }

    pub(crate) fn how(&self, strategy: Option<StrategyKind>) -> How {
        let how = how(self.world, strategy, self.memory);
        How { silence: self.limit.unwrap_or(how.silence), ..how }
    }

    /// Processes and threads that a run may have, if nobody trusts it.
    pub(crate) fn processes(&self) -> u64 {
        match self.world {
            WorldKind::Sim => PROCESSES_IN_SIM,
            WorldKind::Threads | WorldKind::Processes => PROCESSES_IN_REAL_TIME,
        }
    }

    pub(crate) fn jobs(&self) -> usize {
        let cores = available_parallelism().map_or(1, usize::from);
        let usual = match self.world {
            WorldKind::Sim => cores,
            WorldKind::Threads => cores * JOBS_PER_CORE_ON_THREADS,
            WorldKind::Processes => cores * JOBS_PER_CORE_ON_PROCESSES,
        };
        self.jobs.map_or(usual, usize::from)
    }
}

/// How runs are run, as long as nobody says otherwise.
pub(crate) fn how(world: WorldKind, strategy: Option<StrategyKind>, memory: Memory) -> How {
    let silence = match world {
        WorldKind::Sim => LIMIT_IN_SIM,
        WorldKind::Threads | WorldKind::Processes => LIMIT_IN_REAL_TIME,
    };
    let limits = Limits::of_memory(memory.bytes());
    How { world, strategy, limits, silence, keep_going: true }
}

/// Whether a strategy makes sense in a world.
///
/// # Errors
/// If not.
pub(crate) fn check(world: WorldKind, strategy: Option<StrategyKind>) -> Result<(), Refusal> {
    match (world, strategy) {
        (world, Some(_)) if world.is_real() => Err(Refusal::new(
            "--strategy chooses how threads are scheduled in sim; in real time the system does",
        )),
        _ => Ok(()),
    }
}

/// A seed.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it must be a number from 0 to 18446744073709551615".to_string())
}

/// A strategy's name.
pub(crate) fn strategy() -> impl TypedValueParser<Value = StrategyKind> {
    PossibleValuesParser::new(["random-walk", "pct", "plain"]).try_map(|name| name.parse())
}

/// A world's name.
pub(crate) fn world() -> impl TypedValueParser<Value = WorldKind> {
    let names = ["sim", "threads", "processes"];
    PossibleValuesParser::new(names).map(|name| name.parse().unwrap_or(WorldKind::Sim))
}

/// A time as a person writes it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || "it must be a number of seconds, minutes or hours, as in 90s, 10m or 8h".to_string();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    if time.is_zero() { Err("it must be more than nothing".to_string()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_make_no_sense_are_refused() {
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "0s", "10", "m", "-3s", "ten minutes", "10d", "1e300h", "NaNs", "10 µ"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
