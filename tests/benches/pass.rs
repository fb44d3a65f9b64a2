//! What one pass of the suites costs: each test once, one seed, one thread, the oracle on.
//!
//! ```text
//! cargo bench -p tests --bench pass [-- FILTER]
//! ```
//!
//! Times are CPU times of the process. All tests are run one after the other, several times over,
//! and each counts with its fastest run, the least disturbed one: a neighbour who slows the machine
//! for a second then disturbs one run of many tests, not every run of one. How long messages take
//! is virtual, and is printed: it decides how many a test has time for.

use std::hint::black_box;
use std::time::Duration;

use corosensei::Coroutine;
use harness::runner::{Implementation, TestCase, simulate};
use harness::{Cluster, KvCluster, KvSetup, Summary};
use labrpc::Faults;
use labrt::sim::{self, Config};
use mimalloc::MiMalloc;
#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// As `tests::main!` has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const OURS: Implementation =
    Implementation::new().raft::<raft::Raft>().kv::<kvraft::KvServer<raft::Raft>>();

const PASSES: usize = 8;
const SWITCHES: u64 = 2_000_000;

fn main() {
    stay_on_this_processor();
    print_latencies();
    // Cargo gives options of its own.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |case: &&TestCase| {
        case.concerns(&OURS) && filter.as_ref().is_none_or(|part| case.name.contains(part))
    };
    let cases: Vec<&TestCase> = tests::SUITES.iter().copied().flatten().filter(is_wanted).collect();
    let Measured { yardstick, costs } = measure(&cases);
    println!("yardstick, a bare coroutine's switch and back: {:.1} ns", yardstick * 1e9);
    for (case, cost) in cases.iter().zip(&costs) {
        cost.print(case.name, yardstick);
    }
    for part in ["2A", "2B", "2C", "2D", "3A", "3B"] {
        let of_it: Vec<(&TestCase, Cost)> = cases
            .iter()
            .copied()
            .zip(costs.iter().copied())
            .filter(|(case, _)| case.part() == part)
            .collect();
        print_part(part, &of_it, yardstick);
    }
}

/// What a part's tests take together: those of the labs, our own, and all.
fn print_part(part: &str, tests: &[(&TestCase, Cost)], yardstick: f64) {
    let total = |is_counted: fn(&TestCase) -> bool| {
        let counted = tests.iter().filter(|(case, _)| is_counted(case));
        counted.fold(Cost::default(), |sum, (_, cost)| sum.and(*cost))
    };
    if !tests.is_empty() {
        total(|case| case.mirrored).print(&format!("{part}, the labs' tests"), yardstick);
        total(|case| !case.mirrored).print(&format!("{part}, our own"), yardstick);
        total(|_| true).print(&format!("{part}, all"), yardstick);
    }
}

/// Of one pass, or the fastest of several: seconds of a switch and back, and what each test took.
struct Measured {
    yardstick: f64,
    costs: Vec<Cost>,
}

fn measure(cases: &[&'static TestCase]) -> Measured {
    let pass = || Measured {
        yardstick: yardstick(),
        costs: cases.iter().map(|case| cost_of(case)).collect(),
    };
    let faster = |one: Measured, other: Measured| Measured {
        yardstick: one.yardstick.min(other.yardstick),
        costs: one.costs.into_iter().zip(other.costs).map(|(a, b)| a.faster(b)).collect(),
    };
    (1..PASSES).fold(pass(), |fastest, _| faster(fastest, pass()))
}

/// What a message takes, unless a test sets something else.
fn print_latencies() {
    let raft = || Cluster::new::<raft::Raft>(1).usual_faults().clone();
    let service = || {
        let kv = KvCluster::new::<kvraft::KvServer<raft::Raft>>(1, KvSetup::default());
        kv.servers.usual_faults().clone()
    };
    for (what, usual) in [("2", drawn(raft)), ("3", drawn(service))] {
        let Faults { request_delay, reply_delay, .. } = usual;
        println!(
            "{what}: a request takes {request_delay:?}, a reply {reply_delay:?} of virtual time, \
             drawn for each"
        );
    }
}

fn drawn(usual: impl FnOnce() -> Faults + Send + 'static) -> Faults {
    let outcome = sim::run(&Config::new(1), usual);
    outcome.result.unwrap_or_else(|failure| panic!("a cluster starts: {failure}"))
}

/// A thread that ends on another processor is joined before all of its time is in the process's.
fn stay_on_this_processor() {
    #[cfg(target_os = "linux")]
    {
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        // Where that is not allowed, the times are less exact.
        let _ = sched_setaffinity(None, &here);
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// What one or several tests took.
#[derive(Clone, Copy, Default)]
struct Cost {
    time: Duration,
    rpcs: u64,
    commands: u64,
}

impl Cost {
    fn new(time: Duration, summary: &Summary) -> Self {
        Self { time, rpcs: summary.rpcs, commands: summary.commands }
    }

    fn and(self, other: Self) -> Self {
        Self {
            time: self.time + other.time,
            rpcs: self.rpcs + other.rpcs,
            commands: self.commands + other.commands,
        }
    }

    fn faster(self, other: Self) -> Self {
        if other.time < self.time { other } else { self }
    }

    fn print(&self, name: &str, yardstick: f64) {
        let Self { time, rpcs, commands } = *self;
        let seconds = time.as_secs_f64();
        let millions = seconds / yardstick / 1e6;
        let micros = |count: u64| seconds * 1e6 / count.max(1) as f64;
        println!(
            "{name:<24} {:>9.3} ms {millions:>7.3} M yardsticks {rpcs:>7} RPCs {commands:>6} \
             commands {:>7.2} us an RPC {:>8.2} us a command",
            seconds * 1e3,
            micros(rpcs),
            micros(commands)
        );
    }
}

/// What a run of seed 1 takes.
fn cost_of(case: &'static TestCase) -> Cost {
    let started = cpu_time();
    let outcome = simulate(case, OURS, &Config::new(1));
    let summary = outcome.result.unwrap_or_else(|failure| panic!("{}: {failure}", case.name));
    Cost::new(cpu_time() - started, &summary)
}

/// Round robin over 50 coroutines that do nothing but suspend: seconds for a switch and back.
fn yardstick() -> f64 {
    let forever = |yielder: &corosensei::Yielder<(), ()>, ()| -> () {
        loop {
            yielder.suspend(());
        }
    };
    let mut coroutines: Vec<Coroutine<(), (), ()>> =
        (0..50).map(|_| Coroutine::new(forever)).collect();
    let started = cpu_time();
    for number in 0..SWITCHES as usize {
        black_box(coroutines[number % 50].resume(()));
    }
    let time = cpu_time() - started;
    coroutines.iter_mut().for_each(Coroutine::force_unwind);
    time.as_secs_f64() / SWITCHES as f64
}
