//! What a leader knows of one server's log: `nextIndex` and `matchIndex` of Figure 2.

use super::log::Index;
use super::step::CallId;

/// How far a server's log agrees with the leader's, and what it was sent last.
///
/// There is one chain of AppendEntries to each server: the next leaves when the last is answered,
/// or when a heartbeat is due, which then takes the chain over. An answer to any other call may
/// tell something new, but it starts no second chain.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// The next entry to send.
    pub(super) next_index: Index,
    /// The last entry that is known to be durable there, as all those before it.
    pub(super) match_index: Index,
    in_flight: Option<CallId>,
}

impl Progress {
    /// At the leader's election: the best guess, which costs nothing if it is right.
    pub(super) fn new(last_log_index: Index) -> Self {
        Self { next_index: last_log_index + 1, match_index: 0, in_flight: None }
    }

    /// Whether nothing is under way, so that new entries may leave at once.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// This call is under way now, and takes the place of any before it.
    pub(super) fn sent(&mut self, call: CallId) {
        self.in_flight = Some(call);
    }

    /// A call was answered.
    pub(super) fn answered(&mut self, call: CallId) {
        if self.in_flight == Some(call) {
            self.in_flight = None;
        }
    }

    /// The log agrees with the leader's up to `index`. That never becomes untrue again in a term,
    /// so answers may come in any order.
    pub(super) fn accepted(&mut self, index: Index) {
        self.match_index = self.match_index.max(index);
        self.next_index = self.next_index.max(index + 1);
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
    fn a_leader_first_tries_the_end_of_its_own_log() {
        let progress = Progress::new(7);
        assert_eq!((progress.next_index, progress.match_index), (8, 0));
        assert!(progress.is_idle());
    }

    #[test]
    fn answers_in_any_order_lead_to_the_same_match() {
        let mut progress = Progress::new(0);
        progress.accepted(5);
        progress.accepted(3);
        assert_eq!((progress.next_index, progress.match_index), (6, 5));
    }

    #[test]
    fn only_the_last_call_is_under_way() {
        let mut progress = Progress::new(0);
        progress.sent(CallId(1));
        progress.sent(CallId(2));
        progress.answered(CallId(1));
        assert!(!progress.is_idle());
        progress.answered(CallId(2));
        assert!(progress.is_idle());
    }

    #[test]
    fn a_rejection_is_believed_once() {
        let mut progress = Progress::new(9);
        assert!(progress.believes_rejection(9));
        progress.back_up(4);
        assert_eq!(progress.next_index, 4);
        assert!(!progress.believes_rejection(9));
    }

    #[test]
    fn a_rejection_of_what_is_known_to_agree_is_stale() {
        let mut progress = Progress::new(9);
        progress.accepted(9);
        assert!(!progress.believes_rejection(9));
        assert!(!progress.believes_rejection(4));
    }

    #[test]
    fn backing_up_makes_progress_and_stops_at_the_match() {
        let mut progress = Progress::new(9);
        progress.back_up(20);
        assert_eq!(progress.next_index, 9);
        progress.match_index = 6;
        progress.back_up(2);
        assert_eq!(progress.next_index, 7);
    }
}
