//! Of thousands of operations with few different tokens, the few that clash are told.

mod support;

use linearizability::{Clash, KvOperation, Verdict, check};
use support::long::{self, Load, Planted};
use support::random;

const SEEDS: u64 = 400;

/// A history for each seed, with the clash in it; not those whose order the planted fault left.
fn clashes() -> impl Iterator<Item = (u64, Vec<KvOperation>, Planted, Clash)> {
    (0..SEEDS).filter_map(|seed| {
        let mut random = random(seed);
        let load = Load::drawn(&mut random);
        let (history, planted) = long::history(&mut random, &load);
        match check(&history) {
            Verdict::NotLinearizable(clash) => Some((seed, history, planted, clash)),
            Verdict::Linearizable => None,
            Verdict::Undecided(why) => panic!("seed {seed}, {load:?}: {why}"),
        }
    })
}

#[test]
fn a_few_operations_of_thousands_are_told() {
    let mut sizes = [0_usize; 10];
    for (seed, _, _, clash) in clashes() {
        let size = clash.operations.len();
        assert!((2..=8).contains(&size), "seed {seed}: {clash}");
        assert!(clash.to_string().len() < 2_500, "seed {seed}: {clash}");
        sizes[size] += 1;
    }
    let all: usize = sizes.iter().sum();
    let few: usize = sizes[..=3].iter().sum();
    assert!(all > 150, "too few have a clash: {all}");
    assert!(few * 10 >= all * 9, "how many clashes have so many operations: {sizes:?}");
    assert!(sizes[7..].iter().sum::<usize>() * 50 <= all, "likewise: {sizes:?}");
}

/// Who is told to have no place is who was answered wrongly, or who noticed that a write was lost.
#[test]
fn what_is_told_is_what_is_wrong() {
    let (mut all, mut named) = (0, 0);
    for (seed, history, planted, clash) in clashes() {
        let (Planted::Stale(wrong) | Planted::Lost(wrong)) = planted;
        all += 1;
        named += u32::from(clash.operations.contains(&wrong));
        if matches!(planted, Planted::Stale(_)) {
            let right = (0..history.len()).filter(|&id| id != wrong);
            let right: Vec<KvOperation> = right.map(|id| history[id].clone()).collect();
            assert!(check(&right).is_linearizable(), "seed {seed}: the test is wrong");
        }
    }
    assert!(named * 10 >= all * 9, "the planted operation itself was told in {named} of {all}");
}
