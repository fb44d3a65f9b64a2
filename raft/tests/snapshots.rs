//! Snapshots, on servers with threads, a network and disks: our Raft below the smallest service
//! there is, which remembers all commands and makes a snapshot after every tenth, as in lab 2D.
//!
//! The service checks what it is told, and what it finds on its disk; a check that fails on any
//! server fails the test.

use std::sync::Arc;
use std::time::Duration;

use contract::{ApplyMsg, Disk, Index, RaftNode, Term};
use harness::{Cluster, DiskFaults};
use labrpc::{ClientEnd, Faults, Service};
use labrt::channel::{self, Receiver, Sender};
use labrt::random::{RngExt as _, Stream};
use labrt::thread;
use raft::Raft;
use raft::core::{RequestVoteArgs, RequestVoteReply};

const MS: Duration = Duration::from_millis(1);

/// As in lab 2D.
const SNAPSHOT_EVERY: Index = 10;
const RAFT_STATE_MAX: usize = 2_000;

/// A Raft that makes snapshots of its service's state, and tells the test what it applies.
struct Snapshotting {
    raft: Arc<Raft>,
    disk: Disk,
}

/// Every command so far, the first at index 1.
type Commands = Vec<Vec<u8>>;

/// The service of one server.
struct Recorder {
    raft: Arc<Raft>,
    disk: Disk,
    commands: Commands,
    found: Option<Found>,
    test: Sender<ApplyMsg>,
}

/// What was on the disk when the server had taken a snapshot.
struct Found {
    /// Of the snapshot.
    bytes: Vec<u8>,
    raft_state_size: usize,
}

impl Recorder {
    /// Restores itself, and tells the test so, which takes a new incarnation to have applied
    /// nothing.
    fn restore(raft: Arc<Raft>, disk: Disk, test: Sender<ApplyMsg>) -> Self {
        let mut recorder = Self { raft, disk, commands: Commands::new(), found: None, test };
        let snapshot = recorder.disk.read_snapshot();
        if !snapshot.is_empty() {
            recorder.replace(snapshot, 0);
        }
        recorder
    }

    fn run(mut self, applied: &Receiver<ApplyMsg>) {
        while let Ok(message) = applied.recv() {
            self.check_found();
            match message {
                ApplyMsg::Command { index, command } => self.command(index, command),
                ApplyMsg::Snapshot { index, term, snapshot } => {
                    assert!(index > self.applied(), "a snapshot up to {index} is old");
                    self.replace(snapshot, term);
                    assert_eq!(self.applied(), index, "the snapshot is of another index");
                }
                ApplyMsg::NoOp { index } => panic!("a no-op at {index}, which nobody wants"),
            }
        }
    }

    fn applied(&self) -> Index {
        self.commands.len() as Index
    }

    fn command(&mut self, index: Index, command: Vec<u8>) {
        assert_eq!(index, self.applied() + 1, "commands come one after the other");
        self.commands.push(command.clone());
        let _ = self.test.send(ApplyMsg::Command { index, command });
        if index.is_multiple_of(SNAPSHOT_EVERY) {
            self.snapshot(index);
        }
    }

    /// Calls the server from the thread that it hands its messages to, as services do.
    fn snapshot(&mut self, index: Index) {
        self.raft.snapshot(index, encode(&self.commands));
        let (bytes, raft_state_size) = (self.disk.read_snapshot(), self.disk.raft_state_size());
        self.found = Some(Found { bytes, raft_state_size });
    }

    /// A server that goes on after a snapshot was taken has it on its disk, or a newer one. (If it
    /// was killed meanwhile, or the disk failed, it has nothing more to say.)
    fn check_found(&mut self) {
        let Some(Found { bytes, raft_state_size }) = self.found.take() else { return };
        assert!(decode(&bytes).len() >= self.commands.len(), "the snapshot is not on the disk");
        assert!(raft_state_size < RAFT_STATE_MAX, "{raft_state_size} bytes left after a snapshot");
    }

    fn replace(&mut self, snapshot: Vec<u8>, term: Term) {
        self.commands = decode(&snapshot);
        let _ = self.test.send(ApplyMsg::Snapshot { index: self.applied(), term, snapshot });
    }
}

