//! What a connection may cost.

use std::time::Duration;

use super::frame::HEADER_BYTES;

/// What one peer may cost, whatever it does. Both ends of a connection should have the same.
///
/// Who passes a limit loses the connection, or the call, and nobody else notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a frame's body. A receiver holds a frame in memory until all of it is there.
    /// Default: 64 MiB, what labgob decodes at most.
    pub frame_bytes: u32,
    /// Bytes of memory for long frames that are not complete, of all connections of a server
    /// together; there is always room for one. Beyond, the connection that has the longest is
    /// closed: many peers that each begin one must not take all memory. An honest one may be the
    /// longest: its client connects again. (While a buffer grows, the old one is there beside it;
    /// and requests that are complete are not counted, but limited by `calls_in_flight`.) Default:
    /// 256 MiB.
    pub unfinished_bytes: usize,
    /// Calls of one connection that are not answered yet. Each may hold a thread of the server;
    /// those beyond are lost at once, here or there. Default: 1024.
    pub calls_in_flight: usize,
    /// Bytes that wait in this process for a peer that does not read; a single frame may be
    /// longer. Beyond, calls are lost at once, and a server closes the connection. Default: 16 MiB.
    pub buffered_bytes: usize,
    /// Connections of one server at a time. Each holds a thread and a file descriptor. If there are
    /// so many, a new one takes the place of one that has never asked for anything, or not for
    /// `idle_time`; if all have, it is closed at once. Default: 256, far more than a cluster and
    /// its clients need, and far below the 1,024 files that a process may have open.
    pub connections: usize,
    /// After so long without a byte a connection is closed: its peer may have lost its power. A
    /// client asks for a sign of life in time, so that a connection which is just not used stays.
    /// Default: 30 s.
    pub idle_time: Duration,
    /// For how long a frame may arrive, from its first byte on: a peer that sends a byte a second
    /// holds its buffer no longer than this. Default: 10 s, which takes 7 MB/s for the longest.
    pub frame_time: Duration,
    /// For how long a write may make no progress at all. Default: 10 s.
    pub write_time: Duration,
}

impl Limits {
    /// The numbers named above.
    pub const DEFAULT: Self = Self {
        frame_bytes: 64 * 1024 * 1024,
        unfinished_bytes: 256 * 1024 * 1024,
        calls_in_flight: 1024,
        buffered_bytes: 16 * 1024 * 1024,
        connections: 256,
        idle_time: Duration::from_secs(30),
        frame_time: Duration::from_secs(10),
        write_time: Duration::from_secs(10),
    };
}

impl Limits {
    /// For one frame there is always room.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.unfinished_bytes.max(HEADER_BYTES + self.frame_bytes as usize)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How a client calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// After so long without an answer a call is lost. Default: 5 s.
    pub call_time: Duration,
    /// For how long one attempt to connect may take. Default: 1 s.
    pub connect_time: Duration,
    /// The longest pause between two attempts; the first is 10 ms, and each doubles. Default: 1 s,
    /// so that a server that comes back is noticed soon.
    pub retry_time: Duration,
    /// What the server may cost.
    pub limits: Limits,
}

impl Options {
    /// The numbers named above.
    pub const DEFAULT: Self = Self {
        call_time: Duration::from_secs(5),
        connect_time: Duration::from_secs(1),
        retry_time: Duration::from_secs(1),
        limits: Limits::DEFAULT,
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}
