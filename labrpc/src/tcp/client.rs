//! The calling end: calls under way, and the thread that keeps it connected.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use labrt::pool::Pool;
use labrt::random::{self, RngExt};
use labrt::sync::{Condvar, Mutex, Shared};
use labrt::thread::{self, Builder};
use labrt::time::Instant;

use super::connection::{Connection, Reader, Reason, Receiver};
use super::frame::{Frame, Kind, Refusal, Request};
use super::{GLANCES, Options, refuse_in_simulation};
use crate::{ClientEnd, RpcError, Started, Then, Transport};

type Answer = Result<Vec<u8>, RpcError>;

/// The pause after the first attempt to connect that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// How often at most calls that nobody waits for are looked at, however much is read. If nothing
/// is, that is as often as the reader looks around: half a second after their time they are lost.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Requests that came to so much are written, though nobody waits for an answer yet: the server is
/// busy with them while the next ones are made. Some twenty small ones.
const FLUSH_BYTES: usize = 2 * 1024;

/// A connection to a server, which a thread of its own makes and makes again. Clones, and the ends
/// made from it, share it; it ends with the last of them.
#[derive(Clone)]
pub struct Client(Arc<Owner>);

/// All those who may call. The thread that connects is none of them.
struct Owner(Arc<Line>);

/// The way to one server, connected or not.
struct Line {
    address: SocketAddr,
    options: Options,
    pool: Pool,
    /// The calls of the present connection.
    calls: Shared<Option<Arc<Calls>>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connected: bool,
    ended: bool,
}

impl Client {
    /// Begins to connect to `address`, and goes on as long as the client or an end of it is there.
    /// Its threads belong to the current thread's group.
    ///
    /// # Panics
    /// In a simulated world, which has no sockets.
    #[track_caller]
    pub fn new(address: SocketAddr, options: &Options) -> Self {
        refuse_in_simulation(Location::caller());
        let line = Arc::new(Line {
            address,
            options: options.clone(),
            pool: Pool::in_current_group("tcp writer"),
            calls: Shared::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&line);
        Builder::new().name(format!("tcp to {address}")).spawn(move || theirs.keep_connected());
        Self(Arc::new(Owner(line)))
    }

    /// An end that calls over this connection.
    pub fn end(&self) -> ClientEnd {
        ClientEnd::new(self.clone())
    }

    /// Whether a call would be sent now. It may be lost nevertheless.
    pub fn is_connected(&self) -> bool {
        self.line().calls.with(|calls| calls.is_some())
    }

    /// Waits until a connection is made, for at most `timeout`; whether it was.
    pub fn wait_until_connected(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let line = self.line();
        let mut state = line.state.lock();
        while !state.connected {
            if line.changed.wait_until(&mut state, deadline).timed_out() {
                return state.connected;
            }
        }
        true
    }

    fn line(&self) -> &Line {
        &self.0.0
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_connected() { "connected" } else { "not connected" };
        write!(f, "Client({}, {state})", self.line().address)
    }
}

impl Transport for Client {
    fn call(&self, service: &'static str, method: &'static str, args: Vec<u8>) -> Answer {
        self.pass_on(&Request { service, method, args: &args })
    }

    fn start(
        &self,
        service: &'static str,
        method: &'static str,
        args: Vec<u8>,
    ) -> Box<dyn Started> {
        let mut begun = self.open(&Request { service, method, args: &args });
        if let Ok(call) = &mut begun
            && (call.is_alone || call.waiting_bytes >= FLUSH_BYTES)
        {
            call.flush();
        }
        Box::new(begun)
    }

    /// The thread that reads the answer does what is to be done with it.
    fn call_then(
        &self,
        service: &'static str,
        method: &'static str,
        args: Vec<u8>,
        _: &Pool,
        then: Then,
    ) {
        match self.begin(&Request { service, method, args: &args }) {
            Ok(begun) => begun.call_then(then),
            Err(error) => then(Err(error)),
        }
    }
}

/// A call under way, or why it is not.
impl Started for Result<OpenCall, RpcError> {
    fn wait(&mut self, limit: Option<Duration>) -> Option<Answer> {
        match self {
            Ok(call) => call.wait(limit),
            Err(error) => Some(Err(error.clone())),
        }
    }
}

impl Client {
    /// Calls what somebody else wants called.
    pub(super) fn pass_on(&self, request: &Request<'_>) -> Answer {
        let mut call = self.open(request)?;
        call.flush();
        call.wait(None).unwrap_or(Err(RpcError::Lost))
    }

