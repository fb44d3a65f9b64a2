//! What a call costs: simulated switches against a bare coroutine's, OS calls against the bare
//! primitives.
//!
//! ```text
//! cargo bench -p labrt --bench switch              report
//! cargo bench -p labrt --bench switch -- --check   and fail if a gate is missed
//! ```
//!
//! Machines are shared and clocks vary, so only ratios are gates, each of two things measured one
//! right after the other, in many short rounds; a burst of other load falls on few of them, and
//! the median does not see it.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult, Yielder};
use labrt::group::Group;
use labrt::random::Stream;
use labrt::sim::{Config, StrategyKind, run};
use labrt::{channel, sync, thread};

/// A simulated switch may take so many bare ones.
const SWITCH_GATE: f64 = 30.0;
/// A call on OS threads may take so many times what the bare primitive does, on a processor that it
/// has for itself.
const OS_GOAL: f64 = 1.05;
/// More than this fails the check. What our calls add is a look at what kind of thread this is, and
/// branches that are not taken; a server's thread also looks whether its server lives. Most of it
/// fits into the gaps of the bare call: 0.9 to 1.0 for a lock, 1.04 for a server's send, receive.
/// One atomic instruction more is 1.18 for a send and receive, 1.5 for a lock.
const OS_GATE: f64 = 1.15;

/// Makes that many switches or calls.
type Body = fn(u32);

/// What is simulated.
const SIMULATED: [(&str, Body); 3] = [
    ("a yield among 50 threads", yields),
    ("a switch over rendezvous channels", ping_pong),
    ("a call without a switch", lone_yields),
];

/// Copies of a pair of loops. Where a loop happens to lie in memory makes up to 16 % of a lock's
/// time, for the bare one too; the best of several copies shows what the code itself costs.
macro_rules! copies {
    ($ours:ident, $bare:ident) => {
        copies!($ours, $bare, 0 1 2 3 4 5 6 7)
    };
    ($ours:ident, $bare:ident, $($copy:literal)*) => {
        [$(($ours::<$copy> as Body, $bare::<$copy> as Body)),*]
    };
}
fn main() -> ExitCode {
    let mut met = true;
    for strategy in StrategyKind::ALL {
        for (what, body) in SIMULATED {
            met &= report_simulated(strategy, what, body);
        }
    }
    met &= report_both_on_os_threads("a thread's");
    let as_a_server = || report_both_on_os_threads("a server's");
    met &= Group::new("S1", 1, 0).spawn("bench", as_a_server).join().is_ok_and(|met| met);
    let check = std::env::args().any(|argument| argument == "--check");
    if check && !met { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The values in order, for asking for quantiles.
fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

fn nanos(count: u32, body: impl FnOnce(u32)) -> f64 {
    let started = Instant::now();
    body(count);
    started.elapsed().as_nanos() as f64 / f64::from(count)
}

fn verdict(met: bool) -> &'static str {
    if met { "" } else { "  GATE MISSED" }
}

fn os_verdict(ratio: f64) -> &'static str {
    match ratio {
        _ if ratio <= OS_GOAL => "",
        _ if ratio <= OS_GATE => "  (above the goal, below the gate)",
        _ => verdict(false),
    }
}

// Simulated switches.

const SIMULATED_ROUNDS: usize = 25;

/// False if it takes too long.
fn report_simulated(strategy: StrategyKind, what: &str, body: Body) -> bool {
    let mut coroutines = bare_coroutines();
    let round = |_| {
        let bare = nanos(100_000, |switches| resume_in_turn(&mut coroutines, switches));
        (in_sim(strategy, 40_000, body), bare)
    };
    let rounds: Vec<(f64, f64)> = (0..SIMULATED_ROUNDS).map(round).collect();
    let ratios = sorted(rounds.iter().map(|(took, bare)| took / bare));
    let (took, bare): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    let (took, bare) = (sorted(took), sorted(bare));
    let (least, middle) = (took[0] / bare[0], quantile(&ratios, 0.5));
    let met = middle <= SWITCH_GATE;
    println!(
        "{what:<34} {:<12} {:>6.1} ns, in bare switches: least {least:>4.1}, median \
         {middle:>4.1}{}",
        strategy.name(),
        quantile(&took, 0.5),
        verdict(met)
    );
    met
}

