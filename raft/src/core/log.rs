//! The log: entries in a row, each with the term in which a leader received it (section 5.3).
//!
//! A log grows at its end. There it gets shorter in one case only: a leader has another entry at an
//! index, and then that entry and all after it go. An append whose entries are there already
//! changes nothing, however late it comes and however much the log has grown since.
//!
//! At its beginning it is cut by snapshots (section 7). Of what they cover there remains the
//! *base*, the index and the term of the last entry: enough to tell whether what follows agrees
//! with another log. All up to the base is committed, and so it is the same everywhere: an append
//! that begins before the base is as good as one that begins there.
//!
//! Terms never decrease along a log, for a leader appends entries of its own term, and that is no
//! older than what it has. So the entries of one term are a single run, and found by bisection.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::message::Term;

/// The place of an entry in the log. The first entry has index 1; 0 stands before it.
pub type Index = u64;

/// What a client wants done: bytes that mean nothing to Raft, and that are never copied by it.
pub type Command = Arc<[u8]>;

/// A place in the log, and the term of the entry there.
///
/// The order is the one that section 5.4.1 calls *up-to-date*: the later term wins, and with equal
/// terms the longer log. The derived order compares the fields from top to bottom, so their order
/// here is the rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    /// The entry's term; 0 before the first entry.
    pub term: Term,
    /// The entry's index; 0 before the first entry.
    pub index: Index,
}

/// What a leader appended, and in which term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The term.
    pub term: Term,
    /// What it is about.
    pub payload: Payload,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// A client's command.
    Command(#[serde(with = "labgob::bytes")] Command),
    /// Nothing. A new leader appends it to have an entry of its own term (section 8).
    NoOp,
}

impl Entry {
    /// A command that a leader received in that term.
    #[must_use]
    pub fn command(term: Term, command: Command) -> Self {
        Self { term, payload: Payload::Command(command) }
    }

    /// About what it takes on the wire and on the disk.
    fn size_bytes(&self) -> usize {
        /// Two numbers of variable length, at their longest, and a tag.
        const NUMBERS_BYTES: usize = 19;
        let command_bytes = match &self.payload {
            Payload::Command(command) => command.len(),
            Payload::NoOp => 0,
        };
        command_bytes + NUMBERS_BYTES
    }
}

/// Why a follower could not append: where its log differs from the leader's, as far as it can tell
/// (end of section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The term of the follower's entry at `prev_log_index`; none if its log ends before that.
    pub term: Option<Term>,
    /// The first index that the follower has of that term; without a term, the first that it has
    /// no entry for.
    pub index: Index,
}

/// A server's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// What comes before the first of `entries`: the last entry that the snapshot covers, or 0/0.
    base: LogPosition,
    entries: Vec<Entry>,
}

/// Reading.
impl Log {
    /// Where it ends.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        let term = self.entries.last().map_or(self.base.term, |entry| entry.term);
        LogPosition { term, index: self.base.index + self.entries.len() as Index }
    }

    /// The last entry that has been compacted; 0/0 if none has been.
    #[must_use]
    pub fn base(&self) -> LogPosition {
        self.base
    }

    /// The term of the entry at `index`, if the log reaches that far and its beginning has not been
    /// compacted beyond; 0 before the first entry.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        let offset = index.checked_sub(self.base.index + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|entry| entry.term)
    }

    /// Whether it has an entry of that term at that index. If so, it is the same as any other log
    /// that has, up to there (Log Matching, Figure 3).
    #[must_use]
    pub fn contains(&self, position: LogPosition) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The entries after `index`; none if the log ends there or before.
    ///
    /// # Panics
    ///
    /// If some of them have been compacted.
    #[must_use]
    pub fn after(&self, index: Index) -> &[Entry] {
        self.entries.get(self.offset(index)..).unwrap_or_default()
    }

    /// About what its entries take on the disk.
    pub(crate) fn size_bytes(&self) -> usize {
        self.entries.iter().map(Entry::size_bytes).sum()
    }

    /// The first entries after `index`, as many as go into `max_bytes`, but one at least if there
    /// is one: else an entry larger than that would never get anywhere.
    pub(crate) fn batch_after(&self, index: Index, max_bytes: usize) -> &[Entry] {
        let entries = self.after(index);
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.size_bytes();
            bytes <= max_bytes
        };
        let count = entries.iter().take_while(fits).count();
        &entries[..count.max(1).min(entries.len())]
    }

    /// The last index of an entry of `term`.
    fn last_of_term(&self, term: Term) -> Option<Index> {
        let count = self.entries.partition_point(|entry| entry.term <= term);
        let index = self.base.index + count as Index;
        self.contains(LogPosition { term, index }).then_some(index)
    }

    /// The first index of an entry of `term`, of those that have not been compacted.
    fn first_of_term(&self, term: Term) -> Index {
        let count = self.entries.partition_point(|entry| entry.term < term);
        self.base.index + 1 + count as Index
    }

    /// What a follower tells that has no entry of the right term at `index`.
    fn conflict_at(&self, index: Index) -> Conflict {
        let term = self.term_at(index);
        let index = term.map_or(self.last().index + 1, |term| self.first_of_term(term));
        Conflict { term, index }
    }

    /// Where a leader with this log goes on after a follower told of `conflict`. If it has entries
    /// of that term itself, the two may agree on some of them: it tries after its last. If it has
    /// none, none of the follower's is of use. So each term costs one rejection at most.
    pub(super) fn next_after(&self, conflict: Conflict) -> Index {
        let shared = conflict.term.and_then(|term| self.last_of_term(term));
        shared.map_or(conflict.index, |last| last + 1)
    }

    /// How many entries there are up to `index`.
    fn offset(&self, index: Index) -> usize {
        let offset = index.checked_sub(self.base.index);
        let offset = offset.expect("nobody asks for what has been compacted");
        usize::try_from(offset).unwrap_or(usize::MAX)
    }
}

