//! The client: it has a request carried out exactly once, whatever becomes of the servers.

use std::fmt;
use std::time::Duration;

use contract::ClerkError;
use labrpc::{ClientEnd, RpcError};
use labrt::random::{self, RngExt};
use labrt::time::Instant;

use crate::calls::{CallId, Calls, News};
use crate::machine::StateMachine;
use crate::patience::Patience;
use crate::search::{Search, Step};
use crate::sessions::{RequestId, SessionId};
use crate::wire::{self, Reply, ReplyOf, Request, RequestOf};

/// How often a client that goes asks all servers to forget its session. If none is there, the
/// session ends when others need the room.
const CLOSING_TURNS: u32 = 2;

/// A client of a replicated state machine: one request at a time, each retried until a server has
/// answered it.
pub struct Client<S: StateMachine> {
    calls: Calls<S>,
    search: Search,
    patience: Patience,
    /// None before the first command, and after a session has ended.
    session: Option<OpenSession>,
}

struct OpenSession {
    id: SessionId,
    /// Of the last command.
    sequence: u64,
}

/// What came of waiting.
enum Heard<R> {
    /// The request has an answer.
    Answer(R),
    /// The server that was asked has none, and the search knows.
    Nothing,
}

impl<S: StateMachine> Client<S> {
    /// A client that calls server `i` from `servers[i]`; returns at once. These numbers need not be
    /// those by which the servers know themselves.
    ///
    /// # Panics
    /// If there are no servers: nobody would ever answer.
    pub fn new(servers: Vec<ClientEnd>) -> Self {
        assert!(!servers.is_empty(), "a client needs servers to ask");
        let search = Search::new(servers.len());
        Self { calls: Calls::new(servers), search, patience: Patience::new(), session: None }
    }

    /// Has a command carried out, exactly once, and gives its response. Blocks until then.
    ///
    /// # Errors
    /// [`ClerkError::SessionEnded`] if the servers keep nothing about this client any more: then
    /// the command was carried out once or not at all, and the next one begins a session anew.
    /// [`ClerkError::TooLarge`] if no server would take it.
    pub fn execute(&mut self, command: S::Command) -> Result<S::Response, ClerkError> {
        let id = self.next_id();
        match self.ask(&Request::Command { id, command })? {
            Reply::Done(response) => Ok(response),
            Reply::SessionEnded => {
                self.session = None;
                Err(ClerkError::SessionEnded)
            }
            _ => unreachable!("replies of other kinds do not count as answers to a command"),
        }
    }

    /// Answers a query from a state that shows all that was acknowledged before this call, to any
    /// client. Blocks until a server has one. No session is needed: a query that is answered twice
    /// does no harm.
    ///
    /// # Errors
    /// [`ClerkError::TooLarge`] if no server would take the query.
    pub fn query(&mut self, query: S::Query) -> Result<S::Answer, ClerkError> {
        match self.ask(&Request::Query(query))? {
            Reply::Answer(answer) => Ok(answer),
            _ => unreachable!("replies of other kinds do not count as answers to a query"),
        }
    }

    /// The client goes: the servers may forget it. That is tried for a moment, and not for ever.
    pub fn close(mut self) {
        if let Some(session) = self.session.take() {
            // Nobody is left to hear that it was in vain.
            let _ = self.ask_for(&Request::Close(session.id), CLOSING_TURNS);
        }
    }

    /// The identity of the next command; opens a session if there is none.
    fn next_id(&mut self) -> RequestId {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open(),
        };
        session.sequence += 1;
        let id = RequestId { session: session.id, sequence: session.sequence };
        self.session = Some(session);
        id
    }

    /// Should an attempt's answer be lost, the next one opens another session, and the first is
    /// never used: it ends when others need the room.
    fn open(&mut self) -> OpenSession {
        match self.ask(&Request::Open) {
            Ok(Reply::Opened(id)) => OpenSession { id, sequence: 0 },
            _ => unreachable!("replies of other kinds do not count as answers to an opening"),
        }
    }

    fn ask(&mut self, request: &RequestOf<S>) -> Result<ReplyOf<S>, ClerkError> {
        let reply = self.ask_for(request, u32::MAX)?;
        Ok(reply.expect("nobody lives to see the last of so many turns"))
    }

    /// Asks one server after the other, for at most so many turns.
    fn ask_for(
        &mut self,
        request: &RequestOf<S>,
        turns: u32,
    ) -> Result<Option<ReplyOf<S>>, ClerkError> {
        wire::check_size(request)?;
        let first_call = self.calls.next_id();
        let mut turns_left = turns;
        while turns_left > 0 {
            let (asked, limit) = match self.search.next(|server| self.calls.may_call(server)) {
                Step::Ask(server) => {
                    let call = self.calls.call(server, request);
                    (Some((call, server)), self.patience.limit())
                }
                Step::Try(server) => {
                    self.calls.call(server, request);
                    continue;
                }
                Step::Pause(pause) => {
                    turns_left -= 1;
                    (None, jittered(pause))
                }
            };
            if let Heard::Answer(reply) = self.listen(request, first_call, asked, limit) {
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// Waits for the server that was asked, or for a pause's time, and takes an answer from
    /// whichever call about this request has one: those from `first_call` on.
    fn listen(
        &mut self,
        request: &RequestOf<S>,
        first_call: CallId,
        asked: Option<(CallId, usize)>,
        limit: Duration,
    ) -> Heard<ReplyOf<S>> {
        let began = Instant::now();
        let mut left = limit;
        while let Some(News { call, server, reply }) = self.calls.wait(left) {
            let is_awaited = asked.is_some_and(|(awaited, _)| awaited == call);
            let is_about_this = call >= first_call;
            match reply {
                Ok(Reply::NotHere { server: number, leader }) if is_awaited => {
                    self.search.refused(server, number, leader);
                    return Heard::Nothing;
                }
                Ok(reply) if is_about_this && is_answer(request, &reply) => {
                    self.search.found(server);
                    if is_awaited {
                        self.patience.answered(began.elapsed());
                    }
                    return Heard::Answer(reply);
                }
                Err(RpcError::Lost) if is_awaited => {
                    self.search.lost(server);
                    return Heard::Nothing;
                }
                // A reply that makes no sense is none.
                reply if is_awaited => {
                    if let Err(error) = reply {
                        log::warn!(target: "client", "server {server}, as its ends count: {error}");
                    }
                    self.search.silent(server);
                    return Heard::Nothing;
                }
                // It is about an earlier request, or says no more than that its server is not the
                // one: the search has gone on from there.
                reply => {
                    if reply.is_ok() {
                        self.search.heard(server);
                    }
                    left = limit.saturating_sub(began.elapsed());
                }
            }
        }
        if let Some((_, server)) = asked {
            self.patience.exceeded();
            self.search.silent(server);
        }
        Heard::Nothing
    }
}

/// Whether a reply ends the search.
fn is_answer<C, Q, R, A>(request: &Request<C, Q>, reply: &Reply<R, A>) -> bool {
    !matches!(reply, Reply::NotHere { .. }) && request.can_have(reply)
}

/// Between half of it and all of it, so that clients that were refused together do not come back
/// together.
fn jittered(pause: Duration) -> Duration {
    let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random::rng().random_range(nanos / 2..=nanos))
}

impl<S: StateMachine> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.session {
            Some(OpenSession { id, sequence }) => {
                write!(f, "Client(session {}, {sequence} commands)", id.0)
            }
            None => f.write_str("Client(no session)"),
        }
    }
}
