//! A Raft that does what it is told, however bad: what the tests of servers that are processes run.

use std::process::{ExitCode, abort, exit};
use std::sync::Arc;
use std::time::Duration;

use contract::{ApplyMsg, Disk, Persister, RaftNode};
use harness::runner::{self, Implementation, TestCase};
use harness::{Cluster, CrashPlan, CrashPoint, Gone};
use labrpc::{ClientEnd, Service, service};
use labrt::channel::Sender;
use labrt::sync::Mutex;
use labrt::thread;
use labrt::time::Instant;

service! {
    /// What the servers ask each other.
    trait Peers, client PeersClient {
        /// The number of whoever is asked.
        fn number(args: ()) -> u64;
    }
}

/// Does what its commands say. Its term is how many commands it has saved.
struct Obedient {
    me: usize,
    peers: Vec<PeersClient>,
    persister: Persister,
    saved: Mutex<u64>,
}

impl Peers for Obedient {
    fn number(&self, (): ()) -> u64 {
        self.me as u64
    }
}

impl RaftNode for Obedient {
    fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, _: Sender<ApplyMsg>) -> Arc<Self> {
        let persister = disk.persister();
        let saved = persister.read_state().len() as u64;
        let peers = peers.into_iter().map(PeersClient::new).collect();
        Arc::new(Self { me, peers, persister, saved: Mutex::new(saved) })
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        vec![PeersClient::service(Arc::clone(self))]
    }

    fn start(&self, command: Vec<u8>) -> Option<(u64, u64)> {
        match &*command {
            b"panic" => panic!("as it was told"),
            b"exit" => exit(7),
            b"abort" => abort(),
            b"print" => (0..20_000).for_each(|line| println!("line {line}")),
            b"save" => {
                let mut saved = self.saved.lock();
                *saved += 1;
                self.persister.save(vec![1; usize::try_from(*saved).ok()?], None);
            }
            b"call" => {
                let answered = self.peers.iter().filter(|peer| peer.number(&()).is_ok());
                return Some((answered.count() as u64, 0));
            }
            _ => {}
        }
        Some((0, *self.saved.lock()))
    }

    fn get_state(&self) -> (u64, bool) {
        (*self.saved.lock(), false)
    }

    fn kill(&self) {}
}

const SOON: Duration = Duration::from_secs(20);

fn tell(cluster: &Cluster, server: usize, command: &str) -> Result<Option<(u64, u64)>, Gone> {
    cluster.server(server).start(command.as_bytes().to_vec())
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < SOON, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn saves_survive(cluster: &Cluster) {
    for saves in 1..=3 {
        assert_eq!(tell(cluster, 0, "save"), Ok(Some((0, saves))));
        cluster.crash(0);
        assert_eq!(tell(cluster, 0, "save"), Err(Gone), "it was killed");
        assert!(!cluster.server(0).is_running());
        cluster.restart(0);
        assert_eq!(cluster.server(0).get_state(), Ok((saves, false)), "what is on its disk");
    }
    wait_until("its sizes are known", || cluster.server(0).raft_state_size() == 3);
}

fn crashes_at_a_save(cluster: &Cluster) {
    let save_until_it_crashes = |point| {
        cluster.plan_crash(CrashPlan { server: 0, point, nth: 3 });
        let told: Vec<_> = (0..3).map(|_| tell(cluster, 0, "save").is_ok()).collect();
        assert_eq!(told, [true, true, false], "the third save is its last deed");
        assert!(!cluster.server(0).is_running());
        cluster.restart(0);
        cluster.server(0).get_state().expect("it was started again").0
    };
    // The machine has not gone down: what was written is there, synced or not.
    let before_the_sync = save_until_it_crashes(CrashPoint::SaveBegun);
    assert!((2..=3).contains(&before_the_sync), "{before_the_sync} of three saves");
    let after_the_sync = save_until_it_crashes(CrashPoint::SaveDone);
    assert_eq!(after_the_sync, before_the_sync + 3, "the third one was durable");
}

fn calls_take_the_networks_faults(cluster: &Cluster) {
    let answered = || tell(cluster, 0, "call").map(|told| told.map(|(peers, _)| peers));
    wait_until("all are connected", || answered() == Ok(Some(3)));
    let before = cluster.network().counts().rpcs;
    assert_eq!(answered(), Ok(Some(3)));
    assert_eq!(cluster.network().counts().rpcs - before, 3, "the network counts the calls");
    cluster.cut_one_way(0, 1, true);
    assert_eq!(answered(), Ok(Some(2)), "the link to S1 is cut");
    cluster.crash(2);
    assert_eq!(answered(), Ok(Some(1)), "S2 is dead, and S0 reaches itself");
    cluster.cut_one_way(0, 1, false);
    cluster.restart(2);
    wait_until("all are there again", || answered() == Ok(Some(3)));
}

fn a_paused_server_stands_still(cluster: &Cluster) {
    cluster.pause(1);
    let other = cluster.clone();
    let asker = thread::spawn(move || other.server(1).get_state());
    thread::sleep(Duration::from_millis(300));
    assert!(!asker.is_finished(), "it answered while it was stopped");
    cluster.resume(1);
    assert_eq!(asker.join().expect("it does not panic"), Ok((0, false)));
    cluster.pause(1);
    cluster.crash(1);
    assert_eq!(cluster.server(1).get_state(), Err(Gone), "also one that is stopped can be killed");
}

fn after(command: &'static str, cluster: &Cluster) {
    let _ = tell(cluster, 1, command);
    thread::sleep(SOON);
}

const fn case(name: &'static str, body: fn(&Cluster)) -> TestCase {
    TestCase::ours(name, 3, body).claims("servers may be processes", "none").worth(1)
}

const CASES: &[TestCase] = &[
    case("saves_survive_0P", saves_survive),
    case("crashes_at_a_save_0P", crashes_at_a_save),
    case("calls_take_the_networks_faults_0P", calls_take_the_networks_faults),
    case("a_paused_server_stands_still_0P", a_paused_server_stands_still),
    case("prints_0P", |cluster| {
        assert_eq!(tell(cluster, 0, "print"), Ok(Some((0, 0))), "what is printed is no answer");
    }),
    case("panics_in_a_server_0Q", |cluster| after("panic", cluster)),
    case("exits_in_a_server_0Q", |cluster| after("exit", cluster)),
    case("aborts_in_a_server_0Q", |cluster| after("abort", cluster)),
    case("holds_a_stopped_server_0R", |cluster| {
        cluster.pause(1);
        thread::sleep(6 * SOON);
    }),
];

fn main() -> ExitCode {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    runner::main("harness", sources, Implementation::new().raft::<Obedient>(), &[CASES])
}
