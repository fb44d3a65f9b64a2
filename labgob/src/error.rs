//! Why something could not be encoded or decoded.

use std::error::Error;
use std::fmt;

/// Why a value could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A sequence or map did not say how many elements it has before it listed them, as
    /// `#[serde(flatten)]` does. The format writes the length first.
    UnknownLength,
    /// The value's own `Serialize` refused, with this message.
    Refused(Box<str>),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::UnknownLength => f.write_str(
                "a sequence or map cannot be encoded without its length, and this one does not \
                 know it beforehand (serde's `flatten` makes such maps)",
            ),
            EncodeError::Refused(message) => {
                write!(f, "the value refuses to be encoded: {message}")
            }
        }
    }
}

impl Error for EncodeError {}

impl From<bincode::error::EncodeError> for EncodeError {
    #[cold]
    fn from(error: bincode::error::EncodeError) -> EncodeError {
        use bincode::error::EncodeError as Theirs;
        use bincode::serde::EncodeError as Serde;
        match error {
            Theirs::Serde(Serde::SequenceMustHaveLength) => EncodeError::UnknownLength,
            Theirs::OtherString(message) => EncodeError::Refused(message.into()),
            other => EncodeError::Refused(other.to_string().into()),
        }
    }
}

/// Why bytes could not be decoded, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What was wrong.
    pub kind: DecodeErrorKind,
    /// Where, in bytes from the start of the message. Each kind says what is there.
    pub offset: usize,
}

/// What was wrong with bytes that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The bytes end within the value that starts at the offset, or right before it.
    UnexpectedEnd {
        /// How many more bytes that value needs, at least.
        missing: usize,
    },
    /// The value was complete at the offset, but the message goes on.
    TrailingBytes {
        /// How many bytes are left.
        count: usize,
    },
    /// The message passes one of the [`Limits`](crate::Limits) at the offset.
    OverLimit {
        /// What there was too much of.
        of: Limited,
        /// How much of it is allowed.
        limit: usize,
    },
    /// The value at the offset is nested in too many others.
    TooDeep {
        /// How many levels are allowed.
        limit: usize,
    },
    /// The bytes at the offset are no value of the type: a bool that is 7, an enum's variant that
    /// does not exist, a string that is not UTF-8, or whatever else the type refuses.
    InvalidValue(Box<str>),
}

/// What [`DecodeErrorKind::OverLimit`] limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Bytes of the whole message: [`Limits::max_bytes`](crate::Limits::max_bytes).
    Bytes,
    /// Elements that take no bytes:
    /// [`Limits::max_empty_elements`](crate::Limits::max_empty_elements).
    EmptyElements,
}

/// Stands for the offset of an error that a type's `Deserialize` raised, until the decoder, which
/// alone knows the offset, fills it in. No slice is as long.
const UNKNOWN_OFFSET: usize = usize::MAX;

impl DecodeError {
    pub(crate) fn new(kind: DecodeErrorKind, offset: usize) -> DecodeError {
        DecodeError { kind, offset }
    }

    pub(crate) fn invalid(message: impl Into<Box<str>>, offset: usize) -> DecodeError {
        DecodeError::new(DecodeErrorKind::InvalidValue(message.into()), offset)
    }

    /// Fills in the offset, unless a value further inside has done so.
    #[cold]
    pub(crate) fn or_at(mut self, offset: usize) -> DecodeError {
        if self.offset == UNKNOWN_OFFSET {
            self.offset = offset;
        }
        self
    }

    #[cold]
    pub(crate) fn from_bincode(error: bincode::error::DecodeError, offset: usize) -> DecodeError {
        use bincode::error::DecodeError as Theirs;
        let message = match error {
            Theirs::UnexpectedEnd { additional: missing } => {
                return DecodeError::new(DecodeErrorKind::UnexpectedEnd { missing }, offset);
            }
            Theirs::InvalidBooleanValue(byte) => format!("a bool is 0 or 1, but this is {byte}"),
            Theirs::InvalidCharEncoding(_) => "its bytes are no UTF-8 character".to_string(),
            Theirs::InvalidIntegerType { expected, found } => wrong_integer(&expected, &found),
            other => other.to_string(),
        };
        DecodeError::invalid(message, offset)
    }
}

fn wrong_integer(
    expected: &bincode::error::IntegerType,
    found: &bincode::error::IntegerType,
) -> String {
    let expected = format!("{expected:?}").to_lowercase();
    match found {
        bincode::error::IntegerType::Reserved => {
            format!("the type is {expected}, but no integer begins with the byte 255")
        }
        _ => {
            let found = format!("{found:?}").to_lowercase();
            format!("the type is {expected}, but the bytes hold the wider {found}")
        }
    }
}

impl serde::de::Error for DecodeError {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> DecodeError {
        DecodeError::invalid(message.to_string(), UNKNOWN_OFFSET)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match &self.kind {
            DecodeErrorKind::UnexpectedEnd { missing } => {
                let missing = count(*missing, "more byte");
                write!(f, "the message ends too early: the value at offset {offset} needs at ")?;
                write!(f, "least {missing}")
            }
            DecodeErrorKind::TrailingBytes { count: left } => {
                let left = count(*left, "byte");
                write!(
                    f,
                    "the message goes on after its last value: {left} left at offset {offset}"
                )
            }
            DecodeErrorKind::OverLimit { of, limit } => write_over_limit(f, *of, *limit, offset),
            DecodeErrorKind::TooDeep { limit } => {
                let limit = count(*limit, "level");
                write!(f, "the value at offset {offset} is nested too deeply: the limit is {limit}")
            }
            DecodeErrorKind::InvalidValue(message) => {
                write!(f, "the value at offset {offset} is invalid: {message}")
            }
        }
    }
}

impl Error for DecodeError {}

fn write_over_limit(
    f: &mut fmt::Formatter<'_>,
    of: Limited,
    limit: usize,
    offset: usize,
) -> fmt::Result {
    let (wrong, unit) = match of {
        Limited::Bytes => ("is too long", "byte"),
        Limited::EmptyElements => ("has too many elements without bytes", "such element"),
    };
    let limit = count(limit, unit);
    write!(f, "the message {wrong}: at offset {offset} it passes the limit of {limit}")
}

fn count(number: usize, unit: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}
