//! Seeds upon seeds, until somebody has seen enough.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use labrt::settings::WorldKind;
use labrt::sim::StrategyKind;
use labrt::sync::Shared;
use labrt::thread::{self, JoinHandle};
use labrt::time::Duration;

use crate::artefacts::{self, Artefacts};
use crate::campaign::{self, Plan, Seeds};
use crate::merge;
use crate::options::{Running, duration, seed, strategy};
use crate::progress::Progress;
use crate::record::{Key, Record, signature};
use crate::refusal::{Refusal, because};
use crate::say::say;
use crate::selection::{self, Selected};
use crate::stop::{STOPPED_EXIT_STATUS, Stop};
use crate::tally::Tally;
use crate::targets::{self, Build};
use crate::worker::How;

/// Run seeds of tests, side by side, and count what fails.
///
/// It goes on after a failure, and keeps the first reports of each kind in target/lab. Ctrl-C stops
/// it at any time, with the table of what ran so far. The exit status is 0 if all runs passed, 1 if
/// one failed, and 130 if it was stopped before that.
///
///   lab stress 2A -n 1000            a thousand seeds of each test of part 2A
///   lab stress figure8 --for 10m     ten minutes of the two figure8 tests
///   lab stress --json night.jsonl    every run as a line; --resume goes on where it stopped
///   lab stress --shard 3/8           the third eighth of the seeds; lab merge joins the files
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Parts (2A), tests, or pieces of their names [default: all tests]
    tests: Vec<String>,
    /// Runs of each test [default: 100, or as many as --for has time for]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// Stop after this time: 90s, 10m, 8h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
    /// Stop at the first failure
    #[arg(long)]
    until_fail: bool,
    /// How threads are scheduled: random-walk, pct, plain [default: follows from the seed]
    #[arg(long, value_name = "NAME", value_parser = strategy())]
    strategy: Option<StrategyKind>,
    /// Run the K-th of N parts of the seeds, as in 3/8
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<Shard>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = seed, allow_negative_numbers = true)]
    first_seed: u64,
    /// Write each run to this file, as a line of JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Count the runs that the --json file has, and go on after them. They must be of the same
    /// program, with the same limits: nobody checks that
    #[arg(long, requires = "json")]
    resume: bool,
    #[command(flatten)]
    running: Running,
    #[command(flatten)]
    build: Build,
}

/// A part of a campaign: the `part`-th (from 1) of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    part: u64,
    of: u64,
}

const RUNS: u64 = 100;
fn shard(text: &str) -> Result<Shard, String> {
    let parts =
        text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match parts {
        Some((part, of)) if part >= 1 && part <= of => Ok(Shard { part, of }),
        _ => Err("it must be K/N with K from 1 to N, as in 3/8".to_string()),
    }
}

impl Shard {
    /// Its share of so many seeds, each in one share.
    fn of(self, first: u64, count: u64) -> Option<RangeInclusive<u64>> {
        let cut = |part: u64| u128::from(count) * u128::from(part) / u128::from(self.of);
        let (begin, end) = (cut(self.part - 1) as u64, cut(self.part) as u64);
        (begin < end).then(|| first.saturating_add(begin)..=first.saturating_add(end - 1))
    }
}

impl Args {
    fn seeds(&self) -> Result<Seeds, Refusal> {
        let endless = (u64::MAX - self.first_seed).saturating_add(1);
        let usual = if self.time.is_some() { endless } else { RUNS };
        let count = self.runs.unwrap_or(usual).min(endless);
        let shard = self.shard.unwrap_or(Shard { part: 1, of: 1 });
        shard.of(self.first_seed, count).map(Seeds::Range).ok_or_else(|| {
            Refusal(format!(
                "part {} of {} of {count} seeds is empty: give more runs (-n), or fewer parts",
                shard.part, shard.of
            ))
        })
    }
}

