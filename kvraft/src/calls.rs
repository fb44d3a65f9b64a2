//! A client's calls, of which it can leave one that hangs, and turn to another server.
//!
//! A call may take as long as a server is paused, and cannot be taken back. Most are answered at
//! once, though, by the only server that was asked: so the client's own thread makes a call and
//! waits for it. When it turns elsewhere, another thread goes on waiting for the call that hangs.
//! From then on there may be news from any of the client's calls, and it knows them by their
//! number. News of a call that it does not wait for any more is still news, if the call is about
//! the same request: whichever copy of it is answered, the answer is the same.

use std::time::Duration;

use labrpc::{ClientEnd, Pending, RpcError};
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
    /// The last call, while the client's own thread waits for it.
    last: Option<Begun<S>>,
    /// How the others end.
    tell: Sender<News<S>>,
    news: Receiver<News<S>>,
}

/// A call under way.
struct Begun<S: StateMachine> {
    call: CallId,
    server: usize,
    reply: Pending<ReplyOf<S>>,
}

impl<S: StateMachine> Calls<S> {
    pub(crate) fn new(servers: Vec<ClientEnd>) -> Self {
        let (tell, news) = channel::unbounded();
        let open = vec![0; servers.len()];
        let callers = Pool::in_current_group("call");
        Self { servers, callers, calls: 0, open, last: None, tell, news }
    }

    /// The number that the next call will have.
    pub(crate) fn next_id(&self) -> CallId {
        self.calls + 1
    }

    /// Whether a server may be called: not too many calls hang there.
    pub(crate) fn may_call(&self, server: usize) -> bool {
        self.open[server] < HANGING_MAX
    }

    pub(crate) fn call(&mut self, server: usize, request: &RequestOf<S>) -> CallId {
        self.leave_last();
        self.calls += 1;
        self.open[server] += 1;
        let (call, reply) = (self.calls, self.servers[server].start(SERVICE, METHOD, request));
        self.last = Some(Begun { call, server, reply });
        call
    }

    /// Waits for news of any call; none within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<News<S>> {
        let is_alone = self.open.iter().sum::<usize>() == 1;
        let news = match &mut self.last {
            Some(Begun { call, server, reply }) if is_alone => {
                let reply = reply.wait_for(limit)?;
                let (call, server) = (*call, *server);
                self.last = None;
                News { call, server, reply }
            }
            _ => {
                self.leave_last();
                // This end holds a sender itself, so only the time can run out.
                self.news.recv_timeout(limit).ok()?
            }
        };
        self.open[news.server] -= 1;
        Some(news)
    }

    /// Leaves the last call to a thread of its own.
    fn leave_last(&mut self) {
        let Some(Begun { call, server, reply }) = self.last.take() else { return };
        let tell = self.tell.clone();
        self.callers.run(move || {
            // A client that is gone needs no news.
            let _ = tell.send(News { call, server, reply: reply.wait() });
        });
    }
}

impl<S: StateMachine> Drop for Calls<S> {
    fn drop(&mut self) {
        self.callers.close();
    }
}