    /// Begins a call. Its frame is left in the connection's buffer.
    fn open(&self, request: &Request<'_>) -> Result<OpenCall, RpcError> {
        let Begun { calls, body, deadline } = self.begin(request)?;
        let slot = Arc::new(Slot::default());
        let entered = calls.enter(Caller::Thread(Arc::clone(&slot)));
        let (number, is_alone) = entered.map_err(|_| RpcError::Lost)?;
        let (waiting_bytes, answered) = (0, false);
        let mut call =
            OpenCall { calls, number, slot, deadline, is_alone, waiting_bytes, answered };
        call.waiting_bytes = call.calls.leave(number, &body)?;
        Ok(call)
    }

    /// Encodes a call for the present connection.
    fn begin(&self, request: &Request<'_>) -> Result<Begun, RpcError> {
        refuse_in_simulation(Location::caller());
        thread::checkpoint();
        let line = self.line();
        let calls = line.calls.with(|calls| calls.clone()).ok_or(RpcError::Lost)?;
        let deadline = Instant::now() + line.options.call_time;
        Ok(Begun { calls, body: request.encode()?, deadline })
    }
}

/// A call that has not left.
struct Begun {
    calls: Arc<Calls>,
    body: Vec<u8>,
    deadline: Instant,
}

impl Begun {
    fn call_then(self, then: Then) {
        let Self { calls, body, deadline } = self;
        let number = match calls.enter(Caller::Then(then, deadline)) {
            Ok((number, _)) => number,
            Err(caller) => return caller.tell(Err(RpcError::Lost)),
        };
        match calls.leave(number, &body) {
            Ok(_) => calls.connection.flush(),
            // Unless the connection has ended just now, which has told it.
            Err(error) => calls.take(number).into_iter().for_each(|it| it.tell(Err(error.clone()))),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let line = &self.0;
        line.state.lock().ended = true;
        line.changed.notify_all();
        if let Some(calls) = line.calls.with(|calls| calls.clone()) {
            calls.connection.close(&Reason::Closed);
        }
        line.pool.close();
    }
}

impl Line {
    /// Connects, reads until that connection ends, and again.
    fn keep_connected(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        while !self.has_ended() {
            match self.connect() {
                Ok(connection) if self.read(&connection) => pause = FIRST_PAUSE,
                Ok(_) => {}
                Err(error) => {
                    log::debug!(target: "rpc", "no connection to {}: {error}", self.address);
                }
            }
            self.rest(jittered(pause));
            pause = (2 * pause).min(self.options.retry_time);
        }
    }

    fn connect(&self) -> io::Result<Arc<Connection>> {
        // Zero would be an error of its own.
        let time = self.options.connect_time.max(Duration::from_millis(1));
        let socket = TcpStream::connect_timeout(&self.address, time)?;
        // On one machine, where nobody listens, a socket may be given that very port as its own,
        // and then TCP connects it to itself: it would keep the server from its port for ever.
        if socket.local_addr()? == self.address {
            return Err(io::Error::other("the socket was connected to itself"));
        }
        Connection::new(socket, self.address, &self.options.limits, &self.pool)
    }

    /// Lets calls use the connection, and reads answers until it ends; whether it was of any use.
    fn read(&self, connection: &Arc<Connection>) -> bool {
        let (connection, table) = (Arc::clone(connection), Shared::default());
        let calls = Arc::new(Calls { connection, table });
        let _present = Present::new(self, &calls);
        if self.has_ended() {
            return false;
        }
        let mut answers = Answers::new(&calls);
        let reason = Reader::new(&calls.connection).read_all(&mut answers);
        calls.connection.close(&reason);
        answers.heard_any
    }

    fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    fn rest(&self, pause: Duration) {
        let deadline = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.ended && !self.changed.wait_until(&mut state, deadline).timed_out() {}
    }

    fn set_calls(&self, calls: Option<&Arc<Calls>>) {
        let _before = self.calls.with(|slot| std::mem::replace(slot, calls.cloned()));
        self.state.lock().connected = calls.is_some();
        self.changed.notify_all();
    }
}

/// Half to all of it: clients that lost the same server do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random::rng().random_range(nanos / 2..=nanos))
}

/// While it is there, calls go over a connection; whatever ends it, all of them are lost then.
struct Present<'a> {
    line: &'a Line,
    calls: &'a Calls,
}

