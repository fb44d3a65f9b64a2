//! Both engines agree with porcupine-rs, on random histories with several keys.

mod support;

use std::collections::BTreeMap;

use linearizability::{Kv, KvAction, KvOperation, Limits, check, check_model};
use porcupine_rs::{Model, Operation as Porcupined, check_operations};
use support::{Random, Shape, history, random};

/// The whole map as one state: porcupine is not told that keys are independent. Its calls with a
/// time limit take an expired limit for a violation, and are not used here.
#[derive(Clone)]
struct Map;

impl Model for Map {
    type State = BTreeMap<String, String>;
    type Op = KvOperation;
    type Metadata = ();

    fn init() -> Self::State {
        BTreeMap::new()
    }

    fn step(map: &Self::State, op: &Self::Op) -> (bool, Self::State) {
        let mut map = map.clone();
        let key = op.input.key.clone();
        match &op.input.action {
            KvAction::Get => {
                let value = map.get(&key).map_or("", String::as_str);
                let read = op.outcome.as_ref().map(|o| o.output.as_deref().unwrap_or_default());
                return (read.is_none_or(|read| read == value), map);
            }
            KvAction::Put(value) => drop(map.insert(key, value.clone())),
            KvAction::Append(more) => map.entry(key).or_default().push_str(more),
        }
        (true, map)
    }
}

fn porcupine(history: &[KvOperation]) -> bool {
    let operations: Vec<Porcupined<Map>> = history
        .iter()
        .map(|op| Porcupined {
            client_id: None,
            call_time: op.call_ns as i64,
            return_time: op.outcome.as_ref().map_or(i64::MAX, |o| o.return_ns as i64),
            op: op.clone(),
            metadata: None,
        })
        .collect();
    check_operations(&operations)
}

/// Larger ones than brute force can take.
fn shape(random: &mut Random) -> Shape {
    let mut shape = Shape::small(random, 12, 3);
    shape.times *= 2;
    shape.unknown /= 3;
    shape
}

#[test]
fn agrees_with_porcupine() {
    let (mut good, mut bad) = (0_u32, 0_u32);
    for seed in 0..100_000 {
        let mut random = random(seed);
        let shape = shape(&mut random);
        let history = history(&mut random, &shape);
        let expected = porcupine(&history);
        *(if expected { &mut good } else { &mut bad }) += 1;
        compare(seed, &history, expected);
    }
    assert!(good > 25_000 && bad > 25_000, "a lopsided test: {good} good, {bad} bad");
}

fn compare(seed: u64, history: &[KvOperation], expected: bool) {
    let verdicts = [check(history), check_model(&Kv, history, &Limits::default())];
    for (engine, verdict) in ["the picked", "the general"].iter().zip(verdicts) {
        let decided = verdict.is_linearizable() == expected && verdict.is_violation() != expected;
        assert!(decided, "seed {seed}, {engine} engine: {verdict}\nfor {history:#?}");
    }
}
