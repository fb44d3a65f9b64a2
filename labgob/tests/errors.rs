//! Each way to fail: what it says, and where it says it was.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use labgob::{
    DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Limited, Limits, decode,
    decode_with, encode, encoded_size,
};
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer, ser};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Command {
    Get(String),
    Put { key: String, value: String },
}

/// Fails to decode bytes, and returns why.
fn error_of<'de, T: Deserialize<'de> + fmt::Debug>(bytes: &'de [u8]) -> DecodeError {
    decode::<T>(bytes).expect_err("the bytes are no such value")
}

/// Asserts that bytes are an invalid value, at an offset, for a reason.
#[track_caller]
fn assert_invalid<'de, T>(bytes: &'de [u8], offset: usize, message: &str)
where
    T: Deserialize<'de> + fmt::Debug,
{
    let error = error_of::<T>(bytes);
    assert_eq!(error.kind, DecodeErrorKind::InvalidValue(message.into()));
    assert_eq!(error.offset, offset);
    let sentence = format!("the value at offset {offset} is invalid: {message}");
    assert_eq!(error.to_string(), sentence);
}

#[track_caller]
fn assert_ends<'de, T>(bytes: &'de [u8], offset: usize, missing: usize)
where
    T: Deserialize<'de> + fmt::Debug,
{
    let error = error_of::<T>(bytes);
    assert_eq!(error.kind, DecodeErrorKind::UnexpectedEnd { missing });
    assert_eq!(error.offset, offset);
}

#[test]
fn an_early_end_tells_the_unfinished_value_and_what_it_lacks() {
    assert_ends::<u8>(&[], 0, 1);
    assert_ends::<(u8, u64)>(&[1, 253, 0, 0], 1, 6);
    assert_ends::<(u8, u128)>(&[1, 254, 0], 1, 15);
    assert_ends::<(bool, f64)>(&[1, 0, 0], 1, 6);
    assert_ends::<(u8, char)>(&[1, 0xf0, 0x9f], 1, 2);
    assert_ends::<(u8, String)>(&[1, 5, b'h', b'i'], 1, 3);
    assert_ends::<Vec<u8>>(&[3, 1, 2], 3, 1);
    assert_ends::<Option<u8>>(&[1], 1, 1);
    assert_ends::<Command>(&[1, 1, b'k'], 3, 1);
    assert_ends::<BTreeMap<u8, u8>>(&[1, 7], 2, 1);
    assert_ends::<&[u8]>(&[253, 255, 255, 255, 255, 255, 255, 255, 255], 0, usize::MAX);
}

#[test]
fn an_early_end_is_a_sentence() {
    let one = error_of::<u8>(&[]).to_string();
    let sentence = "the message ends too early: the value at offset 0 needs at least 1 more byte";
    assert_eq!(one, sentence);
    let three = error_of::<(u8, String)>(&[1, 5, b'h', b'i']).to_string();
    let sentence = "the message ends too early: the value at offset 1 needs at least 3 more bytes";
    assert_eq!(three, sentence);
}

#[test]
fn trailing_bytes_are_refused() {
    let error = error_of::<u8>(&[1, 2, 3]);
    assert_eq!(error.kind, DecodeErrorKind::TrailingBytes { count: 2 });
    assert_eq!(error.offset, 1);
    let sentence = "the message goes on after its last value: 2 bytes left at offset 1";
    assert_eq!(error.to_string(), sentence);
}

#[test]
fn a_message_of_just_the_longest_length_passes() {
    let limits = Limits { max_bytes: 3, ..Limits::default() };
    assert_eq!(decode_with(&[2, b'h', b'i'], &limits), Ok("hi"));
    let error = decode_with::<String>(&[3, b'h', b'i', b'!'], &limits)
        .expect_err("that is a byte too many");
    assert_eq!(error.kind, DecodeErrorKind::OverLimit { of: Limited::Bytes, limit: 3 });
    assert_eq!(error.offset, 3);
    let sentence = "the message is too long: at offset 3 it passes the limit of 3 bytes";
    assert_eq!(error.to_string(), sentence);
}

#[test]
fn the_default_limit_on_bytes_is_64_mib() {
    let error = error_of::<u8>(&vec![0; 64 * 1024 * 1024 + 1]);
    let limit = 64 * 1024 * 1024;
    assert_eq!(error.kind, DecodeErrorKind::OverLimit { of: Limited::Bytes, limit });
    assert_eq!(error.offset, limit);
}

