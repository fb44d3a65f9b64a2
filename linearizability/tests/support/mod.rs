//! Random histories, and a checker too simple to be wrong.
#![allow(dead_code)]

pub(crate) mod long;

use std::collections::BTreeMap;

use linearizability::{KvAction, KvInput, KvOperation, Operation};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

pub(crate) type Random = Xoshiro256PlusPlus;

pub(crate) fn random(seed: u64) -> Random {
    Random::seed_from_u64(seed)
}

/// What kind of history to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) operations: usize,
    pub(crate) keys: usize,
    /// Calls are at times below this one: the fewer, the more ties.
    pub(crate) times: u64,
    /// Operations take up to this long.
    pub(crate) length: u64,
    /// In percent: how many never return.
    pub(crate) unknown: u32,
    /// Whether each write has a token of its own.
    pub(crate) unique: bool,
    /// In percent: how many histories are changed after they were made.
    pub(crate) spoiled: u32,
    /// At most so many changes each.
    pub(crate) changes: u32,
}

impl Shape {
    /// A small one, with everything that makes trouble.
    pub(crate) fn small(random: &mut Random, most: usize, keys: usize) -> Self {
        Self {
            operations: random.random_range(1..=most),
            keys: random.random_range(1..=keys),
            times: random.random_range(1..=20),
            length: random.random_range(0..=5),
            unknown: [0, 10, 40][random.random_range(0..3)],
            unique: random.random_bool(0.5),
            spoiled: 75,
            changes: 3,
        }
    }
}

/// A history that has an order, by the moments drawn for each operation, and that may have lost it
/// by changes afterwards.
pub(crate) fn history(random: &mut Random, shape: &Shape) -> Vec<KvOperation> {
    let mut planned: Vec<(u64, KvOperation)> =
        (0..shape.operations).map(|number| plan(random, shape, number)).collect();
    planned.sort_by_key(|(moment, _)| *moment);
    let mut map = BTreeMap::new();
    for (moment, op) in &mut planned {
        if op.outcome.is_some() || *moment % 2 == 0 {
            let output = apply(&mut map, &op.input);
            op.outcome.iter_mut().for_each(|outcome| outcome.output = output.clone());
        }
    }
    let mut history: Vec<_> = planned.into_iter().map(|(_, op)| op).collect();
    if random.random_range(0..100) < shape.spoiled {
        (0..random.random_range(1..=shape.changes)).for_each(|_| spoil(random, &mut history));
    }
    history.sort_by_key(|op| op.call_ns);
    history
}

fn plan(random: &mut Random, shape: &Shape, number: usize) -> (u64, KvOperation) {
    let key = format!("k{}", random.random_range(0..shape.keys));
    let token = if shape.unique {
        format!("{number};")
    } else {
        ["", "a", "b", "ab", "a"][random.random_range(0..5)].to_string()
    };
    let input = match random.random_range(0..4) {
        0 => KvInput::put(key, token),
        1 => KvInput::append(key, token),
        _ => KvInput::get(key),
    };
    let client = random.random_range(0..5);
    let call = random.random_range(0..shape.times);
    let length = random.random_range(0..=shape.length);
    if random.random_range(0..100) < shape.unknown {
        let moment = call + random.random_range(0..=shape.times);
        return (moment, Operation::unknown(client, input, call));
    }
    let moment = random.random_range(call..=call + length);
    (moment, Operation::returned(client, input, call, call + length, None))
}

fn apply(map: &mut BTreeMap<String, String>, input: &KvInput) -> Option<String> {
    let value = map.entry(input.key.clone()).or_default();
    match &input.action {
        KvAction::Get => return Some(value.clone()),
        KvAction::Put(new) => new.clone_into(value),
        KvAction::Append(more) => value.push_str(more),
    }
    None
}

/// Moves an operation, or lets a get read something else.
fn spoil(random: &mut Random, history: &mut [KvOperation]) {
    let values: Vec<String> =
        history.iter().filter_map(|op| op.outcome.as_ref()?.output.clone()).collect();
    let victim = random.random_range(0..history.len());
    let op = &mut history[victim];
    let is_get = op.input.action == KvAction::Get;
    let Some(outcome) = &mut op.outcome else { return };
    if is_get && random.random_bool(0.7) {
        let mut value = values[random.random_range(0..values.len())].clone();
        match random.random_range(0..8) {
            0 => value.push_str(&values[random.random_range(0..values.len())]),
            1 => value.push('x'),
            2 => drop(value.pop()),
            _ => {}
        }
        outcome.output = Some(value);
    } else if random.random_bool(0.5) {
        let later = random.random_range(0..12);
        op.call_ns += later;
        outcome.return_ns += later;
    } else {
        let earlier = random.random_range(0..12).min(op.call_ns);
        op.call_ns -= earlier;
        outcome.return_ns -= earlier;
    }
}

/// Tries every order of every choice of operations, on one map with all keys.
pub(crate) fn brute_force(history: &[KvOperation]) -> bool {
    extends(history, 0, &BTreeMap::new())
}

fn extends(history: &[KvOperation], done: u32, map: &BTreeMap<String, String>) -> bool {
    let left = || (0..history.len()).filter(|i| done & (1 << i) == 0);
    let end = |i: usize| history[i].outcome.as_ref().map(|outcome| outcome.return_ns);
    if left().all(|i| end(i).is_none()) {
        return true;
    }
    left().any(|next| {
        let call = history[next].call_ns;
        let mut map = map.clone();
        let output = apply(&mut map, &history[next].input);
        let fits = history[next].outcome.as_ref().is_none_or(|o| o.output == output);
        fits && left().all(|i| end(i).is_none_or(|end| end >= call))
            && extends(history, done | 1 << next, &map)
    })
}
