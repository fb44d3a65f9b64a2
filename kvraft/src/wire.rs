//! What clients and servers say to each other.

use contract::ClerkError;
use serde::{Deserialize, Serialize};

use crate::machine::StateMachine;
use crate::sessions::{RequestId, SessionId};

/// The name of the RPC service.
pub(crate) const SERVICE: &str = "Replica";
/// The name of its one method.
pub(crate) const METHOD: &str = "ask";

/// A request has at most so many bytes. It goes into the log beside others, and the whole entry to
/// the followers beside others: all that has to stay below labgob's limit on a message, by far.
pub(crate) const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Whether servers take a request of this size. A client asks before it sends one, for an answer;
/// a server refuses what others send.
pub(crate) fn check_size(request: &impl Serialize) -> Result<(), ClerkError> {
    let max = REQUEST_BYTES_MAX;
    match labgob::encoded_size(request) {
        Ok(bytes) if bytes <= max => Ok(()),
        Ok(bytes) => Err(ClerkError::TooLarge { bytes, max }),
        // Larger than labgob counts.
        Err(_) => Err(ClerkError::TooLarge { bytes: usize::MAX, max }),
    }
}

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