/// Writing.
impl Log {
    /// Adds an entry of a leader's own.
    pub(super) fn append(&mut self, entry: Entry) -> LogPosition {
        assert!(entry.term >= self.last().term, "{DECREASING}");
        self.entries.push(entry);
        self.last()
    }

    /// Takes over a leader's entries, which it has after `prev` (Figure 2, AppendEntries RPC,
    /// receiver implementation, 2 to 4). Tells after which index the log changed, if it did.
    ///
    /// # Errors
    /// If this log has no such `prev`. Then it stays as it is.
    pub(super) fn merge(
        &mut self,
        prev: LogPosition,
        mut entries: Vec<Entry>,
    ) -> Result<Option<Index>, Conflict> {
        let Some(prev) = self.skip_compacted(prev, &mut entries) else { return Ok(None) };
        if !self.contains(prev) {
            return Err(self.conflict_at(prev.index));
        }
        let own = self.after(prev.index).iter();
        let known = own.zip(&entries).take_while(|(own, new)| own.term == new.term).count();
        if known == entries.len() {
            return Ok(None);
        }
        let after = prev.index + known as Index;
        entries.drain(..known);
        self.replace_after(after, entries).unwrap_or_else(|error| panic!("{error}"));
        Ok(Some(after))
    }

    /// Drops those of a leader's entries that have been compacted here, and tells what the others
    /// follow; none if it brings nothing but what has been compacted.
    ///
    /// # Panics
    ///
    /// If the leader has another entry at the base: that one is committed, so it must have it.
    fn skip_compacted(&self, prev: LogPosition, entries: &mut Vec<Entry>) -> Option<LogPosition> {
        let Some(compacted) = self.base.index.checked_sub(prev.index) else { return Some(prev) };
        let known = usize::try_from(compacted).unwrap_or(usize::MAX).min(entries.len());
        let last = entries.drain(..known).next_back().map_or(prev.term, |entry| entry.term);
        if prev.index + known as Index != self.base.index {
            return None;
        }
        let LogPosition { term, index } = self.base;
        assert_eq!(last, term, "a leader has another entry at {index}, which is committed");
        Some(self.base)
    }

    /// Forgets the entries up to `index`, which a snapshot covers.
    pub(super) fn compact(&mut self, index: Index) {
        let term = self.term_at(index).expect("a snapshot of this server covers what its log has");
        self.entries.drain(..self.offset(index));
        self.base = LogPosition { term, index };
    }

    /// Begins again after `base`, the last entry that a snapshot covers. What comes behind it is
    /// kept if the log has that very entry, for then it may be what the leader has; of a log that
    /// has another there, or none, nothing is of use (section 7).
    pub(super) fn begin_after(&mut self, base: LogPosition) {
        assert!(base.index >= self.base.index, "an older snapshot never takes a newer one's place");
        if self.contains(base) {
            self.compact(base.index);
        } else {
            *self = Self { base, entries: Vec::new() };
        }
    }

