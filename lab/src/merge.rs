//! One table of the runs of many machines.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::record::Record;
use crate::refusal::{Refusal, because};
use crate::tally::Tally;

/// Join the files that `lab stress --json` wrote, on one machine or on many, into one table.
///
/// A run that is in several files counts once. The exit status is 0 if no run failed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files of JSON lines
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Reads the runs of a file. The last line may be half a line: whoever wrote it was stopped.
///
/// # Errors
/// If the file cannot be read, or a line is none of ours: names it by its number.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, Refusal> {
    let cannot = || format!("{} cannot be read", path.display());
    let mut lines = BufReader::new(File::open(path).map_err(because(cannot()))?).lines().peekable();
    let (mut records, mut number) = (Vec::new(), 0_u64);
    while let Some(line) = lines.next() {
        let line = line.map_err(because(cannot()))?;
        number += 1;
        match serde_json::from_str(&line) {
            Ok(record) => records.push(record),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => {
                return Err(Refusal(format!(
                    "{}, line {number}, is not a run as lab stress --json writes it: {error}",
                    path.display()
                )));
            }
        }
    }
    Ok(records)
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Refusal> {
    let (mut tally, mut seen) = (Tally::default(), HashSet::new());
    for path in &args.files {
        for record in read(path)? {
            let Record { test, package, world, strategy, seed, .. } = &record;
            let run = (package.clone(), test.clone(), world.clone(), strategy.clone(), *seed);
            if seen.insert(run) {
                tally.add(&record);
            }
        }
    }
    tally.sort();
    print!("{tally}");
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
