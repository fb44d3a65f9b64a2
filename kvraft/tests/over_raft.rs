//! The service on our Raft, under faults: what its clients see is what one server could have shown
//! them.

mod support;

use std::sync::Arc;
use std::time::Duration;

use contract::Clerk;
use kvraft::{Config, KvClerk, KvMap};
use labrpc::Faults;
use labrt::random::{self, RngExt};
use labrt::sync::Shared;
use labrt::thread::{self, JoinHandle};
use labrt::time::{self, Instant};
use linearizability::{KvInput, Recorder, Verdict, check};
use raft::Raft;

use support::Cluster;

const MS: Duration = Duration::from_millis(1);

type KvCluster = Cluster<Raft, KvMap>;
type History = Arc<Recorder<KvInput, Option<String>>>;

/// Clients that do this and that until they are told to stop.
struct Load {
    history: History,
    stop: Arc<Shared<bool>>,
    clients: Vec<JoinHandle<u64>>,
}

fn now_ns() -> u64 {
    u64::try_from(time::world_time().as_nanos()).expect("a run is shorter than 500 years")
}

/// One operation of a client, the `number`-th, on one of two keys. Tokens are unique, and none is
/// the beginning of another.
fn operation(client: u64, number: u64) -> KvInput {
    let mut rng = random::rng();
    let key = format!("k{}", rng.random_range(0..2));
    let token = format!("({client} {number})");
    match rng.random_range(0..20) {
        0 => KvInput::put(key, token),
        1..=10 => KvInput::append(key, token),
        _ => KvInput::get(key),
    }
}

fn carry_out(clerk: &mut KvClerk, input: &KvInput) -> Option<String> {
    use linearizability::KvAction::{Append, Get, Put};
    const LASTS: &str = "there is room for all sessions";
    match &input.action {
        Get => return Some(clerk.get(&input.key).expect(LASTS)),
        Put(value) => clerk.put(&input.key, value).expect(LASTS),
        Append(value) => clerk.append(&input.key, value).expect(LASTS),
    }
    None
}

impl Load {
    fn start(cluster: &KvCluster, clients: usize) -> Self {
        let (history, stop) = (History::default(), Arc::new(Shared::new(false)));
        let start = |client: usize| {
            let mut clerk: KvClerk = Clerk::make(cluster.ends(client));
            let (history, stop) = (Arc::clone(&history), Arc::clone(&stop));
            thread::spawn(move || {
                let mut operations = 0;
                while !stop.with(|stop| *stop) {
                    let input = operation(client as u64, operations);
                    let id = history.call(client as u64, input.clone(), now_ns());
                    let output = carry_out(&mut clerk, &input);
                    history.ret(id, now_ns(), output);
                    operations += 1;
                }
                operations
            })
        };
        let clients = (0..clients).map(start).collect();
        Self { history, stop, clients }
    }

    /// Has all clients end, which they must be able to; gives how many operations there were.
    fn finish(self) -> u64 {
        self.stop.with(|stop| *stop = true);
        let done = self.clients.into_iter().map(|client| client.join().expect("the client ends"));
        let done = done.sum();
        let verdict = check(&self.history.history());
        assert!(matches!(verdict, Verdict::Linearizable), "{verdict:?}");
        done
    }
}

fn cluster(servers: usize, clients: usize) -> Arc<KvCluster> {
    Arc::new(Cluster::on_raft(servers, clients, Config::default()))
}

/// A cluster whose servers take snapshots all the time.
fn cluster_with_snapshots(servers: usize, clients: usize) -> Arc<KvCluster> {
    let config = Config { max_raft_state: Some(1_000), ..Config::default() };
    Arc::new(Cluster::on_raft(servers, clients, config))
}

#[test]
fn without_faults_histories_are_linearizable_and_clients_hardly_wait() {
    labrt::check(|| {
        let cluster = cluster(3, 5);
        let load = Load::start(&cluster, 5);
        thread::sleep(Duration::from_secs(5));
        let operations = load.finish();
        // An operation is two round trips and a write to a disk: about five milliseconds.
        assert!(operations > 2_000, "only {operations} operations");
        let rpcs = cluster.network.counts().rpcs;
        assert!(rpcs < 6 * operations, "{rpcs} RPCs for {operations} operations");
    });
}

