//! What goes into a step of the core, and what comes out of it.

use std::time::Duration;

use super::log::Index;
use super::message::{Reply, Request, ServerId, Term};
use super::persistent::Update;

/// When a step happens, and a random number drawn for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time since an arbitrary zero of this server's own. It never goes back.
    pub now: Duration,
    /// A fresh draw, uniform over all of `u32`: the election time-out as a fraction of its range,
    /// should this step need a new one. 0 is the shortest, `u32::MAX` all but the longest.
    pub jitter: u32,
}

/// One thing that happened. A lost RPC is no input at all: the next round is the retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time passed. Due at [`next_deadline`](super::Node::next_deadline); early and late ones do
    /// no harm. Time-outs strike at a tick and at no other input.
    Tick,
    /// Another server asks.
    Request {
        /// Who asks: always [`Request::sender`].
        from: ServerId,
        /// Comes back with the [`Effect::Answer`].
        id: RequestId,
        /// What it asks.
        request: Request,
    },
    /// Another server answered a [`Effect::Call`] of this incarnation.
    Reply {
        /// Who answers.
        from: ServerId,
        /// Which call is answered.
        call: CallId,
        /// What it asked: with it a late answer is told from a timely one.
        request: Request,
        /// The answer.
        reply: Reply,
    },
    /// This write of this incarnation, and every one issued before it, is durable.
    Persisted {
        /// The last of them.
        write: WriteId,
    },
}

impl Input {
    /// The term that the sender of a message is in, where one came and tells it.
    pub(super) fn term(&self) -> Option<Term> {
        match self {
            Self::Request { request, .. } => request.term(),
            Self::Reply { reply, .. } => Some(reply.term()),
            Self::Tick | Self::Persisted { .. } => None,
        }
    }

    /// The server that a message came from.
    pub(super) fn from(&self) -> Option<ServerId> {
        match self {
            Self::Request { from, .. } | Self::Reply { from, .. } => Some(*from),
            Self::Tick | Self::Persisted { .. } => None,
        }
    }
}

/// One thing to do. A step's effects are to be carried out in order, but none waits for the one
/// before it: a [`Persist`](Effect::Persist) may complete long after the messages behind it left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send the request; bring an answer, if one comes, as [`Input::Reply`].
    Call {
        /// The receiver.
        to: ServerId,
        /// Comes back with the [`Input::Reply`].
        call: CallId,
        /// What to ask.
        request: Request,
    },
    /// Answer the [`Input::Request`] of that id.
    Answer {
        /// Which one.
        id: RequestId,
        /// With what.
        reply: Reply,
    },
    /// Tell whoever asked for the id with [`Node::read_index`](super::Node::read_index) to read
    /// when all up to an index is applied.
    Read {
        /// Who asked.
        id: RequestId,
        /// Up to where; none if the server does not lead any more, or cannot make sure that it
        /// does.
        index: Option<Index>,
    },
    /// Tell whoever asked with
    /// [`Node::transfer_leadership`](super::Node::transfer_leadership) how it ended.
    Transfer {
        /// Who asked.
        id: RequestId,
        /// Whether the server has ceased to lead. If not, it has given up the transfer.
        ceased: bool,
    },
    /// Make the update durable, after all those before it, then say [`Input::Persisted`]. Several
    /// may go to the disk together, and then the report of the last one is enough.
    Persist {
        /// Counts up from 1 in each incarnation.
        write: WriteId,
        /// What changed.
        update: Update,
    },
}

/// A request to be answered, another server's or the service's: a token of the shell's, opaque to
/// the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A call to another server, numbered in the order of issue in this incarnation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A write, numbered in the order of issue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);
