//! Ranks and spreads. Numbers are milliseconds, puts per second or ratios; no means of
//! single times: one hiccup of the machine would be in them for good.

use std::fmt;

use labrt::time::Duration;

/// Numbers, from the least to the most; at least one.
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    /// # Panics
    /// If there are none.
    pub(crate) fn new(mut numbers: Vec<f64>) -> Self {
        assert!(!numbers.is_empty(), "nothing was measured");
        numbers.sort_by(f64::total_cmp);
        Self(numbers)
    }

    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        Self::new(numbers.into_iter().collect())
    }

    /// The rank, from 1, of the percentile: the least number that so many percent do not exceed.
    pub(crate) fn rank(&self, percent: usize) -> usize {
        (self.0.len() * percent).div_ceil(100).max(1)
    }

    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        self.0[self.rank(percent) - 1]
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() % 2 {
            0 => f64::midpoint(self.0[middle - 1], self.0[middle]),
            _ => self.0[middle],
        }
    }

    pub(crate) fn least(&self) -> f64 {
        self.0[0]
    }

    pub(crate) fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The median, and in brackets the least and the most.
impl fmt::Display for Sorted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let [median, least, most] = [self.median(), self.least(), self.most()];
        write!(f, "{median:>9.digits$}  ({least:.digits$} to {most:.digits$})")
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(last: u32) -> Sorted {
        Sorted::of((1..=last).rev().map(f64::from))
    }

    #[test]
    fn a_percentile_is_the_least_number_that_so_many_do_not_exceed() {
        let fifty = up_to(50);
        assert_eq!([50, 90, 98, 99, 100].map(|percent| fifty.rank(percent)), [25, 45, 49, 50, 50]);
        assert_eq!(fifty.percentile(90), 45.0);
        assert_eq!(up_to(1).percentile(1), 1.0);
        assert_eq!(up_to(1_000).percentile(99), 990.0);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(up_to(5).median(), 3.0);
        assert_eq!(up_to(4).median(), 2.5);
    }

    #[test]
    fn a_line_has_the_median_and_the_spread() {
        assert_eq!(format!("{up:.1}", up = up_to(3)), "      2.0  (1.0 to 3.0)");
    }
}
