//! The command line of the linearizability checker.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use linearizability::{Verdict, check, read_history};

/// Was it as if one server had answered, one request at a time?
#[derive(Parser)]
#[command(name = "linearizability")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a history. Exits with 0 if it is linearizable, 1 if not, 2 if that is not known.
    Check {
        /// JSON lines: {"client":1,"op":"put","key":"x","value":"a","call":10,"return":20}
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let Command::Check { file } = Args::parse().command;
    match check_file(&file) {
        Ok(verdict) => {
            println!("{verdict}");
            match verdict {
                Verdict::Linearizable => ExitCode::SUCCESS,
                Verdict::NotLinearizable(_) => ExitCode::from(1),
                Verdict::Undecided(_) => ExitCode::from(2),
            }
        }
        Err(problem) => {
            eprintln!("error: {}: {problem}", file.display());
            ExitCode::from(2)
        }
    }
}

fn check_file(path: &Path) -> Result<Verdict, Box<dyn std::error::Error>> {
    let history = read_history(BufReader::new(File::open(path)?))?;
    Ok(check(&history))
}
