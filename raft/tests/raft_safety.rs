//! The promises of Figure 3 under random schedules: whatever the network and the crashes do, none
//! is ever broken; and when they stop, a leader emerges and commits.

mod simulation;

use simulation::{Random, Simulation};

const SCHEDULES: u64 = 10_000;

/// Runs the schedules of all seeds, or the one that `LAB_SEED` names.
fn for_each_seed(run: impl Fn(u64)) {
    if let Ok(seed) = std::env::var("LAB_SEED") {
        return run(seed.parse().expect("LAB_SEED is a number"));
    }
    for seed in 0..SCHEDULES {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        if let Err(panic) = outcome {
            eprintln!("again: LAB_SEED={seed} cargo test -p raft --test raft_safety");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The invariants are checked after each step (`simulation/oracle.rs`). Here the faults stop in the
/// end, and the cluster has to elect somebody, and to agree on one more command.
#[test]
fn random_schedules_are_safe_and_end_in_agreement() {
    for_each_seed(|seed| {
        let mut simulation = Simulation::new(seed);
        let length = 50 + simulation.random.below(2_000);
        for _ in 0..length {
            simulation.random_event();
        }
        simulation.heal();
        simulation.run_until_all_agree();
    });
}

/// Safety would be easy if nothing ever happened: the schedules must contain what they are about.
#[test]
fn random_schedules_are_not_idle() {
    const SEEDS: u64 = 500;
    let mut seen = [0; 7];
    for seed in 0..SEEDS {
        let mut simulation = Simulation::new(seed);
        (0..1_000).for_each(|_| simulation.random_event());
        let counts = [
            simulation.oracle.elections(),
            simulation.crashes,
            simulation.duplicates,
            simulation.oracle.commits(),
            simulation.oracle.rejections,
            simulation.oracle.replaced,
            simulation.snapshots_applied,
        ];
        seen.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let names = [
        "elections",
        "crashes",
        "duplicates",
        "commits",
        "rejections",
        "replaced entries",
        "snapshots from leaders",
    ];
    let at_least = [SEEDS, SEEDS, SEEDS, SEEDS, SEEDS / 2, SEEDS / 20, SEEDS / 2];
    for ((name, sum), at_least) in names.into_iter().zip(seen).zip(at_least) {
        assert!(sum > at_least, "only {sum} {name} in {SEEDS} schedules");
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let draws = |seed| {
        let mut random = Random::new(seed);
        [random.next(), random.next(), random.next()]
    };
    assert_eq!(draws(1), draws(1));
    assert_ne!(draws(1), draws(2));
}
