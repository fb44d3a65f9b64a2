//! Bytes to values, one after the other.

use serde::Deserialize;

use crate::input::Input;
use crate::value::Value;
use crate::{DecodeError, DecodeErrorKind, Limits};

/// Decodes several values one after the other, as a server does when it reads what it persisted.
///
/// Ask for the types in the order in which an [`Encoder`](crate::Encoder) was given the values, and
/// [`finish`](Decoder::finish) at the end.
#[derive(Debug)]
pub struct Decoder<'de> {
    input: Input<'de>,
}

impl<'de> Decoder<'de> {
    /// A decoder at the start of `bytes`, with the default [`Limits`].
    #[must_use]
    #[inline]
    pub fn new(bytes: &'de [u8]) -> Decoder<'de> {
        Decoder::with_limits(bytes, &Limits::DEFAULT)
    }

    /// A decoder at the start of `bytes`, with `limits` for all of its values together.
    #[must_use]
    #[inline]
    pub fn with_limits(bytes: &'de [u8], limits: &Limits) -> Decoder<'de> {
        Decoder { input: Input::new(bytes, limits) }
    }

    /// Decodes the next value.
    ///
    /// # Errors
    ///
    /// See [`DecodeErrorKind`]; any kind but `TrailingBytes`. The decoder is then still where it
    /// was before.
    #[inline]
    pub fn decode<T: Deserialize<'de>>(&mut self) -> Result<T, DecodeError> {
        self.input.check_length()?;
        let start = self.input.mark();
        let result = T::deserialize(Value::new(&mut self.input));
        result.map_err(|error| {
            self.input.rewind(start);
            error.or_at(self.input.offset())
        })
    }

    /// How many bytes the values so far took.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.input.offset()
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.input.remaining()
    }

    /// Checks that the last value was the message's end.
    ///
    /// # Errors
    ///
    /// [`TrailingBytes`](DecodeErrorKind::TrailingBytes) if bytes are left.
    #[inline]
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => {
                let kind = DecodeErrorKind::TrailingBytes { count };
                Err(DecodeError::new(kind, self.offset()))
            }
        }
    }
}
