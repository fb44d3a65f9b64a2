//! Many runs of many tests on several workers: who runs what next.
//!
//! Tests take turns, in rounds, each of which has twice the seeds of the one before: whenever a
//! person stops, no test has had more than about four times the runs of another. A worker process
//! gets a batch of seeds of one test, as many as take about a second: starting a process is then
//! less than a hundredth of its life. In real time a batch is a single run, for what one run leaves
//! behind must not disturb the next.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use labrt::channel::{self, Receiver};
use labrt::settings::WorldKind;
use labrt::sync::Shared;
use labrt::thread;
use labrt::time::Duration;

use crate::progress::Progress;
use crate::record::Record;
use crate::refusal::{Refusal, because};
use crate::selection::Selected;
use crate::stop::Stop;
use crate::worker::{self, How, Run};

/// How long a batch is to take.
const BATCH: Duration = Duration::from_millis(1_000);
/// Runs in a batch, at most.
const BATCH_MAX: u64 = 2_000;

/// Which seeds each test is run on, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Seeds {
    Range(RangeInclusive<u64>),
    /// Chosen by somebody, and perhaps a secret.
    List(Arc<[u64]>),
}

impl Seeds {
    /// Seeds as somebody wrote them down: numbers, with anything white between them.
    ///
    /// # Errors
    /// If the file cannot be read, or says something else.
    pub(crate) fn read(path: &Path) -> Result<Self, Refusal> {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(because(format!("the seeds in {shown} cannot be read")))?;
        let mut seeds: Vec<u64> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            for word in line.split_whitespace() {
                seeds.push(word.parse().map_err(|_| {
                    let line = number + 1;
                    Refusal(format!(
                        "{shown}, line {line}: {word:?} is not a seed, a number from 0 to 2^64 - 1"
                    ))
                })?);
            }
        }
        match seeds.is_empty() {
            true => Err(Refusal(format!("{shown} has no seeds"))),
            false => Ok(Self::List(seeds.into())),
        }
    }

    /// The seed at this place, if there are so many.
    fn at(&self, place: u64) -> Option<u64> {
        match self {
            Self::Range(range) => {
                range.start().checked_add(place).filter(|seed| range.contains(seed))
            }
            Self::List(list) => list.get(usize::try_from(place).ok()?).copied(),
        }
    }

    /// How many there are; all of u64 counts as one less.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Self::Range(range) => (range.end() - range.start()).saturating_add(1),
            Self::List(list) => list.len() as u64,
        }
    }

    pub(crate) fn contains(&self, seed: u64) -> bool {
        match self {
            Self::Range(range) => range.contains(&seed),
            Self::List(list) => list.contains(&seed),
        }
    }
}

/// What is to be run.
pub(crate) struct Plan {
    pub(crate) tests: Vec<Selected>,
    /// Of each test.
    pub(crate) seeds: Seeds,
    /// Runs that are there already, by place of the test and seed.
    pub(crate) done: HashSet<(usize, u64)>,
    pub(crate) how: How,
    pub(crate) jobs: usize,
}

/// News of a campaign.
enum News {
    /// A batch of the test at this place has begun, or ended.
    Began(usize),
    Ended(usize),
    Run(usize, Run),
    /// No process could be started.
    Broken(io::Error),
}

/// What workers take turns at.
struct Queue {
    tests: Vec<Turns>,
    seeds: Seeds,
    done: HashSet<(usize, u64)>,
    world: WorldKind,
}

#[derive(Default)]
struct Turns {
    /// Seeds that were given out, from the first.
    given: u64,
    /// Runs that have ended, and what they took.
    ended: u64,
    took: Duration,
    /// It has failed, and that is enough.
    is_over: bool,
}

impl Queue {
    /// The next batch: a test's place, and seeds.
    fn take(&mut self) -> Option<(usize, Vec<u64>)> {
        loop {
            let has_more = |&place: &usize| {
                let test = &self.tests[place];
                !test.is_over && self.seeds.at(test.given).is_some()
            };
            let places = (0..self.tests.len()).filter(has_more);
            let place = places.min_by_key(|&place| self.tests[place].given)?;
            let begin = self.tests[place].given;
            let batch = (begin..begin.saturating_add(self.batch(place)))
                .map_while(|number| self.seeds.at(number));
            let seeds: Vec<u64> = batch.collect();
            self.tests[place].given += seeds.len() as u64;
            let open = |seed: &u64| !self.done.contains(&(place, *seed));
            let seeds: Vec<u64> = seeds.into_iter().filter(open).collect();
            if !seeds.is_empty() {
                return Some((place, seeds));
            }
        }
    }

    /// How many runs of a test are a batch: none goes further than its round.
    fn batch(&self, place: usize) -> u64 {
        let Turns { given, ended, took, .. } = self.tests[place];
        match (self.world, ended) {
            (WorldKind::Threads | WorldKind::Processes, _) | (WorldKind::Sim, 0) => 1,
            (WorldKind::Sim, _) => {
                let each = took.as_secs_f64() / ended as f64;
                let in_time = (BATCH.as_secs_f64() / each.max(1e-6)) as u64;
                in_time.min(given).clamp(1, BATCH_MAX)
            }
        }
    }
}

