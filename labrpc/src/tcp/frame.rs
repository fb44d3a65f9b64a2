//! Frames: how calls and answers follow each other in a stream of bytes.
//!
//! TCP delivers bytes, not messages: what was written in one go may arrive in three pieces, or two
//! messages in one. So each message says how long it is, and a few things more:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | the magic `LRPC`: who talks another protocol is found out at once |
//! | 4 | 1 | the version, 1 |
//! | 5 | 1 | the [`Kind`] |
//! | 6 | 4 | how long the body is, the lowest byte first, as in all numbers here |
//! | 10 | 8 | the number of the call; an answer bears that of its request |
//! | 18 | 4 | CRC32C of the 18 bytes above and the body |
//! | 22 | | the body |
//!
//! The body of a request is a [`Request`], that of an error a [`Refusal`], both by labgob; that of
//! a reply is what the handler returned, by labgob. The others have none.
//!
//! TCP's own checksum has 16 bits and misses what broken memory or a broken program does; CRC32C
//! finds every error of up to 32 bits in a row. A stream has no place at which one could find the
//! way again after a bad frame: whoever sees one closes the connection.
//!
//! Everything here is a function of bytes. Sockets are elsewhere, which is why all of this can be
//! tried with any bytes in any pieces, and used by whoever sits between two servers.
//!
//! # Left out
//! Compression, encryption, authentication: the checksum is for accidents, and whoever can reach a
//! server can call it. Frames in pieces, so that a long one would not hold up those behind it.

use std::fmt;

use labgob::{DecodeError, EncodeError};
use serde::{Deserialize, Serialize};

use crate::RpcError;

/// How long the part before the body is.
pub const HEADER_BYTES: usize = 22;

const MAGIC: [u8; 4] = *b"LRPC";
const VERSION: u8 = 1;
/// Where the checksum is; it covers what comes before and after.
const CHECKSUM_AT: usize = 18;

/// The buffer of a connection that has carried nothing yet.
const FIRST_ROOM_BYTES: usize = 4 * 1024;
/// What a read takes at most, but for longer frames: a thousand small ones.
const ROOM_BYTES: usize = 128 * 1024;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A call; its body is a [`Request`].
    Request,
    /// What the handler returned.
    Reply,
    /// There is no reply; the body is a [`Refusal`].
    Error,
    /// Asks whether anybody is there.
    Ping,
    /// Says so.
    Pong,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Request, Self::Reply, Self::Error, Self::Ping, Self::Pong];

    fn code(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Error => 3,
            Self::Ping => 4,
            Self::Pong => 5,
        }
    }
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is for.
    pub kind: Kind,
    /// The number of the call.
    pub call: u64,
    /// The body.
    pub body: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// They do not begin as every frame does.
    WrongMagic,
    /// A version that is not spoken here.
    UnknownVersion(u8),
    /// No such kind.
    UnknownKind(u8),
    /// The body is, or claims to be, longer than is allowed.
    TooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: u32,
    },
    /// Header and body do not belong together.
    BadChecksum,
    /// The stream ended within a frame.
    Truncated {
        /// How many bytes of the frame there are.
        bytes: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongMagic => f.write_str("the bytes are no frame: they do not begin with LRPC"),
            Self::UnknownVersion(version) => {
                write!(f, "the frame has version {version}, and only {VERSION} is known")
            }
            Self::UnknownKind(kind) => write!(f, "the frame has kind {kind}, which is unknown"),
            Self::TooLarge { bytes, limit } => {
                write!(f, "the frame's body has {bytes} bytes, and {limit} are allowed")
            }
            Self::BadChecksum => f.write_str("the frame's checksum does not match its bytes"),
            Self::Truncated { bytes } => {
                write!(f, "the stream ended after {bytes} bytes of a frame")
            }
        }
    }
}

impl std::error::Error for FrameError {}

