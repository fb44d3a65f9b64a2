//! One connection, from either end: who writes, who reads, and why it ends.
//!
//! # Writing
//! No thread is there to write. Whoever has a frame to send leaves it in the connection's buffer,
//! and says when it wants that written. If nobody is writing, it is now its [`Turn`]: it writes
//! until nobody wants more, and meanwhile the others only leave their frames, say so and go. So a
//! lone frame costs one system call and no switch of threads, and when many threads send, one
//! system call takes many frames. (Frames that nobody wants written yet stay: to write each as it
//! comes takes several times as long as to write twenty at a time.)
//!
//! A write never waits: if the socket takes no more, because the peer does not read, the turn goes
//! to a thread of the pool, which may wait for as long as [`Limits::write_time`] allows. The buffer
//! meanwhile fills up to [`Limits::buffered_bytes`], and is closed to further frames then.
//!
//! # Reading
//! One thread reads. It takes as much as there is, handles all complete frames of that, and only
//! then reads again; what it does with a frame never blocks. It wakes a few times a second even if
//! nothing comes, to see whether a time has run out.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use labgob::DecodeError;
use labrt::pool::Pool;
use labrt::sync::Shared;
use labrt::thread;
use labrt::time::Instant;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::frame::{Frame, FrameError, Kind, Splitter};
use super::{Limits, READER_GLANCES};
use crate::responder::Flush;

/// How often a reader looks around at least.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many times who writes goes on with what came meanwhile; then it has done enough for others.
const ROUNDS_MAX: usize = 16;
/// A buffer that grew beyond this is given back once it is written.
const KEPT_BYTES: usize = 256 * 1024;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Reason {
    /// The peer closed it.
    Ended,
    /// We did.
    Closed,
    /// The peer sent what is no frame.
    Bad(FrameError),
    /// The peer sent a body that is not what the frame's kind says.
    BadBody(Kind, DecodeError),
    /// The peer sent what is not its to send.
    Unexpected(Kind),
    /// No byte came for so long.
    Idle(Duration),
    /// A frame began to arrive so long ago and is not there yet.
    SlowFrame(Duration),
    /// The peer has not read for so long.
    SlowReader(Duration),
    /// More bytes than may wait for it.
    TooMuchUnread(usize),
    /// More connections than a server may have.
    TooMany(usize),
    /// Frames that are not complete take more memory than a server has for them, and this one most.
    TooMuchUnfinished(usize),
    /// The socket failed.
    Io(io::Error),
    /// The thread that cared for it has ended.
    Abandoned,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the peer closed it"),
            Self::Closed => f.write_str("it is not needed any more"),
            Self::Bad(error) => error.fmt(f),
            Self::BadBody(kind, error) => {
                write!(f, "the body of a frame of kind {kind:?} is something else: {error}")
            }
            Self::Unexpected(kind) => {
                write!(f, "a frame of kind {kind:?} is not the peer's to send")
            }
            Self::Idle(time) => write!(f, "nothing was heard for {time:?}"),
            Self::SlowFrame(time) => write!(f, "a frame had not arrived {time:?} after it began"),
            Self::SlowReader(time) => write!(f, "the peer did not read for {time:?}"),
            Self::TooMuchUnread(limit) => {
                write!(f, "the peer does not read, and more than {limit} bytes would wait for it")
            }
            Self::TooMany(limit) => write!(f, "{limit} connections are open, and no more may be"),
            Self::TooMuchUnfinished(limit) => write!(
                f,
                "frames that are not complete take more than {limit} bytes, and this one most of \
                 them"
            ),
            Self::Io(error) => write!(f, "the socket failed: {error}"),
            Self::Abandoned => f.write_str("its thread has ended"),
        }
    }
}

impl From<FrameError> for Reason {
    fn from(error: FrameError) -> Self {
        Self::Bad(error)
    }
}

impl Reason {
    /// Whether the peer did something wrong, or something that looks like it.
    fn is_worth_a_warning(&self) -> bool {
        !matches!(self, Self::Ended | Self::Closed | Self::Io(_) | Self::Abandoned)
    }
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The connection has ended.
    Closed,
    /// More bytes than may wait.
    Full,
}