/// Runs a campaign, shows how far it is, and has `take` count each run, by the place of its test. A
/// campaign that cannot go on, or whose runs cannot be counted, is stopped.
///
/// # Errors
/// What stopped it.
pub(crate) fn run(
    plan: Plan,
    stop: &Stop,
    progress: &mut Progress,
    mut take: impl FnMut(usize, Record, &Run) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let (tests, how) = (plan.tests.clone(), plan.how.clone());
    let mut result = Ok(());
    for news in &start(plan, stop) {
        let taken = match news {
            News::Began(place) => {
                progress.began(place);
                Ok(())
            }
            News::Ended(place) => {
                progress.ended(place);
                Ok(())
            }
            News::Run(place, run) => {
                let record = Record::new(&tests[place], &how, &run);
                progress.run(place, &record);
                take(place, record, &run)
            }
            News::Broken(error) => Err(because("a worker process could not be started")(error)),
        };
        if taken.is_err() {
            stop.now();
            result = result.and(taken);
        }
    }
    progress.end();
    result
}

/// Starts the workers. Their news end when they do, or when they are told to stop.
fn start(plan: Plan, stop: &Stop) -> Receiver<News> {
    let (tell, news) = channel::unbounded();
    let tests = Arc::new(plan.tests);
    let queue = Arc::new(Shared::new(Queue {
        tests: tests.iter().map(|_| Turns::default()).collect(),
        seeds: plan.seeds,
        done: plan.done,
        world: plan.how.world,
    }));
    for _ in 0..plan.jobs {
        let (tests, queue, how) = (Arc::clone(&tests), Arc::clone(&queue), plan.how.clone());
        let (tell, stop) = (tell.clone(), stop.clone());
        thread::spawn(move || {
            while !stop.is_now()
                && let Some((place, seeds)) = queue.with(Queue::take)
            {
                let _ = tell.send(News::Began(place));
                let ran = worker::run(&tests[place], &seeds, &how, &stop, &mut |run| {
                    queue.with(|queue| {
                        queue.tests[place].ended += 1;
                        queue.tests[place].took += run.took;
                        queue.tests[place].is_over |= run.has_failed() && !how.keep_going;
                    });
                    let _ = tell.send(News::Run(place, run));
                });
                let _ = tell.send(News::Ended(place));
                if let Err(error) = ran {
                    let _ = tell.send(News::Broken(error));
                    return;
                }
            }
        });
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(tests: usize, range: RangeInclusive<u64>, done: &[(usize, u64)]) -> Queue {
        Queue {
            tests: (0..tests).map(|_| Turns::default()).collect(),
            seeds: Seeds::Range(range),
            done: done.iter().copied().collect(),
            world: WorldKind::Sim,
        }
    }

    fn taken(queue: &mut Queue) -> Vec<(usize, u64)> {
        let batches = std::iter::from_fn(|| queue.take());
        let runs =
            batches.flat_map(|(place, seeds)| seeds.into_iter().map(move |seed| (place, seed)));
        let mut runs: Vec<_> = runs.collect();
        runs.sort_unstable();
        runs
    }

    #[test]
    fn every_seed_of_every_test_is_run_once_but_those_that_are_done() {
        let done = [(0, 3), (1, 0), (1, 1), (1, 9)];
        let all = (0..2).flat_map(|place| (0..10).map(move |seed| (place, seed)));
        let open: Vec<_> = all.filter(|run| !done.contains(run)).collect();
        assert_eq!(taken(&mut queue(2, 0..=9, &done)), open);
    }

    #[test]
    fn tests_take_turns() {
        let mut queue = queue(3, 0..=99, &[]);
        let places: Vec<_> = (0..6).filter_map(|_| queue.take()).map(|(place, _)| place).collect();
        assert_eq!(places, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_batch_takes_about_a_second_and_goes_no_further_than_its_round() {
        let mut queue = queue(1, 0..=u64::MAX, &[]);
        assert_eq!(queue.take(), Some((0, vec![0])), "nothing is known yet");
        queue.tests[0].ended = 1;
        queue.tests[0].took = Duration::from_millis(10);
        let lengths = std::iter::from_fn(|| queue.take()).map(|(_, seeds)| seeds.len());
        assert_eq!(lengths.take(9).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64, 100, 100]);
        queue.tests[0].took = Duration::from_secs(400);
        assert_eq!(queue.take().map(|(_, seeds)| seeds.len()), Some(1));
    }

    #[test]
    fn no_test_gets_far_ahead_of_the_others() {
        let mut queue = queue(2, 0..=u64::MAX, &[]);
        // One takes a thousand times as long as the other.
        for _ in 0..200 {
            let (place, seeds) = queue.take().expect("there is no end of seeds");
            queue.tests[place].ended += seeds.len() as u64;
            let each = Duration::from_micros([100, 100_000][place]);
            queue.tests[place].took += each * seeds.len() as u32;
            let [fast, slow] = [queue.tests[0].given, queue.tests[1].given];
            assert!(fast <= 4 * slow.max(1) && slow <= 4 * fast.max(1), "{fast} and {slow}");
        }
    }

    #[test]
    fn the_last_of_all_seeds_can_be_run() {
        let mut queue = queue(1, u64::MAX - 1..=u64::MAX, &[]);
        assert_eq!(taken(&mut queue), [(0, u64::MAX - 1), (0, u64::MAX)]);
    }
}
