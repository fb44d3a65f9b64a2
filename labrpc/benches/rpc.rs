//! What a call costs, as a ratio to something measured in the same run.
//!
//! ```text
//! cargo bench -p labrpc --bench rpc              report
//! cargo bench -p labrpc --bench rpc -- --check   and fail if the gate is missed
//! ```
//!
//! The ratio's two sides are measured one right after the other, in many short rounds: a burst of
//! other load falls on few of them, and the median does not see it.
//!
//! Between OS threads, what a call and a new thread cost is also how long an idle processor takes
//! to wake, and whether the kernel starts a thread beside the one that waits for it: on one machine
//! a call takes 0.45 of spawning and joining, on another 1.1. So both are told, as the threads
//! happen to run and with all of them on one processor, where neither matters; the gate looks at
//! the latter.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use corosensei::{Coroutine, Yielder};
use labrpc::{Network, service};
use labrt::group::Group;
use labrt::sim::{self, Config, StrategyKind};
use labrt::thread;
use labrt::time::Instant;
#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

service! {
    /// Adds.
    pub trait Adder, client AdderClient {
        /// The sum of both.
        fn add(args: (u64, u64)) -> u64;
    }
}

struct Server;

impl Adder for Server {
    fn add(&self, (a, b): (u64, u64)) -> u64 {
        a + b
    }
}

/// A simulated RPC may take so many bare switches. One between OS threads is to take less than to
/// spawn a thread and join it, which is what a call without pooled threads would begin with.
const RPC_GATE: f64 = 250.0;

const SIMULATED_ROUNDS: usize = 51;
const SIMULATED_CALLS: u64 = 5_000;
const OS_ROUNDS: usize = 15;
const OS_CALLS: u64 = 5_000;
const SWITCHES: u64 = 50_000;

fn main() -> ExitCode {
    let mut met = report_simulated();
    report_os("wherever they run");
    if stay_on_this_processor() {
        met &= report_os("on one processor") < 1.0;
    }
    let check = std::env::args().any(|argument| argument == "--check");
    if check && !met { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A call's time, in spawned and joined threads.
fn report_os(place: &str) -> f64 {
    let rounds: Vec<(f64, f64)> = (0..OS_ROUNDS).map(|_| (spawn_and_join(), os_call())).collect();
    let ratios = sorted(rounds.iter().map(|(spawned, called)| called / spawned));
    let (spawned, called): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    let (spawned, called) = (sorted(spawned)[0], sorted(called)[0]);
    let ratio = ratios[ratios.len() / 2];
    println!("OS threads, {place}:");
    println!("  spawning and joining one:                    {spawned:>9.1} ns");
    println!(
        "  an RPC:                                      {called:>9.1} ns, median {ratio:.2} of that"
    );
    ratio
}

/// All that this process does from here on, on the processor where it is. False if that cannot be.
fn stay_on_this_processor() -> bool {
    #[cfg(target_os = "linux")]
    {
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        sched_setaffinity(None, &here).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// False if a simulated RPC takes too long.
fn report_simulated() -> bool {
    let mut coroutines = bare_coroutines();
    let round = |_| (yardstick(&mut coroutines), simulated_call());
    let rounds: Vec<(f64, f64)> = (0..SIMULATED_ROUNDS).map(round).collect();
    coroutines.iter_mut().for_each(Coroutine::force_unwind);
    let ratios = sorted(rounds.iter().map(|(yardstick, call)| call / yardstick));
    let (yardsticks, calls): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    let (yardsticks, calls) = (sorted(yardsticks), sorted(calls));
    let (least, middle) = (calls[0] / yardsticks[0], ratios[ratios.len() / 2]);
    println!("yardstick, a bare coroutine's switch and back: {:>9.1} ns", yardsticks[0]);
    println!(
        "a simulated RPC:                               {:>9.1} ns, in yardsticks: least \
         {least:.0}, median {middle:.0}",
        calls[0]
    );
    middle <= RPC_GATE
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

fn per_call(calls: u64, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_nanos() as f64 / calls as f64
}

/// Coroutines that do nothing but suspend.
fn bare_coroutines() -> Vec<Coroutine<(), (), ()>> {
    let endless = |yielder: &Yielder<(), ()>, ()| -> () {
        loop {
            yielder.suspend(());
        }
    };
    (0..50).map(|_| Coroutine::new(endless)).collect()
}

/// Nanoseconds for resuming one of them, in turn.
fn yardstick(coroutines: &mut [Coroutine<(), (), ()>]) -> f64 {
    per_call(SWITCHES, || {
        for number in 0..SWITCHES as usize {
            black_box(coroutines[number % 50].resume(()));
        }
    })
}

/// One client in a closed loop, the network reliable: encoding, both ways, the handler's thread.
fn simulated_call() -> f64 {
    let config = Config {
        max_time: Duration::MAX,
        ..Config::new(1).with_strategy(StrategyKind::RandomWalk)
    };
    per_call(SIMULATED_CALLS, || {
        let outcome = sim::run(&config, || {
            let (network, group) = (Network::new(2), Group::new("S1", 1, 0));
            network.serve(1, &group, vec![AdderClient::service(Arc::new(Server))]);
            let adder = AdderClient::new(network.client_end(0, 1));
            for number in 0..SIMULATED_CALLS {
                assert_eq!(adder.add(&(number, 1)), Ok(number + 1));
            }
        });
        assert_eq!(outcome.result, Ok(()));
    })
}

fn spawn_and_join() -> f64 {
    per_call(OS_CALLS, || {
        for _ in 0..OS_CALLS {
            thread::spawn(|| ()).join().expect("it does not panic");
        }
    })
}

fn os_call() -> f64 {
    let (network, group) = (Network::new(2), Group::new("S1", 1, 0));
    network.serve(1, &group, vec![AdderClient::service(Arc::new(Server))]);
    let adder = AdderClient::new(network.client_end(0, 1));
    let time = per_call(OS_CALLS, || {
        for number in 0..OS_CALLS {
            assert_eq!(adder.add(&(number, 1)), Ok(number + 1));
        }
    });
    group.crash();
    time
}
