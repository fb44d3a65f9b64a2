//! What is told is true: the states that are said to be possible are all that were, and from none
//! of them do the operations that are told have an order.

#[path = "../../tests/support/mod.rs"]
mod support;

use super::{Teller, Told};
use crate::history::NEVER;
use crate::search::{Limits, Step};
use crate::{Kv, KvInput, KvOperation, KvValue, Verdict, check_with};
use support::{Shape, brute_force, long, random};

/// What is told of a history all about one key, that has no order; the history up to its culprit;
/// and the moment at which the window begins.
fn told(history: &[KvOperation]) -> Option<(Told<KvValue>, Vec<KvOperation>, u64)> {
    let useless = |op: &&KvOperation| op.read().is_some() || op.input.token().is_some();
    let history: Vec<KvOperation> = history.iter().filter(useless).cloned().collect();
    let steps: Vec<Step<'_, Kv>> = history.iter().map(Step::of).collect();
    let mut teller = Teller::new(&Kv, &steps)?;
    let told = teller.tell().expect("a telling");
    let begin = history[told.first as usize].call_ns;
    Some((told, history, begin))
}

fn is_write(op: &KvOperation) -> bool {
    op.input.token().is_some()
}

/// The operations from `begin` on that were told, and all writes that may have to do with them, in
/// all ways: each write under way at `begin` took effect before, or is still to do so.
fn windows(told: &Told<KvValue>, history: &[KvOperation], begin: u64) -> Vec<Vec<KvOperation>> {
    let end = history[told.culprit as usize].ret();
    let (mut window, mut under_way) = (Vec::new(), Vec::new());
    for (id, op) in history.iter().enumerate() {
        let is_told = told.kept.contains(&(id as u32));
        if is_told || is_write(op) && op.call() <= end && op.ret() >= begin as i64 {
            let all = if is_told || op.call_ns >= begin { &mut window } else { &mut under_way };
            all.push(op.clone());
        }
    }
    assert!(under_way.len() < 10, "this takes too long");
    let subset = |subset: u32| {
        let chosen = (0..under_way.len()).filter(move |&at| subset & 1 << at != 0);
        chosen.map(|at| under_way[at].clone()).chain(window.clone()).collect()
    };
    (0..1 << under_way.len()).map(subset).collect()
}

/// The operations, once the value was `state`.
fn from(state: &KvValue, operations: &[KvOperation]) -> Vec<KvOperation> {
    let value = match state {
        KvValue::Shown(value) => value.to_string(),
        KvValue::Hidden => "?".to_string(),
    };
    let mut all = vec![KvOperation::returned(0, KvInput::put("k", value), 0, 0, None)];
    for op in operations {
        let mut op = op.clone();
        op.input.key = "k".to_string();
        op.call_ns += 1;
        op.outcome.iter_mut().for_each(|outcome| outcome.return_ns += 1);
        all.push(op);
    }
    all
}

#[test]
fn no_state_that_was_possible_has_an_order_of_what_is_told() {
    let mut clashes = 0;
    for seed in 0..40_000 {
        let mut random = random(seed);
        let shape = Shape { keys: 1, ..Shape::small(&mut random, 7, 1) };
        let Some((told, history, begin)) = told(&support::history(&mut random, &shape)) else {
            continue;
        };
        clashes += 1;
        let windows = windows(&told, &history, begin);
        for (state, window) in told.states.iter().flat_map(|s| windows.iter().map(move |w| (s, w)))
        {
            let history = from(state, window);
            assert!(!brute_force(&history), "seed {seed}, from {state:?}: {history:#?}");
        }
        // And these states are all: whatever a get could read then, it could from one of them.
        let mut before: Vec<KvOperation> =
            history.iter().filter(|op| op.call_ns < begin).cloned().collect();
        before.iter_mut().filter(|op| op.ret() >= begin as i64).for_each(|op| op.outcome = None);
        for value in history.iter().filter_map(KvOperation::read) {
            let get = |time| {
                KvOperation::returned(9, KvInput::get("k0"), time, time, Some(value.to_string()))
            };
            if !brute_force(&[&before[..], &[get(begin)]].concat()) {
                continue;
            }
            let under_way: Vec<_> = before.iter().filter(|op| op.ret() == NEVER).cloned().collect();
            let rest = [&under_way[..], &[get(begin)]].concat();
            let some = told.states.iter().any(|state| brute_force(&from(state, &rest)));
            assert!(some, "seed {seed}: {value:?} is possible, and not from {:?}", told.states);
        }
    }
    assert!(clashes > 5_000, "{clashes} clashes");
}

#[test]
fn in_long_histories_likewise() {
    let mut clashes = 0;
    for seed in 0..150 {
        let mut random = random(seed);
        let load = long::Load::drawn(&mut random);
        let (history, _) = long::history(&mut random, &load);
        let Some((told, history, begin)) = told(&history) else { continue };
        clashes += 1;
        let windows = windows(&told, &history, begin);
        for (state, window) in told.states.iter().flat_map(|s| windows.iter().map(move |w| (s, w)))
        {
            let verdict = check_with(&from(state, window), &Limits::default());
            let is_clash = matches!(verdict, Verdict::NotLinearizable(_));
            assert!(is_clash, "seed {seed}, from {state:?}: {verdict}");
        }
    }
    assert!(clashes > 50, "{clashes} clashes");
}
