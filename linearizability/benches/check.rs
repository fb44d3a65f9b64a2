//! How long a verdict takes, beside porcupine-rs on the same history in the same run.
//!
//! `cargo bench -p linearizability`. With a number of seconds as an argument, porcupine-rs gets
//! that long per history (20 by default): a child process that is ended then. CPU times and peaks
//! are of a process of its own for each history and checker; both include the history itself,
//! which is made without being checked in a third process, and whose cost is subtracted from the
//! times.
//!
//! With `--check` it fails where a limit is missed that does not depend on the machine: of memory,
//! and of the general engine's time in relation to porcupine-rs's on the same history, in the same
//! run.

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};
#[allow(clippy::disallowed_types)]
use std::time::{Duration, Instant};

use linearizability::{Kv, KvAction, KvInput, KvOperation, Limits, Operation, check, check_model};
use porcupine_rs::{Model, Operation as Porcupined, check_operations};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus as Random;

/// A load: what clients do, and how they write.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    operations: usize,
    clients: usize,
    keys: usize,
    unknown_percent: u32,
    /// How many different tokens there are; 0: each write has its own.
    tokens: u32,
    limit: Limit,
}

/// What `--check` asks for.
#[derive(Clone, Copy, PartialEq)]
enum Limit {
    None,
    /// What `check` may need, the history itself included.
    MemoryMb(u64),
    /// The general engine is no slower than porcupine-rs.
    Porcupine,
}

/// Both clocks tick every 10 ms, and two processes' times are subtracted from two others'.
const CPU_ERROR_S: f64 = 0.04;

const fn load(
    name: &'static str,
    [operations, clients, keys]: [usize; 3],
    unknown_percent: u32,
    tokens: u32,
) -> Load {
    Load { name, operations, clients, keys, unknown_percent, tokens, limit: Limit::None }
}

impl Load {
    const fn within(self, limit: Limit) -> Self {
        Self { limit, ..self }
    }
}

const LOADS: &[Load] = &[
    load("75,000 ops, 5 clients, 5 keys", [75_000, 5, 5], 0, 0),
    load("75,000 ops, 5 clients, 1 key", [75_000, 5, 1], 0, 0),
    load("75,000 ops, 50 clients, 1 key", [75_000, 50, 1], 0, 0).within(Limit::MemoryMb(40)),
    load("75,000 ops, 5 clients, 5 keys, 10 % unknown", [75_000, 5, 5], 10, 0),
    load("75,000 ops, 5 clients, 1 key, 10 % unknown", [75_000, 5, 1], 10, 0),
    load("1 M ops, 20 clients, 10 keys, 5 % unknown", [1_000_000, 20, 10], 5, 0)
        .within(Limit::MemoryMb(300)),
    load("10,000 ops, 5 clients, 5 keys, 4 tokens", [10_000, 5, 5], 0, 4).within(Limit::Porcupine),
    load("75,000 ops, 5 clients, 5 keys, 4 tokens", [75_000, 5, 5], 0, 4).within(Limit::Porcupine),
    load("75,000 ops, 5 clients, 5 keys, 1,000 tokens", [75_000, 5, 5], 0, 1_000)
        .within(Limit::Porcupine),
];

/// The clients work without a pause, on one server that answers at once: half of what they do is
/// get, the rest is put and append alike. A client that does not hear of its request goes on as
/// another.
fn history(load: &Load) -> Vec<KvOperation> {
    let mut random = Random::seed_from_u64(1);
    let mut planned = Vec::with_capacity(load.operations);
    let mut free = vec![0_u64; load.clients];
    for number in 0..load.operations {
        let client = number % load.clients;
        let call = free[client] + random.random_range(1..100);
        let ret = call + random.random_range(100..10_000);
        free[client] = ret;
        planned.push((
            random.random_range(call..=ret),
            operation(&mut random, load, number, [call, ret]),
        ));
    }
    planned.sort_by_key(|(moment, _)| *moment);
    let mut map: HashMap<String, String> = HashMap::new();
    for (_, op) in &mut planned {
        let value = map.entry(op.input.key.clone()).or_default();
        match &op.input.action {
            KvAction::Get => op.outcome.iter_mut().for_each(|o| o.output = Some(value.clone())),
            KvAction::Put(new) => new.clone_into(value),
            KvAction::Append(more) => value.push_str(more),
        }
    }
    planned.into_iter().map(|(_, op)| op).collect()
}

fn operation(
    random: &mut Random,
    load: &Load,
    number: usize,
    [call, ret]: [u64; 2],
) -> KvOperation {
    let key = format!("key{}", random.random_range(0..load.keys));
    let token = match load.tokens {
        0 => format!("x {number} y"),
        tokens => format!("x {} y", random.random_range(0..tokens)),
    };
    let input = match random.random_range(0..4) {
        0 => KvInput::put(key, token),
        1 => KvInput::append(key, token),
        _ => KvInput::get(key),
    };
    let client = (number % load.clients) as u64;
    if random.random_range(0..100) < load.unknown_percent {
        Operation::unknown(client, input, call)
    } else {
        Operation::returned(client, input, call, ret, None)
    }
}

/// As porcupine's users write it: a string per key, keys checked apart.
#[derive(Clone)]
struct Strings;

