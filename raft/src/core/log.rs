//! The log, of which elections need no more than where it ends.

use super::message::Term;

/// The place of an entry in the log. The first entry has index 1; 0 stands before it.
pub type Index = u64;

/// A place in the log, and the term of the entry there.
///
/// The order is the one that section 5.4.1 calls *up-to-date*: the later term wins, and with equal
/// terms the longer log. The derived order compares the fields from top to bottom, so their order
/// here is the rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The entry's term; 0 before the first entry.
    pub term: Term,
    /// The entry's index; 0 before the first entry.
    pub index: Index,
}
