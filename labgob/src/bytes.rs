//! Byte strings in one go: `#[serde(with = "labgob::bytes")]` on a field.
//!
//! To serde a `Vec<u8>` is a sequence like any other, encoded and decoded element by element. That
//! is nothing to care about for keys and commands, but it shows for snapshots. This attribute
//! copies the bytes as a whole. The encoding is the same, so it can be added and removed at will.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct InstallSnapshot {
//!     last_included_index: u64,
//!     #[serde(with = "labgob::bytes")]
//!     snapshot: Vec<u8>,
//! }
//!
//! let rpc = InstallSnapshot { last_included_index: 7, snapshot: vec![1, 2, 3] };
//! assert_eq!(labgob::encode(&rpc)?, [7, 3, 1, 2, 3]);
//! # Ok::<(), labgob::EncodeError>(())
//! ```

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

/// Encodes a `Vec<u8>`, `Box<[u8]>`, `Arc<[u8]>` or other bytes.
///
/// # Errors
///
/// The serializer's; labgob has none.
pub fn serialize<T, S>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error>
where
    T: AsRef<[u8]> + ?Sized,
    S: Serializer,
{
    serializer.serialize_bytes(bytes.as_ref())
}

/// Decodes what [`serialize`] or a sequence of `u8` encoded.
///
/// # Errors
///
/// The deserializer's: labgob gives [`UnexpectedEnd`](crate::DecodeErrorKind::UnexpectedEnd) if
/// there are fewer bytes than the length says.
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: From<Vec<u8>>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_byte_buf(BytesVisitor(PhantomData))
}

struct BytesVisitor<T>(PhantomData<T>);

impl<'de, T: From<Vec<u8>>> Visitor<'de> for BytesVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<T, E> {
        Ok(bytes.to_vec().into())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<T, E> {
        Ok(bytes.into())
    }

    /// For formats without byte strings, such as JSON.
    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<T, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(elements)).map(T::from)
    }
}
