//! Snapshots, on servers with threads, a network and disks, below the harness's service, which
//! remembers all commands and makes a snapshot after every tenth, as in lab 2D.
//!
//! What the service is told the oracle checks. Here the disk is looked at, too: when a snapshot was
//! taken, and after every message. A check that fails on any server fails the test.

use std::sync::Arc;
use std::time::Duration;

use contract::{ApplyMsg, Disk, Index, RaftNode, Term};
use harness::{Cluster, DiskFaults, ServicePolicy};
use labrpc::{ClientEnd, Faults, Service};
use labrt::channel::{self, Receiver, Sender};
use labrt::random::{RngExt as _, Stream};
use labrt::sync::Mutex;
use labrt::thread;
use raft::Raft;
use raft::core::{RequestVoteArgs, RequestVoteReply};

const MS: Duration = Duration::from_millis(1);

/// As in lab 2D.
const SNAPSHOT_EVERY: Index = 10;
const RAFT_STATE_MAX: usize = 2_000;

/// A Raft whose disk is looked at.
struct Watched {
    raft: Arc<Raft>,
    disk: Disk,
    /// The snapshot that was there at the start.
    restored: Vec<u8>,
    found: Mutex<Option<Found>>,
}

/// What was on the disk when the server had taken a snapshot, and what should have been.
struct Found {
    /// A message came since. That may have been on its way when the disk failed or the server was
    /// killed; a second one is not sent then.
    is_old: bool,
    snapshot: Vec<u8>,
    expected: Vec<u8>,
}

impl Watched {
    /// Hands on what the server says to its service. A server that goes on after it took a snapshot
    /// had that on its disk, or a newer one, which is longer.
    fn relay(&self, applied: &Receiver<ApplyMsg>, service: &Sender<ApplyMsg>) {
        while let Ok(message) = applied.recv() {
            self.check_found();
            if let ApplyMsg::Snapshot { snapshot, .. } = &message {
                assert!(*snapshot != self.restored, "the service has restored itself from that");
            }
            if service.send(message).is_err() {
                return;
            }
        }
    }
}

impl Watched {
    fn check_found(&self) {
        let mut found = self.found.lock();
        match &mut *found {
            Some(Found { is_old: true, snapshot, expected }) => {
                let is_there = snapshot == expected || snapshot.len() > expected.len();
                assert!(is_there, "the snapshot was not on the disk");
                *found = None;
            }
            Some(young) => young.is_old = true,
            None => {}
        }
    }
}

impl RaftNode for Watched {
    fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, service: Sender<ApplyMsg>) -> Arc<Self> {
        let (apply, applied) = channel::bounded(0);
        let restored = disk.read_snapshot();
        let raft = Raft::make(peers, me, disk.clone(), apply);
        let watched = Arc::new(Self { raft, disk, restored, found: Mutex::new(None) });
        let relay = Arc::clone(&watched);
        thread::Builder::new().name("relay").spawn(move || relay.relay(&applied, &service));
        watched
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        self.raft.services()
    }

    fn start(&self, command: Vec<u8>) -> Option<(Index, Term)> {
        self.raft.start(command)
    }

    /// The harness asks after every message; so the disk is looked at as often.
    fn get_state(&self) -> (Term, bool) {
        let size = self.disk.raft_state_size();
        assert!(size < RAFT_STATE_MAX, "Raft keeps {size} bytes on the disk");
        self.raft.get_state()
    }

    fn snapshot(&self, index: Index, snapshot: Vec<u8>) {
        self.raft.snapshot(index, snapshot.clone());
        let found =
            Found { is_old: false, snapshot: self.disk.read_snapshot(), expected: snapshot };
        *self.found.lock() = Some(found);
    }

    fn kill(&self) {
        self.raft.kill();
    }
}

/// Servers whose services make snapshots.
fn cluster(servers: usize) -> Cluster {
    let cluster = Cluster::new::<Watched>(servers);
    cluster.set_service_policy(&ServicePolicy::snapshot_every(SNAPSHOT_EVERY));
    cluster
}

fn agree_on(cluster: &Cluster, count: u64, servers: usize) {
    (0..count).for_each(|_| {
        cluster.agree(servers);
    });
}

fn some_server(script: &mut Stream, cluster: &Cluster) -> usize {
    script.random_range(0..cluster.len())
}

#[test]
fn what_raft_keeps_on_the_disk_stays_small() {
    labrt::check(|| {
        let cluster = self::cluster(3);
        agree_on(&cluster, 300, 3);
    });
}

#[test]
fn whoever_was_away_gets_a_snapshot_and_what_follows_it() {
    labrt::check(|| {
        let cluster = self::cluster(3);
        let mut script = cluster.script();
        for _ in 0..10 {
            agree_on(&cluster, 2, 3);
            let away = some_server(&mut script, &cluster);
            cluster.disconnect(away);
            agree_on(&cluster, 25, 2);
            cluster.connect(away);
            cluster.agree(3);
        }
    });
}