#[test]
fn elements_without_bytes_are_limited() {
    let limits = Limits { max_empty_elements: 2, ..Limits::default() };
    assert_eq!(decode_with(&[2], &limits), Ok(vec![(), ()]));
    let error = decode_with::<Vec<()>>(&[3], &limits).expect_err("three are too many");
    assert_eq!(error.kind, DecodeErrorKind::OverLimit { of: Limited::EmptyElements, limit: 2 });
    assert_eq!(error.offset, 1);
    assert_eq!(
        error.to_string(),
        "the message has too many elements without bytes: at offset 1 it passes the limit of 2 \
         such elements"
    );
}

#[test]
fn elements_without_bytes_are_counted_over_the_whole_message() {
    let limits = Limits { max_empty_elements: 5, ..Limits::default() };
    assert!(decode_with::<Vec<Vec<()>>>(&[2, 3, 2], &limits).is_ok());
    let error = decode_with::<Vec<Vec<()>>>(&[2, 3, 3], &limits).expect_err("six are too many");
    assert_eq!(error.kind, DecodeErrorKind::OverLimit { of: Limited::EmptyElements, limit: 5 });
    assert_eq!(error.offset, 3);

    let mut d = Decoder::with_limits(&[3, 3], &limits);
    assert_eq!(d.decode(), Ok(vec![(); 3]));
    d.decode::<Vec<()>>().expect_err("the limit is for all values together");
}

#[test]
fn map_entries_without_bytes_are_limited() {
    let limits = Limits { max_empty_elements: 1, ..Limits::default() };
    let error = decode_with::<BTreeMap<(), ()>>(&[250], &limits).expect_err("250 are too many");
    assert_eq!(error.kind, DecodeErrorKind::OverLimit { of: Limited::EmptyElements, limit: 1 });
    assert!(decode_with::<BTreeMap<u8, ()>>(&[3, 1, 2, 3], &limits).is_ok());
    assert!(decode_with::<BTreeMap<(), u8>>(&[3, 1, 2, 3], &limits).is_ok());
}

#[test]
fn a_value_nested_too_deeply_is_refused_where_it_starts() {
    type Three = Option<Option<Option<u8>>>;
    let limits = |max_depth| Limits { max_depth, ..Limits::default() };
    assert_eq!(decode_with::<Three>(&[1, 1, 1, 9], &limits(3)), Ok(Some(Some(Some(9)))));
    let error = decode_with::<Three>(&[1, 1, 1, 9], &limits(2)).expect_err("two levels only");
    assert_eq!(error.kind, DecodeErrorKind::TooDeep { limit: 2 });
    assert_eq!(error.offset, 3);
    let sentence = "the value at offset 3 is nested too deeply: the limit is 2 levels";
    assert_eq!(error.to_string(), sentence);
}

#[test]
fn invalid_bytes_are_told_where_their_value_starts() {
    assert_invalid::<(u8, bool)>(&[1, 7], 1, "a bool is 0 or 1, but this is 7");
    assert_invalid::<(u8, Option<u8>)>(&[1, 2, 3], 1, "an Option is 0 or 1, but this is 2");
    assert_invalid::<(u8, char)>(&[1, 0xff], 1, "its bytes are no UTF-8 character");
    assert_invalid::<char>(&[0xed, 0xa0, 0x80], 0, "its bytes are no UTF-8 character");
    let not_utf8 = "the string is not UTF-8: invalid utf-8 sequence of 1 bytes from index 1";
    assert_invalid::<(u8, String)>(&[1, 2, b'a', 0xff], 1, not_utf8);
    assert_invalid::<&str>(&[2, b'a', 0xff], 0, not_utf8);
}

#[test]
fn integers_that_are_too_wide_are_refused() {
    let wide = "the type is u16, but the bytes hold the wider u32";
    assert_invalid::<(u8, u16)>(&[1, 252, 0, 0, 0, 0], 1, wide);
    let wide = "the type is i32, but the bytes hold the wider i128";
    assert_invalid::<(u8, i32)>(&[1, 254, 0, 0, 0, 0, 0, 0], 1, wide);
    let reserved = "the type is u64, but no integer begins with the byte 255";
    assert_invalid::<(u8, u64)>(&[1, 255], 1, reserved);
}

#[test]
fn a_variant_that_does_not_exist_is_refused() {
    let message = "invalid value: integer `2`, expected variant index 0 <= i < 2";
    assert_invalid::<(u8, Command)>(&[1, 2, 0], 1, message);
}

