//! Both engines agree with a checker too simple to be wrong, on small random histories.

mod support;

use linearizability::{Kv, KvOperation, Limits, check, check_model};
use support::{Shape, brute_force, history, random};

#[test]
fn agrees_with_brute_force() {
    let (mut good, mut bad) = (0_u32, 0_u32);
    for seed in 0..60_000 {
        let mut random = random(seed);
        let shape = Shape::small(&mut random, 7, 2);
        let history = history(&mut random, &shape);
        let expected = brute_force(&history);
        *(if expected { &mut good } else { &mut bad }) += 1;
        compare(seed, &history, expected);
    }
    assert!(good > 15_000 && bad > 10_000, "a lopsided test: {good} good, {bad} bad");
}

fn compare(seed: u64, history: &[KvOperation], expected: bool) {
    let verdicts = [check(history), check_model(&Kv, history, &Limits::default())];
    for (engine, verdict) in ["the picked", "the general"].iter().zip(verdicts) {
        let decided = verdict.is_linearizable() == expected && verdict.is_violation() != expected;
        assert!(decided, "seed {seed}, {engine} engine: {verdict}\nfor {history:#?}");
    }
}
