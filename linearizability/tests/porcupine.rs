//! Both engines agree with porcupine-rs, on random histories with several keys.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use linearizability::{Kv, KvAction, KvOperation, Limits, check, check_model};
use porcupine_rs::{Model, Operation as Porcupined, check_operations};
use rand::RngExt;
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
    let mut shape = Shape::small(random, 10, 4);
    shape.operations += random.random_range(1..=4);
    // Where all is concurrent, everything is linearizable.
    shape.times *= 4;
    shape.unique = random.random_bool(0.3);
    // Each doubles what porcupine has to try.
    shape.unknown = [0, 10, 25][random.random_range(0..3)];
    shape.spoiled = 80;
    shape.changes = 10;
    shape
}

/// What histories there were, each class with its share in percent that has to be.
#[derive(Default)]
struct Classes(BTreeMap<&'static str, (u32, u32)>);

impl Classes {
    fn count(&mut self, class: &'static str, at_least: u32, is_in: bool) {
        let (count, share) = self.0.entry(class).or_default();
        (*count, *share) = (*count + u32::from(is_in), at_least);
    }

    fn note(&mut self, history: &[KvOperation], good: bool) {
        let keys: BTreeSet<_> = history.iter().map(|op| &op.input.key).collect();
        let calls: BTreeSet<_> = history.iter().map(|op| op.call_ns).collect();
        let ends = || history.iter().filter_map(|op| op.outcome.as_ref());
        let returns: BTreeSet<_> = ends().map(|end| end.return_ns).collect();
        let writes = || history.iter().filter(|op| op.input.action != KvAction::Get);
        let tokens: BTreeSet<_> = writes().map(|op| format!("{:?}", op.input)).collect();
        let has_lost = writes().any(|op| op.outcome.is_none());
        let reads = ends().any(|end| end.output.iter().any(|value| !value.is_empty()));
        let repeated = tokens.len() < writes().count();
        for (class, at_least, is_in) in [
            ("linearizable", 35, good),
            ("not linearizable", 35, !good),
            ("two keys or more", 65, keys.len() > 1),
            ("three keys or more", 35, keys.len() > 2),
            ("two calls at one time", 50, calls.len() < history.len()),
            ("a return at the time of a call", 80, !calls.is_disjoint(&returns)),
            ("a write of unknown outcome", 25, has_lost),
            ("an equal write", 20, repeated),
            ("a get that read something", 50, reads),
            ("ten operations or more", 30, history.len() >= 10),
            ("twelve operations or more", 12, history.len() >= 12),
            (
                "several keys, unknown and equal writes, linearizable",
                2,
                good && keys.len() > 1 && has_lost && repeated,
            ),
            (
                "several keys, unknown and equal writes, and not so",
                2,
                !good && keys.len() > 1 && has_lost && repeated,
            ),
        ] {
            self.count(class, at_least, is_in);
        }
    }

    fn check(&self, histories: u32) {
        let counts: Vec<_> = self.0.iter().map(|(class, (count, _))| (class, count)).collect();
        println!("{counts:#?}");
        for (class, (count, at_least)) in &self.0 {
            let (count, all) = (u64::from(*count), u64::from(histories));
            assert!(count * 100 >= all * u64::from(*at_least), "{class}: {count} of {all}");
        }
    }
}

#[test]
fn agrees_with_porcupine() {
    const HISTORIES: u32 = 100_000;
    let mut classes = Classes::default();
    for seed in 0..u64::from(HISTORIES) {
        let mut random = random(seed);
        let shape = shape(&mut random);
        let history = history(&mut random, &shape);
        let expected = porcupine(&history);
        classes.note(&history, expected);
        compare(seed, &history, expected);
    }
    classes.check(HISTORIES);
}

fn compare(seed: u64, history: &[KvOperation], expected: bool) {
    let verdicts = [check(history), check_model(&Kv, history, &Limits::default())];
    for (engine, verdict) in ["the picked", "the general"].iter().zip(verdicts) {
        let decided = verdict.is_linearizable() == expected && verdict.is_violation() != expected;
        assert!(decided, "seed {seed}, {engine} engine: {verdict}\nfor {history:#?}");
    }
}
