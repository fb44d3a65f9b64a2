//! The replicated state: the machine, the sessions, and how far in the log they are.

use contract::Index;
use labgob::{DecodeError, Decoder};

use crate::entry::{OUR_OWN, Operation};
use crate::machine::StateMachine;
use crate::sessions::{Outcome, RequestId, Sessions, Stored};

/// One server's copy of the replicated state. Nothing in here waits, sends or draws anything: all
/// servers that have applied the same entries have the same one.
pub(crate) struct Replica<S: StateMachine> {
    machine: S,
    sessions: Sessions<S::Response>,
    /// The last entry applied.
    applied: Index,
}

impl<S: StateMachine> Replica<S> {
    pub(crate) fn new() -> Self {
        Self { machine: S::default(), sessions: Sessions::default(), applied: 0 }
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    /// The entry at `index` is about to be applied, or has nothing to be applied.
    pub(crate) fn advance(&mut self, index: Index) {
        let next = self.applied + 1;
        assert!(index == next, "entry {next} is the next to be applied, but Raft says {index}");
        self.applied = index;
    }

    pub(crate) fn apply(&mut self, operation: Operation<S::Command>) -> Outcome<S::Response> {
        match operation {
            Operation::Open { max_sessions } => Outcome::Opened(self.sessions.open(max_sessions)),
            Operation::Command { id, command } => {
                self.sessions.execute(id, || self.machine.apply(command))
            }
            Operation::Close(session) => {
                self.sessions.close(session);
                Outcome::Closed
            }
        }
    }

    /// See [`Sessions::recall`].
    pub(crate) fn recall(&self, id: RequestId) -> Option<Outcome<S::Response>> {
        self.sessions.recall(id)
    }

    pub(crate) fn query(&self, query: &S::Query) -> S::Answer {
        self.machine.query(query)
    }

    /// All of it, as bytes.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let all = (self.applied, self.sessions.to_stored(), &self.machine);
        labgob::encode(&all).expect("a state machine can be encoded: its type derives that")
    }

    /// # Errors
    /// If these bytes are not a [`snapshot`](Self::snapshot).
    pub(crate) fn restore(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::with_limits(bytes, &OUR_OWN);
        let applied = decoder.decode()?;
        let sessions = decoder.decode::<(u64, Vec<Stored<S::Response>>)>()?;
        let machine = decoder.decode()?;
        decoder.finish()?;
        Ok(Self { machine, sessions: Sessions::from_stored(sessions), applied })
    }
}
