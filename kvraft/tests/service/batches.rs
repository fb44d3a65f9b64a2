//! Commands that come together are proposed together.

use std::time::Duration;

use contract::Clerk;
use kvraft::KvClerk;
use labrt::thread::{self, JoinHandle};
use labrt::time::Instant;

use super::{MS, clerk, service, spawn, wait_until};

const CLIENTS: usize = 1_000;

/// Raft takes its time over the entry of the first, until all others have called. With an entry for
/// each, there would be as many rounds of replication as clients.
#[test]
fn what_a_thousand_clients_ask_for_meanwhile_is_a_few_entries() {
    labrt::check(|| {
        let (log, cluster) = service(3, CLIENTS);
        log.set_start_takes(MS);
        let append = |me: &mut KvClerk| me.append("x", "1").expect("a session lasts");
        let joined = |writing: Vec<JoinHandle<((), KvClerk)>>| -> Vec<KvClerk> {
            writing.into_iter().map(|one| one.join().expect("the writer ends").1).collect()
        };
        let clerks = (0..CLIENTS).map(|client| clerk(&cluster, client));
        let clerks = joined(clerks.map(|clerk| spawn(clerk, append)).collect());
        // Two of three do not find the leader at once, and some are late and ask twice.
        let rpcs = cluster.network.counts().rpcs;
        assert!(rpcs < 5 * CLIENTS as u64, "{rpcs} RPCs");

        let starts = log.starts();
        log.stall(true);
        let writing = clerks.into_iter().map(|clerk| spawn(clerk, append)).collect();
        wait_until("all have called", || cluster.network.counts().rpcs >= rpcs + CLIENTS as u64);
        thread::sleep(100 * MS);
        log.stall(false);
        joined(writing);
        assert_eq!(clerk(&cluster, 0).get("x").map(|value| value.len()), Ok(2 * CLIENTS));
        let starts = log.starts() - starts;
        assert!(starts <= CLIENTS as u64 / 50, "{starts} entries for {CLIENTS} commands");
    });
}

#[test]
fn a_command_that_comes_alone_does_not_wait_for_others() {
    labrt::check(|| {
        let (log, cluster) = service(1, 1);
        let mut me = clerk(&cluster, 0);
        me.put("x", "0").expect("a session lasts");
        let began = Instant::now();
        for number in 0..100 {
            me.put("x", &number.to_string()).expect("a session lasts");
        }
        let took = began.elapsed();
        // In virtual time, a call takes 0.4 to 2 ms, and the fake log's disk a third of one; the
        // rest is stalls.
        assert!(took < Duration::from_millis(100 * 6), "100 commands took {took:?}");
        assert_eq!(log.starts(), 102);
    });
}
