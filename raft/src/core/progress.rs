//! What a leader knows of one server's log: `nextIndex` and `matchIndex` of Figure 2.

use std::time::Duration;

use super::log::Index;
use super::step::CallId;

/// A server that has left so many heartbeats without any answer is silent: it is cut off or dead,
/// and gets no entries until it answers. Below that it may be that messages are lost or slow, and
/// then entries are worth repeating: with 3, agreement takes longer where most answers are a second
/// late (`figure8_unreliable_2C`), with 5 it does not.
const SILENT_AFTER: u32 = 5;

/// The second heartbeat after a snapshot left at least an interval after it. If that one is
/// answered and the snapshot is not, the snapshot or its answer is lost.
const SNAPSHOT_PATIENCE: u32 = 2;

/// So that a server which becomes reachable is not kept waiting for minutes.
const SNAPSHOT_PATIENCE_MAX: u32 = 64;

/// How far a server's log agrees with the leader's, and what it was sent last.
///
/// There is one chain of calls to each server, AppendEntries and snapshots: the next leaves when
/// the last is answered. A heartbeat takes the chain over, but not from a snapshot: a second one
/// would be a waste while the first is on its way. An answer to any other call may tell something
/// new, but it starts no second chain.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// The next entry to send.
    pub(super) next_index: Index,
    /// The last entry that is known to be durable there, as all those before it.
    pub(super) match_index: Index,
    in_flight: Option<CallId>,
    /// Set while the call in flight is a snapshot.
    snapshot: Option<SnapshotInFlight>,
    /// How many heartbeats a snapshot has to be answered. It doubles with each that was not, since
    /// a large snapshot takes long.
    snapshot_patience: u32,
    /// How many heartbeats left since the server answered anything.
    unanswered: u32,
    /// The last call of a round of reads that it has not answered, nor any call after it.
    round: Option<CallId>,
    /// The last call, of those that were answered.
    pub(super) last_answered: CallId,
    /// When the server last answered anything, the election included.
    pub(super) heard_at: Duration,
}

#[derive(Debug, Clone)]
struct SnapshotInFlight {
    last_included_index: Index,
    /// How many heartbeats left since.
    heartbeats: u32,
    /// The heartbeat at which it should have been answered. When that or a later one is answered,
    /// the server is there, and the snapshot counts as lost.
    overdue: Option<CallId>,
}

impl Progress {
    /// At the leader's election: the best guess, which costs nothing if it is right.
    pub(super) fn new(last_log_index: Index, now: Duration) -> Self {
        Self {
            next_index: last_log_index + 1,
            match_index: 0,
            in_flight: None,
            snapshot: None,
            snapshot_patience: SNAPSHOT_PATIENCE,
            unanswered: 0,
            round: None,
            last_answered: CallId(0),
            heard_at: now,
        }
    }

    /// Of the leader itself, which needs no answer: its log is known, and it is always there.
    pub(super) fn of_leader(last_log_index: Index) -> Self {
        let mut progress = Self::new(last_log_index, Duration::MAX);
        progress.last_answered = CallId(u64::MAX);
        progress.accepted(last_log_index);
        progress
    }

    /// Whether nothing is under way, so that new entries may leave at once.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Whether a snapshot is under way.
    pub(super) fn awaits_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Whether the server answers nothing any more.
    pub(super) fn is_silent(&self) -> bool {
        self.unanswered >= SILENT_AFTER
    }

    /// Whether the server is worth asking for a sign of life: it gives any, and does not owe one.
    /// Reads may come far faster than a server answers that is slow or dead; it confirms them with
    /// its answers to heartbeats then.
    pub(super) fn takes_rounds(&self) -> bool {
        self.round.is_none() && !self.is_silent()
    }

    /// It is asked for a sign of life.
    pub(super) fn sent_round(&mut self, call: CallId) {
        self.round = Some(call);
    }

    /// This AppendEntries is under way now.
    pub(super) fn sent(&mut self, call: CallId) {
        self.in_flight = Some(call);
    }

    /// This snapshot is under way now.
    pub(super) fn sent_snapshot(&mut self, call: CallId, last_included_index: Index) {
        self.in_flight = Some(call);
        let (heartbeats, overdue) = (0, None);
        self.snapshot = Some(SnapshotInFlight { last_included_index, heartbeats, overdue });
    }

    /// This heartbeat is under way now, beside a snapshot or in the place of any call before it.
    pub(super) fn sent_heartbeat(&mut self, call: CallId) {
        self.unanswered += 1;
        let Some(snapshot) = &mut self.snapshot else { return self.sent(call) };
        snapshot.heartbeats += 1;
        if snapshot.heartbeats == self.snapshot_patience {
            snapshot.overdue = Some(call);
        }
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, call: CallId, now: Duration) {
        self.unanswered = 0;
        self.heard_at = now;
        self.last_answered = self.last_answered.max(call);
        self.round = self.round.filter(|round| call < *round);
        let overdue = self.snapshot.as_ref().and_then(|snapshot| snapshot.overdue);
        if self.in_flight == Some(call) {
            self.end_chain();
        } else if overdue.is_some_and(|overdue| call >= overdue) {
            self.snapshot_patience = (2 * self.snapshot_patience).min(SNAPSHOT_PATIENCE_MAX);
            self.end_chain();
        }
    }

    fn end_chain(&mut self) {
        self.in_flight = None;
        self.snapshot = None;
    }

    /// The log agrees with the leader's up to `index`. That never becomes untrue again in a term,
    /// so answers may come in any order.
    pub(super) fn accepted(&mut self, index: Index) {
        self.match_index = self.match_index.max(index);
        self.next_index = self.next_index.max(index + 1);
        let arrived = |snapshot: &SnapshotInFlight| snapshot.last_included_index <= index;
        if self.snapshot.as_ref().is_some_and(arrived) {
            self.snapshot_patience = SNAPSHOT_PATIENCE;
            self.end_chain();
        }
    }

