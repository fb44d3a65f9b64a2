//! One seed, one run: the digest, the decisions, and the self-check that finds what breaks them.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use labrt::group::Group;
use labrt::random::{Rng, Stream};
use labrt::sim::{Config, Outcome, StrategyKind, first_difference, run};
use labrt::sync::{Condvar, Mutex, RwLock};
use labrt::time::Instant;
use labrt::{channel, random, select, thread, timer};

const MS: Duration = Duration::from_millis(1);

/// A bit of everything; what it saw comes back.
fn busy_program() -> Vec<u64> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (tx, rx) = channel::unbounded();
    let (full, room) = channel::bounded(2);
    let (give, take) = channel::bounded(0);
    let pair = Arc::new((Mutex::new(0_u64), Condvar::new()));
    let shared = Arc::new(RwLock::new(HashMap::new()));
    let groups: Vec<Group> = (0..3).map(|i| Group::new(&format!("S{i}"), i, 0)).collect();
    for (number, group) in groups.iter().enumerate() {
        group.set_clock(MS * 10, 900_000 + 100_000 * number as u64);
        let (tx, room, give, take) = (tx.clone(), room.clone(), give.clone(), take.clone());
        let (pair, shared, seen) = (Arc::clone(&pair), Arc::clone(&shared), Arc::clone(&seen));
        group.spawn("server", move || {
            for round in 0..40 {
                let drawn = random::rng().next_u64();
                thread::sleep(Duration::from_nanos(drawn % 2_000_000));
                shared.write().insert(drawn, round);
                let keys: Vec<u64> = shared.read().keys().copied().collect();
                seen.lock().extend(keys);
                select! {
                    send(give, drawn) -> _ => {},
                    recv(take) -> got => seen.lock().extend(got.ok()),
                    recv(room) -> got => seen.lock().extend(got.ok()),
                    recv(channel::after(MS)) -> _ => {},
                }
                *pair.0.lock() += 1;
                pair.1.notify_one();
                let child = thread::spawn(move || drawn);
                let _ = tx.send(child.join().unwrap_or(0));
            }
        });
    }
    let victim = groups[1].clone();
    timer::after(MS * 30, move || victim.crash());
    let producer = thread::spawn(move || (0..30).filter(|&i| full.send(i).is_ok()).count());
    drop((tx, room));
    while *pair.0.lock() < 20 {
        let mut count = pair.0.lock();
        pair.1.wait_for(&mut count, MS);
    }
    let mut result: Vec<u64> = rx.iter().collect();
    let _ = producer.join();
    result.extend(std::mem::take(&mut *seen.lock()));
    result.push(Instant::now().elapsed().as_nanos() as u64);
    result
}

