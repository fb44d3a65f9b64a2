//! A table of tests that misbehave, each in its own way: what the runner's own tests run.

use std::hint::{black_box, spin_loop};
use std::panic::catch_unwind;
use std::process::{ExitCode, abort, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{ApplyMsg, Disk, RaftNode};
use harness::runner::{self, Implementation, TestCase};
use harness::{Cluster, KvSetup};
use labrpc::{ClientEnd, Service};
use labrt::channel::Sender;
use labrt::sync::Mutex;
use labrt::thread;

/// A server that never leads.
struct Follower;

impl RaftNode for Follower {
    fn make(_: Vec<ClientEnd>, _: usize, _: Disk, _: Sender<ApplyMsg>) -> Arc<Self> {
        Arc::new(Self)
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        Vec::new()
    }

    fn start(&self, _: Vec<u8>) -> Option<(u64, u64)> {
        None
    }

    fn get_state(&self) -> (u64, bool) {
        (0, false)
    }

    fn kill(&self) {}
}

const fn case(name: &'static str, body: fn(&Cluster)) -> TestCase {
    TestCase::ours(name, 2, body)
        .claims("a test that misbehaves costs itself alone", "none")
        .worth(1)
}

const CASES: &[TestCase] = &[
    case("passes_0X", Cluster::check_no_leader),
    case("unrecorded_0X", |_| assert!(!labrt::trace::enabled(), "this run is recorded")),
    case("panics_0X", |_| panic!("this is what went wrong")),
    case("fails_later_0X", |_| {
        thread::sleep(Duration::from_millis(1_500));
        assert!(labrt::random::seed() < 5, "from seed 5 on it fails");
    }),
    case("aborts_0X", |_| abort()),
    case("exits_0X", |_| exit(0)),
    case("overflows_0X", |_| {
        black_box(descend(0));
    }),
    case("floods_0X", |_| {
        for number in 0..300_000 {
            println!("line {number} of a flood");
        }
        panic!("after the flood");
    }),
    case("locks_twice_0X", |_| {
        let lock = Mutex::new(());
        let _first = lock.lock();
        let _second = lock.lock();
    }),
    case("runs_for_ever_0X", |_| {
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    }),
    case("spins_0X", |_| {
        loop {
            spin_loop();
        }
    }),
    case("waits_outside_0X", |_| wait_outside()),
    case("counts_0X", |_| {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        thread::sleep(Duration::from_nanos(RUNS.fetch_add(1, Ordering::Relaxed)));
    }),
    case("leaks_0X", |_| {
        thread::spawn(|| {
            loop {
                // Whoever catches all panics is not ended by one.
                let _ = catch_unwind(|| thread::sleep(Duration::from_secs(1)));
            }
        });
        thread::sleep(Duration::from_secs(3));
    }),
    case("only_in_sim_0X", |_| ()).only_in_sim("it is about virtual time"),
    TestCase::ours_kv("not_here_0K", 1, KvSetup { clients: 1, max_raft_state: None }, |_| ())
        .claims("nothing", "nowhere")
        .worth(1),
];

#[expect(clippy::disallowed_methods, reason = "what is not to be used is used")]
fn wait_outside() {
    std::thread::sleep(Duration::from_secs(1_000));
}

/// Recursion that no compiler can turn into a loop.
fn descend(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { descend(depth + 1) + room[black_box(7)] }
}

fn main() -> ExitCode {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    runner::main("harness", sources, Implementation::new().raft::<Follower>(), &[CASES])
}
