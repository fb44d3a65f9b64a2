//! Election safety under random schedules (paper, Figure 3): whatever the network and the crashes
//! do, there is at most one leader in a term; and when they stop, a leader emerges.

mod simulation;

use simulation::{Random, Simulation};

const SCHEDULES: u64 = 20_000;

/// Runs the schedules of all seeds, or the one that `LAB_SEED` names.
fn for_each_seed(run: impl Fn(u64)) {
    if let Ok(seed) = std::env::var("LAB_SEED") {
        return run(seed.parse().expect("LAB_SEED is a number"));
    }
    for seed in 0..SCHEDULES {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        if let Err(panic) = outcome {
            eprintln!("again: LAB_SEED={seed} cargo test -p raft --test election_safety");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The invariants are checked after each step (`simulation/oracle.rs`). Here the faults stop in the
/// end, and the cluster has to elect somebody.
#[test]
fn random_schedules_are_safe_and_end_with_a_leader() {
    for_each_seed(|seed| {
        let mut simulation = Simulation::new(seed);
        let length = 50 + simulation.random.below(400);
        for _ in 0..length {
            simulation.random_event();
        }
        simulation.heal();
        simulation.run_until_a_leader_is_followed_by_all();
    });
}

/// Safety would be easy if nothing ever happened: the schedules must contain what they are about.
#[test]
fn random_schedules_are_not_idle() {
    let (mut elections, mut crashes, mut duplicates) = (0, 0, 0);
    for seed in 0..500 {
        let mut simulation = Simulation::new(seed);
        (0..250).for_each(|_| simulation.random_event());
        elections += simulation.oracle.elections();
        crashes += simulation.crashes;
        duplicates += simulation.duplicates;
    }
    assert!(elections > 500, "only {elections} elections in 500 schedules");
    assert!(crashes > 500, "only {crashes} crashes in 500 schedules");
    assert!(duplicates > 500, "only {duplicates} duplicates in 500 schedules");
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
