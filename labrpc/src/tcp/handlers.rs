//! The calls that one connection brings to a server: who runs them, and who sends the answers.
//!
//! One thread at a time has the connection's [`Reader`]. What it reads it serves itself: to have
//! another thread woken for that would cost more than most calls do. So:
//!
//! * Before a call that may block is run, the thread sees to it that a *successor* is on its way:
//!   another thread that will take the next calls from the same queue, and read on when there are
//!   none. No call waits for one that blocks, but for a thread to wake up. When the call is done,
//!   the thread goes on with what is left, if anything, or back to the pool.
//! * A call of a [prompt](crate::Service::prompt) service runs without a successor.
//! * An answer is left in the connection's buffer while the next call is taken, and the last one
//!   writes them all. Should a call block meanwhile, the successor writes them: it is on its
//!   way whenever something is left there.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use labrt::group::Group;
use labrt::pool::Pool;
use labrt::sync::Shared;

use super::connection::{Connection, NotTaken, Reader, Reason, Receiver};
use super::frame::{Frame, Kind, Refusal, Request};
use super::server::Registered;
use crate::RpcError;
use crate::responder::{Destination, Flush, Responder, Serving, ServingThread, Unsent};
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
    /// The right to read on, unless a thread is reading.
    reading: Option<Reading>,
    /// Calls that are not answered.
    in_flight: usize,
    /// Whether a thread has been called that has not come yet.
    successor_comes: bool,
    /// Whether a call has been complained of.
    has_complained: bool,
}

/// A request that has arrived.
struct Job {
    call: u64,
    body: Vec<u8>,
}

/// Whoever has this reads the connection. However it is lost, the connection ends.
struct Reading {
    reader: Reader,
    registered: Registered,
}

/// What a thread finds to do.
enum Task {
    Serve(Job),
    Read(Reading),
}

impl Handlers {
    /// Serves the calls of a connection until that ends, or others do so.
    pub(super) fn serve(offer: &Arc<Offer>, connection: &Arc<Connection>, registered: Registered) {
        let reading = Reading { reader: Reader::new(connection), registered };
        let queue = Queue { reading: Some(reading), ..Queue::default() };
        let (offer, connection) = (Arc::clone(offer), Arc::clone(connection));
        Arc::new(Self { offer, connection, queue: Shared::new(queue) }).work();
    }

    /// Serves and reads for as long as no other thread does.
    fn work(self: Arc<Self>) {
        let worker = Worker { handlers: &self, kept: RefCell::default() };
        while let Some(task) = self.queue.with(Queue::next) {
            match task {
                Task::Serve(job) => worker.serve(&job),
                Task::Read(reading) => {
                    worker.flush();
                    self.read(reading);
                }
            }
        }
    }

    /// Waits for calls, and gives the right to read back; or drops it if the connection has ended.
    fn read(self: &Arc<Self>, mut reading: Reading) {
        let mut requests = Requests { handlers: self, batch: Vec::new() };
        match reading.reader.read(&mut requests) {
            Ok(()) => {
                reading.registered.note_unfinished(reading.reader.long_frame_bytes());
                self.queue.with(|queue| queue.reading = Some(reading));
            }
            Err(reason) => {
                // Nobody would hear the answers of those that wait.
                self.queue.with(|queue| std::mem::take(&mut queue.waiting));
                self.connection.close(&reason);
            }
        }
    }

    /// Takes the calls that a read brought, and gives back those that are too many.
    fn add(&self, mut jobs: Vec<Job>) -> Vec<Job> {
        let limit = self.connection.limits().calls_in_flight;
        self.queue.with(|queue| {
            let room = limit.saturating_sub(queue.in_flight).min(jobs.len());
            let excess = jobs.split_off(room);
            queue.in_flight += room;
            queue.waiting.extend(jobs);
            excess
        })
    }

    /// Another thread comes to serve, unless one is on its way already or has nothing to do.
    fn call_successor(self: &Arc<Self>, has_left_answers: bool) {
        if self.queue.with(|queue| queue.needs_successor(has_left_answers)) {
            let successor = Arc::clone(self);
            self.offer.pool.run(move || {
                successor.queue.with(|queue| queue.successor_comes = false);
                successor.connection.flush();
                successor.work();
            });
        }
    }