impl Model for Strings {
    type State = String;
    type Op = (KvAction, Option<String>);
    type Metadata = ();

    fn init() -> String {
        String::new()
    }

    fn step(state: &String, (action, read): &Self::Op) -> (bool, String) {
        match action {
            KvAction::Get => (read.as_ref().is_none_or(|read| read == state), state.clone()),
            KvAction::Put(value) => (true, value.clone()),
            KvAction::Append(more) => (true, [state.as_str(), more].concat()),
        }
    }
}

fn porcupine(history: &[KvOperation]) -> bool {
    let mut keys: HashMap<&str, Vec<Porcupined<Strings>>> = HashMap::new();
    for op in history {
        let read = op.outcome.as_ref().and_then(|outcome| outcome.output.clone());
        keys.entry(&op.input.key).or_default().push(Porcupined {
            client_id: None,
            call_time: op.call_ns as i64,
            return_time: op.outcome.as_ref().map_or(i64::MAX, |o| o.return_ns as i64),
            op: (op.input.action.clone(), read),
            metadata: None,
        });
    }
    keys.values().all(|history| check_operations(history))
}

/// What a child process does with the history of a load.
fn child(job: &str, load: &Load) {
    let history = history(load);
    let good = match job {
        "make" => !history.is_empty(),
        "check" => check(&history).is_linearizable(),
        "general" => check_model(&Kv, &history, &Limits::default()).is_linearizable(),
        "porcupine" => porcupine(&history),
        _ => panic!("no such job: {job}"),
    };
    let (cpu_s, peak_mb) = usage();
    println!("{good} {cpu_s} {peak_mb}");
}

/// CPU seconds and peak memory in MB of this process so far, where there is a `/proc`.
fn usage() -> (f64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |field: usize| fields.get(field).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak_kb = peak.and_then(|kb| kb.trim().trim_end_matches(" kB").parse::<u64>().ok());
    ((ticks(11) + ticks(12)) / 100.0, peak_kb.unwrap_or(0) / 1024)
}

/// Verdict, CPU seconds, MB; `None` if it took too long.
#[allow(clippy::disallowed_types, clippy::disallowed_methods)]
fn measure(job: &str, number: usize, most: Duration) -> Option<(bool, f64, u64)> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new(program)
        .args(["child", job, &number.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be run");
    let start = Instant::now();
    while child.try_wait().expect("the child is ours").is_none() {
        if start.elapsed() > most {
            child.kill().and_then(|()| child.wait()).expect("the child is ours");
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("the child is ours").stdout;
    let text = String::from_utf8_lossy(&output);
    let mut words = text.split_whitespace();
    let good = words.next()? == "true";
    Some((good, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, job, number] = args.as_slice()
        && first == "child"
    {
        return child(job, &LOADS[number.parse::<usize>().expect("a number")]);
    }
    let seconds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(20);
    println!("CPU seconds (peak MB) after making the history");
    println!(
        "{:45} {:>14} {:>14} {:>14}   check / porcupine-rs",
        "", "check", "general", "porcupine-rs"
    );
    let most = Duration::from_secs(seconds);
    let missed = (0..LOADS.len()).filter(|&number| !row(number, most)).count();
    if args.iter().any(|arg| arg == "--check") && missed > 0 {
        eprintln!("{missed} limits are missed");
        std::process::exit(1);
    }
}

/// Prints a row; whether its limit is kept.
fn row(number: usize, most: Duration) -> bool {
    let (_, making, _) = measure("make", number, most * 10).expect("making is quick");
    let results = ["check", "general", "porcupine"].map(|job| measure(job, number, most));
    for (good, ..) in [&results[0], &results[2]].into_iter().flatten() {
        assert!(good, "the history is linearizable");
    }
    let cell = |result: &Option<(bool, f64, u64)>| match result {
        // The general engine alone may be: it has its limits.
        Some((false, cpu, _)) => format!("undecided {:.1}", cpu - making),
        Some((true, cpu, mb)) => format!("{:.2} ({mb})", cpu - making),
        None => format!("> {} s", most.as_secs()),
    };
    let ratio = match (&results[0], &results[2]) {
        (Some((_, ours, _)), Some((_, theirs, _))) => {
            format!("{:.3}", (ours - making).max(0.01) / (theirs - making).max(0.01))
        }
        _ => "-".to_string(),
    };
    let [check, general, porcupine] = results.each_ref().map(cell);
    let verdict = verdict(LOADS[number].limit, making, &results);
    println!(
        "{:45} {check:>14} {general:>14} {porcupine:>14}   {ratio}{}",
        LOADS[number].name,
        if verdict { "" } else { "   MISSED" }
    );
    verdict
}

fn verdict(
    limit: Limit,
    making: f64,
    [check, general, porcupine]: &[Option<(bool, f64, u64)>; 3],
) -> bool {
    match limit {
        Limit::None => true,
        Limit::MemoryMb(most) => check.is_some_and(|(_, _, mb)| mb <= most),
        Limit::Porcupine => match (general, porcupine) {
            (Some((true, ours, _)), Some((_, theirs, _))) => {
                ours - making <= (theirs - making).max(0.0) + CPU_ERROR_S
            }
            // Whoever does not end is the slower one.
            (Some((true, ..)), None) => true,
            _ => false,
        },
    }
}
