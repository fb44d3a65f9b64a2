//! The bytes that are left to decode, and what of the limits is left.

use bincode::de::read::Reader;
use bincode::de::{Decode, DecoderImpl};

use crate::{DecodeError, DecodeErrorKind, Limited, Limits};

/// The part of a message that is not decoded yet.
#[derive(Debug)]
pub(crate) struct Input<'de> {
    source: Source<'de>,
    pub(crate) limits: Limits,
    empty_elements: usize,
}

/// A place to which [`Input::rewind`] goes back.
#[derive(Clone, Copy)]
pub(crate) struct Mark<'de>(&'de [u8]);

impl<'de> Input<'de> {
    #[inline]
    pub(crate) fn new(bytes: &'de [u8], limits: &Limits) -> Input<'de> {
        let source = Source { rest: bytes, total: bytes.len() };
        Input { source, limits: *limits, empty_elements: 0 }
    }

    /// Bytes since the start of the message.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.source.total - self.remaining()
    }

    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.source.rest.len()
    }

    pub(crate) fn mark(&self) -> Mark<'de> {
        Mark(self.source.rest)
    }

    /// Goes back, between two values of the message.
    pub(crate) fn rewind(&mut self, mark: Mark<'de>) {
        self.source.rest = mark.0;
    }

    /// Refuses a message that is longer than the limit.
    #[inline]
    pub(crate) fn check_length(&self) -> Result<(), DecodeError> {
        let limit = self.limits.max_bytes;
        if self.source.total <= limit {
            return Ok(());
        }
        Err(DecodeError::new(DecodeErrorKind::OverLimit { of: Limited::Bytes, limit }, limit))
    }

    /// Reads a number, bool or char, the way bincode writes it.
    #[inline]
    pub(crate) fn read<T: Decode<()>>(&mut self) -> Result<T, DecodeError> {
        let start = self.offset();
        let config = bincode::config::standard();
        T::decode(&mut DecoderImpl::new(&mut self.source, config, ()))
            .map_err(|error| DecodeError::from_bincode(error, start))
    }

    /// Reads how many bytes or elements follow.
    #[inline]
    pub(crate) fn read_length(&mut self) -> Result<usize, DecodeError> {
        let start = self.offset();
        let length: u64 = self.read()?;
        usize::try_from(length).map_err(|_| {
            DecodeError::invalid(format!("the length {length} is beyond this machine"), start)
        })
    }

    /// Reads a length and that many bytes, without copying them: a length that is a lie is found
    /// out before anybody allocates memory for it.
    #[inline]
    pub(crate) fn read_bytes(&mut self) -> Result<&'de [u8], DecodeError> {
        let start = self.offset();
        let length = self.read_length()?;
        let Some((bytes, rest)) = self.source.rest.split_at_checked(length) else {
            let missing = length - self.remaining();
            return Err(DecodeError::new(DecodeErrorKind::UnexpectedEnd { missing }, start));
        };
        self.source.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn read_str(&mut self) -> Result<&'de str, DecodeError> {
        let start = self.offset();
        let bytes = self.read_bytes()?;
        std::str::from_utf8(bytes).map_err(|error| {
            DecodeError::invalid(format!("the string is not UTF-8: {error}"), start)
        })
    }

    /// Counts an element that took no bytes.
    #[inline]
    pub(crate) fn count_empty_element(&mut self) -> Result<(), DecodeError> {
        self.empty_elements += 1;
        let limit = self.limits.max_empty_elements;
        if self.empty_elements <= limit {
            return Ok(());
        }
        let kind = DecodeErrorKind::OverLimit { of: Limited::EmptyElements, limit };
        Err(DecodeError::new(kind, self.offset()))
    }
}

/// What bincode reads from. Its own slice reader does not tell how far it has come.
#[derive(Debug)]
struct Source<'de> {
    rest: &'de [u8],
    total: usize,
}

impl Reader for Source<'_> {
    #[inline(always)]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), bincode::error::DecodeError> {
        let Some((read, rest)) = self.rest.split_at_checked(bytes.len()) else {
            let additional = bytes.len() - self.rest.len();
            return Err(bincode::error::DecodeError::UnexpectedEnd { additional });
        };
        bytes.copy_from_slice(read);
        self.rest = rest;
        Ok(())
    }

    #[inline(always)]
    fn peek_read(&mut self, n: usize) -> Option<&[u8]> {
        self.rest.get(..n)
    }

    #[inline(always)]
    fn consume(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }
}
