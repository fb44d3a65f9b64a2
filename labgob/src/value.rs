//! One value of a message, as serde sees it.
//!
//! Numbers, bools and chars are read by bincode. What is built from them is read here, for the sake
//! of the limits: bincode would recurse as deeply as the bytes say, and allocate whatever length
//! they claim.

use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use crate::elements::{Fields, Listed};
use crate::input::Input;
use crate::{DecodeError, DecodeErrorKind};

const NOT_SELF_DESCRIBING: &str = "the type wants to be told what the bytes hold (as serde's \
     `untagged` and `tag` do, and values to be ignored), but they do not say";

/// The value that starts where the input is.
pub(crate) struct Value<'a, 'de> {
    pub(crate) input: &'a mut Input<'de>,
    pub(crate) place: Place,
}

/// Where a value is among those around it. It is no part of the input, so that it is right again
/// after every way out of a value.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// How many more values may be nested in each other, this one included.
    depth_left: usize,
    /// How many elements the sequences around this value still expect after it.
    pub(crate) elements_after: usize,
}

impl Place {
    /// An element here, if `left` others come after it.
    #[inline]
    pub(crate) fn before(self, left: usize) -> Place {
        Place { elements_after: self.elements_after.saturating_add(left), ..self }
    }
}

impl<'a, 'de> Value<'a, 'de> {
    #[inline]
    pub(crate) fn new(input: &'a mut Input<'de>) -> Value<'a, 'de> {
        let place = Place { depth_left: input.limits.max_depth, elements_after: 0 };
        Value { input, place }
    }

    /// The same place in the bytes, but for a value that is inside this one.
    #[inline]
    fn inside(self) -> Result<Value<'a, 'de>, DecodeError> {
        let Some(depth_left) = self.place.depth_left.checked_sub(1) else {
            let limit = self.input.limits.max_depth;
            let kind = DecodeErrorKind::TooDeep { limit };
            return Err(DecodeError::new(kind, self.input.offset()));
        };
        Ok(Value { input: self.input, place: Place { depth_left, ..self.place } })
    }
}

/// What bincode reads: the value is handed on, and if the type refuses it, it says where it was.
macro_rules! deserialize_by_bincode {
    ($($method:ident => $visit:ident($read:ident),)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let start = self.input.offset();
            let value = self.input.$read()?;
            visitor.$visit(value).map_err(|error: DecodeError| error.or_at(start))
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = DecodeError;

    deserialize_by_bincode! {
        deserialize_bool => visit_bool(read),
        deserialize_u8 => visit_u8(read),
        deserialize_u16 => visit_u16(read),
        deserialize_u32 => visit_u32(read),
        deserialize_u64 => visit_u64(read),
        deserialize_u128 => visit_u128(read),
        deserialize_i8 => visit_i8(read),
        deserialize_i16 => visit_i16(read),
        deserialize_i32 => visit_i32(read),
        deserialize_i64 => visit_i64(read),
        deserialize_i128 => visit_i128(read),
        deserialize_f32 => visit_f32(read),
        deserialize_f64 => visit_f64(read),
        deserialize_char => visit_char(read),
        deserialize_str => visit_borrowed_str(read_str),
        deserialize_string => visit_borrowed_str(read_str),
        deserialize_bytes => visit_borrowed_bytes(read_bytes),
        deserialize_byte_buf => visit_borrowed_bytes(read_bytes),
    }

    forward_to_deserialize_any! { identifier ignored_any }

    #[cold]
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError::invalid(NOT_SELF_DESCRIBING, self.input.offset()))
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let start = self.input.offset();
        let result = match self.input.read::<u8>()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self.inside()?),
            byte => {
                let message = format!("an Option is 0 or 1, but this is {byte}");
                return Err(DecodeError::invalid(message, start));
            }
        };
        result.map_err(|error: DecodeError| error.or_at(start))
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let start = self.input.offset();
        visitor.visit_unit().map_err(|error: DecodeError| error.or_at(start))
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let start = self.input.offset();
        let result = visitor.visit_newtype_struct(self.inside()?);
        result.map_err(|error: DecodeError| error.or_at(start))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let start = self.input.offset();
        let Value { input, place } = self.inside()?;
        let mut elements = Listed::read(input, place)?;
        let result = visitor.visit_seq(&mut elements);
        elements.end(result).map_err(|error| error.or_at(start))
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let start = self.input.offset();
        let Value { input, place } = self.inside()?;
        let mut entries = Listed::read(input, place)?;
        let result = visitor.visit_map(&mut entries);
        entries.end(result).map_err(|error| error.or_at(start))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.inside()?.fields(length, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.inside()?.fields(length, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.inside()?.fields(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let start = self.input.offset();
        let result = visitor.visit_enum(self.inside()?);
        result.map_err(|error: DecodeError| error.or_at(start))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A `Value` that is inside an enum has the place of what the variant holds.
impl<'de> EnumAccess<'de> for Value<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        let start = self.input.offset();
        let variant: u32 = self.input.read()?;
        let variant = seed.deserialize(variant.into_deserializer());
        Ok((variant.map_err(|error: DecodeError| error.or_at(start))?, self))
    }
}

impl<'de> VariantAccess<'de> for Value<'_, 'de> {
    type Error = DecodeError;

    #[inline]
    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.fields(length, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.fields(fields.len(), visitor)
    }
}

impl<'de> Value<'_, 'de> {
    /// As many values as the type has fields, one after the other.
    #[inline]
    fn fields<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, DecodeError> {
        let start = self.input.offset();
        let fields = Fields { input: self.input, place: self.place, left };
        visitor.visit_seq(fields).map_err(|error: DecodeError| error.or_at(start))
    }
}