/// A campaign under way, as the thread that hears of it has it.
struct Stress {
    tests: Vec<Selected>,
    how: How,
    tally: Tally,
    json: Option<std::fs::File>,
    artefacts: Artefacts,
    keeping: Vec<JoinHandle<()>>,
    kept: Arc<Shared<Vec<String>>>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Refusal> {
    let stop = Stop::on_signal()?;
    stop.explains(run_until(args, &stop), "nothing was run")
}

fn run_until(args: &Args, stop: &Stop) -> Result<ExitCode, Refusal> {
    args.running.check(args.strategy)?;
    let seeds = args.seeds()?;
    let how = args.running.how(args.strategy);
    let targets = targets::find(&args.build, &how, stop)?;
    let (tests, skipped) = in_world(selection::select(&targets, &args.tests)?, args.running.world);
    skipped.iter().for_each(|sentence| say(format_args!("{sentence}\n")));
    if tests.is_empty() {
        return Err(Refusal::new("none of these tests makes sense in this world"));
    }
    let mut tally = Tally::of(tests.iter().map(Key::of));
    let done = earlier_runs(args, &tests, &seeds, &mut tally)?;
    let json = args.json.as_ref().map(|path| open(path, args.resume)).transpose()?;
    let campaign = stop.of_part(args.time);
    let mut progress = Progress::begin(&tests, &seeds, args.time, &tally);
    let plan =
        Plan { tests: tests.clone(), seeds, done, how: how.clone(), jobs: args.running.jobs() };
    let (artefacts, kept, keeping) = (Artefacts::default(), Arc::default(), Vec::new());
    let mut stress = Stress { tests, how, tally, json, artefacts, kept, keeping };
    let ran = campaign::run(plan, &campaign, &mut progress, |place, record, _| {
        if args.until_fail && record.failure.is_some() {
            campaign.now();
        }
        stress.take(place, &record, stop)
    });
    stress.end(stop);
    ran?;
    Ok(match stress.tally.failed() {
        0 if stop.was_told() => ExitCode::from(STOPPED_EXIT_STATUS),
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

impl Stress {
    fn take(&mut self, place: usize, record: &Record, stop: &Stop) -> Result<(), Refusal> {
        self.tally.add(record);
        if let Some(file) = &mut self.json {
            let line = serde_json::to_string(record).unwrap_or_default();
            writeln!(file, "{line}").map_err(because("the --json file could not be written"))?;
        }
        let Some(failure) = &record.failure else { return Ok(()) };
        if self.artefacts.wants(record, signature(failure)) {
            let (test, how, seed) = (self.tests[place].clone(), self.how.clone(), record.seed);
            let (kept, stop) = (Arc::clone(&self.kept), stop.clone());
            self.keeping.push(thread::spawn(move || {
                let line = match artefacts::keep(&test, seed, &how, &stop) {
                    Ok(folder) => folder.display().to_string(),
                    Err(error) => format!("{} {seed}: nothing is kept: {error}", test.test().name),
                };
                kept.with(|kept| kept.push(line));
            }));
        }
        Ok(())
    }

    /// Prints what came of it. Reports that are still being made are waited for, unless a person
    /// wants it all to end.
    fn end(&mut self, stop: &Stop) {
        if !stop.was_told() && self.keeping.iter().any(|keeping| !keeping.is_finished()) {
            eprintln!("the last reports are being made; Ctrl-C does without them");
        }
        self.keeping.drain(..).for_each(|keeping| drop(keeping.join()));
        if stop.was_told() {
            say("stopped; so far:\n");
        }
        say(&self.tally);
        let mut kept = self.kept.with(std::mem::take);
        kept.sort_unstable();
        if !kept.is_empty() {
            say(format_args!("\nreports and traces:\n  {}\n", kept.join("\n  ")));
        }
    }
}

/// Those that make sense in a world; and a sentence on each that does not.
pub(crate) fn in_world(tests: Vec<Selected>, world: WorldKind) -> (Vec<Selected>, Vec<String>) {
    let reason = |test: &Selected| test.test().skipped_in(world).map(str::to_owned);
    let skipped = tests.iter().filter_map(|test| Some((test, reason(test)?)));
    let skipped = skipped.map(|(test, why)| format!("skipped {}: {why}", test.test().name));
    let skipped: Vec<String> = skipped.collect();
    let tests = tests.into_iter().filter(|test| reason(test).is_none()).collect();
    (tests, skipped)
}

/// Counts the runs that an earlier campaign left, and gives those that need not be run again.
fn earlier_runs(
    args: &Args,
    tests: &[Selected],
    seeds: &Seeds,
    tally: &mut Tally,
) -> Result<HashSet<(usize, u64)>, Refusal> {
    let mut done = HashSet::new();
    let Some(path) = args.json.as_ref().filter(|path| args.resume && path.exists()) else {
        return Ok(done);
    };
    let places: HashMap<_, _> = tests.iter().map(Key::of).zip(0..).collect();
    let (world, strategy) = (args.running.world.name(), args.strategy.map(StrategyKind::name));
    for record in merge::read(path)? {
        let same_kind = record.world == world && record.strategy.as_deref() == strategy;
        let place = places.get(&record.key());
        if let Some(&place) = place.filter(|_| same_kind && seeds.contains(record.seed))
            && done.insert((place, record.seed))
        {
            tally.add(&record);
        }
    }
    Ok(done)
}

/// The file for the runs: a new one, or that of an earlier campaign behind its last whole run. The
/// line of that one may lack its end.
fn open(path: &PathBuf, resume: bool) -> Result<std::fs::File, Refusal> {
    let what = || format!("the --json file {} cannot be opened", path.display());
    if !resume {
        return OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => Refusal(format!(
                    "{} exists: go on with it (--resume), or name another file",
                    path.display()
                )),
                _ => because(what())(error),
            }
        });
    }
    let text = std::fs::read(path).unwrap_or_default();
    let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let mut file =
        OpenOptions::new().append(true).create(true).open(path).map_err(because(what()))?;
    let lacks_its_end = serde_json::from_slice::<Record>(&text[whole..]).is_ok();
    let mended = if lacks_its_end { file.write_all(b"\n") } else { file.set_len(whole as u64) };
    mended.map_err(because(what()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_the_seeds_and_each_is_in_one() {
        for (count, of) in [(100, 8), (7, 7), (10, 3), (3, 8)] {
            let shards = (1..=of).filter_map(|part| Shard { part, of }.of(5, count));
            let seeds: Vec<u64> = shards.flatten().collect();
            assert_eq!(seeds, (5..5 + count).collect::<Vec<_>>(), "{count} in {of} parts");
        }
    }

    #[test]
    fn shards_that_make_no_sense_are_refused() {
        assert_eq!(shard("3/8"), Ok(Shard { part: 3, of: 8 }));
        for wrong in ["", "3", "0/8", "9/8", "3/0", "a/b", "-1/2"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
