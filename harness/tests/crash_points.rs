//! A server crashes at every switch point of a call with a save in it, one after the other; and so
//! does a server that calls, and saves the answer that it is brought.

use std::sync::Arc;
use std::time::Duration;

use contract::{ApplyMsg, Disk, Persister, RaftNode};
use harness::{Cluster, CrashPlan, CrashPoint};
use labrpc::{ClientEnd, RpcError, Service, service};
use labrt::channel::Sender;
use labrt::pool::Pool;
use labrt::sim::{self, Config};
use labrt::thread;

service! {
    /// Keeps a number.
    pub trait Keeper, client KeeperClient {
        /// Saves the number, and only then says so.
        fn keep(args: u64) -> bool;
    }
}

/// A server whose term is the number on its disk. What it is to start it has server 1 keep, and
/// once that says so keeps it, too.
struct Node {
    peers: Vec<ClientEnd>,
    persister: Persister,
    bringers: Pool,
}

fn save(persister: &Persister, number: u64) {
    let state = labgob::encode(&number).expect("a number is encodable");
    persister.save(state, None);
}

impl Keeper for Node {
    fn keep(&self, number: u64) -> bool {
        save(&self.persister, number);
        true
    }
}

impl RaftNode for Node {
    fn make(peers: Vec<ClientEnd>, _: usize, disk: Disk, _: Sender<ApplyMsg>) -> Arc<Self> {
        let bringers = Pool::in_current_group("bringer");
        Arc::new(Self { peers, persister: disk.persister(), bringers })
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        vec![KeeperClient::service(Arc::clone(self))]
    }

    fn start(&self, _: Vec<u8>) -> Option<(u64, u64)> {
        let persister = self.persister.clone();
        let then = move |number: u64, reply: Result<bool, RpcError>| {
            if reply == Ok(true) {
                thread::spawn(move || save(&persister, number));
            }
        };
        self.peers[1].call_then("Keeper", "keep", 7, &self.bringers, then);
        None
    }

    fn get_state(&self) -> (u64, bool) {
        (labgob::decode(&self.persister.read_state()).unwrap_or_default(), false)
    }

    fn kill(&self) {}
}

/// What came of a crash at one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aftermath {
    crashed: bool,
    answered: bool,
    durable: bool,
}

/// Crashes server 1 at its `nth` switch point after the call was made.
fn crash_at(seed: u64, nth: u64) -> Aftermath {
    let outcome = sim::run(&Config::new(seed), move || {
        let cluster = Cluster::new::<Node>(3);
        let keeper = KeeperClient::new(cluster.network().client_end(0, 1));
        let survivor = KeeperClient::new(cluster.network().client_end(0, 2));
        cluster.plan_crash(CrashPlan { server: 1, point: CrashPoint::SwitchPoint, nth });
        let answer = keeper.keep(&7);
        assert!(matches!(answer, Ok(true) | Err(RpcError::Lost)), "{answer:?}");
        // A reply under way is dropped at a crash; let what is still to come happen.
        thread::sleep(Duration::from_millis(100));
        let crashed = !cluster.server(1).is_running();
        assert_eq!(survivor.keep(&8), Ok(true), "server 2 is none the worse for it");
        assert_eq!(cluster.network().counts().rpcs, 2);
        assert_eq!(cluster.network().counts_at(1).rpcs, 1);
        cluster.restart(1);
        let (number, _) = cluster.server(1).get_state().expect("it was just started");
        assert!(number == 0 || number == 7, "the disk holds {number}");
        assert_eq!(keeper.keep(&9), Ok(true), "the next incarnation serves");
        Aftermath { crashed, answered: answer.is_ok(), durable: number == 7 }
    });
    outcome.result.unwrap_or_else(|failure| panic!("seed {seed}, point {nth}: {failure}"))
}

#[test]
fn a_crash_at_any_switch_point_leaves_old_or_new_and_never_an_answer_without_a_save() {
    let mut seen = Vec::new();
    for seed in 0..20 {
        for nth in 1.. {
            let aftermath = crash_at(seed, nth);
            assert!(
                aftermath.durable || !aftermath.answered,
                "seed {seed}, point {nth}: it was answered for, and is not on disk"
            );
            seen.push(aftermath);
            if !aftermath.crashed {
                break;
            }
            assert!(nth < 1_000, "the server never runs out of switch points");
        }
    }
    let crash = |answered, durable| Aftermath { crashed: true, answered, durable };
    for possible in [crash(false, false), crash(false, true), crash(true, true)] {
        assert!(seen.contains(&possible), "{possible:?} never came about");
    }
}

/// What came of a crash of the caller at one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CallersAftermath {
    crashed: bool,
    /// At the server that was called.
    kept_there: bool,
    kept_here: bool,
}

/// Crashes server 0 at its `nth` switch point after it was told to call server 1.
fn crash_caller_at(seed: u64, nth: u64) -> CallersAftermath {
    let outcome = sim::run(&Config::new(seed), move || {
        let cluster = Cluster::new::<Node>(3);
        let keeper = KeeperClient::new(cluster.network().client_end(2, 1));
        let number = |server| cluster.server(server).get_state().expect("it runs").0;
        cluster.plan_crash(CrashPlan { server: 0, point: CrashPoint::SwitchPoint, nth });
        let _ = cluster.server(0).start(Vec::new());
        // What is under way arrives, or is lost with the caller.
        thread::sleep(Duration::from_millis(100));
        let crashed = !cluster.server(0).is_running();
        let kept_there = number(1) == 7;
        let counts = cluster.network().counts_at(1);
        assert!(counts.rpcs == 1 || !kept_there && counts.rpcs == 0, "{counts:?}");
        cluster.restart(0);
        let kept_here = number(0) == 7;
        assert_eq!(keeper.keep(&7), Ok(true), "server 1 is none the worse for it");
        cluster.server(0).start(Vec::new()).expect("it was just started");
        thread::sleep(Duration::from_millis(100));
        assert_eq!([number(0), number(1)], [7, 7], "the next incarnation calls, and is answered");
        CallersAftermath { crashed, kept_there, kept_here }
    });
    outcome.result.unwrap_or_else(|failure| panic!("seed {seed}, point {nth}: {failure}"))
}

#[test]
fn a_callers_crash_at_any_switch_point_costs_it_the_answer_at_most() {
    let mut seen = Vec::new();
    for seed in 0..20 {
        for nth in 1.. {
            let aftermath = crash_caller_at(seed, nth);
            assert!(
                aftermath.kept_there || !aftermath.kept_here,
                "seed {seed}, point {nth}: it was brought an answer that nobody gave"
            );
            seen.push(aftermath);
            if !aftermath.crashed {
                break;
            }
            assert!(nth < 1_000, "the server never runs out of switch points");
        }
    }
    let crash = |kept_there, kept_here| CallersAftermath { crashed: true, kept_there, kept_here };
    for possible in [crash(false, false), crash(true, false), crash(true, true)] {
        assert!(seen.contains(&possible), "{possible:?} never came about");
    }
}
