//! Random and damaged bytes: each is a value or an error, and none makes it panic.
//!
//! `LABGOB_FUZZ_CASES=10000000 cargo test -p labgob --test fuzz` goes on for longer.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use common::{Sample, Shape, any_sample};
use labgob::{DecodeErrorKind, Decoder, decode, encode};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const DEFAULT_CASES: u64 = 200_000;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(u64),
    Branch(Vec<Tree>),
    Table(BTreeMap<String, Tree>),
    Boxed(Option<Box<Tree>>),
}

/// SplitMix64: a small generator, so that a case's number is all it takes to repeat it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A byte of the kind that matters: a small length, a marker of a longer integer, or any.
    fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => self.below(4) as u8,
            1 => 250 + self.below(6) as u8,
            _ => self.next() as u8,
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(80);
        (0..length).map(|_| self.byte()).collect()
    }

    /// Damages bytes in one to three places.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), self.byte()),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = self.byte(),
                _ => bytes.push(self.byte()),
            }
        }
    }
}

/// Decodes bytes, and checks what holds for all bytes.
fn check<T>(bytes: &[u8])
where
    T: Serialize + DeserializeOwned + fmt::Debug,
{
    let mut decoder = Decoder::new(bytes);
    match decoder.decode::<T>() {
        Ok(value) => check_value(&value, decoder.offset()),
        Err(error) => {
            assert!(error.offset <= bytes.len(), "{error} in {} bytes", bytes.len());
            assert!(!matches!(error.kind, DecodeErrorKind::TrailingBytes { .. }), "{error}");
            assert!(!error.to_string().is_empty());
            assert_eq!(decoder.offset(), 0);
        }
    }
}

/// Decoded bytes are a value like any other. Its encoding may be shorter than they were, for
/// integers in a form that is longer than needed, and keys that are there twice.
fn check_value<T>(value: &T, length: usize)
where
    T: Serialize + DeserializeOwned + fmt::Debug,
{
    let encoding = encode(value).expect("a decoded value can be encoded");
    assert!(encoding.len() <= length, "{value:?}");
    let again = decode::<T>(&encoding).expect("an encoding can be decoded");
    // A HashMap may be in another order the second time, and a NaN is not equal to itself.
    assert_eq!(encode(&again).map(|e| e.len()), Ok(encoding.len()), "{value:?}");
}

fn check_all(bytes: &[u8]) {
    check::<Sample>(bytes);
    check::<Shape>(bytes);
    check::<Tree>(bytes);
    check::<(u64, Option<u32>, Vec<(u64, String)>)>(bytes);
    check::<HashMap<u64, Vec<Option<i128>>>>(bytes);
    check::<(char, Vec<(bool, char)>, Vec<()>)>(bytes);
}

fn fuzz_cases() -> u64 {
    let cases = std::env::var("LABGOB_FUZZ_CASES").ok();
    cases.map_or(DEFAULT_CASES, |n| n.parse().expect("LABGOB_FUZZ_CASES is a number"))
}

/// Encodings to damage.
fn seeds() -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let mut sample = || any_sample().new_tree(&mut runner).expect("a sample can be made").current();
    let tree = Tree::Branch(vec![
        Tree::Table([("a".to_string(), Tree::Leaf(300))].into()),
        Tree::Boxed(Some(Box::new(Tree::Boxed(None)))),
    ]);
    let mut seeds = vec![encode(&tree), encode(&(3_u64, Some(1_u32), vec![(2_u64, "x = 1")]))];
    seeds.extend((0..50).map(|_| encode(&sample())));
    seeds.into_iter().map(|seed| seed.expect("each can be encoded")).collect()
}

#[test]
fn random_and_damaged_bytes_are_a_value_or_an_error() {
    let seeds = seeds();
    for case in 0..fuzz_cases() {
        let mut random = Random(case);
        let mut bytes = random.bytes();
        if case % 2 == 0 {
            bytes.clone_from(&seeds[random.below(seeds.len())]);
            random.mutate(&mut bytes);
        }
        let result = std::panic::catch_unwind(|| check_all(&bytes));
        assert!(result.is_ok(), "case {case} panicked: {bytes:?}");
    }
}

#[test]
fn the_fuzzer_finds_both_values_and_errors() {
    let seeds = seeds();
    let mut values = 0;
    for case in 0..1000 {
        let mut random = Random(case);
        let mut bytes = seeds[random.below(seeds.len())].clone();
        random.mutate(&mut bytes);
        values += usize::from(decode::<Sample>(&bytes).is_ok());
    }
    assert!((20..980).contains(&values), "{values} of 1000 damaged samples are values");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes_are_a_value_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        check_all(&bytes);
    }

    #[test]
    fn a_flipped_bit_gives_a_value_or_an_error(sample in any_sample(), bit in any::<usize>()) {
        let mut bytes = encode(&sample).expect("a sample can be encoded");
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        check_all(&bytes);
    }
}
