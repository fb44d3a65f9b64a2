//! Requests that wait, and what is answered.

use labrpc::{Responder, Unsent};

use crate::machine::StateMachine;
use crate::wire::ReplyOf;

/// Counts the watcher's looks: a clock that costs nothing to read.
pub(crate) type Tick = u64;

/// A request that waits for its one reply.
pub(crate) struct Waiter {
    pub(crate) to: Responder,
    pub(crate) since: Tick,
}

/// A request that waits for the answer to a query.
pub(crate) struct Reader<S: StateMachine> {
    pub(crate) query: S::Query,
    pub(crate) waiter: Waiter,
}

/// Replies that are sent once the lock is released.
pub(crate) struct Outbox<S: StateMachine>(Vec<(Responder, ReplyOf<S>)>);

impl<S: StateMachine> Outbox<S> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn put(&mut self, waiter: Waiter, reply: ReplyOf<S>) {
        self.0.push((waiter.to, reply));
    }

    /// Those to one client leave together. A client that is gone needs none.
    pub(crate) fn send(self) {
        let sent = self.0.into_iter().map(|(to, reply)| to.reply(&reply));
        drop::<Vec<Unsent>>(sent.collect());
    }
}
