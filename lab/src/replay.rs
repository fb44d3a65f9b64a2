//! One run again, with everything it says.

use std::process::{Command, ExitCode};

use labrt::replay::{self, trace_folder_of};
use labrt::settings::WorldKind;
use labrt::sim::StrategyKind;

use crate::options::{self, seed, strategy, world};
use crate::refusal::{Refusal, because};
use crate::say::say;
use crate::selection::{self, Selected};
use crate::targets::{self, Build};

/// Run one test on one seed, with all its log lines.
///
/// In sim it is the same run, to the nanosecond, as often as you like: on this machine or another, in
/// release or, with --debug, not. It leaves its trace, each message and what servers said of themselves,
/// in target/lab/TEST-SEED, which `lab logs` shows; one that fails ends with the last events as a
/// diagram.
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
    /// Where it runs: sim, threads or processes
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
    let mut command = args.command(test);
    command.arg("--nocapture").env("RUST_LOG", &args.log);
    let status = command.status().map_err(because("the test could not be started"))?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    if args.world == WorldKind::Sim {
        args.keep_trace(test)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// Runs the test on the seed.
    fn command(&self, test: &Selected) -> Command {
        let mut command = Command::new(&test.target.program);
        command.args([&*test.test().name, "--exact"]).current_dir(&test.target.folder);
        command.env("LAB_SEED", self.seed.to_string()).env("LAB_WORLD", self.world.name());
        command.env_remove("LAB_SEEDS").env_remove("LAB_CHECK");
        match self.strategy {
            Some(strategy) => command.env("LAB_STRATEGY", strategy.name()),
            None => command.env_remove("LAB_STRATEGY"),
        };
        command
    }

    /// The runner keeps traces of failures alone. One that passed is run again for it.
    fn keep_trace(&self, test: &Selected) -> Result<(), Refusal> {
        let folder = trace_folder_of(&test.target.program, &test.test().name, self.seed);
        let folder = test.target.folder.join(folder);
        replay::run(self.command(test), Some(&folder)).map_err(because("there is no trace"))?;
        say(format_args!("trace    {}\n", replay::shown(&folder).display()));
        Ok(())
    }
}
