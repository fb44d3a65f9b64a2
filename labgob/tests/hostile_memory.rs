//! Whatever lengths the bytes claim, the decoder's memory is in proportion to the bytes themselves.

// `GlobalAlloc` is an unsafe trait, and without one nobody could count allocations.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use labgob::{Encoder, decode, encode, encoded_size};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Counts the bytes that the current thread holds, and the most that it ever held.
struct Counting;

thread_local! {
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let held = HELD_BYTES.get() + change;
    HELD_BYTES.set(held);
    PEAK_BYTES.set(PEAK_BYTES.get().max(held));
    if change > 0 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    }
}

// SAFETY: everything is the system's; counting neither allocates nor unwinds. (`realloc` is the
// trait's own, which allocates, copies and frees: for a moment the thread holds both.)
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the trait's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps the trait's promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The peak of what `f` holds, in bytes, and the number of its allocations.
fn memory_of<R>(f: impl FnOnce() -> R) -> (usize, usize) {
    let (held, allocations) = (HELD_BYTES.get(), ALLOCATIONS.get());
    PEAK_BYTES.set(held);
    drop(f());
    ((PEAK_BYTES.get() - held).cast_unsigned(), ALLOCATIONS.get() - allocations)
}

/// Bytes of memory per byte of input. A byte of input can stand for a `Vec` or `String` (24 bytes)
/// or for an entry of a map, whose table is up to half empty (17 bytes for two `u64`s, or 48 for a
/// `String` and a `Vec`), and while a table grows, the old one is there as well.
const FACTOR: usize = 192;

/// Bytes of memory for an error and its message.
const CONSTANT_BYTES: usize = 512;

#[track_caller]
fn assert_modest<T: DeserializeOwned>(bytes: &[u8]) {
    let (peak, _) = memory_of(|| decode::<T>(bytes).is_ok());
    let bound = FACTOR * bytes.len() + CONSTANT_BYTES;
    let name = std::any::type_name::<T>();
    let start = &bytes[..bytes.len().min(16)];
    assert!(peak <= bound, "{name} took {peak} bytes, over {bound}, for {start:?}...");
}

#[derive(Serialize, Deserialize)]
struct Whole(#[serde(with = "labgob::bytes")] Vec<u8>);

#[derive(Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[derive(Serialize, Deserialize)]
struct Folder {
    name: String,
    folders: HashMap<u64, Folder>,
}

fn assert_all_modest(bytes: &[u8]) {
    assert_modest::<Vec<u8>>(bytes);
    assert_modest::<Whole>(bytes);
    assert_modest::<Box<[u8]>>(bytes);
    assert_modest::<Vec<u64>>(bytes);
    assert_modest::<VecDeque<u128>>(bytes);
    assert_modest::<String>(bytes);
    assert_modest::<HashMap<u64, u64>>(bytes);
    assert_modest::<HashMap<String, Vec<u8>>>(bytes);
    assert_modest::<BTreeMap<u64, u64>>(bytes);
    assert_modest::<HashSet<u64>>(bytes);
    assert_modest::<Vec<()>>(bytes);
    assert_modest::<Vec<[(); 8]>>(bytes);
    assert_modest::<Vec<Vec<u8>>>(bytes);
    assert_modest::<Vec<Vec<Vec<Vec<u64>>>>>(bytes);
    assert_modest::<Tree>(bytes);
    assert_modest::<Folder>(bytes);
}

#[test]
fn a_claimed_length_takes_no_memory() {
    for power in 20..=63 {
        for length in [1_u64 << power, (1 << power) - 1, u64::MAX] {
            let mut bytes = encode(&length).expect("a number can be encoded");
            assert_all_modest(&bytes);
            bytes.extend([1; 7]);
            assert_all_modest(&bytes);
        }
    }
}

#[test]
fn claims_within_claims_take_no_memory_either() {
    for length in [255_u64, 1 << 20, 1 << 60] {
        let claim = encode(&length).expect("a number can be encoded");
        for times in [2, 63, 1000] {
            assert_all_modest(&claim.repeat(times));
        }
    }
}

#[test]
fn a_tree_of_claims_does_not_set_memory_aside_on_each_level() {
    // Each level claims as many elements as there are bytes, which one level alone may believe.
    let claim = encode(&100_000_u64).expect("a number can be encoded");
    let mut bytes = claim.repeat(60);
    bytes.resize(100_000, 0);
    let (peak, _) = memory_of(|| decode::<Tree>(&bytes).is_ok());
    let once = bytes.len() * size_of::<Tree>();
    assert!(peak <= once + CONSTANT_BYTES, "{peak} bytes, but all elements take {once}");
}

#[test]
fn a_valid_sequence_is_allocated_once() {
    let names: Vec<Vec<u16>> = (0..1000_u16).map(|n| vec![n; usize::from(n % 7) + 1]).collect();
    let bytes = encode(&names).expect("a list can be encoded");
    let (_, allocations) = memory_of(|| decode::<Vec<Vec<u16>>>(&bytes));
    assert_eq!(allocations, 1 + names.len());
}

#[test]
fn decoding_allocates_nothing_of_its_own() {
    let bytes = encode(&(7_u64, "name", [1_u8; 30], [2_u8; 10])).expect("a tuple can be encoded");
    let decode = || decode::<(u64, &str, [u8; 30], [u8; 10])>(&bytes).is_ok();
    assert!(decode());
    assert_eq!(memory_of(decode), (0, 0));
}

#[test]
fn an_encoded_size_takes_no_memory() {
    let names = vec!["name".to_string(); 1000];
    assert_eq!(memory_of(|| encoded_size(&names)), (0, 0));
}

#[test]
fn a_small_value_is_encoded_with_one_allocation() {
    let (_, allocations) = memory_of(|| encode(&(7_u64, "name", [1_u8; 20])));
    assert_eq!(allocations, 1);
    let (_, allocations) = memory_of(|| {
        let mut e = Encoder::new();
        e.encode(&7_u64)?;
        e.encode(&[1_u64, 2, 3][..])?;
        Ok::<_, labgob::EncodeError>(e.into_bytes())
    });
    assert_eq!(allocations, 1);
}

#[test]
fn an_allocation_would_be_counted() {
    assert_eq!(memory_of(|| Vec::<u8>::with_capacity(1000)), (1000, 1));
}
