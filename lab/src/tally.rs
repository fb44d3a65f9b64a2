//! What many runs come to: the table.
//!
//! Of n runs, k failed. What does that say of the rate at which the test fails? The table has k/n,
//! and the largest rate that is not ruled out: with a larger one, k failures or fewer would come up
//! in less than 5 % of such campaigns (Clopper and Pearson 1934, one-sided). It says something when
//! k is 0, too: after 1,000 clean runs, at most 0.3 %.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use statrs::distribution::{Beta, ContinuousCDF as _};

use crate::record::{Key, Record, signature};

/// Seeds that are named of failures of one kind.
const SEEDS_SHOWN: usize = 5;
/// Kinds of failures of one test that are told apart.
const KINDS_MAX: usize = 100;

/// What all runs came to, by crate and test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    tests: BTreeMap<Key, Runs>,
    /// In the order in which tests are shown: that of their first runs, unless it was told before.
    order: Vec<Key>,
}

/// What the runs of one test came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) failed: u64,
    /// Times in their worlds, in microseconds.
    times: Vec<u64>,
    /// Real time, in microseconds.
    pub(crate) took_us: u64,
    kinds: BTreeMap<String, Kind>,
}

/// Failures that have a signature in common.
#[derive(Clone, Debug)]
struct Kind {
    count: u64,
    /// The first few, by seed.
    first: Vec<Record>,
}

impl Tally {
    /// With places for these tests.
    pub(crate) fn of(tests: impl IntoIterator<Item = Key>) -> Self {
        let mut tally = Self::default();
        for key in tests {
            tally.runs(key);
        }
        tally
    }

    /// Has tests shown by part and name, instead of in the order in which they came.
    pub(crate) fn sort(&mut self) {
        self.order.sort_by_cached_key(|key| {
            let part = key.test.rsplit('_').next().unwrap_or_default().to_string();
            (key.package.clone(), key.target.clone(), part, key.test.clone())
        });
    }

    fn runs(&mut self, key: Key) -> &mut Runs {
        if !self.tests.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.tests.entry(key).or_default()
    }

    pub(crate) fn add(&mut self, record: &Record) {
        let runs = self.runs(record.key());
        runs.count += 1;
        runs.times.push(record.time_us);
        runs.took_us += record.took_us;
        let Some(failure) = &record.failure else { return };
        runs.failed += 1;
        let signature = signature(failure);
        if runs.kinds.len() == KINDS_MAX && !runs.kinds.contains_key(&signature) {
            return;
        }
        let kind = runs.kinds.entry(signature).or_insert(Kind { count: 0, first: Vec::new() });
        kind.count += 1;
        let place = kind.first.partition_point(|other| other.seed < record.seed);
        kind.first.insert(place, record.clone());
        kind.first.truncate(SEEDS_SHOWN);
    }

    /// Of one test; nothing if it has not run.
    pub(crate) fn get(&self, key: &Key) -> Option<&Runs> {
        self.tests.get(key)
    }

    pub(crate) fn count(&self) -> u64 {
        self.tests.values().map(|runs| runs.count).sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.tests.values().map(|runs| runs.failed).sum()
    }

    /// A test's name, as long as it must be.
    fn name(&self, key: &Key) -> String {
        let Key { package, target, test } = key;
        let differ = |part: fn(&Key) -> &String| {
            self.order.windows(2).any(|pair| part(&pair[0]) != part(&pair[1]))
        };
        match (differ(|key| &key.package), differ(|key| &key.target)) {
            (false, false) => test.clone(),
            (true, false) => format!("{package} {test}"),
            (_, true) => format!("{package}/{target} {test}"),
        }
    }
}

impl Runs {
    /// The quantile of the times in the runs' worlds, in seconds.
    fn time(&self, part: f64) -> f64 {
        let mut times = self.times.clone();
        let place = (times.len().saturating_sub(1) as f64 * part) as usize;
        if times.is_empty() { 0.0 } else { *times.select_nth_unstable(place).1 as f64 / 1e6 }
    }
}

/// The largest rate of failures that `failed` of `count` do not rule out at 95 %.
pub(crate) fn upper_bound(failed: u64, count: u64) -> f64 {
    if failed >= count {
        return 1.0;
    }
    let beta = Beta::new(failed as f64 + 1.0, (count - failed) as f64);
    beta.map_or(1.0, |beta| beta.inverse_cdf(0.95))
}

