//! What one server would have answered.

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential specification: a machine that takes one operation after the other.
///
/// ```
/// use linearizability::{Limits, Model, Operation, check_model};
///
/// /// A counter that answers each `add` with the sum.
/// struct Counter;
///
/// impl Model for Counter {
///     type Key = ();
///     type State = i64;
///     type Input = i64;
///     type Output = i64;
///
///     fn key(&self, _: &i64) {}
///
///     fn init(&self) -> i64 {
///         0
///     }
///
///     fn step(&self, sum: &i64, add: &i64, output: Option<&i64>) -> Option<i64> {
///         let sum = sum + add;
///         output.is_none_or(|&o| o == sum).then_some(sum)
///     }
/// }
///
/// let mut history =
///     vec![Operation::returned(1, 5, 0, 9, 7), Operation::returned(2, 2, 1, 8, 2)];
/// assert!(check_model(&Counter, &history, &Limits::default()).is_linearizable());
///
/// // The sum of 7 is there before 2 is added.
/// history[1] = Operation::returned(2, 2, 10, 18, 2);
/// assert!(check_model(&Counter, &history, &Limits::default()).is_violation());
/// ```
pub trait Model {
    /// What divides operations into groups that know nothing of each other. `()` if nothing does.
    type Key: Eq + Hash + Clone;
    /// What the machine remembers about one key.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked for.
    type Input: PartialEq + Debug;
    /// What is answered.
    type Output: Ord + Debug;

    /// The key that an operation is about.
    fn key(&self, input: &Self::Input) -> Self::Key;

    /// The state of a key before the first operation.
    fn init(&self) -> Self::State;

    /// The state after an operation, or `None` if in this state the answer would be another one.
    /// Without an output, any answer will do.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Whether the operation never changes any state. Then it is taken as soon as its answer fits,
    /// and no other moment is tried.
    fn is_read(&self, _input: &Self::Input) -> bool {
        false
    }

    /// The state to go on with in place of `state`. States that no operation of the history can
    /// tell apart, now or later, may be made one; `shown` are the outputs of all operations on the
    /// key that returned, in order and each once. What `merge` returns must behave like `state`
    /// towards every operation of the history, and lead to states that do.
    fn merge(&self, state: Self::State, _shown: &[&Self::Output]) -> Self::State {
        state
    }

    /// Whether an operation of unknown outcome has to be considered at all. Say `false` only if
    /// whatever can happen with it could happen without it, in any state.
    fn matters(&self, _input: &Self::Input, _shown: &[&Self::Output]) -> bool {
        true
    }

    /// Whether it can help that an operation of unknown outcome takes effect and turns one state
    /// into the other. Say `false` only if whatever can happen after it could happen without it.
    fn helps(&self, before: &Self::State, after: &Self::State) -> bool {
        before != after
    }

    /// An operation in words, for a person.
    fn tell(&self, input: &Self::Input, output: Option<&Self::Output>) -> String {
        match output {
            Some(output) => format!("{input:?} -> {output:?}"),
            None => format!("{input:?}"),
        }
    }

    /// A state in words.
    fn tell_state(&self, state: &Self::State) -> String {
        shorten(&format!("{state:?}"))
    }
}

/// The beginning of a long text.
fn shorten(text: &str) -> String {
    const LENGTH: usize = 80;
    match text.char_indices().nth(LENGTH) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_string(),
    }
}

/// Operations per key, in the order in which the keys first appear: their indices.
pub(crate) fn partition<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> Vec<Vec<u32>> {
    let mut numbers = std::collections::HashMap::new();
    let mut parts: Vec<Vec<u32>> = Vec::new();
    for (id, key) in (0..).zip(keys) {
        let number = *numbers.entry(key).or_insert(parts.len());
        if number == parts.len() {
            parts.push(Vec::new());
        }
        parts[number].push(id);
    }
    parts
}
