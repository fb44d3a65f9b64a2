//! What a call costs: simulated switches against a bare coroutine's, OS calls against the bare
//! primitives. `cargo bench -p labrt --bench switch`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult, Yielder};
use labrt::sim::{Config, StrategyKind, run};
use labrt::{channel, sync, thread};

const ROUNDS: usize = 41;

/// Makes that many switches or calls.
type Body = fn(u32);

/// What is simulated.
const SIMULATED: [(&str, Body); 3] = [
    ("a yield among 50 threads", yields),
    ("a switch over rendezvous channels", ping_pong),
    ("a call without a switch", lone_yields),
];

fn main() {
    let yardstick = median(|| nanos(1_000_000, bare_coroutines));
    println!("{:<49} {yardstick:>7.1} ns", "bare corosensei, 50 coroutines");
    for strategy in StrategyKind::ALL {
        for (what, body) in SIMULATED {
            let took = median(|| in_sim(strategy, 300_000, body));
            let (name, ratio) = (strategy.name(), took / yardstick);
            println!("{what:<36} {name:<12} {took:>7.1} ns  {ratio:>5.1} x");
        }
    }
    compare("OS lock and unlock", labrt_locks, bare_locks);
    compare("OS send and receive", labrt_channel, bare_channel);
}

fn nanos(count: u32, body: impl FnOnce(u32)) -> f64 {
    let started = Instant::now();
    body(count);
    started.elapsed().as_nanos() as f64 / f64::from(count)
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    middle((0..ROUNDS / 4).map(|_| measure()).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn bare_coroutines(switches: u32) {
    let endless = |yielder: &Yielder<(), ()>, ()| {
        loop {
            yielder.suspend(());
        }
    };
    let mut coroutines: Vec<Coroutine<(), (), ()>> =
        (0..50).map(|_| Coroutine::new(endless)).collect();
    for turn in 0..switches {
        let coroutine = &mut coroutines[turn as usize % 50];
        assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
    }
}

/// Nanoseconds per switch, or per call if hardly any of them switches.
fn in_sim(strategy: StrategyKind, count: u32, body: Body) -> f64 {
    let config = Config { max_time: Duration::MAX, ..Config::new(1).with_strategy(strategy) };
    let started = Instant::now();
    let outcome = run(&config, move || body(count));
    let took = started.elapsed().as_nanos() as f64;
    assert!(outcome.result.is_ok());
    let (switches, steps) = (outcome.stats.switches, outcome.stats.steps);
    took / if switches < steps / 10 { steps } else { switches } as f64
}

fn yields(count: u32) {
    let threads: Vec<_> = (0..50)
        .map(|_| thread::spawn(move || (0..count / 50).for_each(|_| thread::yield_now())))
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

fn lone_yields(count: u32) {
    (0..count).for_each(|_| thread::yield_now());
}

fn ping_pong(count: u32) {
    let (there_tx, there) = channel::bounded::<u32>(0);
    let (back_tx, back) = channel::bounded::<u32>(0);
    thread::spawn(move || there.iter().for_each(|i| assert!(back_tx.send(i).is_ok())));
    for i in 0..count / 4 {
        there_tx.send(i).expect("the other side lives");
        back.recv().expect("the other side lives");
    }
}

/// Interleaved rounds, so that both see the same machine.
fn compare(what: &str, ours: Body, bare: Body) {
    let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_bare.push(nanos(1_000_000, bare));
        of_ours.push(nanos(1_000_000, ours));
    }
    let (ours, bare) = (middle(of_ours), middle(of_bare));
    println!("{what:<22} {ours:>7.2} ns, bare {bare:>7.2} ns  {:>5.3} x", ours / bare);
}

fn labrt_locks(count: u32) {
    let lock = Arc::new(sync::Mutex::new(0_u64));
    for _ in 0..count {
        *black_box(&lock).lock() += 1;
    }
}

fn bare_locks(count: u32) {
    let lock = Arc::new(parking_lot::Mutex::new(0_u64));
    for _ in 0..count {
        *black_box(&lock).lock() += 1;
    }
}

fn labrt_channel(count: u32) {
    let (tx, rx) = channel::unbounded();
    for i in 0..count {
        assert!(black_box(&tx).send(i).is_ok());
        assert!(black_box(&rx).recv().is_ok());
    }
}

fn bare_channel(count: u32) {
    let (tx, rx) = crossbeam_channel::unbounded();
    for i in 0..count {
        assert!(black_box(&tx).send(i).is_ok());
        assert!(black_box(&rx).recv().is_ok());
    }
}
