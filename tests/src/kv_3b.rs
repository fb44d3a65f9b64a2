//! 3B: the key-value service with snapshots (Raft paper, sections 7 and 8).
//!
//! The first nine tests mirror the MIT labs', numbers included: the servers take a snapshot when
//! the state of their Raft comes near 1,000 bytes, and it must stay below eight times that. As in
//! part 3A, what the clients were told is checked after every test, and servers crash while they
//! call.
//!
//! The others are about what a snapshot has to hold beside keys and values, and about a service
//! that is given one while clients wait for it.

use std::time::Duration;

use harness::runner::TestCase;
use harness::{KvCluster, KvSetup, LEADER_WITHIN};
use labrpc::Faults;
use labrt::thread::{self, sleep};

use crate::kv_3a::{DEPENDS_ON_MACHINE, must_read, speed, swarm_of_faults};
use crate::kv_load::{self, Clients, Keys, read_all};
use crate::script::{ELECTION, join_all, ms, must_elect, others, secs};

/// What the labs give their servers in this part.
const MAX_RAFT_STATE: usize = 1_000;

/// So many clients, of servers that take snapshots.
const fn clients(clients: usize) -> KvSetup {
    KvSetup { clients, max_raft_state: Some(MAX_RAFT_STATE) }
}

/// The tests of this part.
pub const CASES: &[TestCase] = &[
    TestCase::mirrored_kv("snapshot_rpc_3B", 3, clients(2), snapshot_rpc)
        .claims("a server that was away serves what it learned from a snapshot", "Raft §7, §8")
        .worth(5),
    TestCase::mirrored_kv("snapshot_size_3B", 3, clients(1), snapshot_size)
        .claims("a snapshot holds what there is, and not what there was", "Raft §7")
        .worth(5),
    TestCase::mirrored_kv("speed_3B", 3, clients(1), speed)
        .claims("snapshots do not make operations slow", "Raft §7, §8")
        .worth(5)
        .not_with_processes(DEPENDS_ON_MACHINE),
    TestCase::mirrored_kv("snapshot_recover_3B", 5, clients(1), kv_load::crashes)
        .claims("servers that crash come back with what was acknowledged", "Raft §7, §8")
        .worth(5),
    TestCase::mirrored_kv("snapshot_recover_many_clients_3B", 5, clients(20), kv_load::crashes)
        .claims("to twenty clients, too", "Raft §7, §8")
        .worth(5),
    TestCase::mirrored_kv("snapshot_unreliable_3B", 5, clients(5), kv_load::unreliable)
        .claims("on a network that loses messages each operation takes effect once", "Raft §7, §8")
        .worth(5),
    TestCase::mirrored_kv(
        "snapshot_unreliable_recover_3B",
        5,
        clients(5),
        kv_load::unreliable_crashes,
    )
    .claims("and though servers crash", "Raft §7, §8")
    .worth(5),
    TestCase::mirrored_kv(
        "snapshot_unreliable_recover_concurrent_partition_3B",
        5,
        clients(5),
        kv_load::unreliable_crashes_partitions,
    )
    .claims("and through partitions", "Raft §7, §8")
    .worth(5),
    TestCase::mirrored_kv(
        "snapshot_unreliable_recover_concurrent_partition_linearizable_3B",
        7,
        clients(15),
        kv_load::all_on_shared_keys,
    )
    .claims(
        "fifteen clients that share keys see one order of operations through all of that",
        "Raft §7, §8: linearizable semantics",
    )
    .worth(10),
    TestCase::ours_kv("snapshot_overtakes_3B", 5, clients(4), snapshot_overtakes)
        .claims(
            "a leader that was deposed with clients waiting, and comes back by a snapshot, tells \
             none of them anything untrue, and serves what the snapshot holds",
            "Raft §7, §8",
        )
        .worth(5),
    TestCase::ours_kv("sessions_survive_snapshot_3B", 3, clients(4), sessions_survive_snapshot)
        .claims(
            "an operation that is tried again after a snapshot and a restart takes effect once",
            "Raft §8: serial numbers; dissertation §6.3",
        )
        .worth(5),
    TestCase::ours_kv("bounded_memory_3B", 3, clients(5), bounded_memory)
        .claims(
            "what servers keep on their disks depends on keys, values and clients, and not on how \
             many operations there were",
            "Raft §7; dissertation §6.3",
        )
        .worth(5),
    TestCase::ours_kv("snapshot_under_load_3B", 3, clients(20), snapshot_under_load)
        .claims(
            "servers that are never idle take their snapshots all the same",
            "Raft §7: when to snapshot",
        )
        .worth(3),
    TestCase::ours_kv("swarm_3B", 5, clients(6), swarm_of_faults)
        .claims(
            "every fault at once, as strong as this run's seed says, shows no client anything but \
             one order of operations",
            "Raft §7, §8",
        )
        .worth(8),
];