fn outcome(seed: u64, change: impl Fn(&mut Config)) -> Outcome<Vec<u64>> {
    let strategy = StrategyKind::ALL[seed as usize % 3];
    let mut config = Config::new(seed).with_strategy(strategy);
    config.decisions = true;
    change(&mut config);
    run(&config, busy_program)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..60 {
        let (one, other) = (outcome(seed, |_| ()), outcome(seed, |_| ()));
        assert_eq!(one.stats, other.stats, "seed {seed}");
        assert_eq!(first_difference(&one.decisions, &other.decisions), None);
        assert_eq!(one.result.expect("it passes"), other.result.expect("it passes"));
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let digests: std::collections::HashSet<u64> =
        (0..60).map(|seed| outcome(seed, |_| ()).stats.digest).collect();
    assert_eq!(digests.len(), 60);
}

#[test]
fn recording_changes_no_decision() {
    for seed in 0..20 {
        let (without, with) = (outcome(seed, |_| ()), outcome(seed, |config| config.record = true));
        assert_eq!(without.stats, with.stats, "seed {seed}");
        assert_eq!(without.decisions, with.decisions);
    }
}

#[test]
fn keeping_the_decisions_changes_none_of_them() {
    let (with, without) = (outcome(5, |_| ()), outcome(5, |config| config.decisions = false));
    assert_eq!(with.stats.digest, without.stats.digest);
    assert!(without.decisions.is_empty() && !with.decisions.is_empty());
}

#[test]
fn an_observer_changes_no_decision_of_the_others() {
    for seed in 0..60 {
        let without = outcome(seed, |_| ());
        let mut config = Config::new(seed).with_strategy(StrategyKind::ALL[seed as usize % 3]);
        config.decisions = true;
        let with = run(&config, || {
            thread::Builder::new().name("observer").observer().spawn(|| {
                loop {
                    thread::sleep(MS / 7);
                    thread::yield_now();
                }
            });
            busy_program()
        });
        let difference = first_difference(&without.decisions, &with.decisions);
        assert_eq!(difference, None, "seed {seed}");
        assert_eq!(without.result.expect("it passes"), with.result.expect("it passes"));
        assert_eq!(without.stats.digest, with.stats.digest);
    }
}

#[test]
fn a_hash_maps_order_follows_from_the_seed() {
    let order = |seed| {
        let outcome = run(&Config::new(seed), || {
            let map: HashMap<u32, u32> = (0..100).map(|i| (i, i)).collect();
            map.into_keys().collect::<Vec<u32>>()
        });
        outcome.result.expect("it passes")
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn streams_of_one_seed_do_not_shift_each_other() {
    let draw = |disk_draws: usize| {
        let outcome = run(&Config::new(9), move || {
            let (mut link, mut disk) = (random::stream("link", 1), random::stream("disk", 1));
            let mut drawn = Vec::new();
            for _ in 0..10 {
                let _ = (0..disk_draws).map(|_| disk.below(10)).sum::<u64>();
                drawn.push((link.below(1 << 60), random::rng().next_u64()));
            }
            drawn
        });
        outcome.result.expect("it passes")
    };
    assert_eq!(draw(0), draw(17));
    assert_ne!(Stream::new(9, "link", 1).below(1 << 60), Stream::new(9, "link", 2).below(1 << 60));
}

/// Runs the test `name` of this binary in a new process, under the determinism self-check.
fn self_check(name: &str) -> (bool, String) {
    let program = std::env::current_exe().expect("a test runs from a file");
    let output = Command::new(program)
        .args([name, "--exact", "--nocapture"])
        .env(PLANTED, "1")
        .env("LAB_CHECK", "determinism")
        .env("LAB_SEEDS", "3")
        .output()
        .expect("the test's own program starts");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const PLANTED: &str = "LABRT_REPLAY_PLANTED";

/// The test itself asserts that the self-check of `body` fails and says where; the test in a new
/// process is that `body`, which sleeps for as long as its source of nondeterminism says.
fn assert_caught(name: &str, source: fn() -> u64) {
    if std::env::var_os(PLANTED).is_some() {
        return labrt::check(move || {
            let group = Group::new("S4", 4, 0);
            thread::sleep(Duration::from_secs(2));
            let sleeper = group.spawn("sleeper", move || {
                thread::sleep(Duration::from_nanos(source() % 100_000_000));
            });
            assert!(sleeper.join().is_ok());
        });
    }
    let (passed, text) = self_check(name);
    assert!(!passed, "the self-check sees nothing");
    assert!(text.contains("two runs of the same seed part after "), "{text}");
    assert!(text.contains(" at 2.0") && text.contains("in S4/sleeper"), "{text}");
}

#[test]
fn bytes_of_the_operating_system_are_caught() {
    assert_caught("bytes_of_the_operating_system_are_caught", || {
        let mut bytes = [0; 8];
        let mut file = std::fs::File::open("/dev/urandom").expect("a Unix has it");
        file.read_exact(&mut bytes).expect("it never ends");
        u64::from_le_bytes(bytes)
    });
}

#[test]
fn an_address_is_caught() {
    // The addresses of a program's code and of its heap change from process to process.
    assert_caught("an_address_is_caught", || (&raw const *Box::new(1_u8)) as u64 >> 4);
}

#[test]
fn real_time_is_caught() {
    assert_caught("real_time_is_caught", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_nanos() as u64)
    });
}

#[test]
fn a_static_is_caught() {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    assert_caught("a_static_is_caught", || COUNTER.fetch_add(1_000_000, Ordering::Relaxed));
}

#[test]
fn the_self_check_passes_a_deterministic_program() {
    if std::env::var_os(PLANTED).is_some() {
        return labrt::check(|| assert!(!busy_program().is_empty()));
    }
    let (passed, text) = self_check("the_self_check_passes_a_deterministic_program");
    assert!(passed, "{text}");
}

#[test]
fn a_check_that_gets_stuck_ends_with_the_command_that_repeats_it() {
    let name = "a_check_that_gets_stuck_ends_with_the_command_that_repeats_it";
    if std::env::var_os(PLANTED).is_some() {
        return labrt::check(|| {
            thread::yield_now();
            std::thread::sleep(Duration::from_secs(1000));
        });
    }
    let (passed, text) = self_check(name);
    assert!(!passed);
    assert!(text.contains("FAIL a_check_that_gets_stuck"), "{text}");
    assert!(text.contains("a std lock, real sleep or IO inside the simulation"), "{text}");
    assert!(text.contains(&format!("LAB_SEED=0 cargo test -p labrt {name} -- --exact")), "{text}");
    assert!(text.contains("(replayed: same failure)"), "{text}");
}

/// As libtest has it: several tests of one process at once.
#[test]
fn on_os_threads_each_check_has_its_own_failures_with_the_command() {
    let name = "on_os_threads_each_check_has_its_own_failures_with_the_command";
    if std::env::var_os(PLANTED).is_none() {
        let program = std::env::current_exe().expect("a test runs from a file");
        let mut child = Command::new(program);
        child
            .args([name, "--exact", "--nocapture"])
            .env(PLANTED, "1")
            .envs([("LAB_WORLD", "threads"), ("LAB_SEED", "5")]);
        let output = child.output().expect("the test's own program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let fails = |name: &str, body: fn()| {
        let test = std::thread::Builder::new().name(name.to_string());
        test.spawn(move || labrt::check(body)).expect("a thread")
    };
    let server_panics = fails("server_panics", || {
        let server = Group::new("S1", 1, 0);
        let _ = server.spawn("worker", || panic!("a planted failure")).join();
        thread::sleep(Duration::from_millis(50));
    });
    let panics = fails("panics", || panic!("another planted failure"));
    let passes: Vec<_> = (0..20).map(|_| fails("passes", thread::yield_now)).collect();
    passes.into_iter().for_each(|test| test.join().expect("nothing fails in it"));
    for (test, expected) in [
        (
            server_panics,
            "FAIL server_panics · threads · seed 5 · 0.000 s · a planted failure in S1/worker",
        ),
        (panics, "FAIL panics · threads · seed 5 · 0.000 s · another planted failure"),
    ] {
        let text = thread::panic_text(&*test.join().expect_err("it fails"));
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("LAB_WORLD=threads LAB_SEED=5 cargo test -p labrt"), "{text}");
    }
}

#[test]
fn a_failing_check_ends_with_the_command_that_repeats_it() {
    let name = "a_failing_check_ends_with_the_command_that_repeats_it";
    if std::env::var_os(PLANTED).is_some() {
        // The replay has to find the second check, not the first.
        labrt::check(|| thread::sleep(Duration::from_secs(1)));
        return labrt::check(|| {
            thread::sleep(Duration::from_secs(2));
            assert!(random::seed() < 2, "a planted failure");
        });
    }
    let (passed, text) = self_check(name);
    assert!(!passed);
    assert!(text.contains("FAIL a_failing_check"), "{text}");
    assert!(text.contains(&format!("LAB_SEED=2 cargo test -p labrt {name} -- --exact")), "{text}");
    assert!(text.contains("(replayed: same failure)"), "{text}");
    let trace = labrt::replay::trace_folder(name, 2);
    assert!(text.contains("log.txt, events.jsonl") && trace.join("log.txt").exists(), "{text}");
    let _ = std::fs::remove_dir_all(trace);
}
