//! 3A: a key-value service on Raft (Raft paper, section 8).
//!
//! The first fourteen tests mirror the MIT labs', numbers included. What the clients were told is
//! checked after *every* test: it must be linearizable, which means that one server that takes one
//! operation at a time could have told it. (The labs check that in two of their tests.) And where
//! the labs crash servers between rounds, ours crash while clients call as well.
//!
//! The others are about what a service gets wrong most easily: reads of a leader that is none any
//! more, operations that are carried out twice, and answers to the wrong client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::runner::TestCase;
use harness::{KvClient, KvCluster, KvSetup, LEADER_WITHIN};
use labrpc::Faults;
use labrt::random::RngExt;
use labrt::thread::{self, JoinHandle, sleep};
use labrt::time::Instant;

use crate::kv_load::{self, Clients, Keys, make_unreliable, read_all};
use crate::script::{ELECTION, check_no_threads, join_all, ms, others, secs};
use crate::swarm;

/// So many clients, and no snapshots.
const fn clients(clients: usize) -> KvSetup {
    KvSetup { clients, max_raft_state: None }
}

/// Why a test of speed makes no sense where servers are processes.
pub(crate) const DEPENDS_ON_MACHINE: &str =
    "how long an operation takes there is up to the machine's disk and processors";

/// The tests of this part.
pub const CASES: &[TestCase] = &[
    TestCase::mirrored_kv("basic_3A", 5, clients(1), kv_load::no_trouble)
        .claims("what one client writes it reads", "Raft §8")
        .worth(5),
    TestCase::mirrored_kv("speed_3A", 3, clients(1), speed)
        .claims("an operation takes a round of replication, and not a heartbeat", "Raft §5.3, §8")
        .worth(5)
        .not_with_processes(DEPENDS_ON_MACHINE),
    TestCase::mirrored_kv("concurrent_3A", 5, clients(5), kv_load::no_trouble)
        .claims("what several clients write they read", "Raft §8")
        .worth(5),
    TestCase::mirrored_kv("unreliable_3A", 5, clients(5), kv_load::unreliable)
        .claims(
            "on a network that loses requests and answers, each operation takes effect once",
            "Raft §8: serial numbers",
        )
        .worth(5),
    TestCase::mirrored_kv("unreliable_one_key_3A", 3, clients(5), unreliable_one_key)
        .claims("appends of several clients to one key are all there, once", "Raft §8")
        .worth(5),
    TestCase::mirrored_kv("one_partition_3A", 5, clients(4), one_partition)
        .claims(
            "a majority serves; a minority with the old leader does not; and what it was asked is \
             done after healing",
            "Raft §8",
        )
        .worth(5),
    TestCase::mirrored_kv("many_partitions_one_client_3A", 5, clients(1), kv_load::partitions)
        .claims("a client goes on through partitions that come and go", "Raft §8")
        .worth(5),
    TestCase::mirrored_kv("many_partitions_many_clients_3A", 5, clients(5), kv_load::partitions)
        .claims("and so do several", "Raft §8")
        .worth(5),
    TestCase::mirrored_kv("persist_one_client_3A", 5, clients(1), kv_load::crashes)
        .claims("servers that crash come back with what was acknowledged", "Raft §8; Figure 2")
        .worth(5),
    TestCase::mirrored_kv("persist_concurrent_3A", 5, clients(5), kv_load::crashes)
        .claims("to several clients, too", "Raft §8; Figure 2")
        .worth(5),
    TestCase::mirrored_kv(
        "persist_concurrent_unreliable_3A",
        5,
        clients(5),
        kv_load::unreliable_crashes,
    )
    .claims("and on a network that loses messages", "Raft §8; Figure 2")
    .worth(5),
    TestCase::mirrored_kv("persist_partition_3A", 5, clients(5), kv_load::crashes_partitions)
        .claims("and through partitions", "Raft §8; Figure 2")
        .worth(5),
    TestCase::mirrored_kv(
        "persist_partition_unreliable_3A",
        5,
        clients(5),
        kv_load::unreliable_crashes_partitions,
    )
    .claims("and through all of that at once", "Raft §8; Figure 2")
    .worth(5),
    TestCase::mirrored_kv(
        "persist_partition_unreliable_linearizable_3A",
        7,
        clients(15),
        kv_load::all_on_shared_keys,
    )
    .claims(
        "fifteen clients that share keys see one order of operations through all of that",
        "Raft §8: linearizable semantics",
    )
    .worth(10),
    TestCase::ours_kv("stale_leader_reads_3A", 5, clients(2), stale_leader_reads)
        .claims(
            "a leader that was deposed and does not know answers no read from what it has",
            "Raft §8: read-only operations; dissertation §6.4",
        )
        .worth(5),
    TestCase::ours_kv("retry_across_leaders_3A", 5, clients(3), retry_across_leaders)
        .claims(
            "an operation whose answer was lost, and which is tried again at the next leader, \
             takes effect once",
            "Raft §8: serial numbers; dissertation §6.3",
        )
        .worth(5),
    TestCase::ours_kv("wrong_answer_for_index_3A", 5, clients(8), wrong_answer_for_index)
        .claims(
            "a client that waits at an index is not told what became of another's operation there",
            "Raft §8",
        )
        .worth(5),
    TestCase::ours_kv("paused_servers_3A", 5, clients(3), paused_servers)
        .claims(
            "a server that stands still, the leader or another, holds up no client for good",
            "Raft §8",
        )
        .worth(5),
    TestCase::ours_kv("kill_returns_3A", 3, clients(4), kill_returns)
        .claims(
            "after kill() all of a server's threads end within a second, and its clients go on \
             elsewhere",
            "the labs' guide: long-running goroutines check killed()",
        )
        .worth(3),
    TestCase::ours_kv("swarm_3A", 5, clients(6), swarm_of_faults)
        .claims(
            "every fault at once, as strong as this run's seed says, shows no client anything but \
             one order of operations",
            "Raft §8",
        )
        .worth(8),
];