/// The third server misses fifty puts, and then is needed for a majority.
fn snapshot_rpc(kv: &KvCluster) {
    let servers = &kv.servers;
    let mut everywhere = kv.client(0);
    everywhere.put("a", "A");
    must_read(&mut everywhere, "a", "A");

    servers.partition(&[vec![0, 1], vec![2]]);
    kv.confine(1, &[0, 1]);
    let mut client = kv.client(1);
    for number in 0..50 {
        client.put(&number.to_string(), &number.to_string());
    }
    sleep(ELECTION);
    client.put("b", "B");
    kv.check_sizes();
    assert!(
        kv.servers.largest_snapshot() > 0,
        "nobody has taken a snapshot in fifty puts, which {MAX_RAFT_STATE} bytes are to cause"
    );

    servers.partition(&[vec![0, 2], vec![1]]);
    kv.confine(1, &[0, 2]);
    let mut client = kv.client(1);
    client.put("c", "C");
    client.put("d", "D");
    must_read(&mut client, "a", "A");
    must_read(&mut client, "b", "B");
    for number in 0..50 {
        must_read(&mut client, &number.to_string(), &number.to_string());
    }

    servers.heal();
    everywhere.put("e", "E");
    for (key, value) in [("c", "C"), ("e", "E"), ("1", "1")] {
        must_read(&mut everywhere, key, value);
    }
}

/// One key all the time. (The labs write "0" and "1" in turn; ours tell the writes apart.)
fn snapshot_size(kv: &KvCluster) {
    const SNAPSHOT_MAX: usize = 500;
    let mut client = kv.client(0);
    for number in 0..400 {
        let value = number.to_string();
        client.put("x", &value);
        must_read(&mut client, "x", &value);
    }
    sleep(ELECTION);
    kv.check_sizes();
    let size = kv.servers.largest_snapshot();
    assert!(size <= SNAPSHOT_MAX, "a snapshot of one key has {size} bytes, of {SNAPSHOT_MAX}");
}

/// Among servers, messages take longer than a client takes to call again: so at every moment
/// somebody waits for an answer. Sizes are looked at all along.
fn snapshot_under_load(kv: &KvCluster) {
    let delay = ms(10)..ms(30);
    let slow = Faults {
        request_delay: delay.clone(),
        reply_delay: delay,
        ..kv.servers.usual_faults().clone()
    };
    for from in 0..kv.servers.len() {
        for to in (0..kv.servers.len()).filter(|&to| to != from) {
            kv.servers.network().set_faults(from, to, &slow);
        }
    }
    kv_load::no_trouble(kv);
}

