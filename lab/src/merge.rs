//! One table of the runs of many machines.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use labrt::settings::WorldKind;

use crate::record::{Record, RunKey};
use crate::refusal::{Refusal, because};
use crate::say::say;
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

/// Reads the runs of a file. The last line may be half a line, without its end: whoever wrote it
/// was stopped.
///
/// # Errors
/// If the file cannot be read, or a line is none of ours: names it by its number.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, Refusal> {
    let cannot = || format!("{} cannot be read", path.display());
    let mut file = BufReader::new(File::open(path).map_err(because(cannot()))?);
    let (mut records, mut line, mut number) = (Vec::new(), Vec::new(), 0_u64);
    while file.read_until(b'\n', &mut line).map_err(because(cannot()))? > 0 {
        number += 1;
        match serde_json::from_slice(&line) {
            Ok(record) => records.push(record),
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => {
                return Err(Refusal(format!(
                    "{}, line {number}, is not a run as lab stress --json writes it: {error}",
                    path.display()
                )));
            }
        }
        line.clear();
    }
    Ok(records)
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Refusal> {
    let mut merged = Merged::default();
    for path in &args.files {
        let records = read(path)?;
        if records.is_empty() {
            return Err(Refusal(format!(
                "{} has no run as lab stress --json writes it: leave it out if its campaign was \
                 stopped before the first",
                path.display()
            )));
        }
        for record in records {
            merged.add(record, path)?;
        }
    }
    let Merged { mut tally, .. } = merged;
    tally.sort();
    say(&tally);
    Ok(if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Merged {
    tally: Tally,
    /// Of the first run.
    world: Option<String>,
    /// How each run failed.
    seen: HashMap<RunKey, Option<String>>,
}

impl Merged {
    fn add(&mut self, record: Record, path: &Path) -> Result<(), Refusal> {
        let path = path.display();
        let world = self.world.get_or_insert_with(|| record.world.clone());
        if *world != record.world {
            return Err(Refusal(format!(
                "{path} has runs in {}, and there are others in {world}: each world has a table \
                 of its own",
                record.world
            )));
        }
        match self.seen.get(&record.run()) {
            None => {
                self.tally.add(&record);
                self.seen.insert(record.run(), record.failure);
            }
            Some(failure) if *failure != record.failure && *world == WorldKind::Sim.name() => {
                return Err(Refusal(format!(
                    "{path}: {} on seed {} ended otherwise than in another file. In sim, that \
                     means runs of different programs",
                    record.test, record.seed
                )));
            }
            Some(_) => {}
        }
        Ok(())
    }
}