impl Frame<'_> {
    /// Appends the frame's bytes to `out`.
    ///
    /// # Errors
    /// If the body is longer than `body_limit`; `out` is then as it was.
    pub fn encode(&self, body_limit: u32, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let bytes = self.body.len();
        let too_large = FrameError::TooLarge { bytes, limit: body_limit };
        let length = u32::try_from(bytes).map_err(|_| too_large)?;
        if length > body_limit {
            return Err(too_large);
        }
        let header = self.header(length);
        out.reserve(HEADER_BYTES + bytes);
        out.extend_from_slice(&header);
        out.extend_from_slice(&checksum(&header, self.body).to_le_bytes());
        out.extend_from_slice(self.body);
        Ok(())
    }

    /// The header up to the checksum.
    fn header(&self, length: u32) -> [u8; CHECKSUM_AT] {
        let mut header = [0; CHECKSUM_AT];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = VERSION;
        header[5] = self.kind.code();
        header[6..10].copy_from_slice(&length.to_le_bytes());
        header[10..18].copy_from_slice(&self.call.to_le_bytes());
        header
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), body)
}

/// The frame that `bytes` begin with, and how many of them it takes; none if more are needed to
/// tell. What is wrong is told as soon as the bytes that show it are there.
///
/// # Errors
/// If no bytes that could follow would make it a frame with a body of at most `body_limit` bytes.
pub fn decode(bytes: &[u8], body_limit: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    check_beginning(bytes)?;
    let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    let kind = kind_of(header[5])?;
    let length = u32::from_le_bytes(array(&header[6..10]));
    if length > body_limit {
        return Err(FrameError::TooLarge { bytes: length as usize, limit: body_limit });
    }
    let Some(body) = rest.get(..length as usize) else { return Ok(None) };
    let (covered, sum) = header.split_at(CHECKSUM_AT);
    if checksum(covered, body) != u32::from_le_bytes(array(sum)) {
        return Err(FrameError::BadChecksum);
    }
    let call = u64::from_le_bytes(array(&header[10..18]));
    Ok(Some((Frame { kind, call, body }, HEADER_BYTES + body.len())))
}

/// Finds out who talks something else before a whole header is there.
fn check_beginning(bytes: &[u8]) -> Result<(), FrameError> {
    if bytes.iter().zip(&MAGIC).any(|(found, expected)| found != expected) {
        return Err(FrameError::WrongMagic);
    }
    match bytes.get(4) {
        Some(&version) if version != VERSION => return Err(FrameError::UnknownVersion(version)),
        _ => {}
    }
    bytes.get(5).map_or(Ok(()), |&code| kind_of(code).map(drop))
}

fn kind_of(code: u8) -> Result<Kind, FrameError> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code);
    kind.ok_or(FrameError::UnknownKind(code))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice was cut to this length")
}

/// Cuts a stream of bytes into frames.
///
/// ```
/// use labrpc::tcp::frame::{Frame, Kind, Splitter};
///
/// let mut bytes = Vec::new();
/// Frame { kind: Kind::Reply, call: 7, body: b"yes" }.encode(1000, &mut bytes)?;
/// let mut splitter = Splitter::new(1000);
/// for piece in bytes.chunks(10) {
///     assert_eq!(splitter.next_frame()?, None);
///     splitter.room()[..piece.len()].copy_from_slice(piece);
///     splitter.filled(piece.len());
/// }
/// assert_eq!(splitter.next_frame()?, Some(Frame { kind: Kind::Reply, call: 7, body: b"yes" }));
/// assert_eq!(splitter.next_frame()?, None);
/// # Ok::<(), labrpc::tcp::frame::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Splitter {
    /// Grows with what arrives, never with what a header claims.
    buffer: Vec<u8>,
    /// What of it is filled and not handed out yet.
    start: usize,
    end: usize,
    /// Whether the last read took all the room there was.
    was_full: bool,
    body_limit: u32,
}

