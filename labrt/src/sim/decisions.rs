//! The record of a run's decisions, and the first place where two runs part.
//!
//! A world hashes every decision it takes into a digest, always; kept one by one they are too
//! many for everyday runs, so that is an option. Two runs of one seed must agree in all of them.
//! Where they do not, the first that differs names the thread that was running and the virtual
//! time: the nondeterminism lies just before it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum DecisionKind {
    /// Which runnable thread goes on.
    Pick,
    /// A thread began to wait until a deadline.
    Wait,
    /// Which waiter was woken.
    Wake,
    /// A thread, or a whole server, lost the CPU for a while.
    Stall,
    /// A thread was spawned.
    Spawn,
    /// A random number was drawn by the code under test.
    Draw,
    /// A server crashed.
    Crash,
}

/// One decision of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Virtual time.
    pub time: Duration,
    /// What was decided.
    pub kind: DecisionKind,
    /// The outcome: a thread's number, a duration in nanoseconds, or the number drawn.
    pub value: u64,
    /// The thread that was running.
    pub thread: String,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, value) = (self.kind, self.value);
        write!(f, "{kind:?} {value} at {:.9} s in {}", self.time.as_secs_f64(), self.thread)
    }
}

/// The first decision in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How many decisions agreed.
    pub agreed: usize,
    /// The one run's next decision; none if it had ended.
    pub left: Option<Decision>,
    /// The other run's.
    pub right: Option<Decision>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_end = |decision: &Option<Decision>| {
            decision.as_ref().map_or("the run had ended".to_string(), ToString::to_string)
        };
        write!(
            f,
            "two runs of the same seed part after {} decisions:\n  one:   {}\n  other: {}",
            self.agreed,
            or_end(&self.left),
            or_end(&self.right)
        )
    }
}

/// The first decision in which two records differ, or none if they are the same.
pub fn first_difference(left: &[Decision], right: &[Decision]) -> Option<Difference> {
    let agreed = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    let (left, right) = (left.get(agreed).cloned(), right.get(agreed).cloned());
    (left.is_some() || right.is_some()).then_some(Difference { agreed, left, right })
}

/// A decision as it is kept: 24 bytes, the thread by number.
#[derive(Clone, Copy, Debug)]
struct Kept {
    time: u64,
    value: u64,
    thread: u32,
    kind: DecisionKind,
}

/// The digest of all decisions so far, and the decisions themselves if asked for.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    digest: u64,
    kept: Option<Vec<Kept>>,
}

impl Recorder {
    pub(crate) fn new(keep: bool) -> Self {
        Self { digest: 0, kept: keep.then(Vec::new) }
    }

    #[inline]
    pub(crate) fn record(&mut self, kind: DecisionKind, value: u64, time: u64, thread: u32) {
        let mixed = value ^ time.rotate_left(20) ^ (u64::from(thread) << 8) ^ kind as u64;
        self.digest = (self.digest.rotate_left(5) ^ mixed).wrapping_mul(0x517c_c1b7_2722_0a95);
        if let Some(kept) = &mut self.kept {
            kept.push(Kept { time, value, thread, kind });
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether the decisions are kept.
    pub(crate) fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// The decisions kept, with `name` giving each thread its name.
    pub(crate) fn take(&mut self, name: impl Fn(u32) -> String) -> Vec<Decision> {
        let kept = self.kept.take().unwrap_or_default();
        let decision = |kept: Kept| Decision {
            time: Duration::from_nanos(kept.time),
            kind: kept.kind,
            value: kept.value,
            thread: name(kept.thread),
        };
        kept.into_iter().map(decision).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(value: u64) -> Decision {
        let time = Duration::from_millis(value);
        Decision { time, kind: DecisionKind::Pick, value, thread: "main".into() }
    }

    #[test]
    fn equal_records_do_not_differ() {
        assert_eq!(first_difference(&[decision(1)], &[decision(1)]), None);
    }

    #[test]
    fn the_first_difference_is_named_with_time_and_thread() {
        let (left, right) = ([decision(1), decision(2)], [decision(1), decision(3)]);
        let difference = first_difference(&left, &right).expect("the second decision differs");
        assert_eq!(difference.agreed, 1);
        let text = difference.to_string();
        assert!(text.contains("Pick 2 at 0.002000000 s in main"), "{text}");
    }

    #[test]
    fn a_run_that_ends_early_differs() {
        let difference = first_difference(&[decision(1)], &[]).expect("one run goes on");
        assert!(difference.to_string().contains("the run had ended"));
    }
}
