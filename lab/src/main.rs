//! `lab`: the command line of the labs.
//!
//! It works on the crate that it stands in, ours or a student's: it has cargo build that crate's
//! test targets, asks each what tests it has, and has worker processes run them (`harness`'s
//! [`protocol`](harness::runner::protocol)). So it knows nothing of any Raft, and a crate needs
//! nothing but its `tests::main!` line.
//!
//! | module | what it holds |
//! |---|---|
//! | `targets` | the test targets of the crate that we stand in |
//! | `selection` | which of their tests a person means |
//! | `worker`, `stop` | one process that runs a batch of seeds, watched; who wants it to end |
//! | `limits`, `together` | what a process may use; what a run's processes take together |
//! | `campaign` | many tests on several workers: who runs what next |
//! | `record`, `tally` | what is kept of a run; what many come to |
//! | `grade`, `scoreboard`, `report` | points; as people read them, and as other programs do |
//! | `submissions`, `sandbox` | a whole class, each submission locked in |
//! | `stress`, `progress`, `artefacts` | seeds upon seeds; what a person sees of it, and keeps |
//! | `merge` | one table of the runs of many machines |
//! | `replay` | one run again, with everything it says |
//! | `logs` | what a run said, with a column for each server |
//! | `doctor` | whether the machine is fit |
//! | `workspace` | the workspace that we stand in |
//! | `new` | a crate for a student to begin with |

mod artefacts;
mod campaign;
mod doctor;
mod grade;
mod limits;
mod logs;
mod merge;
mod new;
mod options;
mod progress;
mod record;
mod refusal;
mod replay;
mod report;
mod sandbox;
mod say;
mod scoreboard;
mod selection;
mod stop;
mod stress;
mod submissions;
mod tally;
mod targets;
mod together;
mod worker;
mod workspace;

use std::env;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use refusal::Refusal;

/// Begin a lab; grade, stress and replay its suites on the crate that you stand in.
#[derive(Parser)]
#[command(name = "lab", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    New(new::Args),
    Grade(grade::Args),
    Stress(stress::Args),
    Merge(merge::Args),
    Replay(replay::Args),
    Logs(logs::Args),
    Doctor(doctor::Args),
    /// Print a completion script for your shell.
    ///
    /// For bash: `lab completions bash > ~/.local/share/bash-completion/completions/lab`.
    Completions {
        /// Whose script.
        shell: Shell,
    },
}

fn main() -> ExitCode {
    limits::this_program();
    let result = match env::args_os().nth(1) {
        Some(name) if name == limits::NAME => {
            Err(limits::become_limited(&limits::Args::parse_from(env::args_os().skip(1))))
        }
        _ => run(Cli::parse().command),
    };
    result.unwrap_or_else(|Refusal(sentence)| {
        eprintln!("error: {sentence}");
        ExitCode::from(2)
    })
}

fn run(command: Command) -> Result<ExitCode, Refusal> {
    match command {
        Command::New(args) => new::run(&args),
        Command::Grade(args) => grade::run(&args),
        Command::Stress(args) => stress::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lab", &mut script);
            say::say(String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
    }
}