/// What a reader does with what it reads. None of it may block.
pub(super) trait Receiver {
    /// Takes a frame.
    fn take(&mut self, frame: Frame<'_>) -> Result<(), Reason>;

    /// All complete frames that had arrived are taken; another read comes next.
    fn batch_ends(&mut self);

    /// Nothing was heard for `silence`, and a look around is due. True if it asked for a sign of
    /// life just now, for the first time since: that is waited for, however long the silence was.
    fn look_around(&mut self, silence: Duration) -> bool;
}

#[derive(Default)]
struct Outbox {
    /// Frames that nobody has begun to write.
    waiting: Vec<u8>,
    /// How many bytes are in the hands of who writes.
    under_way: usize,
    /// An empty buffer with room, to be used again.
    spare: Vec<u8>,
    /// Whether somebody wants what waits written now.
    wanted: bool,
    /// Whether it is somebody's turn.
    writing: bool,
    closed: bool,
}

impl Outbox {
    fn take_turn_if(&mut self, wanted: bool) -> bool {
        let taken = wanted && !self.writing;
        self.writing |= taken;
        taken
    }
}

/// A connection.
pub(super) struct Connection {
    socket: TcpStream,
    peer: SocketAddr,
    limits: Limits,
    outbox: Shared<Outbox>,
    opened: Instant,
    /// When its last request came: how many milliseconds after it was opened, and one more; 0 if
    /// there was none.
    last_request: AtomicU64,
    pool: Pool,
}

impl Connection {
    /// A connection on a connected socket; threads that it needs come from `pool`.
    pub(super) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        limits: &Limits,
        pool: &Pool,
    ) -> io::Result<Arc<Self>> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(look_every(limits)))?;
        // Zero would mean for ever.
        socket.set_write_timeout(Some(limits.write_time.max(Duration::from_millis(1))))?;
        let (limits, pool) = (limits.clone(), pool.clone());
        let (outbox, opened, last_request) = (Shared::default(), Instant::now(), AtomicU64::new(0));
        Ok(Arc::new(Self { socket, peer, limits, outbox, opened, last_request, pool }))
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Requests have come.
    pub(super) fn note_request(&self) {
        self.last_request.store(self.age() + 1, Ordering::Relaxed);
    }

    /// How long ago the last request came; for ever, if none has.
    pub(super) fn idle_for(&self) -> Duration {
        match self.last_request.load(Ordering::Relaxed) {
            0 => Duration::MAX,
            after => Duration::from_millis((self.age() + 1).saturating_sub(after)),
        }
    }

    /// In milliseconds.
    fn age(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.outbox.with(|outbox| outbox.closed)
    }

    /// Ends the connection, for the first reason that is given. Its reader notices at once.
    pub(super) fn close(&self, reason: &Reason) {
        let (was_closed, _unsent) = self.outbox.with(|outbox| {
            let unsent = (std::mem::take(&mut outbox.waiting), std::mem::take(&mut outbox.spare));
            (std::mem::replace(&mut outbox.closed, true), unsent)
        });
        if was_closed {
            return;
        }
        let peer = self.peer;
        if reason.is_worth_a_warning() {
            log::warn!(target: "rpc", "closed the connection with {peer}: {reason}");
        } else {
            log::debug!(target: "rpc", "the connection with {peer} has ended: {reason}");
        }
        // A socket that is not connected any more cannot be shut down, and need not be.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Sends a frame, now or, if somebody is writing, with the next write.
    pub(super) fn send(self: &Arc<Self>, frame: Vec<u8>) -> Result<(), NotTaken> {
        self.leave(frame)?;
        self.flush();
        Ok(())
    }

    /// Leaves a frame in the buffer, and says how many bytes wait there. The caller answers for it
    /// that somebody flushes them soon.
    pub(super) fn leave(&self, frame: Vec<u8>) -> Result<usize, NotTaken> {
        self.outbox.with(|outbox| {
            let waiting = outbox.under_way + outbox.waiting.len();
            if outbox.closed {
                return Err(NotTaken::Closed);
            }
            if waiting > 0 && waiting + frame.len() > self.limits.buffered_bytes {
                return Err(NotTaken::Full);
            }
            if outbox.waiting.is_empty() && outbox.waiting.capacity() < frame.len() {
                // A long one is not copied.
                outbox.waiting = frame;
            } else {
                outbox.waiting.extend_from_slice(&frame);
            }
            Ok(outbox.waiting.len())
        })
    }

    /// Writes what is in the buffer; if somebody is writing, that one does.
    pub(super) fn flush(self: &Arc<Self>) {
        let taken = self.outbox.with(|outbox| {
            outbox.wanted = !outbox.waiting.is_empty();
            outbox.take_turn_if(outbox.wanted)
        });
        if taken {
            Turn::new(self).write();
        }
    }

    /// Takes the turn to write, if it is nobody's.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Turn> {
        let taken = self.outbox.with(|outbox| outbox.take_turn_if(true));
        taken.then(|| Turn::new(self))
    }
}

