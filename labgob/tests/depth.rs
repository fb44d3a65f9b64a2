//! Bytes that claim to be nested deeply must not overflow the stack, not even a small one.

use std::collections::BTreeMap;
use std::fmt;

use labgob::{DecodeErrorKind, Limits, decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Half of the stacks on which simulated servers run.
const STACK_BYTES: usize = 256 * 1024;

/// What the test thread itself may have used of a server's stack before it decodes.
const MARGIN_BYTES: usize = 64 * 1024;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum List {
    Nil,
    Cons(u8, Box<List>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Next(Box<Chain>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Named {
    Leaf,
    Node { payload: [u64; 8], next: Box<Named> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Options(Option<Box<Options>>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    value: String,
    next: Option<Box<Node>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Folder {
    folders: BTreeMap<u8, Folder>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tuple((u8, Option<Box<Tuple>>));

/// Takes no bytes: without a limit decoding it would never end, whatever the input.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Bottomless(Box<Bottomless>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct BottomlessPair {
    left: Box<BottomlessPair>,
    right: Box<BottomlessPair>,
}

fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES - MARGIN_BYTES);
    #[expect(clippy::disallowed_methods, reason = "an OS thread with a small stack is the point")]
    let thread = thread.spawn(test).expect("a thread can be started");
    thread.join().expect("decoding does not panic");
}

/// Asserts that bytes which open a level again and again are too deep.
fn assert_too_deep<T: DeserializeOwned + fmt::Debug>(level: &[u8]) {
    let bytes = level.repeat(100_000);
    let error = decode::<T>(&bytes).expect_err("nothing is nested as deeply");
    let limit = Limits::default().max_depth;
    assert_eq!(error.kind, DecodeErrorKind::TooDeep { limit }, "{error}");
    assert!(error.offset <= limit * level.len(), "{error}");
}

#[test]
fn bytes_nested_deeply_do_not_overflow_a_small_stack() {
    on_a_small_stack(|| {
        assert_too_deep::<List>(&[1, 7]);
        assert_too_deep::<Chain>(&[1]);
        assert_too_deep::<Named>(&[1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_too_deep::<Options>(&[1]);
        assert_too_deep::<Node>(&[1, b'x', 1]);
        assert_too_deep::<Tree>(&[1]);
        assert_too_deep::<Tree>(&[200]);
        assert_too_deep::<Folder>(&[1, 9]);
        assert_too_deep::<Tuple>(&[7, 1]);
    });
}

#[test]
fn types_that_never_end_do_not_overflow_a_small_stack() {
    on_a_small_stack(|| {
        assert_too_deep::<Bottomless>(&[0]);
        assert_too_deep::<BottomlessPair>(&[]);
    });
}

fn list_of(length: usize) -> List {
    (0..length).fold(List::Nil, |rest, _| List::Cons(7, Box::new(rest)))
}

#[test]
fn values_nested_just_as_deeply_as_allowed_are_decoded_on_a_small_stack() {
    on_a_small_stack(|| {
        let list = list_of(Limits::default().max_depth - 1);
        let bytes = encode(&list).expect("a list can be encoded");
        assert_eq!(decode(&bytes), Ok(list));
    });
}

#[test]
fn one_level_more_than_allowed_is_refused_where_it_starts() {
    let limit = Limits::default().max_depth;
    let bytes = encode(&list_of(limit)).expect("a list can be encoded");
    let error = decode::<List>(&bytes).expect_err("that is a level too many");
    assert_eq!(error.kind, DecodeErrorKind::TooDeep { limit });
    assert_eq!(error.offset, bytes.len() - 1);
}

#[test]
fn depth_is_that_of_the_value_and_not_of_all_values() {
    let wide: Vec<Option<Option<u8>>> = vec![Some(Some(1)); 1000];
    let bytes = encode(&wide).expect("a list can be encoded");
    assert_eq!(decode(&bytes), Ok(wide));
}
