//! One run again, with everything it says.

use std::process::{Command, ExitCode};

use labrt::settings::WorldKind;
use labrt::sim::StrategyKind;

use crate::options::{self, seed, strategy, world};
use crate::refusal::{Refusal, because};
use crate::selection;
use crate::targets::{self, Build};

/// Run one test on one seed, with all its log lines.
///
/// In sim it is the same run, to the nanosecond, as often as you like: on this machine or another, in
/// release or, with --debug, not. A run that fails ends with its last events as a diagram, and leaves
/// its trace in target/lab/TEST-SEED, which `lab logs` shows.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The test, as in figure8_unreliable_2C
    test: String,
    /// The run's seed
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    seed: u64,
    /// How threads are scheduled [default: follows from the seed]
    #[arg(long, value_name = "NAME", value_parser = strategy())]
    strategy: Option<StrategyKind>,
    /// Where it runs: sim or threads
    #[arg(long, value_name = "NAME", value_parser = world(), default_value = "sim")]
    world: WorldKind,
    /// Which log lines, as RUST_LOG takes it: election=debug,persist=off
    #[arg(long, value_name = "FILTER", default_value = "debug")]
    log: String,
    #[command(flatten)]
    build: Build,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Refusal> {
    options::check(args.world, args.strategy)?;
    let targets = targets::find(&args.build)?;
    let selected = selection::select(&targets, std::slice::from_ref(&args.test))?;
    let [test] = &selected[..] else {
        let names: Vec<String> = selected
            .iter()
            .map(|test| format!("{} of {}", test.test().name, test.target.package))
            .collect();
        return Err(Refusal(format!(
            "{:?} fits several tests; choose one, with -p if it is a matter of crates: {}",
            args.test,
            names.join(", ")
        )));
    };
    let mut command = Command::new(&test.target.program);
    command.args([&*test.test().name, "--exact", "--nocapture"]);
    command.current_dir(&test.target.folder);
    command.env("LAB_SEED", args.seed.to_string()).env("LAB_WORLD", args.world.name());
    command.env("RUST_LOG", &args.log).env_remove("LAB_SEEDS").env_remove("LAB_CHECK");
    match args.strategy {
        Some(strategy) => command.env("LAB_STRATEGY", strategy.name()),
        None => command.env_remove("LAB_STRATEGY"),
    };
    let status = command.status().map_err(because("the test could not be started"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