impl<'a> Present<'a> {
    fn new(line: &'a Line, calls: &'a Arc<Calls>) -> Self {
        line.set_calls(Some(calls));
        Self { line, calls }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.calls.connection.close(&Reason::Abandoned);
        self.calls.lose_all();
        self.line.set_calls(None);
    }
}

/// The calls of one connection.
struct Calls {
    connection: Arc<Connection>,
    table: Shared<Table>,
}

#[derive(Default)]
struct Table {
    closed: bool,
    last: u64,
    open: HashMap<u64, Caller>,
}

/// Who is told the answer of a call.
enum Caller {
    /// A thread, which waits there, and not for too long.
    Thread(Arc<Slot>),
    /// Nobody waits: this is done when the answer is there, or at that time.
    Then(Then, Instant),
}

impl Caller {
    fn tell(self, answer: Answer) {
        match self {
            Self::Thread(slot) => {
                slot.fill(answer);
                slot.wake();
            }
            Self::Then(then, _) => then(answer),
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        matches!(self, Self::Then(_, deadline) if *deadline <= now)
    }
}

impl Calls {
    /// Numbers a call, and says whether it is the only one; gives the caller back if there are too
    /// many or the connection has ended.
    fn enter(&self, caller: Caller) -> Result<(u64, bool), Caller> {
        let limit = self.connection.limits().calls_in_flight;
        self.table.with(|table| {
            if table.closed || table.open.len() >= limit {
                return Err(caller);
            }
            table.last += 1;
            table.open.insert(table.last, caller);
            Ok((table.last, table.open.len() == 1))
        })
    }

    fn take(&self, number: u64) -> Option<Caller> {
        self.table.with(|table| table.open.remove(&number))
    }

    /// Leaves a call's frame in the connection's buffer, and says how many bytes wait there.
    fn leave(&self, number: u64, body: &[u8]) -> Result<usize, RpcError> {
        let mut bytes = Vec::new();
        let frame = Frame { kind: Kind::Request, call: number, body };
        let encoded = frame.encode(self.connection.limits().frame_bytes, &mut bytes);
        encoded.map_err(|error| {
            let peer = self.connection.peer();
            log::error!(target: "rpc", "a call to {peer} cannot be sent: {error}");
            RpcError::Unencodable(error.to_string())
        })?;
        self.connection.leave(bytes).map_err(|_| RpcError::Lost)
    }

    fn lose_all(&self) {
        let open = self.table.with(|table| {
            table.closed = true;
            std::mem::take(&mut table.open)
        });
        open.into_values().for_each(|caller| caller.tell(Err(RpcError::Lost)));
    }

    fn lose_overdue(&self, now: Instant) {
        let overdue: Vec<(u64, Caller)> = self
            .table
            .with(|table| table.open.extract_if(|_, caller| caller.is_overdue(now)).collect());
        overdue.into_iter().for_each(|(_, caller)| caller.tell(Err(RpcError::Lost)));
    }
}

/// A call in the table, until it is answered or dropped.
struct OpenCall {
    calls: Arc<Calls>,
    number: u64,
    slot: Arc<Slot>,
    deadline: Instant,
    /// Whether no other call was under way when it began.
    is_alone: bool,
    /// How much its frame left in the buffer together with what was there; 0 once that is flushed.
    waiting_bytes: usize,
    /// Whether it has had its answer, and is in the table no more.
    answered: bool,
}

impl OpenCall {
    /// Sees to it that the frame is written, if that is not done.
    fn flush(&mut self) {
        if std::mem::take(&mut self.waiting_bytes) > 0 {
            self.calls.connection.flush();
        }
    }

    /// Waits until there is an answer, or there will be none any more; not beyond the limit.
    fn wait(&mut self, limit: Option<Duration>) -> Option<Answer> {
        self.waiting_bytes = 0;
        let until = limit.map_or(self.deadline, |limit| self.deadline.min(Instant::now() + limit));
        let answer = self.slot.take().or_else(|| {
            // An answer that is there needs no flush: calls begun since may leave with later ones.
            self.calls.connection.flush();
            self.slot.wait(until, self.is_alone)
        });
        self.answered = answer.is_some();
        answer.or_else(|| (until == self.deadline).then_some(Err(RpcError::Lost)))
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.flush();
        if !self.answered {
            let _caller = self.calls.take(self.number);
        }
    }
}

/// Where a call waits for its answer.
#[derive(Default)]
struct Slot {
    answer: Mutex<Option<Answer>>,
    answered: Condvar,
}

impl Slot {
    fn fill(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
    }