#[test]
fn a_value_that_its_type_refuses_is_told_where_it_starts() {
    let zero = "invalid value: integer `0`, expected a nonzero u32";
    assert_invalid::<(u8, u8, NonZeroU32)>(&[1, 1, 0], 2, zero);

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "(u8, u8)")]
    struct Range;
    impl TryFrom<(u8, u8)> for Range {
        type Error = &'static str;
        fn try_from((from, to): (u8, u8)) -> Result<Range, &'static str> {
            if from <= to { Ok(Range) } else { Err("the range ends before it starts") }
        }
    }
    assert!(decode::<Range>(&[3, 4]).is_ok());
    assert_invalid::<(u8, Option<Range>)>(&[9, 1, 4, 3], 1, "the range ends before it starts");
}

#[test]
fn types_that_ask_what_comes_cannot_be_decoded() {
    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Either {
        Number(u64),
        Text(String),
    }
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Number { value: u64 },
    }
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind", content = "value")]
    enum Adjacent {
        Number(u64),
    }
    let message = "the type wants to be told what the bytes hold (as serde's `untagged` and `tag` \
                   do, and values to be ignored), but they do not say";
    let tagged = encode(&Tagged::Number { value: 1 }).expect("only decoding has to ask");
    assert_invalid::<Tagged>(&tagged, 0, message);
    let adjacent = encode(&Adjacent::Number(1)).expect("only decoding has to ask");
    assert_invalid::<Adjacent>(&adjacent, 0, message);
    assert_invalid::<(u8, Either)>(&[1, 2], 1, message);
    assert_invalid::<(u8, IgnoredAny)>(&[1, 2], 1, message);
}

#[test]
fn a_type_that_leaves_elements_is_refused() {
    #[derive(Debug)]
    struct First;
    struct FirstVisitor;
    impl<'de> Visitor<'de> for FirstVisitor {
        type Value = First;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<First, A::Error> {
            elements.next_element::<u8>().map(|_| First)
        }
    }
    impl<'de> Deserialize<'de> for First {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<First, D::Error> {
            deserializer.deserialize_seq(FirstVisitor)
        }
    }
    assert!(decode::<First>(&[1, 5]).is_ok());
    let message = "the type did not take the last 2 of the elements";
    assert_invalid::<(First, u8, u8)>(&[3, 5, 6, 7], 2, message);
}

#[test]
fn after_an_error_a_decoder_is_where_it_was() {
    let mut d = Decoder::new(&[7, 3, b'a', 0xff, b'c']);
    assert_eq!(d.decode(), Ok(7_u8));
    let error = d.decode::<String>().expect_err("that is not UTF-8");
    assert_eq!((error.offset, d.offset(), d.remaining()), (1, 1, 4));
    assert_eq!(d.decode(), Ok(vec![b'a', 0xff, b'c']));
    assert_eq!(d.finish(), Ok(()));
}

#[test]
fn a_decoder_that_finishes_early_tells_what_is_left() {
    let mut d = Decoder::new(&[7, 8, 9]);
    assert_eq!(d.decode(), Ok(7_u8));
    let error = d.finish().expect_err("two bytes are left");
    assert_eq!(error.kind, DecodeErrorKind::TrailingBytes { count: 2 });
    assert_eq!(error.offset, 1);
}

struct Stubborn;

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("this is a secret"))
    }
}

struct Endless;

impl Serialize for Endless {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_seq(None).map(|_| unreachable!("the length is unknown"))
    }
}

#[test]
fn a_value_may_refuse_to_be_encoded() {
    let error = encode(&(1_u8, Stubborn)).expect_err("it is stubborn");
    assert_eq!(error, EncodeError::Refused("this is a secret".into()));
    assert_eq!(error.to_string(), "the value refuses to be encoded: this is a secret");
    assert_eq!(encoded_size(&(1_u8, Stubborn)), Err(error));
}

#[test]
fn a_sequence_must_know_its_length() {
    let error = encode(&Endless).expect_err("the length is unknown");
    assert_eq!(error, EncodeError::UnknownLength);
    assert_eq!(
        error.to_string(),
        "a sequence or map cannot be encoded without its length, and this one does not know it \
         beforehand (serde's `flatten` makes such maps)"
    );
    #[derive(Serialize)]
    struct Flat {
        #[serde(flatten)]
        map: BTreeMap<String, u8>,
    }
    assert_eq!(encode(&Flat { map: BTreeMap::new() }), Err(EncodeError::UnknownLength));
}

#[test]
fn an_encoder_keeps_what_it_has_when_a_value_refuses() {
    let mut e = Encoder::new();
    e.encode(&1_u8).expect("a number can be encoded");
    e.encode(&(2_u8, Stubborn)).expect_err("it is stubborn");
    e.encode(&3_u8).expect("a number can be encoded");
    assert_eq!(e.into_bytes(), [1, 3]);
}
