//! The calls that one connection brings to a server: who runs them, and who sends the answers.
//!
//! A read may bring one call or a hundred. To wake a thread for each would cost more than most
//! handlers do; to have one thread run them all would let a handler that blocks, on a disk or on
//! another server, hold up those behind it. So:
//!
//! * One thread of the pool takes the calls one after the other. Before it begins with one while
//!   others wait, it sees to it that a *successor* is on its way: another thread that will take
//!   from the same queue. So no call waits for a handler, but for a thread to wake up. A successor
//!   that comes when all is done goes to sleep again.
//! * An answer is left in the connection's buffer while the next call is taken, and the last one
//!   writes them all. Should a handler block meanwhile, the successor writes them: it is on its
//!   way whenever something is left there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use labrt::group::Group;
use labrt::pool::Pool;
use labrt::sync::Shared;
use labrt::thread;

use super::GLANCES;
use super::connection::{Connection, NotTaken, Reason, Receiver};
use super::frame::{Frame, Kind, Refusal, Request};
use crate::RpcError;
use crate::service::Handler;

/// Answers that came to so much are written, whoever else is still at work.
const FLUSH_BYTES: usize = 64 * 1024;

/// So many answers are written, that the caller is busy while the next ones are made.
const FLUSH_ANSWERS: usize = 32;

/// What a server offers, and with whose threads.
pub(super) struct Offer {
    pub(super) group: Group,
    pub(super) handler: Box<dyn Handler>,
    pub(super) pool: Pool,
}

/// The calls of one connection.
pub(super) struct Handlers {
    offer: Arc<Offer>,
    connection: Arc<Connection>,
    queue: Shared<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Calls that wait or run.
    in_flight: usize,
    /// Whether a thread has been called that has not come yet.
    successor_comes: bool,
}

/// A request that has arrived.
struct Job {
    call: u64,
    body: Vec<u8>,
}

impl Handlers {
    pub(super) fn new(offer: &Arc<Offer>, connection: &Arc<Connection>) -> Arc<Self> {
        let (offer, connection) = (Arc::clone(offer), Arc::clone(connection));
        Arc::new(Self { offer, connection, queue: Shared::default() })
    }

    /// Takes the calls that a read brought, and gives back those that are too many.
    fn add(self: &Arc<Self>, mut jobs: Vec<Job>) -> Vec<Job> {
        let limit = self.connection.limits().calls_in_flight;
        let (call_successor, excess) = self.queue.with(|queue| {
            let room = limit.saturating_sub(queue.in_flight).min(jobs.len());
            let excess = jobs.split_off(room);
            queue.in_flight += room;
            queue.waiting.extend(jobs);
            (queue.needs_successor(false), excess)
        });
        if call_successor {
            self.call_successor();
        }
        excess
    }

    fn call_successor(self: &Arc<Self>) {
        let successor = Arc::clone(self);
        self.offer.pool.run(move || successor.work());
    }

    /// Handles calls until none comes any more.
    fn work(self: Arc<Self>) {
        loop {
            self.queue.with(|queue| queue.successor_comes = false);
            self.connection.flush();
            self.handle_waiting();
            // Before the answers leave: the next call may follow them at once, and is to find a
            // thread that is awake.
            let lingers = self.queue.with(|queue| queue.needs_successor(true));
            self.connection.flush();
            if !lingers || !self.linger() {
                return;
            }
        }
    }

    /// Handles calls until none waits. The last answers are left to be written.
    fn handle_waiting(self: &Arc<Self>) {
        let mut left = 0;
        while let Some(job) = self.next(left > 0) {
            left += usize::from(self.handle(&job));
            if left == FLUSH_ANSWERS {
                self.connection.flush();
                left = 0;
            }
        }
    }

    /// Looks for further calls for a moment, as the successor that is on its way; whether there
    /// are any. To look costs less than to be woken.
    fn linger(self: &Arc<Self>) -> bool {
        for _ in 0..GLANCES {
            thread::yield_now();
            if self.queue.with(|queue| !queue.waiting.is_empty()) {
                return true;
            }
        }
        let stays = self.queue.with(|queue| {
            queue.successor_comes = !queue.waiting.is_empty();
            queue.successor_comes
        });
        if !stays {
            // Somebody may have left answers to the successor, and be in a handler by now.
            self.connection.flush();
        }
        stays
    }

    /// The next call. `left` says whether the caller leaves answers that nobody has written.
    fn next(self: &Arc<Self>, left: bool) -> Option<Job> {
        if self.connection.is_closed() {
            // Nobody would hear the answers.
            self.queue.with(|queue| queue.waiting.clear());
            return None;
        }
        let (job, call_successor) = self.queue.with(|queue| {
            let job = queue.waiting.pop_front();
            let left = left && job.is_some();
            (job, queue.needs_successor(left))
        });
        if call_successor {
            self.call_successor();
        }
        job
    }

