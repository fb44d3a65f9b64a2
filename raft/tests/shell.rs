//! What only the shell claims, on servers with a network and disks. The rest is the labs' to try.
//!
//! Where a test asks a server something itself, it does so in the name of a peer that is down.

use std::sync::Arc;
use std::time::Duration;

use harness::{Cluster, DiskFaults};
use labrpc::RpcError;
use labrt::thread::{self, JoinHandle};
use labrt::time::Instant;
use raft::Raft;
use raft::core::{AppendEntriesArgs, AppendEntriesReply, Entry, Term};

const MS: Duration = Duration::from_millis(1);

/// Longer than messages and threads take, stalls included, and shorter than the disk.
const SLACK: Duration = Duration::from_millis(200);
const DISK: Duration = Duration::from_millis(400);

/// A term that the servers never reach by themselves.
const TERM: Term = 1_000;

type Answer = Result<AppendEntriesReply, RpcError>;

/// A cluster of two of which S0 alone is up, with a disk that takes its time.
fn one_server_with_a_slow_disk() -> Arc<Cluster> {
    let cluster = Cluster::new::<Raft>(2);
    cluster.crash(1);
    set_disk_delay(&cluster, 0, DISK);
    Arc::new(cluster)
}

fn set_disk_delay(cluster: &Cluster, server: usize, delay: Duration) {
    let faults = DiskFaults { delay: delay..delay + MS, ..DiskFaults::default() };
    cluster.server(server).set_disk_faults(&faults);
}

/// S1, as the leader of [`TERM`], sends S0 its first `count` entries. Gives the answer and how long
/// it took.
fn append(cluster: &Arc<Cluster>, count: usize) -> JoinHandle<(Answer, Duration)> {
    let cluster = Arc::clone(cluster);
    thread::spawn(move || {
        let started = Instant::now();
        let args = AppendEntriesArgs {
            term: TERM,
            leader_id: 1,
            prev_log_index: 0,
            prev_log_term: 0,
            entries: vec![Entry::command(TERM, [7].as_slice().into()); count],
            leader_commit: 0,
        };
        let answer = cluster.network().client_end(1, 0).call("RaftRpc", "append_entries", &args);
        (answer, started.elapsed())
    })
}

fn accepted(answer: &Answer) -> bool {
    matches!(answer, Ok(reply) if reply.success)
}

/// Has the leader commit a command, and tells how long that took.
fn commit_one(cluster: &Cluster, leader: usize) -> Duration {
    let started = Instant::now();
    let before = cluster.summary().commands;
    let offered = cluster.server(leader).start(vec![1, 2, 3]).expect("the leader runs");
    offered.expect("the leader leads");
    while cluster.summary().commands == before {
        assert!(started.elapsed() < Duration::from_secs(10), "not committed in ten seconds");
        thread::sleep(MS);
    }
    started.elapsed()
}

#[test]
fn requests_that_come_during_a_write_are_answered_after_one_more() {
    labrt::check(|| {
        let cluster = one_server_with_a_slow_disk();
        let first = append(&cluster, 1);
        thread::sleep(DISK / 4);
        let others: Vec<_> = (2..6).map(|count| append(&cluster, count)).collect();
        let (answer, took) = first.join().expect("the caller ends");
        assert!(accepted(&answer) && took < DISK + SLACK, "{answer:?} after {took:?}");
        for other in others {
            let (answer, took) = other.join().expect("the caller ends");
            assert!(accepted(&answer) && took < 2 * DISK + SLACK, "{answer:?} after {took:?}");
        }
    });
}

#[test]
fn whoever_waits_for_an_answer_at_a_kill_gets_none() {
    labrt::check(|| {
        let cluster = one_server_with_a_slow_disk();
        let writing = append(&cluster, 1);
        thread::sleep(DISK / 8);
        let waiting = append(&cluster, 2);
        thread::sleep(DISK / 8);
        cluster.server(0).kill().expect("the server runs");
        for (caller, why) in
            [(waiting, "claims nothing"), (writing, "claims nothing when its write is done")]
        {
            let (answer, _) = caller.join().expect("the caller ends");
            assert_eq!(answer, Err(RpcError::Lost), "a killed server {why}");
        }
        let (late, _) = append(&cluster, 1).join().expect("the caller ends");
        assert_eq!(late, Err(RpcError::Lost), "nor does it later");
    });
}

#[test]
fn a_failing_disk_silences_the_server_until_it_starts_again() {
    labrt::check(|| {
        let cluster = Cluster::new::<Raft>(3);
        let leader = cluster.check_one_leader();
        commit_one(&cluster, leader);
        let server = cluster.server(leader);
        server
            .set_disk_faults(&DiskFaults { sync_failure_ppm: 1_000_000, ..DiskFaults::default() });
        let _ = server.start(vec![9]);
        thread::sleep(SLACK);
        assert!(server.has_failed_disk());
        let (_, leads) = server.get_state().expect("it does not crash");
        assert!(!leads, "a server that can store nothing does not lead");
        assert_eq!(server.start(vec![9]), Ok(None));

        cluster.heal();
        let leader = cluster.wait_for_agreed_leader(Duration::from_secs(5));
        commit_one(&cluster, leader);
        thread::sleep(Duration::from_secs(1));
        cluster.check_terms();
    });
}

/// Nor does it answer for what it could not write.
#[test]
fn a_failed_write_is_not_answered() {
    labrt::check(|| {
        let cluster = one_server_with_a_slow_disk();
        let faults = DiskFaults { sync_failure_ppm: 1_000_000, ..DiskFaults::default() };
        cluster.server(0).set_disk_faults(&faults);
        let (answer, _) = append(&cluster, 1).join().expect("the caller ends");
        assert_eq!(answer, Err(RpcError::Lost));
    });
}

#[test]
fn a_lagging_follower_does_not_delay_commits() {
    labrt::check(|| {
        let cluster = Cluster::new::<Raft>(3);
        let leader = cluster.check_one_leader();
        set_disk_delay(&cluster, (leader + 1) % 3, Duration::from_secs(2));
        let took: Duration = (0..50).map(|_| commit_one(&cluster, leader)).sum();
        assert!(took < Duration::from_secs(1), "50 commands took {took:?}");
    });
}

/// A server that was started with another list of peers must not stop those of this one.
#[test]
fn a_request_of_no_peer_is_refused_and_the_server_goes_on() {
    labrt::check(|| {
        let cluster = one_server_with_a_slow_disk();
        let end = cluster.network().client_end(1, 0);
        for stranger in [0, 2, usize::MAX] {
            let args = AppendEntriesArgs {
                term: TERM,
                leader_id: stranger,
                prev_log_index: 0,
                prev_log_term: 0,
                entries: Vec::new(),
                leader_commit: 0,
            };
            let answer = end.call::<_, AppendEntriesReply>("RaftRpc", "append_entries", &args);
            let Err(RpcError::BadArguments(why)) = answer else { panic!("{answer:?}") };
            assert!(why.contains("do all have the same list of peers?"), "{why}");
        }
        let (answer, _) = append(&cluster, 1).join().expect("it ends");
        assert!(accepted(&answer), "{answer:?}");
    });
}