/// Who reads a connection: what has come of a frame that is not complete, and since when. It may
/// pass from thread to thread; one at a time has it.
pub(super) struct Reader {
    connection: Arc<Connection>,
    splitter: Splitter,
    times: Times,
    /// How often it looks for more before it falls asleep.
    glances: usize,
}

impl Reader {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        Self {
            connection: Arc::clone(connection),
            splitter: Splitter::new(connection.limits.frame_bytes),
            times: Times { heard: Instant::now(), frame_began: None },
            glances: 0,
        }
    }

    /// Reads until the connection ends, and says why it did.
    pub(super) fn read_all(&mut self, receiver: &mut impl Receiver) -> Reason {
        loop {
            if let Err(reason) = self.read(receiver) {
                return reason;
            }
        }
    }

    /// How many bytes of memory a long frame takes that is not complete yet.
    pub(super) fn long_frame_bytes(&mut self) -> usize {
        self.splitter.long_frame_bytes()
    }

    /// Waits until something comes, for a while, and hands over what that completes.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub(super) fn read(&mut self, receiver: &mut impl Receiver) -> Result<(), Reason> {
        let frames = self.read_once(receiver)?;
        if let Some(frames) = frames {
            self.times.heard(frames, self.splitter.pending_bytes());
        }
        // After a frame more comes soon: the next call, or answers that were made meanwhile.
        let came = frames.is_some_and(|frames| frames > 0);
        self.glances = if came { READER_GLANCES } else { 0 };
        self.times.check(&self.connection.limits, receiver)
    }

    /// Reads what there is and hands the complete frames of it over; how many these were, or none
    /// if not a byte came for a while.
    fn read_once(&mut self, receiver: &mut impl Receiver) -> Result<Option<usize>, Reason> {
        let Self { connection, splitter, glances, .. } = self;
        let count = match connection.receive(splitter.room(), *glances) {
            Ok(0) if connection.is_closed() => return Err(Reason::Closed),
            Ok(0) => return Err(splitter.finish().map_or_else(Reason::Bad, |()| Reason::Ended)),
            Ok(count) => count,
            Err(error) if is_passing(&error) => return Ok(None),
            Err(error) => return Err(Reason::Io(error)),
        };
        splitter.filled(count);
        let mut frames = 0;
        while let Some(frame) = splitter.next_frame()? {
            receiver.take(frame)?;
            frames += 1;
        }
        receiver.batch_ends();
        Ok(Some(frames))
    }
}

impl Connection {
    /// Waits for bytes, for a while; first awake, for so many glances.
    fn receive(&self, room: &mut [u8], glances: usize) -> io::Result<usize> {
        for _ in 0..glances {
            match rustix::net::recv(&self.socket, &mut *room, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => thread::yield_now(),
                Err(error) => return Err(error.into()),
                Ok((count, _)) => return Ok(count),
            }
        }
        (&self.socket).read(room)
    }
}

impl Flush for Connection {
    fn send_waiting(self: Arc<Self>) {
        self.flush();
    }
}

/// Whether it is only that nothing came for now.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Often enough for each of the times that a reader watches.
fn look_every(limits: &Limits) -> Duration {
    let shortest = limits.idle_time.min(limits.frame_time) / 4;
    shortest.clamp(Duration::from_millis(1), LOOK_EVERY)
}

/// What a reader keeps of time.
struct Times {
    heard: Instant,
    /// When the first bytes of a frame came that is not complete.
    frame_began: Option<Instant>,
}

