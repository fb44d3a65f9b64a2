//! What a service's configuration adds, on servers with threads and a network: reads, and
//! leadership that is handed over or given up.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use contract::{ApplyMsg, Disk, Index, RaftNode, ReadIndexError, Term, TransferError};
use harness::Cluster;
use labrpc::{ClientEnd, Faults};
use labrt::channel::Sender;
use labrt::random::RngExt as _;
use labrt::thread;
use labrt::time::Instant;
use raft::{Labs, Profile, Raft, Service};

const MS: Duration = Duration::from_millis(1);

/// A longest election time-out and a heartbeat, and what threads and messages take.
const GIVEN_UP_WITHIN: Duration = Duration::from_millis(300 + 30 + 100);

labrpc::service! {
    /// What only the server's own service can ask.
    trait Asking, client Asker {
        /// `read_index`.
        fn read_index(nothing: ()) -> Result<Index, ReadIndexError>;
        /// `transfer_leadership`.
        fn transfer_leadership(to: usize) -> Result<(), TransferError>;
    }
}

/// A Raft that the test can ask over the network.
struct Asked<P>(Arc<Raft<P>>, PhantomData<P>);

impl<P: Profile> Asking for Asked<P> {
    fn read_index(&self, (): ()) -> Result<Index, ReadIndexError> {
        self.0.read_index()
    }

    fn transfer_leadership(&self, to: usize) -> Result<(), TransferError> {
        self.0.transfer_leadership(to)
    }
}

impl<P: Profile> RaftNode for Asked<P> {
    fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, apply: Sender<ApplyMsg>) -> Arc<Self> {
        Arc::new(Self(Raft::make(peers, me, disk, apply), PhantomData))
    }

    fn services(self: &Arc<Self>) -> Vec<labrpc::Service> {
        let mut services = self.0.services();
        services.push(Asker::service(Arc::clone(self)));
        services
    }

    fn start(&self, command: Vec<u8>) -> Option<(Index, Term)> {
        self.0.start(command)
    }

    fn get_state(&self) -> (Term, bool) {
        self.0.get_state()
    }

    fn kill(&self) {
        self.0.kill();
    }
}

/// Three servers as a service has them.
fn servers() -> Arc<Cluster> {
    Arc::new(Cluster::new::<Asked<Service>>(3))
}

/// Asks a server over a link of its own, which no cut concerns.
fn ask(cluster: &Cluster, server: usize) -> Asker {
    Asker::new(cluster.network().client_end(server, server))
}

/// Cuts a server off from all others, but not from the test.
fn isolate(cluster: &Cluster, server: usize, cut: bool) {
    for peer in (0..cluster.len()).filter(|peer| *peer != server) {
        cluster.cut_one_way(server, peer, cut);
        cluster.cut_one_way(peer, server, cut);
    }
}

/// What a server is asked is answered in time.
fn answered_in_time<T>(ask: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let answer = ask();
    let took = started.elapsed();
    assert!(took < GIVEN_UP_WITHIN, "it took {took:?}");
    answer
}

