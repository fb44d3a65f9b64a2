//! Reads that leave no trace in the log (dissertation, 6.4).
//!
//! A leader knows all that is committed, if it still leads: a newer leader may have committed more.
//! So it asks. A follower that answers in the leader's term had not voted for a newer one by then,
//! and if a majority has not, nobody had been elected when the question left. So what was committed
//! when a read arrived is all there was, if a majority answers AppendEntries sent *after* it
//! arrived.
//!
//! The AppendEntries of a round carry nothing, and are sent at once, to those who have answered the
//! last one: the others' answers to heartbeats count as well. Reads that arrive while a round is
//! under way share the next one.

use std::collections::VecDeque;
use std::time::Duration;

use contract::ReadIndexError;

use super::leader::Leader;
use super::log::Index;
use super::raw_node::RawNode;
use super::step::{CallId, Effect, Moment, RequestId};

/// A read that waits for a majority.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) id: RequestId,
    /// The commit index when it arrived.
    pub(super) index: Index,
    /// The last call that had left then.
    pub(super) after: CallId,
    /// When to give up: the majority may be out of reach.
    pub(super) deadline: Duration,
}

/// The reads of a leader that wait, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    waiting: VecDeque<Read>,
    /// The last call before those of the round under way.
    round: Option<CallId>,
}

impl Reads {
    pub(super) fn add(&mut self, read: Read) {
        self.waiting.push_back(read);
    }

    /// Whether nobody waits, and nothing is under way for who has waited.
    pub(super) fn is_idle(&self) -> bool {
        self.round.is_none() && self.waiting.is_empty()
    }

    /// Whether a round is to be started: somebody waits, and no round is under way.
    pub(super) fn needs_round(&self) -> bool {
        self.round.is_none() && !self.waiting.is_empty()
    }

    /// A round begins with the first call after this one, in the place of any before it.
    pub(super) fn start_round(&mut self, after: CallId) {
        self.round = Some(after);
    }

    /// Calls leave anyway: if somebody waits, they are its round.
    pub(super) fn join_round(&mut self, after: CallId) {
        if !self.waiting.is_empty() {
            self.start_round(after);
        }
    }

    /// A majority has answered this call or later ones: takes out the reads that this confirms.
    pub(super) fn confirmed(&mut self, answered: CallId) -> impl Iterator<Item = Read> + '_ {
        self.round = self.round.filter(|after| answered <= *after);
        std::iter::from_fn(move || self.waiting.pop_front_if(|read| read.after < answered))
    }

    /// Takes out the reads that have waited too long.
    pub(super) fn expired(&mut self, now: Duration) -> impl Iterator<Item = Read> + '_ {
        std::iter::from_fn(move || self.waiting.pop_front_if(|read| read.deadline <= now))
    }

    /// Takes out all of them.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = Read> {
        self.waiting.into_iter()
    }
}

impl RawNode<Leader> {
    /// Finds out whether this server still leads, and so whether all that is committed now is all
    /// there is. Only the entries of its own term tell it what that is (section 8).
    pub(super) fn read_index(
        &mut self,
        moment: Moment,
        id: RequestId,
    ) -> Result<(), ReadIndexError> {
        let Self { server, role } = self;
        let index = server.commit_index;
        if server.log.term_at(index) != Some(server.current_term()) {
            return Err(ReadIndexError::NotReady);
        }
        let deadline = moment.now.saturating_add(server.config.election_timeout.end);
        role.reads.add(Read { id, index, after: server.last_call(), deadline });
        self.confirm_reads();
        Ok(())
    }

    /// Lets go the reads that a majority has confirmed, and starts a round for the others.
    pub(super) fn confirm_reads(&mut self) {
        let Self { server, role } = self;
        // Mostly, and always with ReadIndex off: every answer comes by here.
        if role.reads.is_idle() {
            return;
        }
        let answered = role.reached_by(server.quorum(), |progress| progress.last_answered);
        for Read { id, index, .. } in role.reads.confirmed(answered) {
            server.durability.send_at_once(Effect::Read { id, index: Some(index) });
        }
        if role.reads.needs_round() {
            self.send_round();
        }
    }

    /// Gives up the reads that no majority confirms: there may be another leader by now.
    pub(super) fn expire_reads(&mut self, moment: Moment) {
        for Read { id, .. } in self.role.reads.expired(moment.now) {
            self.server.durability.send_at_once(Effect::Read { id, index: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(id: u64, after: u64) -> Read {
        let deadline = Duration::from_millis(id);
        Read { id: RequestId(id), index: 0, after: CallId(after), deadline }
    }

    fn ids(reads: impl Iterator<Item = Read>) -> Vec<u64> {
        reads.map(|read| read.id.0).collect()
    }

    #[test]
    fn only_calls_that_left_after_a_read_confirm_it() {
        let mut reads = Reads::default();
        reads.add(read(1, 4));
        reads.add(read(2, 7));
        assert_eq!(ids(reads.confirmed(CallId(4))), [0; 0]);
        assert_eq!(ids(reads.confirmed(CallId(5))), [1]);
        assert_eq!(ids(reads.confirmed(CallId(9))), [2]);
    }

    #[test]
    fn reads_that_come_during_a_round_share_the_next() {
        let mut reads = Reads::default();
        reads.add(read(1, 4));
        assert!(reads.needs_round());
        reads.start_round(CallId(4));
        reads.add(read(2, 6));
        reads.add(read(3, 6));
        assert!(!reads.needs_round());
        assert_eq!(ids(reads.confirmed(CallId(5))), [1]);
        assert!(reads.needs_round());
        reads.start_round(CallId(6));
        assert_eq!(ids(reads.confirmed(CallId(7))), [2, 3]);
        assert!(!reads.needs_round());
    }

    #[test]
    fn a_round_that_nobody_waits_for_holds_up_nobody() {
        let mut reads = Reads::default();
        reads.join_round(CallId(3));
        reads.add(read(1, 5));
        assert!(reads.needs_round());
        reads.join_round(CallId(5));
        assert!(!reads.needs_round());
    }

    #[test]
    fn nobody_waits_beyond_the_deadline() {
        let mut reads = Reads::default();
        (1..=3).for_each(|id| reads.add(read(id, 0)));
        assert_eq!(ids(reads.expired(Duration::from_millis(2))), [1, 2]);
        assert_eq!(ids(reads.into_waiting()), [3]);
    }
}