    /// Tells of a call that cannot be carried out; of the first one, for there may be thousands.
    fn complain(&self, error: &RpcError) {
        if !self.queue.with(|queue| std::mem::replace(&mut queue.has_complained, true)) {
            let peer = self.connection.peer();
            log::error!(target: "rpc", "a call from {peer}: {error}; no more is said of its calls");
        }
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
    fn next(&mut self) -> Option<Task> {
        let job = self.waiting.pop_front().map(Task::Serve);
        job.or_else(|| self.reading.take().map(Task::Read))
    }

    /// Whether a thread must be called, which then is on its way.
    fn needs_successor(&mut self, has_left_answers: bool) -> bool {
        let has_work = has_left_answers || !self.waiting.is_empty() || self.reading.is_some();
        let needed = has_work && !self.successor_comes;
        self.successor_comes |= needed;
        needed
    }
}

/// A thread that serves a connection, and what it has answered and not sent. If it is unwound by a
/// call that panics, or by a crash of its server, others go on.
struct Worker<'a> {
    handlers: &'a Arc<Handlers>,
    kept: RefCell<Vec<Unsent>>,
}

impl Worker<'_> {
    fn serve(&self, job: &Job) {
        let handlers = self.handlers;
        let responder =
            Unanswered { handlers: Arc::downgrade(handlers), number: job.call, answered: false };
        match Request::decode(&job.body) {
            Ok(Request { service, method, args }) => {
                let (responder, thread) = (Responder::new(responder), ServingThread::of(self));
                handlers.offer.handler.serve(service, method, args, responder, &thread);
            }
            Err(error) => handlers.connection.close(&Reason::BadBody(Kind::Request, error)),
        }
    }

    fn flush(&self) {
        self.kept.borrow_mut().clear();
    }
}

impl Serving for Worker<'_> {
    fn leave_to_others(&self) {
        self.handlers.call_successor(!self.kept.borrow().is_empty());
    }

    fn keep(&self, answer: Unsent) {
        let mut kept = self.kept.borrow_mut();
        kept.push(answer);
        if kept.len() == FLUSH_ANSWERS {
            kept.clear();
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.handlers.call_successor(false);
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

/// A call that somebody waits for. Dropped, it tells the caller at once that no answer will come.
struct Unanswered {
    /// Once the connection has ended, and its threads with it, there is nobody to answer. The
    /// socket must not be kept for that: who connects, calls and goes would use up all there are.
    handlers: Weak<Handlers>,
    number: u64,
    answered: bool,
}

impl Unanswered {
    /// Leaves the one answer.
    fn leave(&self, answer: Result<Vec<u8>, RpcError>) -> Unsent {
        let Some(handlers) = self.handlers.upgrade() else { return Unsent(None) };
        if let Some(error) = answer.as_ref().err().filter(|error| **error != RpcError::Lost) {
            handlers.complain(error);
        }
        handlers.queue.with(|queue| queue.in_flight -= 1);
        let waits = match handlers.leave(self.number, answer) {
            0 => None,
            FLUSH_BYTES.. => {
                handlers.connection.flush();
                None
            }
            _ => Some(Arc::clone(&handlers.connection) as Arc<dyn Flush>),
        };
        Unsent(waits)
    }
}

impl Destination for Unanswered {
    fn take(mut self: Box<Self>, answer: Result<Vec<u8>, RpcError>) -> Unsent {
        self.answered = true;
        self.leave(answer)
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.answered {
            drop(self.leave(Err(RpcError::Lost)));
        }
    }
}

/// What a server's reader does.
struct Requests<'a> {
    handlers: &'a Arc<Handlers>,
    /// The calls of one read.
    batch: Vec<Job>,
}

impl Receiver for Requests<'_> {
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
        let handlers = self.handlers;
        // Before any is answered: who has had an answer is not idle.
        handlers.connection.note_request();
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

impl Requests<'_> {
    fn pong(&self) -> Result<(), Reason> {
        let connection = &self.handlers.connection;
        let limit = connection.limits().buffered_bytes;
        match connection.send(super::bare_frame(Kind::Pong)) {
            Err(NotTaken::Full) => Err(Reason::TooMuchUnread(limit)),
            Ok(()) | Err(NotTaken::Closed) => Ok(()),
        }
    }
}
