//! What is encoded is decoded again, is as long as was said, and is what bincode would write.

mod common;

use std::num::NonZeroU16;
use std::sync::Arc;

use common::{Sample, any_sample};
use labgob::{DecodeErrorKind, Decoder, Encoder, decode, encode, encoded_size};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

fn there_and_back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let bytes = encode(value).expect("the type can be encoded");
    assert_eq!(encoded_size(value), Ok(bytes.len()));
    decode(&bytes).expect("an encoding can be decoded")
}

proptest! {
    #[test]
    fn a_decoded_encoding_is_the_value(sample in any_sample()) {
        prop_assert_eq!(there_and_back(&sample), sample);
    }

    #[test]
    fn encoded_size_is_the_length_of_the_encoding(sample in any_sample()) {
        let bytes = encode(&sample).expect("a sample can be encoded");
        prop_assert_eq!(encoded_size(&sample), Ok(bytes.len()));
    }

    #[test]
    fn the_format_is_that_of_bincode(sample in any_sample()) {
        let bytes = encode(&sample).expect("a sample can be encoded");
        let config = bincode::config::standard();
        let theirs = bincode::serde::encode_to_vec(&sample, config).expect("bincode can, too");
        prop_assert_eq!(&bytes, &theirs);
        let (decoded, length) = bincode::serde::decode_from_slice::<Sample, _>(&bytes, config)
            .expect("bincode decodes it, too");
        prop_assert_eq!((decoded, length), (sample, bytes.len()));
    }

    #[test]
    fn every_proper_prefix_is_an_unexpected_end(sample in any_sample()) {
        let bytes = encode(&sample).expect("a sample can be encoded");
        for length in 0..bytes.len() {
            let error = decode::<Sample>(&bytes[..length]).expect_err("a prefix is no value");
            prop_assert!(error.offset <= length, "{} at a length of {}", error, length);
            let DecodeErrorKind::UnexpectedEnd { missing } = error.kind else {
                return Err(TestCaseError::fail(format!("length {length}: {error}")));
            };
            prop_assert!(missing > 0, "{} at a length of {}", error, length);
            prop_assert!(length + missing <= bytes.len(), "{} at a length of {}", error, length);
        }
    }

    #[test]
    fn any_byte_too_many_is_trailing(sample in any_sample(), extra in 1..20_usize) {
        let mut bytes = encode(&sample).expect("a sample can be encoded");
        let offset = bytes.len();
        bytes.resize(offset + extra, 0);
        let error = decode::<Sample>(&bytes).expect_err("the bytes go on");
        prop_assert_eq!(error.kind, DecodeErrorKind::TrailingBytes { count: extra });
        prop_assert_eq!(error.offset, offset);
    }

    #[test]
    fn values_in_a_row_come_back_in_a_row(
        samples in proptest::collection::vec(any_sample(), 0..4),
        number in any::<i64>(),
    ) {
        let mut e = Encoder::new();
        e.encode(&number).expect("a number can be encoded");
        for sample in &samples {
            e.encode(sample).expect("a sample can be encoded");
        }
        let bytes = e.into_bytes();
        let mut d = Decoder::new(&bytes);
        prop_assert_eq!(d.decode(), Ok(number));
        for sample in &samples {
            prop_assert_eq!(d.remaining(), bytes.len() - d.offset());
            prop_assert_eq!(&d.decode(), &Ok(sample.clone()));
        }
        prop_assert_eq!(d.offset(), bytes.len());
        prop_assert_eq!(d.finish(), Ok(()));
    }

    #[test]
    fn floats_keep_all_bits(bits in any::<u64>()) {
        prop_assert_eq!(there_and_back(&f64::from_bits(bits)).to_bits(), bits);
    }
}

#[test]
fn integers_at_the_edges_of_each_length_survive() {
    for shift in 0..128 {
        for near in [-1, 0, 1] {
            let number = (1_u128 << shift).wrapping_add_signed(near);
            assert_eq!(there_and_back(&number), number);
            assert_eq!(there_and_back(&(number as u64)), number as u64);
            assert_eq!(there_and_back(&(number as i64)), number as i64);
            assert_eq!(there_and_back(&(number as i128)), number as i128);
        }
    }
}

#[test]
fn small_numbers_are_short() {
    let size = |number: u64| encoded_size(&number).expect("a number can be encoded");
    assert_eq!([size(0), size(250), size(251), size(65_536)], [1, 1, 3, 5]);
    assert_eq!(size(u64::MAX), 9);
    assert_eq!(encode(&-1_i64), Ok(vec![1]));
}

#[test]
fn values_without_bytes_survive() {
    there_and_back(&());
    assert_eq!(there_and_back(&vec![(); 4096]).len(), 4096);
    assert_eq!(encode(&((), common::Marker)), Ok(Vec::new()));
}

#[test]
fn strings_and_byte_strings_can_be_borrowed_from_the_message() {
    #[derive(Serialize, Deserialize)]
    struct Borrowed<'a> {
        name: &'a str,
        raw: &'a [u8],
    }
    let bytes = [2, b'h', b'i', 1, 9];
    let value: Borrowed<'_> = decode(&bytes).expect("that is a name and a byte");
    assert_eq!((value.name, value.raw), ("hi", &[9][..]));
    assert_eq!(value.name.as_ptr(), bytes[1..].as_ptr());
}

#[test]
fn byte_strings_are_encoded_as_sequences_of_bytes() {
    #[derive(Serialize, Deserialize)]
    struct Whole(#[serde(with = "labgob::bytes")] Vec<u8>);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Shared(#[serde(with = "labgob::bytes")] Arc<[u8]>);

    let list = vec![1_u8, 255, 0];
    let bytes = encode(&list).expect("a list can be encoded");
    assert_eq!(encode(&Whole(list.clone())), Ok(bytes.clone()));
    assert_eq!(decode(&bytes), Ok(Shared(list.clone().into())));
    assert_eq!(decode::<Whole>(&bytes).map(|whole| whole.0), Ok(list));
}

#[test]
fn a_skipped_field_takes_no_bytes() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Cached {
        key: u8,
        #[serde(skip)]
        cache: Vec<u64>,
        value: NonZeroU16,
    }
    let value = NonZeroU16::MIN;
    let cached = Cached { key: 7, cache: vec![1, 2], value };
    assert_eq!(encode(&cached), Ok(vec![7, 1]));
    assert_eq!(there_and_back(&cached), Cached { cache: Vec::new(), ..cached });
}

#[test]
fn unsized_values_can_be_encoded() {
    assert_eq!(encode("hi"), Ok(vec![2, b'h', b'i']));
    assert_eq!(encode(&[1_u8, 2][..]), Ok(vec![2, 1, 2]));
    assert_eq!(encoded_size("hi"), Ok(3));
}