/// Two clients wait at a leader in a minority while two others, where the majority is, do so much
/// that the log at which they wait is nowhere to be had any more. Then that server has to lead.
fn snapshot_overtakes(kv: &KvCluster) {
    let servers = &kv.servers;
    let mut script = servers.script();
    for round in 0..4 {
        let leader = servers.wait_for_agreed_leader(LEADER_WITHIN);
        let [companion, rest @ ..] = others::<4>(servers, leader);
        (0..2).for_each(|client| kv.confine(client, &[leader, companion]));
        let waiting = Clients::start_some(kv, 2 * round, Keys::Shared, 0..2);
        sleep(script.duration(Duration::ZERO..ms(100)));
        servers.partition(&[vec![leader, companion], rest.to_vec()]);
        let served = Clients::start_some(kv, 2 * round + 1, Keys::Shared, 2..4);
        sleep(secs(4));
        servers.end_partition();
        sleep(script.duration(ms(100)..secs(1)));
        served.end();
        // The others may have more for it. It gets that while nobody adds to it.
        (0..2).for_each(|client| kv.confine(client, &[]));
        sleep(secs(1));
        (0..2).for_each(|client| kv.confine(client, &[leader, companion]));
        must_elect(servers, leader);
        kv.confine(2, &[leader]);
        kv.client(2).get("shared 0");
        servers.heal();
        waiting.end();
        kv.check_sizes();
    }
    read_all(kv, Keys::Shared);
}

/// A client's append is carried out, and the answers to it are lost. Others do so much meanwhile
/// that it is in snapshots only, and a server that was cut off gets it with one. Then either every
/// server crashes and comes back, or that one is elected; and the client goes on trying.
fn sessions_survive_snapshot(kv: &KvCluster) {
    let servers = &kv.servers;
    let mut script = servers.script();
    let mut client = kv.client(0);
    let mut written = "x 0 y".to_string();
    client.put("k", &written);
    for round in 1..=4 {
        let leader = servers.wait_for_agreed_leader(LEADER_WITHIN);
        let [away, _] = others(servers, leader);
        servers.disconnect(away);
        lose_answers_to_first_client(kv, 1_000_000);
        let token = format!("x {round} y");
        written.push_str(&token);
        let append = thread::spawn(move || {
            client.append("k", &token);
            client
        });
        sleep(ms(500));
        let others = Clients::start_some(kv, round, Keys::Own, 1..4);
        sleep(secs(2));
        others.end();
        kv.check_sizes();
        servers.connect(away);
        sleep(secs(1));
        if script.chance(500_000) {
            (0..3).for_each(|server| servers.crash(server));
            (0..3).for_each(|server| servers.restart(server));
            sleep(ms(500));
        } else {
            must_elect(servers, away);
        }
        lose_answers_to_first_client(kv, 0);
        client = join_all(vec![append]).remove(0);
        must_read(&mut client, "k", &written);
    }
}

fn lose_answers_to_first_client(kv: &KvCluster, ppm: u32) {
    let (network, client) = (kv.servers.network(), kv.servers.len());
    for server in 0..kv.servers.len() {
        let faults = network.faults(server, client);
        network.set_faults(server, client, &Faults { reply_loss_ppm: ppm, ..faults });
    }
}

/// Five clients put 300 values each to one key of its own, and look at the sizes all along.
fn bounded_memory(kv: &KvCluster) {
    const SNAPSHOT_MAX: usize = 1_000;
    let putter = |number| {
        let (mut client, kv) = (kv.client(number), kv.clone());
        thread::spawn(move || {
            for count in 0..300 {
                client.put(&number.to_string(), &format!("x {number} {count} y"));
                if count % 50 == 49 {
                    kv.check_sizes();
                    let size = kv.servers.largest_snapshot();
                    assert!(
                        size <= SNAPSHOT_MAX,
                        "after {count} puts to each of 5 keys a snapshot has {size} bytes"
                    );
                }
            }
        })
    };
    join_all((0..kv.clients()).map(putter).collect());
    let mut reader = kv.client(0);
    (0..kv.clients())
        .for_each(|key| must_read(&mut reader, &key.to_string(), &format!("x {key} 299 y")));
}