fn encode(commands: &Commands) -> Vec<u8> {
    labgob::encode(commands).expect("bytes can be encoded")
}

fn decode(snapshot: &[u8]) -> Commands {
    labgob::decode(snapshot).expect("a snapshot is what the service made")
}

impl RaftNode for Snapshotting {
    fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, test: Sender<ApplyMsg>) -> Arc<Self> {
        let (apply, applied) = channel::bounded(0);
        let raft = Raft::make(peers, me, disk.clone(), apply);
        let service = Arc::clone(&raft);
        let services_disk = disk.clone();
        thread::Builder::new()
            .name("service")
            .spawn(move || Recorder::restore(service, services_disk, test).run(&applied));
        Arc::new(Self { raft, disk })
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

    fn kill(&self) {
        self.raft.kill();
    }
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
        let cluster = Cluster::new::<Snapshotting>(3);
        agree_on(&cluster, 300, 3);
    });
}

#[test]
fn whoever_was_away_gets_a_snapshot_and_what_follows_it() {
    labrt::check(|| {
        let cluster = Cluster::new::<Snapshotting>(3);
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

#[test]
fn lost_late_and_doubled_messages_spoil_no_snapshot() {
    labrt::check(|| {
        let cluster = Cluster::new::<Snapshotting>(3);
        let mut script = cluster.script();
        let unreliable = Faults::unreliable().with_long_delays().with_long_reordering();
        cluster.network().set_all_faults(&Faults { duplicate_ppm: 200_000, ..unreliable });
        for _ in 0..5 {
            let away = some_server(&mut script, &cluster);
            cluster.disconnect(away);
            agree_on(&cluster, 15, 2);
            cluster.connect(away);
        }
        cluster.heal();
        cluster.agree(3);
    });
}

/// The disks are slow here, so most crashes fall into a write.
#[test]
fn servers_that_crash_around_snapshots_go_on_from_what_they_have() {
    labrt::check(|| {
        let cluster = Cluster::new::<Snapshotting>(3);
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
        let cluster = Cluster::new::<Snapshotting>(2);
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
            let reply: Result<Option<RequestVoteReply>, _> =
                cluster.network().client_end(1, 0).call("RaftRpc", "request_vote", &args);
            assert_eq!(reply, Ok(Some(RequestVoteReply { term, vote_granted: true })));
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

#[test]
fn a_kill_ends_a_snapshot_that_waits_for_the_disk() {
    labrt::check(|| {
        let cluster = Cluster::new::<Snapshotting>(1);
        agree_on(&cluster, SNAPSHOT_EVERY - 1, 1);
        let slow = DiskFaults { delay: 900 * MS..1_000 * MS, ..DiskFaults::default() };
        cluster.server(0).set_disk_faults(&slow);
        cluster.start(0).expect("the only server leads");
        // One write for the entry, and the next is the snapshot's.
        thread::sleep(1_300 * MS);
        let waiting = |thread: &String| thread.contains("service") && thread.contains("shared.rs");
        let left = threads_left(&cluster, 0);
        assert!(left.iter().any(waiting), "the service does not wait for its snapshot: {left:#?}");
        cluster.server(0).kill().expect("it runs");
        thread::sleep(100 * MS);
        let left = threads_left(&cluster, 0);
        assert!(!left.iter().any(|thread| thread.contains("service")), "{left:#?}");
    });
}

#[test]
fn a_disk_that_fails_in_a_snapshot_ends_the_server_until_it_starts_again() {
    labrt::check(|| {
        let cluster = Cluster::new::<Snapshotting>(3);
        agree_on(&cluster, SNAPSHOT_EVERY - 1, 3);
        let leader = cluster.check_one_leader();
        let failing = DiskFaults { sync_failure_ppm: 500_000, ..DiskFaults::default() };
        cluster.server(leader).set_disk_faults(&failing);
        for _ in 0..30 {
            cluster.agree(2);
        }
        assert!(cluster.server(leader).has_failed_disk());
        let left = threads_left(&cluster, leader);
        assert!(!left.iter().any(|thread| thread.contains("service")), "{left:#?}");
        cluster.heal();
        agree_on(&cluster, 2 * SNAPSHOT_EVERY, 3);
    });
}
