//! The clients of the key-value tests, and the trouble that they are in.
//!
//! The labs' generic test: clients in a closed loop for five seconds, three times, on their own
//! keys or on random ones, while the network, partitions and crashes do what a test asks for. Every
//! value that is written is unique, not empty, and cannot be taken for a part of another: so what a
//! client reads tells which writes it saw, and the checker of histories decides quickly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{AGREED_WITHIN, Cluster, KvClient, KvCluster};
use labrpc::Faults;
use labrt::random::{self, RngExt, Stream};
use labrt::thread::{self, JoinHandle, sleep};
use labrt::time::Instant;

use crate::script::{ELECTION, join_all, ms, secs};

/// What a run of the generic test has.
#[derive(Clone, Copy)]
struct Trouble {
    keys: Keys,
    /// The labs' unreliable network.
    unreliable: bool,
    /// Servers crash while clients call, and all of them at the end of each round.
    crashes: bool,
    /// The servers are partitioned anew about once a second.
    partitions: bool,
}

const NONE: Trouble =
    Trouble { keys: Keys::Own, unreliable: false, crashes: false, partitions: false };

pub(crate) fn no_trouble(kv: &KvCluster) {
    generic(kv, NONE);
}

pub(crate) fn unreliable(kv: &KvCluster) {
    generic(kv, Trouble { unreliable: true, ..NONE });
}

pub(crate) fn partitions(kv: &KvCluster) {
    generic(kv, Trouble { partitions: true, ..NONE });
}

pub(crate) fn crashes(kv: &KvCluster) {
    generic(kv, Trouble { crashes: true, ..NONE });
}

pub(crate) fn crashes_partitions(kv: &KvCluster) {
    generic(kv, Trouble { crashes: true, partitions: true, ..NONE });
}

pub(crate) fn unreliable_crashes(kv: &KvCluster) {
    generic(kv, Trouble { unreliable: true, crashes: true, ..NONE });
}

pub(crate) fn unreliable_crashes_partitions(kv: &KvCluster) {
    generic(kv, Trouble { unreliable: true, crashes: true, partitions: true, ..NONE });
}

pub(crate) fn all_on_shared_keys(kv: &KvCluster) {
    let keys = Keys::Shared;
    generic(kv, Trouble { keys, unreliable: true, crashes: true, partitions: true });
}

/// How long the clients call in each of three rounds.
const ROUND: Duration = secs(5);

/// The labs' generic test.
fn generic(kv: &KvCluster, trouble: Trouble) {
    if trouble.unreliable {
        make_unreliable(kv);
    }
    let keys = trouble.keys;
    for round in 0..3 {
        let clients = Clients::start(kv, round, keys);
        let over = Arc::new(AtomicBool::new(false));
        let mut troubles = Vec::new();
        if trouble.partitions {
            troubles.push(spawn_until(kv, &over, round, partition_anew));
        }
        if trouble.crashes {
            troubles.push(spawn_until(kv, &over, round, crash_and_restart));
        }
        // A leader without a majority may have to keep a lot.
        if !trouble.partitions && !trouble.crashes && labrt::in_simulation() {
            troubles.push(watch_sizes(kv, &over));
        }
        sleep(ROUND);
        over.store(true, Ordering::Release);
        join_all(troubles);
        if trouble.partitions {
            kv.servers.end_partition();
            sleep(ELECTION);
        }
        clients.end();
        if trouble.crashes {
            restart_all_at_once(kv);
        }
        read_all(kv, keys);
        kv.check_sizes();
    }
}

/// Looks at the sizes all the time until `over`: a server may not put off its snapshots until it
/// has less to do. (In virtual time. How much a server gets done in a second of real time depends
/// on the machine.)
fn watch_sizes(kv: &KvCluster, over: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (kv, over) = (kv.clone(), Arc::clone(over));
    thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            kv.check_sizes();
            sleep(ms(50));
        }
    })
}

/// Loss and delays as in the labs, for servers and clients.
pub(crate) fn make_unreliable(kv: &KvCluster) {
    kv.servers.network().set_all_faults(&Faults {
        unreachable_delay: kv.servers.usual_faults().unreachable_delay.clone(),
        ..Faults::unreliable()
    });
}

/// Which keys clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Each its own, which nobody else writes: it knows what it must read.
    Own,
    /// All of them, as many as there are clients.
    Shared,
}

impl Keys {
    /// The key that has this number.
    fn name(self, number: usize) -> String {
        match self {
            Self::Own => format!("own {number}"),
            Self::Shared => format!("shared {number}"),
        }
    }
}

/// What is in every key, as one client reads it: the history has it then.
pub(crate) fn read_all(kv: &KvCluster, keys: Keys) {
    let mut client = kv.client(0);
    for number in 0..kv.clients() {
        client.get(&keys.name(number));
    }
    client.close();
}