    fn wake(&self) {
        self.answered.notify_one();
    }

    /// The answer, if it is there.
    fn take(&self) -> Option<Answer> {
        self.answer.try_lock()?.take()
    }

    /// The answer; none if it does not come in time. To fall asleep and be woken takes longer than
    /// many an answer does, so a call that is alone stays awake for a moment. (Among others it
    /// would only take the processor from them.)
    fn wait(&self, deadline: Instant, is_alone: bool) -> Option<Answer> {
        for _ in 0..if is_alone { GLANCES } else { 0 } {
            if let Some(answer) = self.take() {
                return Some(answer);
            }
            thread::yield_now();
        }
        let mut answer = self.answer.lock();
        while answer.is_none() {
            if self.answered.wait_until(&mut answer, deadline).timed_out() {
                break;
            }
        }
        answer.take()
    }
}

/// What a client's reader does.
struct Answers<'a> {
    calls: &'a Calls,
    /// The answers of one read, by the calls' numbers.
    batch: Vec<(u64, Answer)>,
    /// The silence after which the server was last asked for a sign of life.
    asked_after: Duration,
    heard_any: bool,
    /// When calls that nobody waits for are next looked at.
    next_look: Instant,
}

impl<'a> Answers<'a> {
    fn new(calls: &'a Calls) -> Self {
        let next_look = Instant::now() + LOOK_EVERY;
        Self { calls, batch: Vec::new(), asked_after: Duration::ZERO, heard_any: false, next_look }
    }

    /// Tells callers their answers. No thread is woken before all answers are where they belong:
    /// one that waits for several in turn finds them all.
    fn tell(answered: Vec<(Caller, Answer)>) {
        let (mut filled, mut to_do) = (Vec::new(), Vec::new());
        for (caller, answer) in answered {
            match caller {
                Caller::Thread(slot) => {
                    slot.fill(answer);
                    filled.push(slot);
                }
                Caller::Then(then, _) => to_do.push((then, answer)),
            }
        }
        filled.into_iter().for_each(|slot| slot.wake());
        to_do.into_iter().for_each(|(then, answer)| then(answer));
    }

    fn lose_overdue(&mut self) {
        let now = Instant::now();
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            self.calls.lose_overdue(now);
        }
    }
}

impl Receiver for Answers<'_> {
    fn take(&mut self, frame: Frame<'_>) -> Result<(), Reason> {
        self.heard_any = true;
        self.asked_after = Duration::ZERO;
        let answer = match frame.kind {
            Kind::Reply => Ok(frame.body.to_vec()),
            Kind::Error => {
                let refusal = Refusal::decode(frame.body);
                Err(refusal.map_err(|error| Reason::BadBody(frame.kind, error))?.into())
            }
            Kind::Pong => return Ok(()),
            Kind::Request | Kind::Ping => return Err(Reason::Unexpected(frame.kind)),
        };
        self.batch.push((frame.call, answer));
        Ok(())
    }

    /// Wakes the callers. If there are several, the turn to write is kept from them until all are
    /// awake: those who call again at once leave their frames, and one write takes them all.
    fn batch_ends(&mut self) {
        let several = self.batch.len() > 1;
        let turn = several.then(|| self.calls.connection.turn()).flatten();
        let answered: Vec<(Caller, Answer)> = self.calls.table.with(|table| {
            let batch = self.batch.drain(..);
            // An answer that comes after its call's deadline finds nobody.
            batch.filter_map(|(call, answer)| Some((table.open.remove(&call)?, answer))).collect()
        });
        Self::tell(answered);
        if let Some(turn) = turn {
            turn.write();
        }
    }

    fn look_around(&mut self, silence: Duration) -> bool {
        self.lose_overdue();
        let connection = &self.calls.connection;
        if silence < self.asked_after + connection.limits().idle_time / 3 {
            return false;
        }
        let is_first = self.asked_after.is_zero();
        self.asked_after = silence;
        // If it cannot be sent, silence will end the connection.
        let _ = connection.send(super::bare_frame(Kind::Ping));
        is_first
    }
}
