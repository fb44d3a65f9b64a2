//! What a call costs, as a ratio to something measured in the same run.
//!
//! ```text
//! cargo bench -p labrpc --bench rpc
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use corosensei::Coroutine;
use labrpc::{Network, service};
use labrt::group::Group;
use labrt::sim::{self, Config, StrategyKind};
use labrt::thread;
use labrt::time::Instant;

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

const ROUNDS: usize = 7;
const SIMULATED_CALLS: u64 = 200_000;
const OS_CALLS: u64 = 20_000;
const SWITCHES: u64 = 2_000_000;

fn main() {
    let yardstick = median(yardstick);
    let simulated = median(simulated_call);
    println!("yardstick, a bare coroutine's switch and back: {yardstick:>9.1} ns");
    println!(
        "a simulated RPC:                               {simulated:>9.1} ns = {:.0} yardsticks",
        simulated / yardstick
    );
    let (spawned, called) = (median(spawn_and_join), median(os_call));
    println!("spawning and joining an OS thread:             {spawned:>9.1} ns");
    println!(
        "an RPC between OS threads:                     {called:>9.1} ns = {:.2} of that",
        called / spawned
    );
}

/// The median of several measurements, in nanoseconds.
fn median(mut measure: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| measure()).collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
}

fn per_call(calls: u64, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_nanos() as f64 / calls as f64
}

/// Round robin over 50 coroutines that do nothing but suspend.
fn yardstick() -> f64 {
    let mut coroutines: Vec<Coroutine<(), (), ()>> = (0..50)
        .map(|_| {
            Coroutine::new(|yielder, ()| {
                loop {
                    yielder.suspend(());
                }
            })
        })
        .collect();
    let time = per_call(SWITCHES, || {
        for number in 0..SWITCHES as usize {
            black_box(coroutines[number % 50].resume(()));
        }
    });
    for coroutine in &mut coroutines {
        coroutine.force_unwind();
    }
    time
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
