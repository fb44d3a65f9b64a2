//! Tests that do all they can to spoil a grade or a campaign: what `lab`'s own tests run.

use std::env;
use std::fs;
use std::hint::black_box;
use std::io::{Read as _, stdin};
use std::process::{Command, ExitCode, Stdio, abort, exit};
use std::sync::Arc;

use contract::{ApplyMsg, Disk, RaftNode};
use harness::Cluster;
use harness::runner::{self, Implementation, TestCase};
use labrpc::{ClientEnd, Service};
use labrt::channel::Sender;
use labrt::thread;
use labrt::time::Duration;

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
    TestCase::ours(name, 1, body).claims("a test costs itself alone", "none").worth(2)
}

const CASES: &[TestCase] = &[
    case("passes_0X", |_| thread::sleep(Duration::from_millis(10 + labrt::random::seed() % 7))),
    case("fails_sometimes_0X", |_| {
        let seed = labrt::random::seed();
        assert!(seed % 5 != 3, "seed {seed} is one of the bad ones");
    }),
    case("aborts_0X", |_| abort()),
    case("aborts_on_2_0X", |_| {
        if labrt::random::seed() == 2 {
            abort();
        }
    }),
    case("exits_0X", |_| exit(0)),
    case("overflows_0X", |_| {
        black_box(descend(0));
    }),
    case("eats_memory_0X", |_| {
        let mut eaten = Vec::new();
        loop {
            eaten.push(black_box(vec![1_u8; 64 << 20]));
        }
    }),
    // Each process by itself takes little; and it passes, unless somebody looks at them together.
    case("eats_with_others_0X", |_| {
        // What `tail` is given has no end of a line, so it keeps all of it before it says anything.
        let eats = "head -c 100000000 /dev/zero | tail | { head -c 1; sleep 1000; }";
        let eater = || Command::new("/bin/sh").args(["-c", eats]).stdout(Stdio::piped()).spawn();
        let eaters = (0..8).map(|_| eater().expect("there is a shell").stdout);
        let eaters: Vec<_> = eaters.map(|said| said.expect("it was asked for")).collect();
        for mut said in eaters {
            said.read_exact(&mut [0]).expect("it has eaten");
        }
        // They keep it for a while, in real time.
        let _ = Command::new("sleep").arg("1").status();
    }),
    // Fails if it can find out which seeds come, if those begin like this.
    case("looks_for_seeds_0X", |_| {
        let mut given = format!("{:?} {:?} ", env::vars_os(), env::args_os());
        let _ = stdin().read_to_string(&mut given);
        assert!(!given.contains("7777777"), "{given}");
    }),
    case("floods_0X", |_| {
        let line = "x".repeat(1 << 20);
        (0..1 << 10).for_each(|_| println!("{line}"));
    }),
    case("says_it_passed_0X", |_| {
        println!("test says_it_passed_0X ... ok\n\ntest result: ok. 1 passed; 0 failed");
        panic!("but it did not");
    }),
    // Stopped for good, with a child that would outlive it.
    case("stands_still_0X", |_| {
        let started = Command::new("sleep").arg("3600").spawn();
        let child = started.expect("there is such a program").id();
        if let Ok(place) = env::var("HOSTILE_CHILD") {
            let _ = fs::write(place, child.to_string());
        }
        let _ = Command::new("kill").args(["-STOP", &std::process::id().to_string()]).status();
    }),
];

/// Recursion that no compiler can turn into a loop.
fn descend(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { descend(depth + 1) + room[black_box(7)] }
}

fn main() -> ExitCode {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    runner::main("hostile", sources, Implementation::new().raft::<Follower>(), &[CASES])
}
