//! A client's calls: each on a thread of its own, so that the client can turn to another server
//! while one of them hangs.
//!
//! A call may take as long as a server is paused, and cannot be taken back. So the client waits
//! for news from any of its calls, and knows them by their number. News of a call that it does not
//! wait for any more is still news, if the call is about the same request: whichever copy of it is
//! answered, the answer is the same.

use std::sync::Arc;
use std::time::Duration;

use labrpc::{ClientEnd, RpcError};
use labrt::channel::{self, Receiver, Sender};
use labrt::pool::Pool;

use crate::machine::StateMachine;
use crate::wire::{METHOD, ReplyOf, RequestOf, SERVICE};

/// How many calls may hang at one server before no more are made: enough for a server that answers
/// again to be noticed within the seconds that a call takes to fail.
const HANGING_MAX: usize = 16;

/// Numbers the calls of a client.
pub(crate) type CallId = u64;

/// How a call ended.
pub(crate) struct News<S: StateMachine> {
    pub(crate) call: CallId,
    pub(crate) server: usize,
    pub(crate) reply: Result<ReplyOf<S>, RpcError>,
}

/// The calls of a client.
pub(crate) struct Calls<S: StateMachine> {
    servers: Vec<ClientEnd>,
    callers: Pool,
    calls: CallId,
    /// How many calls there are at each server.
    open: Vec<usize>,
    tell: Sender<News<S>>,
    news: Receiver<News<S>>,
}

impl<S: StateMachine> Calls<S> {
    pub(crate) fn new(servers: Vec<ClientEnd>) -> Self {
        let (tell, news) = channel::unbounded();
        let open = vec![0; servers.len()];
        let callers = Pool::in_current_group("call");
        Self { servers, callers, calls: 0, open, tell, news }
    }

    /// The number that the next call will have.
    pub(crate) fn next_id(&self) -> CallId {
        self.calls + 1
    }

    /// Whether a server may be called: not too many calls hang there.
    pub(crate) fn may_call(&self, server: usize) -> bool {
        self.open[server] < HANGING_MAX
    }

    pub(crate) fn call(&mut self, server: usize, request: &Arc<RequestOf<S>>) -> CallId {
        self.calls += 1;
        self.open[server] += 1;
        let call = self.calls;
        let (end, request, tell) =
            (self.servers[server].clone(), Arc::clone(request), self.tell.clone());
        self.callers.run(move || {
            let reply = end.call(SERVICE, METHOD, &*request);
            // A client that is gone needs no news.
            let _ = tell.send(News { call, server, reply });
        });
        call
    }

    /// Waits for news of any call; none within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<News<S>> {
        // This end holds a sender itself, so only the time can run out.
        let news = self.news.recv_timeout(limit).ok()?;
        self.open[news.server] -= 1;
        Some(news)
    }
}

impl<S: StateMachine> Drop for Calls<S> {
    fn drop(&mut self) {
        self.callers.close();
    }
}
