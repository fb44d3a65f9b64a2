//! Values to bytes: bincode's own serializer, writing to the end of a `Vec`.

use bincode::enc::write::{SizeWriter, Writer};
use serde::Serialize;

use crate::EncodeError;

/// Room for a typical RPC's arguments, so that most encodings allocate once.
const FIRST_ALLOCATION_BYTES: usize = 128;

/// Encodes several values one after the other, as a server's `persist` does.
///
/// The bytes are those of the values' encodings joined together: nothing is between them, so a
/// [`Decoder`](crate::Decoder) has to ask for the same types in the same order.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An encoder that holds no bytes yet.
    #[must_use]
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Appends the encoding of `value`.
    ///
    /// # Errors
    ///
    /// See [`EncodeError`]. The encoder then holds what it held before.
    #[inline]
    pub fn encode<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let before = self.bytes.len();
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(FIRST_ALLOCATION_BYTES);
        }
        let result = write_to(VecWriter(&mut self.bytes), value);
        if result.is_err() {
            self.bytes.truncate(before);
        }
        result
    }

    /// The encodings of all values so far.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// See [`crate::encoded_size`].
pub(crate) fn size_of<T: Serialize + ?Sized>(value: &T) -> Result<usize, EncodeError> {
    let mut counter = SizeWriter::default();
    write_to(&mut counter, value)?;
    Ok(counter.bytes_written)
}

#[inline]
fn write_to<T: Serialize + ?Sized>(writer: impl Writer, value: &T) -> Result<(), EncodeError> {
    bincode::serde::encode_into_writer(value, writer, bincode::config::standard())
        .map_err(EncodeError::from)
}

struct VecWriter<'a>(&'a mut Vec<u8>);

impl Writer for VecWriter<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        // Small numbers, and so most writes, take one byte: no call of memcpy for that.
        match bytes {
            [byte] => self.0.push(*byte),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }
}