/// Clients in a closed loop, a thread each.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts as many as the cluster may have; `round` tells apart what they write in it.
    pub(crate) fn start(kv: &KvCluster, round: u64, keys: Keys) -> Self {
        Self::start_some(kv, round, keys, 0..kv.clients())
    }

    /// Starts these.
    pub(crate) fn start_some(
        kv: &KvCluster,
        round: u64,
        keys: Keys,
        numbers: impl Iterator<Item = usize>,
    ) -> Self {
        Self::start_pausing(kv, round, keys, numbers, Duration::ZERO)
    }

    /// Starts these, and has them pause for up to so long before each operation. Without that, a
    /// fast network sees as many as it can carry: in half a minute a log that a Raft which saves
    /// all of it each time takes minutes to save.
    pub(crate) fn start_pausing(
        kv: &KvCluster,
        round: u64,
        keys: Keys,
        numbers: impl Iterator<Item = usize>,
        pause: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number| {
            let load = Load { pause, ..Load::new(kv, number, round) };
            let stop = Arc::clone(&stop);
            thread::spawn(move || match keys {
                Keys::Own => load.on_own_key(&stop),
                Keys::Shared => load.on_shared_keys(&stop),
            })
        };
        let threads = numbers.map(client).collect();
        Self { stop, threads }
    }

    /// Has them end with the operation they are at, which must have an answer soon.
    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Release);
        let started = Instant::now();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            assert!(
                started.elapsed() < AGREED_WITHIN,
                "a client waits for an answer, though for {AGREED_WITHIN:?} a majority has been \
                 there"
            );
            sleep(ms(20));
        }
        join_all(self.threads);
    }
}

/// What one client does.
struct Load {
    client: KvClient,
    number: usize,
    round: u64,
    clients: usize,
    draw: Stream,
    tokens: u64,
    /// At most, before each operation.
    pause: Duration,
}

impl Load {
    fn new(kv: &KvCluster, number: usize, round: u64) -> Self {
        Self {
            client: kv.client(number),
            number,
            round,
            clients: kv.clients(),
            draw: random::stream("client load", round << 32 | number as u64),
            tokens: 0,
            pause: Duration::ZERO,
        }
    }

    fn pause(&mut self) {
        if !self.pause.is_zero() {
            sleep(self.draw.duration(Duration::ZERO..self.pause));
        }
    }

    /// A value that nobody has written before.
    fn token(&mut self) -> String {
        self.tokens += 1;
        format!("x {} {}.{} y", self.number, self.round, self.tokens)
    }

    /// A put; then, in equal parts, appends, and gets that must read what was written.
    fn on_own_key(mut self, stop: &AtomicBool) {
        let key = Keys::Own.name(self.number);
        let mut written = self.token();
        self.client.put(&key, &written);
        while !stop.load(Ordering::Acquire) {
            self.pause();
            if self.draw.chance(500_000) {
                let token = self.token();
                self.client.append(&key, &token);
                written.push_str(&token);
            } else {
                self.must_read(&key, &written);
            }
        }
        self.must_read(&key, &written);
        self.client.close();
    }

    fn must_read(&mut self, key: &str, written: &str) {
        let read = self.client.get(key);
        assert!(
            read == written,
            "client {} wrote {written:?} to its own key {key}, and read {read:?}",
            self.number
        );
    }

    fn on_shared_keys(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.pause();
            let key = Keys::Shared.name(self.draw.random_range(0..self.clients));
            match self.draw.below(100) {
                0..50 => {
                    let token = self.token();
                    self.client.append(&key, &token);
                }
                50..55 => {
                    let token = self.token();
                    self.client.put(&key, &token);
                }
                _ => drop(self.client.get(&key)),
            }
        }
        self.client.close();
    }
}

/// Has `step` done over and over until `over`.
fn spawn_until(
    kv: &KvCluster,
    over: &Arc<AtomicBool>,
    round: u64,
    step: fn(&Cluster, &mut Stream),
) -> JoinHandle<()> {
    let (servers, over) = (kv.servers.clone(), Arc::clone(over));
    thread::spawn(move || {
        let mut draw = random::stream("trouble", round);
        while !over.load(Ordering::Acquire) {
            step(&servers, &mut draw);
        }
    })
}

/// Puts each server on one of two sides. There need not be a majority on either.
fn partition_anew(servers: &Cluster, draw: &mut Stream) {
    let (left, right) = (0..servers.len()).partition(|_| draw.chance(500_000));
    servers.partition(&[left, right]);
    sleep(draw.duration(ms(1_000)..ms(1_200)));
}

/// Crashes one server, or now and then as many as leave no majority, and starts them again soon.
fn crash_and_restart(servers: &Cluster, draw: &mut Stream) {
    sleep(draw.duration(ms(100)..ms(1_200)));
    let count = if draw.chance(200_000) { servers.len().div_ceil(2) } else { 1 };
    let first = draw.random_range(0..servers.len());
    let victims: Vec<usize> = (0..count).map(|step| (first + step) % servers.len()).collect();
    victims.iter().for_each(|&victim| servers.crash(victim));
    sleep(draw.duration(Duration::ZERO..ms(400)));
    victims.iter().for_each(|&victim| servers.restart(victim));
}

/// As the labs do at the end of a round.
fn restart_all_at_once(kv: &KvCluster) {
    (0..kv.servers.len()).for_each(|server| kv.servers.crash(server));
    sleep(secs(1));
    (0..kv.servers.len()).for_each(|server| kv.servers.restart(server));
}
