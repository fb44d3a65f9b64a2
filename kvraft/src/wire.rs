//! What clients and servers say to each other.

use serde::{Deserialize, Serialize};

use crate::machine::StateMachine;
use crate::sessions::{RequestId, SessionId};

/// The name of the RPC service.
pub(crate) const SERVICE: &str = "Replica";
/// The name of its one method.
pub(crate) const METHOD: &str = "ask";

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request<C, Q> {
    /// A session.
    Open,
    /// To carry out a command, unless it has been carried out.
    Command { id: RequestId, command: C },
    /// To answer a query from a state that shows all that was acknowledged before.
    Query(Q),
    /// To forget a session.
    Close(SessionId),
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply<R, A> {
    /// The session is open.
    Opened(SessionId),
    /// The command was carried out, now or at an earlier attempt.
    Done(R),
    /// The query's answer.
    Answer(A),
    /// The session is closed.
    Closed,
    /// There is no such session any more.
    SessionEnded,
    /// This server, number `server`, cannot tell; it takes server `leader` for the leader. Whether
    /// a command will be carried out is open.
    NotHere { server: usize, leader: Option<usize> },
}

pub(crate) type RequestOf<S> = Request<<S as StateMachine>::Command, <S as StateMachine>::Query>;

pub(crate) type ReplyOf<S> = Reply<<S as StateMachine>::Response, <S as StateMachine>::Answer>;

impl<C, Q> Request<C, Q> {
    /// Whether a reply can be an answer to this request. A server that mixes them up is treated as
    /// one that does not answer.
    pub(crate) fn can_have<R, A>(&self, reply: &Reply<R, A>) -> bool {
        matches!(
            (self, reply),
            (_, Reply::NotHere { .. })
                | (Self::Open, Reply::Opened(_))
                | (Self::Command { .. }, Reply::Done(_) | Reply::SessionEnded)
                | (Self::Query(_), Reply::Answer(_))
                | (Self::Close(_), Reply::Closed | Reply::SessionEnded)
        )
    }
}