    /// Puts `entries` in the place of all that comes after `index`.
    ///
    /// # Errors
    /// If that makes no log.
    pub(super) fn replace_after(
        &mut self,
        index: Index,
        entries: Vec<Entry>,
    ) -> Result<(), LogError> {
        if index < self.base.index {
            return Err(LogError::Compacted { before: self.base.index, index });
        }
        let prev = self.term_at(index).ok_or(LogError::Gap { after: self.last().index, index })?;
        let terms = || entries.iter().map(|entry| entry.term);
        if !std::iter::once(prev).chain(terms()).is_sorted() {
            return Err(LogError::DecreasingTerms { index });
        }
        self.entries.truncate(self.offset(index));
        self.entries.extend(entries);
        Ok(())
    }
}

const DECREASING: &str = "terms never decrease along a log";

/// Why entries make no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogError {
    /// They are to follow an index where there is no entry.
    Gap {
        /// Where the log ends.
        after: Index,
        /// What they are to follow.
        index: Index,
    },
    /// They are to follow an index that has been compacted.
    Compacted {
        /// Up to where it has been.
        before: Index,
        /// What they are to follow.
        index: Index,
    },
    /// Their terms decrease.
    DecreasingTerms {
        /// What they are to follow.
        index: Index,
    },
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { after, index } => {
                write!(f, "a log that ends at {after} cannot go on after {index}")
            }
            Self::Compacted { before, index } => {
                write!(f, "a log compacted up to {before} cannot change after {index}")
            }
            Self::DecreasingTerms { index } => write!(f, "{DECREASING}, as these do after {index}"),
        }
    }
}