fn bare_coroutines() -> Vec<Coroutine<(), (), ()>> {
    let endless = |yielder: &Yielder<(), ()>, ()| {
        loop {
            yielder.suspend(());
        }
    };
    (0..50).map(|_| Coroutine::new(endless)).collect()
}

fn resume_in_turn(coroutines: &mut [Coroutine<(), (), ()>], switches: u32) {
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

// OS calls.

/// Ours and the bare one.
type Pair = (Body, Body);

const OS_ROUNDS: usize = 200;
/// Some 0.2 ms: short enough that most measurements run undisturbed.
const OS_CALLS: u32 = 10_000;

/// False if ours take too long. `whose` tells whether a crash has to end the thread.
fn report_both_on_os_threads(whose: &str) -> bool {
    let locks = report_os(&format!("{whose} lock, unlock"), &copies!(labrt_locks, bare_locks));
    let channel = &copies!(labrt_channel, bare_channel);
    locks & report_os(&format!("{whose} send, receive"), channel)
}

/// False if ours take too long.
fn report_os(what: &str, copies: &[Pair]) -> bool {
    let mut order = Stream::new(1, "order", 0);
    let rounds = (0..OS_ROUNDS).map(|_| measure(copies, &mut order));
    let (ratios, bare): (Vec<f64>, Vec<f64>) = rounds.map(|(us, bare)| (us / bare, bare)).unzip();
    let (ratios, bare) = (sorted(ratios), sorted(bare));
    let middle = quantile(&ratios, 0.5);
    println!(
        "OS: {what:<24} bare {:>6.2} ns, ratio: median {middle:.3}, half of the rounds within \
         {:.3}..{:.3}{}",
        quantile(&bare, 0.5),
        quantile(&ratios, 0.25),
        quantile(&ratios, 0.75),
        os_verdict(middle)
    );
    middle <= OS_GATE
}

/// One round: nanoseconds per call of the best copy of ours, and of the best bare one. Who is
/// measured first is drawn anew for each copy.
fn measure(copies: &[Pair], order: &mut Stream) -> (f64, f64) {
    let (mut best_of_ours, mut best_of_bare) = (f64::MAX, f64::MAX);
    for &(ours, bare) in copies {
        let ours_first = order.below(2) == 0;
        for ours_now in [ours_first, !ours_first] {
            let (body, best) =
                if ours_now { (ours, &mut best_of_ours) } else { (bare, &mut best_of_bare) };
            *best = best.min(nanos(OS_CALLS, body));
        }
    }
    (best_of_ours, best_of_bare)
}

/// Code that differs from copy to copy, so that the loops behind it lie differently.
#[inline(always)]
fn shift<const COPY: u32>() {
    for number in 0..COPY {
        black_box(number);
    }
}

fn labrt_locks<const COPY: u32>(count: u32) {
    shift::<COPY>();
    let lock = Arc::new(sync::Mutex::new(0_u64));
    for _ in 0..count {
        *black_box(&lock).lock() += 1;
    }
}

fn bare_locks<const COPY: u32>(count: u32) {
    shift::<COPY>();
    let lock = Arc::new(parking_lot::Mutex::new(0_u64));
    for _ in 0..count {
        *black_box(&lock).lock() += 1;
    }
}

fn labrt_channel<const COPY: u32>(count: u32) {
    shift::<COPY>();
    let (tx, rx) = channel::unbounded();
    for i in 0..count {
        assert!(black_box(&tx).send(i).is_ok());
        assert!(black_box(&rx).recv().is_ok());
    }
}

fn bare_channel<const COPY: u32>(count: u32) {
    shift::<COPY>();
    let (tx, rx) = crossbeam_channel::unbounded();
    for i in 0..count {
        assert!(black_box(&tx).send(i).is_ok());
        assert!(black_box(&rx).recv().is_ok());
    }
}