#[test]
fn a_read_sees_all_that_was_committed_before_it() {
    labrt::check(|| {
        let cluster = servers();
        let mut script = cluster.script();
        let mut reads = 0;
        for _ in 0..40 {
            let committed = cluster.agree(1);
            if script.chance(300_000) {
                cluster.heal();
                isolate(&cluster, script.random_range(0..3), true);
            }
            for server in 0..3 {
                match ask(&cluster, server).read_index(&()) {
                    Ok(Ok(index)) => {
                        reads += 1;
                        assert!(index >= committed, "S{server} reads at {index} < {committed}");
                    }
                    Ok(Err(ReadIndexError::Unsupported)) => panic!("reads are switched on"),
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        }
        assert!(reads > 5, "only {reads} reads were answered");
    });
}

#[test]
fn a_read_costs_a_round_of_messages_and_no_wait_for_a_heartbeat() {
    labrt::check(|| {
        let cluster = servers();
        cluster.agree(3);
        let leader = cluster.check_one_leader();
        let started = Instant::now();
        for _ in 0..100 {
            ask(&cluster, leader).read_index(&()).expect("it is up").expect("it leads");
        }
        let took = started.elapsed() / 100;
        assert!(took < 10 * MS, "a read takes {took:?}");
    });
}

#[test]
fn a_leader_that_reaches_nobody_ends_its_reads_and_steps_down() {
    labrt::check(|| {
        let cluster = servers();
        cluster.agree(3);
        let leader = cluster.check_one_leader();
        isolate(&cluster, leader, true);
        let asker = ask(&cluster, leader);
        let read = answered_in_time(|| asker.read_index(&()));
        assert_eq!(read, Ok(Err(ReadIndexError::NotLeader)));
        thread::sleep(GIVEN_UP_WITHIN);
        let (_, leads) = cluster.server(leader).get_state().expect("it is up");
        assert!(!leads, "it cannot know whether it leads");
        isolate(&cluster, leader, false);
        cluster.agree(3);
    });
}

#[test]
fn the_server_that_is_named_leads_after_a_transfer() {
    labrt::check(|| {
        let cluster = servers();
        for _ in 0..5 {
            cluster.agree(3);
            let leader = cluster.wait_for_agreed_leader(Duration::from_secs(5));
            let successor = (leader + 1) % 3;
            let asker = ask(&cluster, leader);
            let ended = answered_in_time(|| asker.transfer_leadership(&successor));
            assert_eq!(ended, Ok(Ok(())));
            thread::sleep(100 * MS);
            let now = cluster.wait_for_agreed_leader(Duration::from_secs(5));
            assert_eq!(now, successor, "S{leader} handed over to it");
        }
    });
}

#[test]
fn a_transfer_to_a_dead_server_is_given_up_and_commands_are_taken_again() {
    labrt::check(|| {
        let cluster = servers();
        cluster.agree(3);
        let leader = cluster.check_one_leader();
        let dead = (leader + 1) % 3;
        cluster.crash(dead);
        let asker = ask(&cluster, leader);
        let ended = answered_in_time(|| asker.transfer_leadership(&dead));
        assert_eq!(ended, Ok(Err(TransferError::TimedOut)));
        let started = cluster.start(leader);
        assert!(started.is_some(), "S{leader} leads, and hands over no more");
        cluster.agree(2);
    });
}

#[test]
fn commands_are_lost_by_no_transfer() {
    let transfers = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&transfers);
    labrt::check(move || {
        let cluster = servers();
        let mut script = cluster.script();
        cluster.network().set_all_faults(&Faults::unreliable().with_long_delays());
        for _ in 0..20 {
            cluster.agree(2);
            let (server, to) = (script.random_range(0..3), script.random_range(0..3));
            let cluster = Arc::clone(&cluster);
            let transfers = Arc::clone(&counted);
            // Most are asked of who does not lead, and the link loses messages like any other.
            thread::spawn(move || {
                if ask(&cluster, server).transfer_leadership(&to) == Ok(Ok(())) {
                    transfers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        cluster.heal();
        cluster.agree(3);
    });
    assert!(transfers.load(Ordering::Relaxed) > 0, "no seed saw a transfer");
}

#[test]
fn a_kill_ends_reads_and_transfers_that_wait() {
    labrt::check(|| {
        let cluster = servers();
        cluster.agree(3);
        let leader = cluster.check_one_leader();
        isolate(&cluster, leader, true);
        let asker = ask(&cluster, leader);
        let reading = {
            let asker = asker.clone();
            thread::spawn(move || asker.read_index(&()))
        };
        let to = (leader + 1) % 3;
        let handing_over = thread::spawn(move || asker.transfer_leadership(&to));
        thread::sleep(50 * MS);
        cluster.server(leader).kill().expect("it is up");
        let started = Instant::now();
        let read = reading.join().expect("the caller ends");
        assert_eq!(read, Ok(Err(ReadIndexError::NotLeader)));
        let ended = handing_over.join().expect("the caller ends");
        assert_eq!(ended, Ok(Err(TransferError::NotLeader)));
        let took = started.elapsed();
        assert!(took < 50 * MS, "it took {took:?}");
    });
}

#[test]
fn under_the_labs_there_are_neither_reads_nor_transfers() {
    labrt::check(|| {
        let cluster = Cluster::new::<Asked<Labs>>(3);
        let first = cluster.agree(3);
        assert_eq!(first, 1, "nor entries without a command");
        let leader = cluster.check_one_leader();
        let asker = ask(&cluster, leader);
        assert_eq!(asker.read_index(&()), Ok(Err(ReadIndexError::Unsupported)));
        assert_eq!(asker.transfer_leadership(&1), Ok(Err(TransferError::Unsupported)));
        isolate(&cluster, leader, true);
        thread::sleep(Duration::from_secs(2));
        let (_, leads) = cluster.server(leader).get_state().expect("it is up");
        assert!(leads, "nor does a leader that is cut off step down");
    });
}
