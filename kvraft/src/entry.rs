//! What the log holds: batches of operations, each with the mark of who proposed it.

use labgob::{DecodeError, Decoder, Limits};
use serde::{Deserialize, Serialize};

use crate::machine::Message;
use crate::sessions::{RequestId, SessionId};

/// Tells one proposal of a server from all its others, those of its earlier incarnations included.
pub(crate) type Tag = u64;

/// What is applied, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Operation<C> {
    /// Opens a session; then there are at most so many. The limit travels with the entry, so that
    /// all servers agree even while their configurations differ.
    Open { max_sessions: u32 },
    /// Carries out a command, unless that was done.
    Command { id: RequestId, command: C },
    /// Forgets a session.
    Close(SessionId),
}

/// An entry of the log. Its operations may be none: then it is there for reads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<C> {
    /// Who proposed it.
    pub(crate) server: usize,
    pub(crate) tag: Tag,
    pub(crate) operations: Vec<Operation<C>>,
}

/// An entry's encoding before there are operations in it: those follow, one after the other.
pub(crate) fn begin(server: usize, tag: Tag) -> Vec<u8> {
    labgob::encode(&(server, tag)).expect("numbers can be encoded")
}

/// What is encoded here came out of an encoding, that of a client's request.
pub(crate) fn encode<C: Message>(operation: &Operation<C>) -> Vec<u8> {
    labgob::encode(operation).expect("what was decoded can be encoded")
}

/// The limits of what this service has itself encoded and stored. Each part of it was within the
/// network's limits when it came; all parts together need not be.
pub(crate) const OUR_OWN: Limits = Limits {
    max_bytes: usize::MAX,
    max_depth: Limits::DEFAULT.max_depth + 8,
    max_empty_elements: 1 << 24,
};

impl<C: Message> Entry<C> {
    /// # Errors
    /// If this is not what a server of this service proposes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::with_limits(bytes, &OUR_OWN);
        let (server, tag) = decoder.decode()?;
        let mut operations = Vec::new();
        while decoder.remaining() > 0 {
            operations.push(decoder.decode()?);
        }
        Ok(Self { server, tag, operations })
    }
}