impl Splitter {
    /// A splitter of frames with bodies of up to `body_limit` bytes.
    pub fn new(body_limit: u32) -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0, was_full: false, body_limit }
    }

    /// Where the next bytes of the stream go: never empty.
    pub fn room(&mut self) -> &mut [u8] {
        self.give_back();
        let was_full = std::mem::take(&mut self.was_full);
        let more_than_fits = was_full && self.buffer.len() < ROOM_BYTES;
        if more_than_fits || self.end == self.buffer.len() {
            let doubled = (2 * self.buffer.len()).max(FIRST_ROOM_BYTES);
            // What is there of a frame that is not complete is less than the longest frame.
            let longest = HEADER_BYTES + self.body_limit as usize;
            self.buffer.resize(doubled.min(longest.max(self.end + FIRST_ROOM_BYTES)), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// What is left moves to the front. If a long frame has gone, its room goes with it.
    fn give_back(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() > ROOM_BYTES && self.end < self.buffer.len() / 4 {
            self.buffer.truncate(ROOM_BYTES.max(2 * self.end));
            self.buffer.shrink_to_fit();
        }
    }

    /// How many bytes of memory a frame takes here that is long and not complete; 0 for others, and
    /// between frames.
    pub fn long_frame_bytes(&mut self) -> usize {
        self.give_back();
        if self.buffer.len() > ROOM_BYTES { self.buffer.len() } else { 0 }
    }

    /// Says that the first `count` bytes of [`Splitter::room`] are filled.
    ///
    /// # Panics
    /// If there was no room for so many.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "more bytes than there was room for");
        self.end += count;
        self.was_full = self.end == self.buffer.len();
    }

    /// The next frame, if all of it is there.
    ///
    /// # Errors
    /// If the stream goes on with something else; then it is of no use any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let bytes = &self.buffer[self.start..self.end];
        let Some((frame, length)) = decode(bytes, self.body_limit)? else { return Ok(None) };
        self.start += length;
        Ok(Some(frame))
    }

    /// How many bytes of a frame are there that is not complete yet.
    pub fn pending_bytes(&self) -> usize {
        self.end - self.start
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// If it ended within a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.pending_bytes() {
            0 => Ok(()),
            bytes => Err(FrameError::Truncated { bytes }),
        }
    }
}

/// What a request asks for: the body of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<'a> {
    /// The service called.
    pub service: &'a str,
    /// The method called.
    pub method: &'a str,
    /// The arguments, by labgob.
    #[serde(serialize_with = "labgob::bytes::serialize")]
    pub args: &'a [u8],
}

impl<'a> Request<'a> {
    /// A request's body.
    ///
    /// # Errors
    /// None: strings and bytes can be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        labgob::encode(self)
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        decode_body(body)
    }
}

/// Why there is no reply: the body of an error's frame. These are the [`RpcError`]s that a server,
/// or somebody between, can know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// [`RpcError::Lost`], for who knows at once that no answer will come.
    Lost,
    /// [`RpcError::UnknownService`].
    UnknownService(String),
    /// [`RpcError::UnknownMethod`].
    UnknownMethod(String),
    /// [`RpcError::BadArguments`].
    BadArguments(String),
    /// [`RpcError::Unencodable`].
    Unencodable(String),
}

impl Refusal {
    /// An error's body.
    ///
    /// # Errors
    /// None: strings can be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        labgob::encode(self)
    }

    /// Reads an error's body.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        decode_body(body)
    }
}

/// How long a body may be, and so what is in it, was settled when its frame was read.
pub(crate) fn decode_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    labgob::decode_with(body, &labgob::Limits { max_bytes: usize::MAX, ..Default::default() })
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Lost => Self::Lost,
            RpcError::UnknownService(name) => Self::UnknownService(name),
            RpcError::UnknownMethod(name) => Self::UnknownMethod(name),
            RpcError::BadArguments(why) => Self::BadArguments(why),
            RpcError::Unencodable(why) => Self::Unencodable(why),
            // A server that passes calls on to another one, and was told nonsense.
            RpcError::BadReply(why) => Self::Unencodable(why.to_string()),
        }
    }
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Lost => Self::Lost,
            Refusal::UnknownService(name) => Self::UnknownService(name),
            Refusal::UnknownMethod(name) => Self::UnknownMethod(name),
            Refusal::BadArguments(why) => Self::BadArguments(why),
            Refusal::Unencodable(why) => Self::Unencodable(why),
        }
    }
}
