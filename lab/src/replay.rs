//! One run again, with everything it says.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use labrt::replay::{self, trace_folder_of};
use labrt::settings::WorldKind;
use labrt::sim::StrategyKind;
use labrt::time::Duration;
use tempfile::TempDir;

use crate::options::{self, Memory, seed, strategy, world};
use crate::refusal::{Refusal, because};
use crate::say::say;
use crate::selection::{self, Selected};
use crate::stop::{STOPPED_EXIT_STATUS, Stop};
use crate::targets::{self, Build};
use crate::worker::{self, End, How};

/// Run one test on one seed, with all its log lines.
///
/// It has the memory that a grading gives it, and as much time as you have: Ctrl-C ends it.
///
/// In sim it is the same run, to the nanosecond, as often as you like: on this machine or another,
/// in release or, with --debug, not. It leaves its trace, each message and what servers said of
/// themselves, in target/lab/TEST-SEED, which `lab logs` shows; one that fails ends with the last
/// events as a diagram.
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
    memory: Memory,
    #[command(flatten)]
    build: Build,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Refusal> {
    let stop = Stop::on_signal()?;
    stop.explains(run_until(args, &stop), "nothing was run")
}

fn run_until(args: &Args, stop: &Stop) -> Result<ExitCode, Refusal> {
    options::check(args.world, args.strategy)?;
    let how = options::how(args.world, args.strategy, args.memory);
    let targets = targets::find(&args.build, &how, stop)?;
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
    let scratch = TempDir::with_prefix("lab-").map_err(because("there is no place to work in"))?;
    let mut command = args.command(test, &how, scratch.path());
    command.arg("--nocapture").env("RUST_LOG", &args.log).stdin(Stdio::null());
    let started = command.process_group(0).spawn();
    let mut child = started.map_err(because("the test could not be started"))?;
    let end = worker::wait(&mut child, Duration::MAX, how.limits.together, stop);
    match end.map_err(because("the test could not be waited for"))? {
        End::Itself(status) if status.success() => {}
        End::Itself(_) => return Ok(ExitCode::FAILURE),
        End::Stopped => return Ok(ExitCode::from(STOPPED_EXIT_STATUS)),
        end => {
            eprintln!("error: {}", end.status().err().unwrap_or_default());
            return Ok(ExitCode::FAILURE);
        }
    }
    if args.world == WorldKind::Sim {
        args.keep_trace(test, args.command(test, &how, scratch.path()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// Runs the test on the seed.
    fn command(&self, test: &Selected, how: &How, scratch: &Path) -> Command {
        let mut command = how.limits.command(&test.target.program, &test.target.folder, scratch);
        command.args([&*test.test().name, "--exact"]);
        worker::set_environment(&mut command, how, Some(self.seed));
        command
    }

    /// The runner keeps traces of failures alone. One that passed is run again for it.
    fn keep_trace(&self, test: &Selected, again: Command) -> Result<(), Refusal> {
        let folder = trace_folder_of(&test.target.program, &test.test().name, self.seed);
        let folder = test.target.folder.join(folder);
        replay::run(again, Some(&folder)).map_err(because("there is no trace"))?;
        say(format_args!("trace    {}\n", replay::shown(&folder).display()));
        Ok(())
    }
}