    /// Runs the handler; whether its answer is left to be written.
    fn handle(&self, job: &Job) -> bool {
        let mut call = Unanswered { handlers: self, number: job.call, answered: false };
        match Request::decode(&job.body) {
            Ok(request) => call.answer(self.run(&request)),
            Err(error) => {
                self.connection.close(&Reason::BadBody(Kind::Request, error));
                false
            }
        }
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<u8>, RpcError> {
        let Request { service: name, method, args } = *request;
        let answer = self.offer.handler.handle(name, method, args);
        if let Some(error) = answer.as_ref().err().filter(|error| **error != RpcError::Lost) {
            let peer = self.connection.peer();
            log::error!(target: "rpc", "{name}.{method} from {peer}: {error}");
        }
        answer
    }

    /// Leaves an answer in the connection's buffer, unless the server has crashed meanwhile; the
    /// number of bytes that wait there.
    fn leave(&self, call: u64, answer: Result<Vec<u8>, RpcError>) -> usize {
        if !self.offer.group.is_alive() {
            self.connection.close(&Reason::Abandoned);
            return 0;
        }
        let limit = self.connection.limits().frame_bytes;
        match self.connection.leave(answer_frame(call, answer, limit)) {
            Ok(bytes) => bytes,
            Err(NotTaken::Closed) => 0,
            Err(NotTaken::Full) => {
                let limit = self.connection.limits().buffered_bytes;
                self.connection.close(&Reason::TooMuchUnread(limit));
                0
            }
        }
    }
}

impl Queue {
    /// Whether a thread must be called, which then is on its way.
    fn needs_successor(&mut self, left: bool) -> bool {
        let needed = !self.successor_comes && (left || !self.waiting.is_empty());
        self.successor_comes |= needed;
        needed
    }
}

fn answer_frame(call: u64, answer: Result<Vec<u8>, RpcError>, limit: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoded = match answer {
        Ok(reply) => Frame { kind: Kind::Reply, call, body: &reply }.encode(limit, &mut bytes),
        Err(error) => return error_frame(call, &error.into()),
    };
    match encoded {
        Ok(()) => bytes,
        Err(error) => error_frame(call, &Refusal::Unencodable(error.to_string())),
    }
}

fn error_frame(call: u64, refusal: &Refusal) -> Vec<u8> {
    let body = refusal.encode().expect("strings can be encoded");
    let mut bytes = Vec::new();
    let frame = Frame { kind: Kind::Error, call, body: &body };
    frame.encode(u32::MAX, &mut bytes).expect("an error's text is shorter than 4 GiB");
    bytes
}

/// A call that somebody waits for. If its handler panics, the caller learns at once that no answer
/// will come.
struct Unanswered<'a> {
    handlers: &'a Handlers,
    number: u64,
    answered: bool,
}

impl Unanswered<'_> {
    /// Whether the answer is left to be written.
    fn answer(&mut self, answer: Result<Vec<u8>, RpcError>) -> bool {
        self.answered = true;
        let bytes = self.handlers.leave(self.number, answer);
        if bytes >= FLUSH_BYTES {
            self.handlers.connection.flush();
        }
        (1..FLUSH_BYTES).contains(&bytes)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Self { handlers, number, answered } = *self;
        handlers.queue.with(|queue| queue.in_flight -= 1);
        if !answered {
            handlers.leave(number, Err(RpcError::Lost));
            handlers.connection.flush();
        }
    }
}

/// What a server's reader does.
pub(super) struct Requests {
    handlers: Arc<Handlers>,
    /// The calls of one read.
    batch: Vec<Job>,
}

impl Requests {
    pub(super) fn new(handlers: &Arc<Handlers>) -> Self {
        Self { handlers: Arc::clone(handlers), batch: Vec::new() }
    }
}

impl Receiver for Requests {
    fn take(&mut self, frame: Frame<'_>) -> Result<(), Reason> {
        match frame.kind {
            Kind::Request => self.batch.push(Job { call: frame.call, body: frame.body.to_vec() }),
            Kind::Ping => self.pong()?,
            Kind::Reply | Kind::Error | Kind::Pong => return Err(Reason::Unexpected(frame.kind)),
        }
        Ok(())
    }

    fn batch_ends(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let handlers = &self.handlers;
        let excess = handlers.add(std::mem::take(&mut self.batch));
        for job in &excess {
            handlers.leave(job.call, Err(RpcError::Lost));
        }
        if !excess.is_empty() {
            handlers.connection.flush();
        }
    }

    /// It is for the client to ask for signs of life.
    fn look_around(&mut self, _silence: Duration) -> bool {
        false
    }
}

impl Requests {
    fn pong(&self) -> Result<(), Reason> {
        let connection = &self.handlers.connection;
        let limit = connection.limits().buffered_bytes;
        match connection.send(super::bare_frame(Kind::Pong)) {
            Err(NotTaken::Full) => Err(Reason::TooMuchUnread(limit)),
            Ok(()) | Err(NotTaken::Closed) => Ok(()),
        }
    }
}