/// A share as a person reads it: 0.30 %, 12 %.
fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_string(),
        percent if percent < 0.01 => format!("{percent:.4} %"),
        percent if percent < 10.0 => format!("{percent:.2} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// Columns of the table behind the names.
const NUMBERS_WIDTH: usize = 57;
/// A name is not cut to less.
const NAME_WIDTH_MIN: usize = 20;

/// How long a name may be for a line to fit the terminal, if that is where it goes.
fn name_width() -> usize {
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    let room = |(width, _): (terminal_size::Width, _)| {
        usize::from(width.0).saturating_sub(NUMBERS_WIDTH).max(NAME_WIDTH_MIN)
    };
    terminal.map_or(usize::MAX, room)
}

/// A name with its middle left out: its end says which part it belongs to.
fn shortened(name: String, width: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= width {
        return name;
    }
    let end = (width - 1) / 2;
    let (begin, rest) = letters.split_at(width - 1 - end);
    begin.iter().chain(&['…']).chain(&rest[rest.len() - end..]).collect()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.order.iter().map(|key| self.name(key).len());
        let width = widths.max().unwrap_or_default().max("total".len()).min(name_width());
        writeln!(
            f,
            "{:<width$} {:>8} {:>7} {:>9} {:>9} {:>9} {:>9}",
            "test", "runs", "failed", "rate", "at most", "time p50", "p99"
        )?;
        for key in &self.order {
            let runs = &self.tests[key];
            let name = shortened(self.name(key), width);
            write_line(f, width, &name, runs.count, runs.failed)?;
            match runs.count {
                0 => writeln!(f)?,
                _ => writeln!(f, " {:>7.3} s {:>7.3} s", runs.time(0.5), runs.time(0.99))?,
            }
        }
        write_line(f, width, "total", self.count(), self.failed())?;
        writeln!(f)?;
        self.write_failures(f)
    }
}

fn write_line(
    f: &mut fmt::Formatter<'_>,
    width: usize,
    name: &str,
    count: u64,
    failed: u64,
) -> fmt::Result {
    write!(f, "{name:<width$} {count:>8} {failed:>7}")?;
    match count {
        0 => write!(f, " {:>9} {:>9}", "-", "-"),
        _ => {
            let rate = percent(failed as f64 / count as f64);
            write!(f, " {rate:>9} {:>9}", percent(upper_bound(failed, count)))
        }
    }
}

impl Tally {
    fn write_failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in self.order.iter().filter(|key| self.tests[key].failed > 0) {
            writeln!(f, "\n{}", self.name(key))?;
            let mut kinds: Vec<(&String, &Kind)> = self.tests[key].kinds.iter().collect();
            kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.count));
            for (signature, kind) in kinds {
                let mut seeds = String::new();
                for (place, record) in kind.first.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(seeds, "{comma}{}", record.seed)?;
                }
                let more = if kind.count as usize > kind.first.len() { ", ..." } else { "" };
                writeln!(f, "  {} x {signature}", kind.count)?;
                writeln!(f, "      seeds {seeds}{more}")?;
                if let Some(first) = kind.first.first() {
                    writeln!(f, "      {}", first.replay())?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_bound_is_where_so_few_failures_come_up_in_one_campaign_of_twenty() {
        // (1 - p)^n = 0.05 when none failed.
        for count in [1_u64, 10, 1_000, 1_000_000] {
            let bound = upper_bound(0, count);
            let chance = (count as f64 * (-bound).ln_1p()).exp();
            assert!((chance - 0.05).abs() < 1e-4, "{count}: {bound} has chance {chance}");
        }
        // From a table of exact binomial limits: 1 of 10, 3 of 100.
        assert!((upper_bound(1, 10) - 0.3942).abs() < 1e-3, "{}", upper_bound(1, 10));
        assert!((upper_bound(3, 100) - 0.0757).abs() < 1e-3, "{}", upper_bound(3, 100));
        assert!(upper_bound(5, 5) >= 1.0);
    }

    #[test]
    fn a_name_that_is_too_long_keeps_its_part() {
        assert_eq!(shortened("figure8_unreliable_2C".to_string(), 12), "figure…le_2C");
        assert_eq!(shortened("figure8_2C".to_string(), 10), "figure8_2C");
    }

    fn record(test: &str, seed: u64, failure: Option<&str>) -> Record {
        Record {
            test: test.to_string(),
            package: "mine".to_string(),
            target: "labs".to_string(),
            world: "sim".to_string(),
            strategy: None,
            seed,
            took_us: 1_000,
            time_us: 1_000_000 * (seed + 1),
            failure: failure.map(str::to_string),
        }
    }

    #[test]
    fn the_table_has_every_test_and_groups_failures_of_one_kind() {
        let places = ["a_2A", "b_2A"].map(|test| record(test, 0, None).key());
        let mut tally = Tally::of(places);
        (0..97).for_each(|seed| tally.add(&record("a_2A", seed, None)));
        for seed in [99, 97, 98] {
            tally.add(&record("a_2A", seed, Some(&format!("no leader within {seed} s"))));
        }
        let text = tally.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "a_2A       100       3    3.00 %    7.57 %  50.000 s  99.000 s");
        assert_eq!(lines[2], "b_2A         0       0         -         -");
        assert_eq!(lines[6], "  3 x no leader within # s");
        assert_eq!(lines[7], "      seeds 97, 98, 99");
        assert!(lines[8].ends_with("lab replay a_2A --seed 97 -p mine"), "{}", lines[8]);
    }
}
