//! What a checker answers, and how it tells of a clash.

use std::fmt;
use std::time::Duration;

use crate::history::Operation;
use crate::model::Model;

/// The answer of a checker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// There is an order in which one server could have answered everything as it was.
    Linearizable,
    /// There is none.
    NotLinearizable(Clash),
    /// The checker does not know, and says why. This is never a pass.
    Undecided(String),
}

impl Verdict {
    /// Whether the history is known to be linearizable.
    pub fn is_linearizable(&self) -> bool {
        *self == Self::Linearizable
    }

    /// Whether the history is known not to be linearizable.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::NotLinearizable(_))
    }

    /// The verdict on two parts of a history: a clash in either is one of the whole, and what is
    /// undecided stays so.
    pub(crate) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Linearizable => other(),
            Self::NotLinearizable(_) => self,
            Self::Undecided(_) => match other() {
                clash @ Self::NotLinearizable(_) => clash,
                _ => self,
            },
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => write!(f, "linearizable"),
            Self::NotLinearizable(clash) => write!(f, "not linearizable: {clash}"),
            Self::Undecided(reason) => write!(f, "undecided: {reason}"),
        }
    }
}

/// Why a history is not linearizable: a few operations that no order can satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// What is wrong, in words.
    pub claim: String,
    /// The operations it is about: their indices in the history, in the order of their calls.
    pub operations: Vec<usize>,
    /// The same, told: who did what, when. A line each.
    pub told: Vec<String>,
}

impl Clash {
    /// The clash between these operations of `history`.
    pub(crate) fn new<M: Model>(
        model: &M,
        history: &[Operation<M::Input, M::Output>],
        mut operations: Vec<usize>,
        claim: String,
    ) -> Self {
        operations.sort_by_key(|&id| (history[id].call_ns, history[id].ret(), id));
        operations.dedup();
        let told = operations.iter().map(|&id| tell(model, history, id)).collect();
        Self { claim, operations, told }
    }
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.claim)?;
        self.told.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// One operation in a line: `#4 client 2: get x read "a", called at 10ms, returned at 12.5ms`.
pub(crate) fn tell<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    id: usize,
) -> String {
    let op = &history[id];
    let what = model.tell(&op.input, op.outcome.as_ref().map(|o| &o.output));
    let end = op
        .outcome
        .as_ref()
        .map_or("did not return".to_string(), |o| format!("returned at {:?}", time(o.return_ns)));
    format!("#{id} client {}: {what}, called at {:?}, {end}", op.client, time(op.call_ns))
}

/// Who did what, in half a sentence.
pub(crate) fn who<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    id: usize,
) -> String {
    let op = &history[id];
    let what = model.tell(&op.input, op.outcome.as_ref().map(|o| &o.output));
    format!("client {}'s {what} (#{id})", op.client)
}

/// A time as people read it.
fn time(ns: u64) -> Duration {
    Duration::from_nanos(ns)
}

/// A value in quotes; of a long one, its beginning and its end.
pub(crate) fn quote(value: &str) -> String {
    const SHOWN: usize = 30;
    let count = value.chars().count();
    if count <= 2 * SHOWN + 10 {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(SHOWN).collect();
    let end: String = value.chars().skip(count - SHOWN).collect();
    format!("{start:?}...{end:?} ({count} characters)")
}
