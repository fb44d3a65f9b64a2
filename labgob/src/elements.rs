//! Values in a row: the fields of a struct, the elements of a sequence, the entries of a map.

use serde::de::{DeserializeSeed, MapAccess, SeqAccess};

use crate::DecodeError;
use crate::input::Input;
use crate::value::{Place, Value};

/// The fields of a struct or tuple. The type knows how many there are; the bytes do not say.
pub(crate) struct Fields<'a, 'de> {
    pub(crate) input: &'a mut Input<'de>,
    pub(crate) place: Place,
    pub(crate) left: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(Value { input: self.input, place: self.place }).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The elements of a sequence or the entries of a map, of which the bytes claim how many there are.
pub(crate) struct Listed<'a, 'de> {
    input: &'a mut Input<'de>,
    place: Place,
    left: usize,
    /// How many bytes were left before the latest element, to see whether it took any.
    before_latest: usize,
}

/// What `before_latest` is as long as there is none: no input is as long.
const NO_LATEST: usize = usize::MAX;

impl<'a, 'de> Listed<'a, 'de> {
    /// Reads the length. `place` is that of the elements, if this were the only sequence.
    #[inline]
    pub(crate) fn read(
        input: &'a mut Input<'de>,
        place: Place,
    ) -> Result<Listed<'a, 'de>, DecodeError> {
        let left = input.read_length()?;
        Ok(Listed { input, place, left, before_latest: NO_LATEST })
    }

    /// Goes on to the next element, if there is one.
    #[inline]
    fn advance(&mut self) -> Result<bool, DecodeError> {
        let remaining = self.input.remaining();
        if self.before_latest == remaining {
            self.input.count_empty_element()?;
        }
        self.before_latest = if self.left > 0 { remaining } else { NO_LATEST };
        let more = self.left > 0;
        self.left -= usize::from(more);
        Ok(more)
    }

    #[inline]
    fn decode<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DecodeError> {
        let place = self.place.before(self.left);
        seed.deserialize(Value { input: self.input, place })
    }

    /// How many elements to set aside memory for.
    ///
    /// An element takes one byte at least (those that take none have a limit of their own), so all
    /// the sequences around this place together cannot expect more elements than bytes are left.
    /// If each were allowed as many as there are bytes, every level of a `struct Tree(Vec<Tree>)`
    /// could set aside memory for the same bytes once more.
    #[inline]
    fn believable(&self) -> usize {
        let for_this = self.input.remaining().saturating_sub(self.place.elements_after);
        self.left.min(for_this)
    }

    /// To be called with what the type made of the elements. It must have taken them all, or else
    /// what comes next in the message would be read from the middle of them.
    #[inline]
    pub(crate) fn end<T>(self, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        if result.is_ok() && self.left > 0 {
            let message = format!("the type did not take the last {} of the elements", self.left);
            return Err(DecodeError::invalid(message, self.input.offset()));
        }
        result
    }
}

impl<'de> SeqAccess<'de> for Listed<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        if self.advance()? { self.decode(seed).map(Some) } else { Ok(None) }
    }

    /// Types set memory aside for as many elements: that is why it is not what the bytes claim.
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.believable())
    }
}

impl<'de> MapAccess<'de> for Listed<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        if self.advance()? { self.decode(seed).map(Some) } else { Ok(None) }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        self.decode(seed)
    }

    /// As for a sequence.
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.believable())
    }
}
