//! How long a client waits for an answer before it asks elsewhere.
//!
//! As TCP does (RFC 6298): a running mean of what answers take, plus four times their mean
//! deviation; twice as much after each time that was not enough. Giving up too early costs a few
//! calls more, and no more than that: the answer is taken if it comes after all.

use std::time::Duration;

/// Before anything is known.
const FIRST: Duration = Duration::from_millis(300);
/// A commit may have to wait for the next heartbeat, when a message was lost.
const MIN: Duration = Duration::from_millis(120);
/// A server that is not heard of for so long is as good as dead.
const MAX: Duration = Duration::from_secs(1);

/// What answers take, as far as is known.
#[derive(Debug)]
pub(crate) struct Patience {
    mean: Duration,
    deviation: Duration,
    known: bool,
    limit: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { mean: Duration::ZERO, deviation: Duration::ZERO, known: false, limit: FIRST }
    }

    /// How long to wait for the next answer.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// An answer has come, and took so long.
    pub(crate) fn answered(&mut self, took: Duration) {
        if self.known {
            let difference = self.mean.abs_diff(took);
            self.deviation = (self.deviation * 3 + difference) / 4;
            self.mean = (self.mean * 7 + took) / 8;
        } else {
            self.known = true;
            self.mean = took;
            self.deviation = took / 2;
        }
        self.limit = (self.mean + 4 * self.deviation).clamp(MIN, MAX);
    }

    /// None has come in time.
    pub(crate) fn exceeded(&mut self) {
        self.limit = (self.limit * 2).min(MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn it_adapts_to_what_answers_take() {
        let mut patience = Patience::new();
        (0..50).for_each(|_| patience.answered(3 * MS));
        assert_eq!(patience.limit(), MIN);
        (0..50).for_each(|_| patience.answered(300 * MS));
        assert!(patience.limit() > 300 * MS && patience.limit() < 400 * MS, "{patience:?}");
        (0..50).for_each(|number| patience.answered((100 + 400 * (number % 2)) * MS));
        assert_eq!(patience.limit(), MAX, "what varies much takes more patience");
    }

    #[test]
    fn it_grows_when_it_was_not_enough_until_there_is_an_answer() {
        let mut patience = Patience::new();
        patience.answered(3 * MS);
        patience.exceeded();
        assert_eq!(patience.limit(), 2 * MIN);
        (0..10).for_each(|_| patience.exceeded());
        assert_eq!(patience.limit(), MAX);
        patience.answered(3 * MS);
        assert_eq!(patience.limit(), MIN);
    }
}
