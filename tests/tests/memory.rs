//! A process may run as many seeds as one likes: a run that is over leaves nothing in its memory.
//!
//! All allocations of the process are counted, so this one test has it to itself. It takes half a
//! minute, and is run by name alone:
//!
//! ```text
//! cargo test --release -p tests --test memory
//! ```

use harness::runner::{Implementation, TestCase, simulate};
use labrt::sim::Config;
use peak_alloc::PeakAlloc;
use plain_raft::{PlainKv, PlainRaft};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const OURS: Implementation =
    Implementation::new().raft::<raft::Raft>().kv::<kvraft::KvServer<raft::Raft>>();
const PLAIN: Implementation = Implementation::new().raft::<PlainRaft>().kv::<PlainKv<PlainRaft>>();

/// What is made once for the process (a table that grows for the run with the most threads) is made
/// in one batch. What a run leaves behind, it leaves in each.
const BATCHES: u64 = 3;
const RUNS: u64 = 2;

/// By how many bytes the process grows with each [`RUNS`] runs.
fn growth(case: &'static TestCase, implementation: Implementation) -> isize {
    let run = |seed| {
        let outcome = simulate(case, implementation, &Config::new(seed));
        outcome.result.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
    };
    let batch = |number| {
        let before = ALLOCATED.current_usage();
        (number * RUNS..(number + 1) * RUNS).for_each(run);
        ALLOCATED.current_usage().cast_signed() - before.cast_signed()
    };
    (0..BATCHES).map(batch).min().unwrap_or_default()
}

#[test]
fn a_run_leaves_nothing_in_memory() {
    let mut left = Vec::new();
    for (name, implementation) in [("ours", OURS), ("plain", PLAIN)] {
        let cases = tests::SUITES.iter().copied().flatten();
        for case in cases.filter(|case| case.concerns(&implementation)) {
            match growth(case, implementation) {
                ..=0 => {}
                bytes => left.push(format!("{} ({name}): {bytes} bytes", case.name)),
            }
        }
    }
    assert!(left.is_empty(), "after {RUNS} runs there is left, each time, of\n{}", left.join("\n"));
}
