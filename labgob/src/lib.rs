//! Values to bytes and back: for the arguments of RPCs, and for what a server keeps on its disk.
//!
//! The servers of these labs share no memory. What one of them tells another goes through a network
//! as bytes, and what it wants to know after a crash goes to a disk as bytes. This crate makes the
//! bytes. Any type that derives serde's `Serialize` and `Deserialize` will do:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct RequestVote {
//!     term: u64,
//!     candidate: u32,
//!     last_log_index: u64,
//!     last_log_term: u64,
//! }
//!
//! let rpc = RequestVote { term: 5, candidate: 2, last_log_index: 300, last_log_term: 4 };
//! let bytes = labgob::encode(&rpc)?;
//! assert_eq!(bytes, [5, 2, 251, 44, 1, 4]);
//! assert_eq!(labgob::decode::<RequestVote>(&bytes)?, rpc);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format
//!
//! It is that of bincode 2 in its standard configuration, behind this crate's limits. The bytes
//! hold values and nothing else: no names, no types, no version.
//!
//! | value | bytes |
//! |---|---|
//! | `u16` to `u128`, `usize` up to 250 | one byte |
//! | greater ones | 251, 252, 253 or 254, then 2, 4, 8 or 16 bytes, the lowest first |
//! | `i16` to `i128`, `isize` | the same, for 0, -1, 1, -2, ... counted as 0, 1, 2, 3, ... |
//! | `u8`, `i8`, `bool` | one byte |
//! | `f32`, `f64` | 4 or 8 bytes, the lowest first |
//! | `char` | its UTF-8 |
//! | strings, byte strings, sequences, maps | how many bytes or elements, then these |
//! | `Option` | 0, or 1 and the value |
//! | structs, tuples, arrays | the fields, one after the other |
//! | enums | the number of the variant, as they are declared from 0, then its fields |
//!
//! Above, 300 is `251, 44, 1`. Small numbers are most of what Raft sends, so most RPCs are short,
//! and their length, which some tests measure, is about that of the commands they carry.
//!
//! # Persisting
//!
//! A server persists several values at once, and reads them back in the same order:
//!
//! ```
//! use labgob::{DecodeError, Decoder, EncodeError, Encoder};
//!
//! fn persist(term: u64, voted_for: Option<u32>, log: &[String]) -> Result<Vec<u8>, EncodeError> {
//!     let mut e = Encoder::new();
//!     e.encode(&term)?;
//!     e.encode(&voted_for)?;
//!     e.encode(log)?;
//!     Ok(e.into_bytes())
//! }
//!
//! fn read_persist(bytes: &[u8]) -> Result<(u64, Option<u32>, Vec<String>), DecodeError> {
//!     let mut d = Decoder::new(bytes);
//!     let state = (d.decode()?, d.decode()?, d.decode()?);
//!     d.finish()?;
//!     Ok(state)
//! }
//!
//! let log = ["x = 1".to_string()];
//! let bytes = persist(3, Some(1), &log).expect("numbers and strings can be encoded");
//! assert_eq!(read_persist(&bytes), Ok((3, Some(1), log.to_vec())));
//!
//! // A crash in the middle of a write is an error, and the error says where.
//! let error = read_persist(&bytes[..6]).expect_err("the log is cut off");
//! assert_eq!(
//!     error.to_string(),
//!     "the message ends too early: the value at offset 4 needs at least 4 more bytes"
//! );
//! ```
//!
//! # What the labs' labgob did
//!
//! MIT's labs are in Go, and their `labgob` wraps Go's `encoding/gob` for the sake of two traps.
//! Gob silently skips fields whose name starts with a small letter, so that half of the arguments
//! arrive as zeros. And it sends no zeros at all, so that a reply which is used twice keeps the old
//! value where the new one is zero. The wrapper prints a warning in both cases. Here neither can
//! happen: serde's derive takes every field, and decoding makes a new value.
//!
//! The trap of this format is another: the bytes do not describe themselves. A field that is added
//! on one side only shifts all that follow it, and the decoder may well find *some* value in them.
//! That is why [`decode`] insists that the message ends where the value does, which catches most of
//! these. It is also why some of serde's attributes do not work. `untagged`, `tag` and `flatten`
//! are always an error. `skip_serializing_if` is not: it shifts the fields behind it, so do not use
//! it. Plain `skip` is fine.
//!
//! # Limits
//!
//! Bytes that come from elsewhere may be anything. A disk that tears a write, or a test that flips
//! a bit, can turn the length of a string into 2^60, and a decoder that believes it aborts the
//! whole process. So whatever the bytes, decoding here
//!
//! * returns a value or a [`DecodeError`], and does not panic;
//! * uses a bounded part of the stack: values nested too deeply are an error;
//! * takes time in proportion to the bytes that are there, not to what they claim;
//! * sets aside memory for at most as many elements as there are bytes, so that its peak is a small
//!   multiple of the message: about the size of an element in memory for each byte.
//!
//! [`Limits`] holds the numbers, and [`decode_with`] takes other ones.
//!
//! # What is left out
//!
//! * Versions: there is no way to decode what another version of a type encoded.
//! * Checksums: a flipped bit in a number is another number. A disk that lies needs its own check.
//! * One encoding for one value: the decoder also takes 1 as `251, 1, 0`, and a `HashMap` is
//!   encoded in the order in which it iterates. Compare values, not bytes.
//! * Limits on encoding: a value of one's own making that is nested too deeply or too long to be
//!   decoded can be encoded nevertheless.
//! * Streams: a message is in memory as a whole.

#![forbid(unsafe_code)]

pub mod bytes;
mod decoder;
mod elements;
mod encoder;
mod error;
mod input;
mod limits;
mod value;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use error::{DecodeError, DecodeErrorKind, EncodeError, Limited};
pub use limits::Limits;

use serde::{Deserialize, Serialize};

/// Encodes a value.
///
/// # Errors
///
/// If the type cannot be encoded: see [`EncodeError`]. Types that derive `Serialize` without
/// attributes always can, if the types of their fields can.
#[inline]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = Encoder::new();
    encoder.encode(value)?;
    Ok(encoder.into_bytes())
}

/// How many bytes [`encode`] would return, without making them.
///
/// # Errors
///
/// As for [`encode`].
#[inline]
pub fn encoded_size<T: Serialize + ?Sized>(value: &T) -> Result<usize, EncodeError> {
    encoder::size_of(value)
}

/// Decodes the value that `bytes` are the encoding of, with the default [`Limits`].
///
/// The value may borrow strings and byte strings from `bytes`.
///
/// # Errors
///
/// If `bytes` are not the encoding of a `T`, or more than that, or pass a limit: see
/// [`DecodeErrorKind`].
#[inline]
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    decode_with(bytes, &Limits::DEFAULT)
}

/// As [`decode`], with other limits.
///
/// # Errors
///
/// As for [`decode`].
#[inline]
pub fn decode_with<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
    limits: &Limits,
) -> Result<T, DecodeError> {
    let mut decoder = Decoder::with_limits(bytes, limits);
    let value = decoder.decode()?;
    decoder.finish()?;
    Ok(value)
}
