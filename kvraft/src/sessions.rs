//! Sessions: how a command that is sent again is carried out once (paper, section 8; dissertation,
//! 6.3).
//!
//! A client that gets no answer sends its command again, perhaps to another server, and cannot know
//! whether the first copy was carried out. So a command carries an identity, the client's session
//! and a number that counts the session's commands, and the state machine keeps, for each session,
//! the number and the response of its last command. A copy of that one is answered from here; a
//! copy of an earlier one has nobody who waits for it, since a client sends a command only when it
//! has the last one's response.
//!
//! All of this is part of the replicated state. Every server has the same table at the same index
//! of the log, and it travels in snapshots; otherwise a copy that comes after a snapshot would be
//! carried out again.
//!
//! The table must not grow for ever, and it cannot know which clients are gone. So it is bounded:
//! when there are too many sessions, the one that was not used for the longest time ends, "time"
//! being the order of the log. A session's id is its number among all that were ever opened. So an
//! id up to the last one given that is not in the table is that of a session which has *ended*:
//! its commands are refused. Taken for a new client's, an old copy would be carried out again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A session: its number among all that were ever opened, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SessionId(pub(crate) u64);

/// A command's identity, the same at every attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestId {
    pub(crate) session: SessionId,
    /// Counts the session's commands, from 1.
    pub(crate) sequence: u64,
}

/// What the log makes of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<R> {
    Opened(SessionId),
    /// The command's response, whenever it was carried out.
    Done(R),
    Closed,
    /// There is no such session any more.
    Ended,
    /// The session has gone on to a later command: nobody waits for this one.
    Superseded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session<R> {
    /// Of the last command; 0 before the first.
    sequence: u64,
    response: Option<R>,
    /// The table's count of uses at the last use.
    used: u64,
}

/// All sessions, the same on all servers at the same place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sessions<R> {
    open: BTreeMap<SessionId, Session<R>>,
    /// How many were ever opened: the last id given.
    opened: u64,
    /// How often any was used.
    uses: u64,
}

/// A session as a snapshot has it. Its last use is told by its place: they stand in that order.
pub(crate) type Stored<R> = (SessionId, u64, Option<R>);

impl<R> Default for Sessions<R> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), opened: 0, uses: 0 }
    }
}

impl<R: Clone> Sessions<R> {
    /// Opens a session, and ends the least recently used ones beyond `max`.
    pub(crate) fn open(&mut self, max: u32) -> SessionId {
        self.opened += 1;
        self.uses += 1;
        let id = SessionId(self.opened);
        self.open.insert(id, Session { sequence: 0, response: None, used: self.uses });
        while self.open.len() > max.max(1) as usize {
            self.end_least_recently_used();
        }
        id
    }

    /// Looks at all: but only a table that is full does, once for each new client.
    fn end_least_recently_used(&mut self) {
        let oldest = self.open.iter().min_by_key(|(_, session)| session.used);
        if let Some(id) = oldest.map(|(&id, _)| id) {
            self.open.remove(&id);
        }
    }

    pub(crate) fn close(&mut self, id: SessionId) {
        self.open.remove(&id);
    }

    /// What is known of a command without carrying it out: none if it would have to be, or if the
    /// session is one that this server has not heard of yet.
    pub(crate) fn recall(&self, id: RequestId) -> Option<Outcome<R>> {
        match self.open.get(&id.session) {
            Some(session) if session.sequence < id.sequence => None,
            Some(session) if session.sequence > id.sequence => Some(Outcome::Superseded),
            Some(session) => session.response.clone().map(Outcome::Done),
            None => (id.session.0 <= self.opened).then_some(Outcome::Ended),
        }
    }

    /// Has `carry_out` run if the command is new, and notes that.
    pub(crate) fn execute(&mut self, id: RequestId, carry_out: impl FnOnce() -> R) -> Outcome<R> {
        self.uses += 1;
        if let Some(session) = self.open.get_mut(&id.session) {
            session.used = self.uses;
        }
        if let Some(known) = self.recall(id) {
            return known;
        }
        // An id that was never given belongs to no client of this service.
        let Some(session) = self.open.get_mut(&id.session) else { return Outcome::Ended };
        let response = carry_out();
        session.sequence = id.sequence;
        session.response = Some(response.clone());
        Outcome::Done(response)
    }

