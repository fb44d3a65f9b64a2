//! Handlers that wait, and what they are told.

use labrt::channel::Sender;

use crate::machine::StateMachine;
use crate::wire::ReplyOf;

/// Counts the watcher's looks: a clock that costs nothing to read.
pub(crate) type Tick = u64;

/// Where a handler waits for its one reply. Dropped without one, it is told just that.
pub(crate) struct Waiter<S: StateMachine> {
    pub(crate) to: Sender<ReplyOf<S>>,
    pub(crate) since: Tick,
}

/// A handler that waits for the answer to a query.
pub(crate) struct Reader<S: StateMachine> {
    pub(crate) query: S::Query,
    pub(crate) waiter: Waiter<S>,
}

/// Replies that are sent once the lock is released.
pub(crate) struct Outbox<S: StateMachine>(Vec<(Sender<ReplyOf<S>>, ReplyOf<S>)>);

impl<S: StateMachine> Outbox<S> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn put(&mut self, waiter: Waiter<S>, reply: ReplyOf<S>) {
        self.0.push((waiter.to, reply));
    }

    /// A handler has room for its one reply, so this does not block; and one that is gone, with its
    /// server, needs none.
    pub(crate) fn send(self) {
        for (to, reply) in self.0 {
            let _ = to.try_send(reply);
        }
    }
}