    /// Whether to believe that the log does not agree at `prev_log_index`. Only what was asked
    /// last counts: after that another answer has moved `next_index`, and this one is stale.
    pub(super) fn believes_rejection(&self, prev_log_index: Index) -> bool {
        prev_log_index + 1 == self.next_index && prev_log_index > self.match_index
    }

    /// Goes back to `index`; by one at least, but never into what is known to agree.
    pub(super) fn back_up(&mut self, index: Index) {
        self.next_index = index.min(self.next_index - 1).max(self.match_index + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_owes_a_sign_of_life_is_not_asked_for_another() {
        let mut progress = Progress::new(0, Duration::ZERO);
        assert!(progress.takes_rounds());
        progress.sent_round(CallId(3));
        progress.answered(CallId(2), Duration::ZERO);
        assert!(!progress.takes_rounds(), "that left before");
        progress.answered(CallId(5), Duration::ZERO);
        assert!(progress.takes_rounds(), "that left later, and tells as much");
        (4..20).for_each(|call| progress.sent_heartbeat(CallId(call)));
        assert!(!progress.takes_rounds(), "nobody is there");
    }

    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn a_leader_first_tries_the_end_of_its_own_log() {
        let progress = Progress::new(7, NOW);
        assert_eq!((progress.next_index, progress.match_index), (8, 0));
        assert!(progress.is_idle());
    }

    #[test]
    fn answers_in_any_order_lead_to_the_same_match() {
        let mut progress = Progress::new(0, NOW);
        progress.accepted(5);
        progress.accepted(3);
        assert_eq!((progress.next_index, progress.match_index), (6, 5));
    }

    #[test]
    fn only_the_last_call_is_under_way() {
        let mut progress = Progress::new(0, NOW);
        progress.sent(CallId(1));
        progress.sent(CallId(2));
        progress.answered(CallId(1), NOW);
        assert!(!progress.is_idle());
        progress.answered(CallId(2), NOW);
        assert!(progress.is_idle());
    }

    #[test]
    fn whoever_answers_is_not_silent() {
        let mut progress = Progress::new(0, NOW);
        (1..5).for_each(|call| progress.sent_heartbeat(CallId(call)));
        assert!(!progress.is_silent());
        progress.sent_heartbeat(CallId(5));
        assert!(progress.is_silent());
        progress.answered(CallId(1), NOW);
        assert!(!progress.is_silent());
    }

    /// A snapshot up to 7 in flight as call 1, and so many heartbeats after it.
    fn snapshot_and_heartbeats(count: u64) -> Progress {
        let mut progress = Progress::new(0, NOW);
        progress.sent_snapshot(CallId(1), 7);
        (2..2 + count).for_each(|call| progress.sent_heartbeat(CallId(call)));
        progress
    }

    #[test]
    fn a_heartbeat_takes_no_snapshots_place() {
        let mut progress = snapshot_and_heartbeats(1);
        progress.answered(CallId(2), NOW);
        assert!(!progress.is_idle(), "the first heartbeat may have overtaken the snapshot");
        progress.answered(CallId(1), NOW);
        assert!(progress.is_idle());
    }

    #[test]
    fn a_snapshot_is_lost_when_a_later_heartbeat_is_answered_before_it() {
        let mut progress = snapshot_and_heartbeats(2);
        progress.answered(CallId(2), NOW);
        assert!(!progress.is_idle());
        progress.answered(CallId(3), NOW);
        assert!(progress.is_idle());
    }

    #[test]
    fn each_lost_snapshot_doubles_the_patience_until_one_arrives() {
        let mut progress = snapshot_and_heartbeats(2);
        progress.answered(CallId(3), NOW);
        progress.sent_snapshot(CallId(4), 7);
        (5..8).for_each(|call| progress.sent_heartbeat(CallId(call)));
        progress.answered(CallId(7), NOW);
        assert!(!progress.is_idle(), "the third is not enough any more");
        progress.accepted(7);
        assert_eq!(progress.snapshot_patience, SNAPSHOT_PATIENCE);
    }

    #[test]
    fn whoever_has_what_a_snapshot_covers_needs_it_no_more() {
        let mut progress = snapshot_and_heartbeats(1);
        progress.accepted(6);
        assert!(!progress.is_idle());
        progress.accepted(7);
        assert!(progress.is_idle());
        assert_eq!(progress.next_index, 8);
    }

    #[test]
    fn a_rejection_is_believed_once() {
        let mut progress = Progress::new(9, NOW);
        assert!(progress.believes_rejection(9));
        progress.back_up(4);
        assert_eq!(progress.next_index, 4);
        assert!(!progress.believes_rejection(9));
    }

    #[test]
    fn a_rejection_of_what_is_known_to_agree_is_stale() {
        let mut progress = Progress::new(9, NOW);
        progress.accepted(9);
        assert!(!progress.believes_rejection(9));
        assert!(!progress.believes_rejection(4));
    }

    #[test]
    fn backing_up_makes_progress_and_stops_at_the_match() {
        let mut progress = Progress::new(9, NOW);
        progress.back_up(20);
        assert_eq!(progress.next_index, 9);
        progress.match_index = 6;
        progress.back_up(2);
        assert_eq!(progress.next_index, 7);
    }

    #[test]
    fn late_answers_confirm_nothing_new() {
        let mut progress = Progress::new(0, NOW);
        progress.answered(CallId(5), NOW);
        progress.answered(CallId(3), 2 * NOW);
        assert_eq!((progress.last_answered, progress.heard_at), (CallId(5), 2 * NOW));
    }
}
