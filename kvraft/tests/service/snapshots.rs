//! What snapshots hold, and when they are taken.

use contract::Clerk;
use kvraft::Config;
use labrt::thread;

use super::{MS, clerk, service_with, wait_until};

fn snapshots_at(bytes: usize) -> Config {
    Config { max_raft_state: Some(bytes), ..Config::default() }
}

/// The labs' own numbers: two puts and two gets, two hundred times, on one key.
#[test]
fn a_snapshot_is_taken_in_time_and_holds_no_more_than_the_state() {
    labrt::check(|| {
        let (_log, cluster) = service_with(3, 1, snapshots_at(1_000));
        let mut me = clerk(&cluster, 0);
        let mut largest = 0;
        for _ in 0..200 {
            for value in ["0", "1"] {
                me.put("x", value).expect("a session lasts");
                assert_eq!(me.get("x"), Ok(value.to_string()));
            }
            largest = largest.max(cluster.largest_raft_state());
        }
        assert!((900..2_000).contains(&largest), "Raft's state grew to {largest} bytes");
        let sizes: Vec<_> = cluster.disks.iter().map(harness::ServerDisk::snapshot_size).collect();
        assert!(
            sizes.iter().all(|size| (1..40).contains(size)),
            "the snapshots have {sizes:?} bytes"
        );
    });
}

#[test]
fn without_a_limit_there_is_no_snapshot() {
    labrt::check(|| {
        let (_log, cluster) = service_with(3, 1, Config::default());
        let mut me = clerk(&cluster, 0);
        (0..100).for_each(|_| me.append("x", "something").expect("a session lasts"));
        assert!(cluster.disks.iter().all(|disk| disk.snapshot_size() == 0));
    });
}

/// The log's uncommitted part is far beyond the limit, and no snapshot makes it smaller.
#[test]
fn a_log_that_a_snapshot_cannot_shorten_does_not_lead_to_one_after_each_entry() {
    labrt::check(|| {
        let (log, cluster) = service_with(1, 1, snapshots_at(1_000));
        let mut me = clerk(&cluster, 0);
        me.put("x", "").expect("a session lasts");
        log.set_ballast(5_000);
        (0..100).for_each(|_| me.append("x", "0123456789").expect("a session lasts"));
        let snapshots = log.snapshots();
        assert!((2..30).contains(&snapshots), "{snapshots} snapshots of 100 entries");
    });
}

#[test]
fn a_server_that_lags_goes_on_from_a_leaders_snapshot() {
    labrt::check(|| {
        let (log, cluster) = service_with(3, 2, snapshots_at(200));
        let mut me = clerk(&cluster, 0);
        me.append("x", "0").expect("a session lasts");
        log.limit(2, log.last_index());
        (1..50).for_each(|n| me.append("x", &n.to_string()).expect("a session lasts"));
        log.compact();
        log.limit(2, u64::MAX);
        log.elect(Some(2));
        let whole: String = (0..50).map(|n| n.to_string()).collect();
        assert_eq!(me.get("x"), Ok(whole.clone()));
        me.append("x", "!").expect("the session is in the snapshot");
        assert_eq!(clerk(&cluster, 1).get("x"), Ok(whole + "!"));
    });
}

#[test]
fn servers_go_on_from_their_snapshots_after_a_restart() {
    labrt::check(|| {
        let (log, cluster) = service_with(3, 2, snapshots_at(100));
        let mut me = clerk(&cluster, 0);
        (0..30).for_each(|n| me.append("x", &n.to_string()).expect("a session lasts"));
        wait_until("all have snapshots", || (0..3).all(|server| log.covered(server) > 20));
        for server in 0..3 {
            cluster.crash(server);
            thread::sleep(10 * MS);
            cluster.start(server);
        }
        let whole: String = (0..30).map(|n| n.to_string()).collect();
        assert_eq!(clerk(&cluster, 1).get("x"), Ok(whole));
        me.append("x", "!").expect("the session is in the snapshot");
    });
}