impl Times {
    /// Some bytes came: so many complete frames, and `pending` bytes of the next one.
    fn heard(&mut self, frames: usize, pending: usize) {
        self.heard = Instant::now();
        if frames > 0 || pending == 0 {
            self.frame_began = None;
        }
        if pending > 0 {
            self.frame_began.get_or_insert(self.heard);
        }
    }

    fn check(&self, limits: &Limits, receiver: &mut impl Receiver) -> Result<(), Reason> {
        let now = Instant::now();
        if self.frame_began.is_some_and(|began| now.duration_since(began) >= limits.frame_time) {
            return Err(Reason::SlowFrame(limits.frame_time));
        }
        let silence = now.duration_since(self.heard);
        if !receiver.look_around(silence) && silence >= limits.idle_time {
            return Err(Reason::Idle(limits.idle_time));
        }
        Ok(())
    }
}

/// The turn to write on a connection. There is one at most.
pub(super) struct Turn {
    connection: Arc<Connection>,
    /// What is being written, and how much of it is.
    chunk: Vec<u8>,
    sent: usize,
    /// Whether the turn was given back.
    over: bool,
}

/// How far a write came.
enum Written {
    All,
    /// The socket takes no more for now.
    Some,
    /// The connection has ended.
    Closed,
}

impl Turn {
    fn new(connection: &Arc<Connection>) -> Self {
        Self { connection: Arc::clone(connection), chunk: Vec::new(), sent: 0, over: false }
    }

    /// Writes what waits, without waiting itself.
    pub(super) fn write(mut self) {
        for _ in 0..ROUNDS_MAX {
            match self.write_now() {
                Written::All if self.next_chunk() => {}
                Written::Some => break,
                Written::All | Written::Closed => return,
            }
        }
        let pool = self.connection.pool.clone();
        pool.run(move || self.write_waiting());
    }

    /// Writes what waits, waiting for the peer as long as that is allowed.
    fn write_waiting(mut self) {
        loop {
            match self.write_some() {
                Written::All if self.next_chunk() => {}
                Written::Some => thread::checkpoint(),
                Written::All | Written::Closed => return,
            }
        }
    }

    /// Takes what waits in the buffer; or gives the turn back, if nobody wants that written.
    fn next_chunk(&mut self) -> bool {
        let mut written = std::mem::take(&mut self.chunk);
        written.clear();
        self.sent = 0;
        self.connection.outbox.with(|outbox| {
            if !std::mem::take(&mut outbox.wanted) {
                outbox.under_way = 0;
                outbox.writing = false;
                self.over = true;
                return false;
            }
            outbox.under_way = outbox.waiting.len();
            let spare = std::mem::take(&mut outbox.spare);
            self.chunk = std::mem::replace(&mut outbox.waiting, spare);
            if written.capacity() <= KEPT_BYTES {
                outbox.spare = written;
            }
            true
        })
    }

    fn write_now(&mut self) -> Written {
        while self.sent < self.chunk.len() {
            let rest = &self.chunk[self.sent..];
            match rustix::net::send(&self.connection.socket, rest, SEND_FLAGS) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Written::Some,
                Err(error) => return self.fail(&Reason::Io(error.into())),
            }
        }
        Written::All
    }

    fn write_some(&mut self) -> Written {
        let rest = &self.chunk[self.sent..];
        match (&self.connection.socket).write(rest) {
            Ok(count) => self.sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_passing(&error) => {
                return self.fail(&Reason::SlowReader(self.connection.limits.write_time));
            }
            Err(error) => return self.fail(&Reason::Io(error)),
        }
        if self.sent < self.chunk.len() { Written::Some } else { Written::All }
    }

    fn fail(&mut self, reason: &Reason) -> Written {
        self.over = true;
        self.connection.close(reason);
        Written::Closed
    }
}

impl Drop for Turn {
    /// A thread that was ended with its server does not give its turn back: nobody could write.
    fn drop(&mut self) {
        if !self.over {
            self.connection.close(&Reason::Abandoned);
        }
    }
}

/// The standard library has sockets send no signal on macOS, and passes this flag elsewhere.
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT;
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