impl Error for LogError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with entries of these terms.
    fn log(terms: &[Term]) -> Log {
        Log { base: LogPosition::default(), entries: entries(terms) }
    }

    fn entries(terms: &[Term]) -> Vec<Entry> {
        terms.iter().map(|term| Entry::command(*term, [].into())).collect()
    }

    /// A log whose first entries, of these terms, have been compacted; the others have not.
    fn compacted(terms: &[Term], index: Index) -> Log {
        let mut log = log(terms);
        log.compact(index);
        log
    }

    fn terms(log: &Log) -> Vec<Term> {
        log.after(log.base.index).iter().map(|entry| entry.term).collect()
    }

    fn at(term: Term, index: Index) -> LogPosition {
        LogPosition { term, index }
    }

    #[test]
    fn an_empty_log_ends_before_the_first_entry() {
        let log = Log::default();
        assert_eq!(log.last(), at(0, 0));
        assert_eq!(log.term_at(0), Some(0));
        assert_eq!(log.term_at(1), None);
        assert!(log.after(0).is_empty() && log.after(7).is_empty());
    }

    #[test]
    fn a_later_term_is_more_up_to_date_and_then_the_longer_log() {
        assert!(at(3, 1) > at(2, 9));
        assert!(at(2, 9) > at(2, 8));
    }

    #[test]
    fn every_log_contains_what_comes_before_the_first_entry() {
        assert!(log(&[]).contains(at(0, 0)));
        assert!(log(&[4]).contains(at(0, 0)));
        assert!(!log(&[4]).contains(at(0, 1)));
    }

    #[test]
    fn entries_follow_at_the_end() {
        let mut log = log(&[1, 1]);
        assert_eq!(log.merge(at(1, 2), entries(&[2, 2])), Ok(Some(2)));
        assert_eq!(terms(&log), [1, 1, 2, 2]);
        assert_eq!(log.last(), at(2, 4));
    }

    #[test]
    fn what_is_there_already_changes_nothing() {
        let mut log = log(&[1, 1, 2]);
        assert_eq!(log.merge(at(0, 0), entries(&[1, 1, 2])), Ok(None));
        assert_eq!(log.merge(at(1, 1), entries(&[1])), Ok(None));
        assert_eq!(log.merge(at(1, 2), entries(&[])), Ok(None));
        assert_eq!(terms(&log), [1, 1, 2]);
    }

    #[test]
    fn only_a_real_conflict_shortens_the_log() {
        let mut log = log(&[1, 1, 2, 2, 2]);
        assert_eq!(log.merge(at(1, 1), entries(&[1, 2])), Ok(None));
        assert_eq!(log.merge(at(1, 1), entries(&[1, 3])), Ok(Some(2)));
        assert_eq!(terms(&log), [1, 1, 3]);
    }

    #[test]
    fn a_gap_is_refused_with_the_first_missing_index() {
        let mut log = log(&[1, 1]);
        let conflict = Conflict { term: None, index: 3 };
        assert_eq!(log.merge(at(1, 5), entries(&[1])), Err(conflict));
        assert_eq!(terms(&log), [1, 1]);
    }

    #[test]
    fn another_term_is_refused_with_its_first_index() {
        let mut log = log(&[1, 2, 2, 2, 3]);
        let conflict = Conflict { term: Some(2), index: 2 };
        assert_eq!(log.merge(at(4, 4), entries(&[4])), Err(conflict));
        assert_eq!(terms(&log), [1, 2, 2, 2, 3]);
    }

    #[test]
    fn a_leader_goes_on_after_its_last_entry_of_the_conflicting_term() {
        let leader = log(&[1, 1, 2, 2, 5]);
        assert_eq!(leader.next_after(Conflict { term: Some(2), index: 3 }), 5);
        assert_eq!(leader.next_after(Conflict { term: Some(1), index: 1 }), 3);
    }

    #[test]
    fn a_leader_without_that_term_skips_all_of_it() {
        let leader = log(&[1, 1, 2, 2, 5]);
        assert_eq!(leader.next_after(Conflict { term: Some(4), index: 3 }), 3);
        assert_eq!(leader.next_after(Conflict { term: None, index: 4 }), 4);
        assert_eq!(log(&[]).next_after(Conflict { term: Some(1), index: 1 }), 1);
    }

    #[test]
    fn a_batch_is_limited_in_bytes_but_never_empty() {
        let log = log(&[1, 1, 1, 1]);
        assert_eq!(log.batch_after(0, 19).len(), 1);
        assert_eq!(log.batch_after(0, 3 * 19).len(), 3);
        assert_eq!(log.batch_after(1, usize::MAX).len(), 3);
        assert_eq!(log.batch_after(0, 0).len(), 1);
        assert_eq!(log.batch_after(4, 0).len(), 0);
    }

    #[test]
    fn a_stored_update_must_make_a_log() {
        let mut log = log(&[1, 2]);
        assert_eq!(log.replace_after(3, entries(&[2])), Err(LogError::Gap { after: 2, index: 3 }));
        let decreasing = Err(LogError::DecreasingTerms { index: 2 });
        assert_eq!(log.replace_after(2, entries(&[1])), decreasing);
        assert_eq!(log.replace_after(1, entries(&[3, 3])), Ok(()));
        assert_eq!(terms(&log), [1, 3, 3]);
    }

    #[test]
    fn a_compacted_log_keeps_its_positions() {
        let log = compacted(&[1, 1, 2, 3], 2);
        assert_eq!((log.base(), log.last()), (at(1, 2), at(3, 4)));
        assert_eq!(terms(&log), [2, 3]);
        assert_eq!([1, 2, 3, 5].map(|index| log.term_at(index)), [None, Some(1), Some(2), None]);
        assert_eq!(log.batch_after(3, usize::MAX).len(), 1);
    }

    #[test]
    fn a_log_that_is_compacted_to_its_end_still_ends_there() {
        let mut log = compacted(&[1, 2, 2], 3);
        assert_eq!(log.last(), at(2, 3));
        assert_eq!(log.append(Entry::command(2, [].into())), at(2, 4));
    }

    #[test]
    fn an_append_from_before_the_base_is_taken_from_there_on() {
        let mut log = compacted(&[1, 1, 2], 2);
        assert_eq!(log.merge(at(0, 0), entries(&[1])), Ok(None), "all of it is compacted");
        assert_eq!(log.merge(at(0, 0), entries(&[1, 1])), Ok(None), "up to the base");
        assert_eq!(log.merge(at(1, 1), entries(&[1, 2])), Ok(None), "and beyond");
        assert_eq!(terms(&log), [2]);
        assert_eq!(log.merge(at(0, 0), entries(&[1, 1, 3, 3])), Ok(Some(2)));
        assert_eq!(terms(&log), [3, 3]);
    }

    #[test]
    #[should_panic(expected = "a leader has another entry at 2, which is committed")]
    fn a_leader_without_a_compacted_entry_is_a_broken_invariant() {
        let _ = compacted(&[1, 2, 2], 2).merge(at(1, 1), entries(&[1, 3]));
    }

    #[test]
    fn a_conflict_is_told_as_far_as_the_log_goes_back() {
        let mut log = compacted(&[1, 2, 2, 2, 2], 3);
        let conflict = Conflict { term: Some(2), index: 4 };
        assert_eq!(log.merge(at(3, 5), entries(&[])), Err(conflict), "the base is of term 2 too");
        let conflict = Conflict { term: None, index: 6 };
        assert_eq!(log.merge(at(3, 6), entries(&[])), Err(conflict));
    }

    #[test]
    fn a_leader_goes_on_after_its_base_if_that_is_of_the_conflicting_term() {
        let leader = compacted(&[1, 2, 2, 5], 3);
        assert_eq!(leader.next_after(Conflict { term: Some(2), index: 2 }), 4);
        assert_eq!(leader.next_after(Conflict { term: Some(1), index: 1 }), 1, "a snapshot is due");
    }

    #[test]
    fn only_the_very_entry_that_the_base_names_keeps_the_tail() {
        let begun = |base| {
            let mut log = compacted(&[1, 1, 2, 2], 1);
            log.begin_after(base);
            (log.base(), terms(&log))
        };
        assert_eq!(begun(at(2, 3)), (at(2, 3), vec![2]));
        assert_eq!(begun(at(3, 3)), (at(3, 3), vec![]), "another entry there");
        assert_eq!(begun(at(2, 7)), (at(2, 7), vec![]), "none there");
    }

    #[test]
    fn what_is_compacted_cannot_be_replaced() {
        let mut log = compacted(&[1, 1, 2], 2);
        let error = LogError::Compacted { before: 2, index: 1 };
        assert_eq!(log.replace_after(1, entries(&[3])), Err(error));
        assert_eq!(terms(&log), [2]);
    }

    /// All logs of up to three entries of terms 1 to 3.
    fn all_logs() -> Vec<Vec<Term>> {
        let mut all = vec![vec![]];
        for length in 0..3 {
            let longest: Vec<_> = all.iter().filter(|log| log.len() == length).cloned().collect();
            for log in longest {
                let last = log.last().copied().unwrap_or(1);
                all.extend((last..=3).map(|term| [&log[..], &[term]].concat()));
            }
        }
        all
    }

    /// Small enough to try them all: after a successful append the log begins as the leader's
    /// does, nothing of use is lost, and a second delivery changes nothing.
    #[test]
    fn every_append_to_every_small_log_does_as_figure_2_says() {
        for (own, leader) in all_logs()
            .iter()
            .flat_map(|own| all_logs().into_iter().map(move |leader| (own.clone(), leader)))
        {
            for prev in 0..=leader.len() {
                let prev_log = log(&leader[..prev]).last();
                let mut merged = log(&own);
                let Ok(changed) = merged.merge(prev_log, entries(&leader[prev..])) else {
                    assert_eq!(terms(&merged), own, "a refused append changes nothing");
                    continue;
                };
                assert_eq!(terms(&merged)[prev..leader.len()], leader[prev..]);
                let agrees = own.len() >= leader.len() && own[prev..leader.len()] == leader[prev..];
                assert_eq!(changed.is_none(), agrees);
                if agrees {
                    assert_eq!(terms(&merged), own, "nothing is lost without a conflict");
                }
                assert_eq!(merged.merge(prev_log, entries(&leader[prev..])), Ok(None));
            }
        }
    }

    /// What two logs have in common may be committed, and be compacted in one of them: that makes
    /// no difference to what an append does.
    #[test]
    fn every_append_to_a_compacted_log_does_as_to_the_whole_one() {
        for (own, leader) in all_logs()
            .iter()
            .flat_map(|own| all_logs().into_iter().map(move |leader| (own.clone(), leader)))
        {
            let common = own.iter().zip(&leader).take_while(|(own, leader)| own == leader).count();
            for (base, prev) in
                (0..=common).flat_map(|base| (0..=leader.len()).map(move |prev| (base, prev)))
            {
                let (mut whole, mut short) = (log(&own), compacted(&own, base as Index));
                let prev_log = log(&leader[..prev]).last();
                let expected = whole.merge(prev_log, entries(&leader[prev..]));
                let merged = short.merge(prev_log, entries(&leader[prev..]));
                assert_eq!(
                    merged.ok(),
                    expected.ok(),
                    "{own:?} after {base}, {leader:?} from {prev}"
                );
                assert_eq!(terms(&short), terms(&whole)[base..]);
            }
        }
    }
}
