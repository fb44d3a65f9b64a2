//! Types with a bit of everything, and values of them.

use std::collections::{BTreeMap, HashMap};

use proptest::collection::{btree_map, hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// Every kind of value that serde knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) unsigned: (u8, u16, u32, u64, u128, usize),
    pub(crate) signed: (i8, i16, i32, i64, i128, isize),
    pub(crate) floats: [f64; 2],
    pub(crate) single: f32,
    pub(crate) flag: bool,
    pub(crate) letter: char,
    pub(crate) name: String,
    #[serde(with = "labgob::bytes")]
    pub(crate) raw: Vec<u8>,
    pub(crate) shape: Shape,
    pub(crate) maybe: Option<Option<Box<Shape>>>,
    pub(crate) by_name: HashMap<String, Vec<u16>>,
    pub(crate) by_number: BTreeMap<i32, (char, Marker)>,
    pub(crate) marks: Vec<()>,
    pub(crate) meters: Meters,
}

/// Every kind of variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Shape {
    Point,
    Circle(f64),
    Line((i32, i32), (i32, i32)),
    Named { name: String, inner: Option<Box<Shape>> },
    Group(Vec<Shape>),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marker;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meters(pub(crate) u64);

pub(crate) fn any_shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Point),
        any::<i32>().prop_map(|r| Shape::Circle(r.into())),
        any::<((i32, i32), (i32, i32))>().prop_map(|(from, to)| Shape::Line(from, to)),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            ("\\PC{0,6}", option::of(inner.clone().prop_map(Box::new)))
                .prop_map(|(name, inner)| Shape::Named { name, inner }),
            vec(inner, 0..3).prop_map(Shape::Group),
        ]
    })
}

/// Integers of all sizes: uniform ones would nearly always take their longest form.
fn any_unsigned() -> impl Strategy<Value = (u8, u16, u32, u64, u128, usize)> {
    let sized = (any::<u128>(), 0..128_u32).prop_map(|(n, shift)| n >> shift);
    vec(sized, 6)
        .prop_map(|n| (n[0] as u8, n[1] as u16, n[2] as u32, n[3] as u64, n[4], n[5] as usize))
}

fn any_signed() -> impl Strategy<Value = (i8, i16, i32, i64, i128, isize)> {
    let sized = (any::<i128>(), 0..128_u32).prop_map(|(n, shift)| n >> shift);
    vec(sized, 6)
        .prop_map(|n| (n[0] as i8, n[1] as i16, n[2] as i32, n[3] as i64, n[4], n[5] as isize))
}

pub(crate) fn any_sample() -> impl Strategy<Value = Sample> {
    let plain = (any_unsigned(), any_signed(), any::<([i32; 2], i16)>(), any::<(bool, char)>());
    let strings = ("\\PC{0,8}", vec(any::<u8>(), 0..12));
    let maybe = option::of(option::of(any_shape().prop_map(Box::new)));
    let by_name = hash_map("\\PC{0,4}", vec(any::<u16>(), 0..4), 0..4);
    let by_number = btree_map(any::<i32>(), any::<char>().prop_map(|c| (c, Marker)), 0..4);
    let rest = (vec(Just(()), 0..5), any::<u64>().prop_map(Meters));
    (plain, strings, any_shape(), maybe, by_name, by_number, rest).prop_map(
        |(
            (unsigned, signed, (floats, single), (flag, letter)),
            (name, raw),
            shape,
            maybe,
            by_name,
            by_number,
            (marks, meters),
        )| {
            Sample {
                unsigned,
                signed,
                floats: floats.map(f64::from),
                single: single.into(),
                flag,
                letter,
                name,
                raw,
                shape,
                maybe,
                by_name,
                by_number,
                marks,
                meters,
            }
        },
    )
}
