//! How a call is answered by another thread than the one that brought it.

use std::fmt;
use std::sync::Arc;

use labrt::channel::{self, Receiver, Sender};
use serde::Serialize;

use crate::RpcError;

type Answer = Result<Vec<u8>, RpcError>;

/// Where the answer of one call goes.
pub(crate) trait Destination: Send {
    /// Takes the answer.
    fn take(self: Box<Self>, answer: Answer) -> Unsent;
}

/// Answers one call, from any thread. Dropped without an answer, it tells the caller that none will
/// come ([`RpcError::Lost`]).
pub struct Responder(Box<dyn Destination>);

impl Responder {
    pub(crate) fn new(to: impl Destination + 'static) -> Self {
        Self(Box::new(to))
    }

    /// A responder for a call that comes from nowhere, and where its answer arrives.
    pub fn channel() -> (Self, Receiver<Result<Vec<u8>, RpcError>>) {
        let (caller, answer) = channel::bounded(1);
        (Self::new(caller), answer)
    }

    /// The call's reply.
    pub fn reply(self, reply: &impl Serialize) -> Unsent {
        self.answer(labgob::encode(reply).map_err(RpcError::from))
    }

    /// The call is not carried out.
    pub fn refuse(self, error: RpcError) -> Unsent {
        self.answer(Err(error))
    }

    pub(crate) fn answer(self, answer: Answer) -> Unsent {
        self.0.take(answer)
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder { .. }")
    }
}

impl Destination for Sender<Answer> {
    fn take(self: Box<Self>, answer: Answer) -> Unsent {
        // There is room for the one answer, and a caller that is gone needs none.
        let _ = self.try_send(answer);
        Unsent(None)
    }
}

/// An answer that leaves when this is dropped, if it has not left by then. So whoever answers many
/// calls at a time sends those of one caller together.
#[must_use = "dropped at once, the answer leaves by itself"]
pub struct Unsent(pub(crate) Option<Arc<dyn Flush>>);

/// Whoever has answers that have not left.
pub(crate) trait Flush: Send + Sync {
    fn send_waiting(self: Arc<Self>);
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(waiting) = self.0.take() {
            waiting.send_waiting();
        }
    }
}

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Unsent(waits)" } else { "Unsent(left)" })
    }
}

/// The thread that brings a call to its service, and others to this and other services.
pub struct ServingThread<'a>(Option<&'a dyn Serving>);

/// What a thread serves beside the call that it has just brought.
pub(crate) trait Serving {
    /// Another thread is to serve that from now on.
    fn leave_to_others(&self);

    /// An answer that may leave together with those that follow.
    fn keep(&self, answer: Unsent);
}

impl<'a> ServingThread<'a> {
    pub(crate) fn of(serving: &'a dyn Serving) -> Self {
        Self(Some(serving))
    }

    /// A thread that serves nothing else.
    pub fn unshared() -> Self {
        Self(None)
    }

    /// The thread is going to block: whatever else it has to serve is left to another. (That takes
    /// some microseconds, which a call that does not block is spared.)
    pub fn will_block(&self) {
        if let Some(serving) = self.0 {
            serving.leave_to_others();
        }
    }

    pub(crate) fn keep(&self, answer: Unsent) {
        if let Some(serving) = self.0 {
            serving.keep(answer);
        }
    }
}

impl fmt::Debug for ServingThread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServingThread { .. }")
    }
}