#[test]
fn on_an_unreliable_network_histories_are_linearizable() {
    labrt::check(|| {
        let cluster = cluster(3, 5);
        cluster.network.set_all_faults(&Faults::unreliable());
        let load = Load::start(&cluster, 5);
        thread::sleep(Duration::from_secs(10));
        let operations = load.finish();
        assert!(operations > 200, "only {operations} operations");
    });
}

#[test]
fn with_duplicates_and_long_reordering_histories_are_linearizable() {
    labrt::check(|| {
        let cluster = cluster_with_snapshots(3, 5);
        let faults = Faults { duplicate_ppm: 200_000, ..Faults::unreliable() };
        cluster.network.set_all_faults(&faults.with_long_reordering());
        let load = Load::start(&cluster, 5);
        thread::sleep(Duration::from_secs(15));
        cluster.network.set_all_faults(&Faults::reliable());
        let operations = load.finish();
        assert!(operations > 20, "only {operations} operations");
    });
}

/// Cuts servers off from each other, in two parts that are drawn anew every second or so. Clients
/// reach both.
fn partition(cluster: &KvCluster) {
    let side: Vec<bool> = (0..cluster.servers).map(|_| random::rng().random()).collect();
    for from in 0..cluster.servers {
        for to in 0..cluster.servers {
            cluster.network.set_cut(from, to, side[from] != side[to]);
        }
    }
}

fn heal(cluster: &KvCluster) {
    for from in 0..cluster.servers {
        (0..cluster.servers).for_each(|to| cluster.network.set_cut(from, to, false));
    }
}

#[test]
fn through_partitions_histories_are_linearizable_and_all_clients_finish() {
    labrt::check(|| {
        let cluster = cluster(5, 5);
        let load = Load::start(&cluster, 5);
        for _ in 0..8 {
            partition(&cluster);
            thread::sleep(1_100 * MS);
        }
        heal(&cluster);
        thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        let operations = load.finish();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "the last operations took {took:?}");
        assert!(operations > 200, "only {operations} operations");
    });
}

#[test]
fn through_crashes_under_load_histories_are_linearizable() {
    labrt::check(|| {
        let cluster = cluster_with_snapshots(3, 5);
        cluster.network.set_all_faults(&Faults::unreliable());
        let load = Load::start(&cluster, 5);
        for _ in 0..10 {
            thread::sleep(random::rng().random_range(1..=1_000) * MS);
            let victim = random::rng().random_range(0..3);
            cluster.crash(victim);
            thread::sleep(random::rng().random_range(1..=1_000) * MS);
            cluster.start(victim);
        }
        thread::sleep(Duration::from_secs(1));
        let operations = load.finish();
        assert!(operations > 100, "only {operations} operations");
    });
}

#[test]
fn through_pauses_histories_are_linearizable() {
    labrt::check(|| {
        let cluster = cluster(3, 5);
        let load = Load::start(&cluster, 5);
        for _ in 0..6 {
            thread::sleep(random::rng().random_range(1..=1_000) * MS);
            let Some(leader) = cluster.leader() else { continue };
            cluster.group(leader).pause();
            thread::sleep(random::rng().random_range(100..=2_000) * MS);
            cluster.group(leader).resume();
        }
        let operations = load.finish();
        assert!(operations > 200, "only {operations} operations");
    });
}

/// Ours saves with a group commit, so what costs is rounds of messages.
#[test]
fn a_thousand_clients_take_few_messages_between_servers() {
    const CLIENTS: usize = 1_000;
    labrt::check(|| {
        let cluster = cluster(3, CLIENTS + 1);
        let mut first: KvClerk = Clerk::make(cluster.ends(CLIENTS));
        first.put("x", "").expect("a session lasts");
        let between = |cluster: &KvCluster| cluster.messages_between_servers();
        let before = between(&cluster);
        let writing: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let mut clerk: KvClerk = Clerk::make(cluster.ends(client));
                thread::spawn(move || clerk.append("x", "1"))
            })
            .collect();
        for writing in writing {
            writing.join().expect("the writer ends").expect("a session lasts");
        }
        let messages = between(&cluster) - before;
        assert_eq!(first.get("x").map(|value| value.len()), Ok(CLIENTS));
        assert!(messages < CLIENTS as u64 / 2, "{messages} messages for {} entries", 2 * CLIENTS);
    });
}