/// Nothing is claimed about progress while answers are seconds late and a server is away; but
/// whatever commits then, commits with snapshots.
#[test]
fn lost_late_and_doubled_messages_spoil_no_snapshot() {
    labrt::check(|| {
        let cluster = self::cluster(3);
        let mut script = cluster.script();
        let unreliable = Faults::unreliable().with_long_delays().with_long_reordering();
        cluster.network().set_all_faults(&Faults { duplicate_ppm: 200_000, ..unreliable });
        cluster.agree(2);
        for step in 0..300 {
            if step % 60 == 30 {
                cluster.disconnect(some_server(&mut script, &cluster));
            }
            if step % 60 == 0 {
                (0..3).for_each(|server| cluster.connect(server));
            }
            // Few enough that the log of a leader that is cut off stays small, too.
            if step % 3 == 0 {
                for server in 0..3 {
                    cluster.start(server);
                }
            }
            thread::sleep(script.duration(Duration::ZERO..60 * MS));
        }
        cluster.heal();
        agree_on(&cluster, 2, 3);
        assert!(cluster.summary().commands > SNAPSHOT_EVERY, "hardly anything was committed");
    });
}

/// The disks are slow here, so most crashes fall into a write.
#[test]
fn servers_that_crash_around_snapshots_go_on_from_what_they_have() {
    labrt::check(|| {
        let cluster = self::cluster(3);
        let mut script = cluster.script();
        let slow = DiskFaults { delay: 5 * MS..20 * MS, ..DiskFaults::default() };
        (0..3).for_each(|server| cluster.server(server).set_disk_faults(&slow));
        for _ in 0..20 {
            let crashing = some_server(&mut script, &cluster);
            agree_on(&cluster, script.random_range(0..10), 2);
            cluster.start(crashing);
            thread::sleep(script.duration(Duration::ZERO..100 * MS));
            cluster.crash(crashing);
            agree_on(&cluster, script.random_range(0..15), 2);
            cluster.restart(crashing);
            cluster.agree(3);
        }
    });
}

/// Without rewriting what it has, the journal would be 40,000 bytes in the end.
#[test]
fn votes_without_any_command_leave_the_journal_small() {
    labrt::check(|| {
        let cluster = self::cluster(2);
        cluster.crash(1);
        let (last_log_index, last_log_term) = (0, 0);
        for term in 1_000..3_000 {
            let args = RequestVoteArgs {
                term,
                candidate_id: 1,
                last_log_index,
                last_log_term,
                leadership_transfer: false,
            };
            let reply: Result<RequestVoteReply, _> =
                cluster.network().client_end(1, 0).call("RaftRpc", "request_vote", &args);
            assert_eq!(reply, Ok(RequestVoteReply { term, vote_granted: true }));
        }
        cluster.restart(0);
        let (term, _) = cluster.server(0).get_state().expect("it runs");
        assert_eq!(term, 2_999);
    });
}

/// The threads that the node of a server has left.
fn threads_left(cluster: &Cluster, server: usize) -> Vec<String> {
    cluster.server(server).threads()
}

fn waits_for_a_snapshot(threads: &[String]) -> bool {
    threads.iter().any(|thread| thread.contains("raft/src/shell/shared.rs"))
}

#[test]
fn a_kill_ends_a_snapshot_that_waits_for_the_disk() {
    labrt::check(|| {
        let cluster = self::cluster(1);
        agree_on(&cluster, SNAPSHOT_EVERY - 2, 1);
        let slow = DiskFaults { delay: 900 * MS..1_000 * MS, ..DiskFaults::default() };
        cluster.server(0).set_disk_faults(&slow);
        cluster.start(0).expect("the only server leads");
        // One write for the entry, and the next is the snapshot's.
        thread::sleep(1_300 * MS);
        let left = threads_left(&cluster, 0);
        assert!(waits_for_a_snapshot(&left), "nobody waits for a snapshot: {left:#?}");
        cluster.server(0).kill().expect("it runs");
        thread::sleep(100 * MS);
        let left = threads_left(&cluster, 0);
        assert!(!waits_for_a_snapshot(&left), "{left:#?}");
    });
}

#[test]
fn a_disk_that_fails_in_a_snapshot_ends_the_server_until_it_starts_again() {
    labrt::check(|| {
        let cluster = self::cluster(3);
        agree_on(&cluster, SNAPSHOT_EVERY - 1, 3);
        let leader = cluster.check_one_leader();
        let failing = DiskFaults { sync_failure_ppm: 500_000, ..DiskFaults::default() };
        cluster.server(leader).set_disk_faults(&failing);
        for _ in 0..30 {
            cluster.agree(2);
        }
        assert!(cluster.server(leader).has_failed_disk());
        let left = threads_left(&cluster, leader);
        assert!(!waits_for_a_snapshot(&left), "{left:#?}");
        cluster.heal();
        agree_on(&cluster, 2 * SNAPSHOT_EVERY, 3);
    });
}