/// A thousand appends, at 30 a second at least. Messages take 0.2 to 1 ms here, as in the tests of
/// Raft: what is measured is not the network.
pub(crate) fn speed(kv: &KvCluster) {
    const OPERATIONS: u32 = 1_000;
    let each = secs(1) / 30;
    kv.servers.network().set_all_faults(&Faults::reliable());
    let mut client = kv.client(0);
    let mut written = "x 0 0 y".to_string();
    client.put("x", &written);
    let started = Instant::now();
    for number in 1..=OPERATIONS {
        let token = format!("x 0 {number} y");
        client.append("x", &token);
        written.push_str(&token);
    }
    let took = started.elapsed();
    assert!(client.get("x") == written, "not what was appended was read");
    assert!(
        took < each * OPERATIONS,
        "{OPERATIONS} appends took {took:?}: {:?} are the limit, {each:?} for each",
        each * OPERATIONS
    );
}

fn unreliable_one_key(kv: &KvCluster) {
    make_unreliable(kv);
    let mut reader = kv.client(0);
    reader.put("k", "first ");
    let appender = |number| {
        let mut client = kv.client(number);
        thread::spawn(move || {
            for count in 0..10 {
                client.append("k", &format!("x {number} {count} y"));
            }
        })
    };
    join_all((0..5).map(appender).collect());
    let value = reader.get("k");
    for number in 0..5 {
        let mut rest = value.as_str();
        for count in 0..10 {
            let token = format!("x {number} {count} y");
            assert!(value.matches(&token).count() == 1, "{token:?} is not there once in {value:?}");
            let at = rest.find(&token);
            rest = &rest[at.unwrap_or_else(|| panic!("{token:?} is out of order in {value:?}"))..];
        }
    }
}

/// The leader is in a minority of two, and does not know.
fn one_partition(kv: &KvCluster) {
    let servers = &kv.servers;
    let [mut everywhere, mut majority_client, mut putter, mut getter] =
        [0, 1, 2, 3].map(|number| kv.client(number));
    everywhere.put("1", "13");
    let leader = servers.wait_for_agreed_leader(LEADER_WITHIN);
    let [companion, rest @ ..] = others::<4>(servers, leader);
    let (majority, minority) = (rest.to_vec(), vec![leader, companion]);
    servers.partition(&[majority.clone(), minority.clone()]);
    kv.confine(1, &majority);
    majority_client.put("1", "14");
    must_read(&mut majority_client, "1", "14");

    kv.confine(2, &minority);
    kv.confine(3, &minority);
    let put = thread::spawn(move || putter.put("1", "15"));
    let get = thread::spawn(move || drop(getter.get("1")));
    sleep(secs(1));
    for (operation, name) in [(&put, "put"), (&get, "get")] {
        assert!(!operation.is_finished(), "a {name} was answered by a minority");
    }
    must_read(&mut majority_client, "1", "14");
    majority_client.put("1", "16");
    must_read(&mut majority_client, "1", "16");

    servers.heal();
    let healed = Instant::now();
    let limit = ELECTION + secs(3);
    while !(put.is_finished() && get.is_finished()) {
        let waited = healed.elapsed();
        assert!(waited < limit, "what the minority was asked is not done {waited:?} after healing");
        sleep(ms(10));
    }
    join_all(vec![put, get]);
    must_read(&mut everywhere, "1", "15");
}

pub(crate) fn must_read(client: &mut KvClient, key: &str, value: &str) {
    let read = client.get(key);
    assert!(read == value, "key {key} was to be {value:?}, and {read:?} was read");
}

/// One client reaches the deposed leader alone, and reads all the time; another writes where the
/// majority is. A read that begins after a write has returned must not miss it.
fn stale_leader_reads(kv: &KvCluster) {
    let servers = &kv.servers;
    let mut writer = kv.client(0);
    for round in 1..=5 {
        kv.confine(0, &[0, 1, 2, 3, 4]);
        writer.put("k", &format!("x {round} y"));
        let leader = servers.wait_for_agreed_leader(LEADER_WITHIN);
        let rest = others::<4>(servers, leader).to_vec();
        kv.confine(1, &[leader]);
        let over = Arc::new(AtomicBool::new(false));
        let reader = read_until(kv.client(1), "k", &over);
        sleep(ms(100));
        servers.partition(&[vec![leader], rest.clone()]);
        kv.confine(0, &rest);
        for write in 0..5 {
            writer.put("k", &format!("x {round}.{write} y"));
        }
        sleep(ms(200));
        over.store(true, Ordering::Release);
        servers.heal();
        join_all(vec![reader]);
    }
}

