//! Commands that come together are proposed together.

use std::time::Duration;

use contract::Clerk;
use labrt::time::Instant;

use super::{MS, clerk, service, spawn};

const CLIENTS: usize = 1_000;

/// A Raft that saves before `start` returns takes a millisecond for that. A thousand clients, each
/// of which opens a session and writes, would keep it busy for two seconds.
#[test]
fn a_thousand_clients_are_a_few_entries() {
    labrt::check(|| {
        let (log, cluster) = service(3, CLIENTS);
        log.set_start_takes(MS);
        let began = Instant::now();
        let writing: Vec<_> = (0..CLIENTS)
            .map(|client| spawn(clerk(&cluster, client), move |me| me.append("x", "1")))
            .collect();
        for writing in writing {
            writing.join().expect("the writer ends").0.expect("a session lasts");
        }
        let took = began.elapsed();
        assert_eq!(clerk(&cluster, 0).get("x").map(|value| value.len()), Ok(CLIENTS));
        let starts = log.starts();
        let one_at_a_time = took.as_millis() as u64 + 1;
        assert!(starts <= one_at_a_time, "{starts} entries in {took:?}");
        // On OS threads, a thousand threads take their time to come.
        if labrt::in_simulation() {
            assert!(starts < CLIENTS as u64 / 5, "{starts} entries for {} requests", 2 * CLIENTS);
        }
        // Two of three do not find the leader at once, and some are late and ask twice.
        let rpcs = cluster.network.counts().rpcs;
        assert!(rpcs < 5 * CLIENTS as u64, "{rpcs} RPCs");
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
        // In virtual time, a call takes 0.4 to 2 ms, and the fake log's disk a third of one; the rest is stalls.
        assert!(took < Duration::from_millis(100 * 6), "100 commands took {took:?}");
        assert_eq!(log.starts(), 102);
    });
}