    /// For a snapshot: how many were ever opened, and those that are open, the least recently used
    /// first.
    pub(crate) fn to_stored(&self) -> (u64, Vec<Stored<&R>>) {
        let mut sessions: Vec<_> = self.open.iter().collect();
        sessions.sort_by_key(|(_, session)| session.used);
        let stored = sessions
            .into_iter()
            .map(|(&id, session)| (id, session.sequence, session.response.as_ref()));
        (self.opened, stored.collect())
    }

    /// From a snapshot.
    pub(crate) fn from_stored((opened, stored): (u64, Vec<Stored<R>>)) -> Self {
        let uses = stored.len() as u64;
        let sessions = stored.into_iter().zip(1..);
        let open = sessions
            .map(|((id, sequence, response), used)| (id, Session { sequence, response, used }));
        Self { open: open.collect(), opened, uses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(session: SessionId, sequence: u64) -> RequestId {
        RequestId { session, sequence }
    }

    /// Carries out a command whose response is `response`; tells whether it was carried out.
    fn execute(sessions: &mut Sessions<u64>, id: RequestId, response: u64) -> (Outcome<u64>, bool) {
        let mut ran = false;
        let outcome = sessions.execute(id, || {
            ran = true;
            response
        });
        (outcome, ran)
    }

    #[test]
    fn a_command_is_carried_out_once_and_answered_each_time() {
        let mut sessions = Sessions::default();
        let me = sessions.open(10);
        assert_eq!(execute(&mut sessions, id(me, 1), 7), (Outcome::Done(7), true));
        assert_eq!(execute(&mut sessions, id(me, 1), 8), (Outcome::Done(7), false));
        assert_eq!(execute(&mut sessions, id(me, 2), 9), (Outcome::Done(9), true));
        assert_eq!(execute(&mut sessions, id(me, 1), 7), (Outcome::Superseded, false));
    }

    #[test]
    fn a_late_copy_of_an_ended_session_is_refused() {
        let mut sessions = Sessions::default();
        let closed = sessions.open(10);
        execute(&mut sessions, id(closed, 1), 7);
        sessions.close(closed);
        assert_eq!(execute(&mut sessions, id(closed, 1), 7), (Outcome::Ended, false));
        assert_eq!(sessions.recall(id(closed, 2)), Some(Outcome::Ended));
        let next = sessions.open(10);
        assert_ne!(next, closed, "an id is never given twice");
    }

    /// A server that lags has not heard of it. In the log it can only be garbage.
    #[test]
    fn an_id_that_is_not_given_yet_is_called_ended_by_the_log_alone() {
        let mut sessions = Sessions::default();
        let next = SessionId(sessions.open(10).0 + 1);
        assert_eq!(sessions.recall(id(next, 1)), None);
        assert_eq!(execute(&mut sessions, id(next, 1), 7), (Outcome::Ended, false));
        assert_eq!(sessions.open(10), next);
        assert_eq!(sessions.recall(id(next, 1)), None);
    }

    #[test]
    fn the_session_that_was_not_used_for_longest_ends_first() {
        let mut sessions = Sessions::default();
        let [a, b, c] = [(); 3].map(|()| sessions.open(3));
        execute(&mut sessions, id(a, 1), 0);
        let d = sessions.open(3);
        assert_eq!(sessions.recall(id(b, 1)), Some(Outcome::Ended));
        // A copy is a use too.
        execute(&mut sessions, id(c, 1), 0);
        execute(&mut sessions, id(a, 1), 0);
        sessions.open(3);
        assert_eq!(sessions.recall(id(d, 1)), Some(Outcome::Ended));
        assert_eq!(sessions.recall(id(a, 1)), Some(Outcome::Done(0)));
        sessions.open(1);
        assert_eq!(sessions.open.len(), 1, "a lower limit holds at once");
    }

    /// Two servers, one restored from the other's snapshot, go on alike: they end the same
    /// sessions.
    #[test]
    fn a_restored_table_goes_on_as_the_one_it_was_taken_from() {
        let mut original = Sessions::default();
        let ids = [(); 4].map(|()| original.open(4));
        for (session, sequence) in [(1, 1), (0, 1), (3, 1), (0, 2)] {
            execute(&mut original, id(ids[session], sequence), sequence);
        }
        let bytes = labgob::encode(&original.to_stored()).expect("numbers can be encoded");
        let stored = labgob::decode(&bytes).expect("it was encoded here");
        let mut restored = Sessions::<u64>::from_stored(stored);
        for _ in 0..4 {
            assert_eq!(original.open(4), restored.open(4));
            assert!(original.open.keys().eq(restored.open.keys()), "the same ones ended");
            assert_eq!(original.recall(id(ids[0], 2)), restored.recall(id(ids[0], 2)));
        }
    }
}