fn read_until(mut client: KvClient, key: &'static str, over: &Arc<AtomicBool>) -> JoinHandle<()> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            client.get(key);
        }
    })
}

/// Answers are lost one time in three, and the leader is cut off from everybody every second.
fn retry_across_leaders(kv: &KvCluster) {
    let servers = &kv.servers;
    let mut script = servers.script();
    servers.network().update_faults(|faults| faults.reply_loss_ppm = 300_000);
    let clients = Clients::start(kv, 0, Keys::Own);
    for _ in 0..12 {
        sleep(script.duration(ms(300)..ms(700)));
        let (leader, _) = servers.wait_for_leader(LEADER_WITHIN);
        servers.disconnect(leader);
        sleep(script.duration(ms(500)..ms(1_000)));
        servers.connect(leader);
    }
    clients.end();
    read_all(kv, Keys::Own);
}

/// Four clients wait at a leader in a minority while the majority fills the same indices with what
/// four others ask for. When the network heals, the entries of the first four are gone.
fn wrong_answer_for_index(kv: &KvCluster) {
    let servers = &kv.servers;
    let mut script = servers.script();
    let keys = if script.chance(500_000) { Keys::Own } else { Keys::Shared };
    for round in 0..4 {
        let leader = servers.wait_for_agreed_leader(LEADER_WITHIN);
        let [companion, rest @ ..] = others::<4>(servers, leader);
        (0..4).for_each(|client| kv.confine(client, &[leader, companion]));
        let waiting = Clients::start_some(kv, 2 * round, keys, 0..4);
        sleep(script.duration(Duration::ZERO..ms(100)));
        servers.partition(&[vec![leader, companion], rest.to_vec()]);
        let served = Clients::start_some(kv, 2 * round + 1, keys, 4..8);
        sleep(secs(2));
        servers.end_partition();
        sleep(script.duration(Duration::ZERO..secs(1)));
        servers.heal();
        served.end();
        waiting.end();
    }
    read_all(kv, keys);
}

/// A call to a server that stands still is not answered until it goes on. Two of five do: each
/// client has to give them up, and to find the leader of the rest.
fn paused_servers(kv: &KvCluster) {
    const LIMIT: Duration = secs(10);
    let servers = &kv.servers;
    let mut script = servers.script();
    for round in 0..4 {
        let leader = servers.wait_for_agreed_leader(LEADER_WITHIN);
        let follower = (leader + script.random_range(1..5)) % 5;
        let clients = Clients::start(kv, round, Keys::Own);
        sleep(script.duration(ms(100)..ms(300)));
        [leader, follower].iter().for_each(|&server| servers.pause(server));
        // What was under way may yet be answered.
        sleep(ms(500));
        let before = answered(kv);
        sleep(LIMIT);
        for (client, (before, after)) in before.into_iter().zip(answered(kv)).enumerate() {
            assert!(
                after > before,
                "client {client} was not answered for {LIMIT:?}, though a majority runs: does it \
                 wait for a server that stands still? Of the others {}",
                servers.describe()
            );
        }
        servers.heal();
        clients.end();
    }
}

/// The leader or another server is killed under load.
fn kill_returns(kv: &KvCluster) {
    let servers = &kv.servers;
    let mut script = servers.script();
    for round in 0..5 {
        let killed = match script.chance(500_000) {
            true => servers.wait_for_agreed_leader(LEADER_WITHIN),
            false => script.random_range(0..servers.len()),
        };
        let clients = Clients::start(kv, round, Keys::Own);
        sleep(script.duration(ms(100)..ms(300)));
        let _ = servers.server(killed).kill();
        // Or it would be asked this and that, and each question has a thread for a moment.
        servers.disconnect(killed);
        sleep(secs(1));
        check_no_threads(servers, killed);
        sleep(secs(1));
        clients.end();
        servers.restart(killed);
        servers.connect(killed);
    }
    read_all(kv, Keys::Own);
}

/// How many operations each client was answered.
fn answered(kv: &KvCluster) -> Vec<usize> {
    let mut counts = vec![0; kv.clients()];
    for operation in kv.history().iter().filter(|operation| operation.outcome.is_some()) {
        counts[operation.client as usize] += 1;
    }
    counts
}

/// Half of the clients on their own keys, and half on shared ones.
pub(crate) fn swarm_of_faults(kv: &KvCluster) {
    let half = kv.clients() / 2;
    let start = |keys, numbers| Clients::start_pausing(kv, 0, keys, numbers, ms(150));
    let own = start(Keys::Own, 0..half);
    let shared = start(Keys::Shared, half..kv.clients());
    swarm::inflict(&kv.servers, &mut kv.servers.script());
    own.end();
    shared.end();
    kv.check_sizes();
    read_all(kv, Keys::Own);
    read_all(kv, Keys::Shared);
}
