//! The oracle's alarms go off: for each of them a server that does just what it must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{ApplyMsg, Disk, RaftNode};
use harness::Cluster;
use labrpc::{ClientEnd, Service, service};
use labrt::channel::Sender;
use labrt::sim::{self, Config, Failure};
use labrt::thread;

service! {
    /// Something for the oracle to be woken by.
    pub trait Ping, client PingClient {
        /// Answers.
        fn ping(args: ()) -> ();
    }
}

/// How a server misbehaves.
trait Habit: Send + Sync + 'static {
    /// What the server says when it is asked for the `nth` time.
    fn state(_me: usize, _nth: u64) -> (u64, bool) {
        (0, false)
    }

    /// What it applies.
    fn applied(_me: usize) -> Vec<ApplyMsg> {
        Vec::new()
    }
}

struct Server<H> {
    me: usize,
    asked: AtomicU64,
    habit: std::marker::PhantomData<H>,
}

impl<H: Habit> Ping for Server<H> {
    fn ping(&self, (): ()) {}
}

impl<H: Habit> RaftNode for Server<H> {
    fn make(peers: Vec<ClientEnd>, me: usize, _: Disk, apply: Sender<ApplyMsg>) -> Arc<Self> {
        thread::spawn(move || {
            for message in H::applied(me) {
                let _ = apply.send(message);
            }
            loop {
                thread::sleep(Duration::from_millis(50));
                let _ = PingClient::new(peers[(me + 1) % peers.len()].clone()).ping(&());
            }
        });
        Arc::new(Self { me, asked: AtomicU64::new(0), habit: std::marker::PhantomData })
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        vec![PingClient::service(Arc::clone(self))]
    }

    fn start(&self, _: Vec<u8>) -> Option<(u64, u64)> {
        None
    }

    fn get_state(&self) -> (u64, bool) {
        H::state(self.me, self.asked.fetch_add(1, Ordering::Relaxed))
    }

    fn kill(&self) {}
}

/// What the oracle says of three servers of this habit within 10 s, without any question of the
/// test's own.
fn verdict<H: Habit>() -> Result<(), Failure> {
    let outcome = sim::run(&Config::new(1), || {
        let _cluster = Cluster::new::<Server<H>>(3);
        thread::sleep(Duration::from_secs(10));
    });
    outcome.result
}

fn message<H: Habit>() -> String {
    verdict::<H>().expect_err("the oracle must say so").message
}

fn command(index: u64, command: u8) -> ApplyMsg {
    ApplyMsg::Command { index, command: vec![command] }
}

#[test]
fn servers_that_behave_are_not_accused() {
    struct Fine;
    impl Habit for Fine {
        fn state(me: usize, nth: u64) -> (u64, bool) {
            (1 + nth / 10, me == 1 && nth < 10)
        }

        fn applied(_: usize) -> Vec<ApplyMsg> {
            vec![command(1, 7), command(2, 8), ApplyMsg::NoOp { index: 3 }, command(4, 7)]
        }
    }
    assert_eq!(verdict::<Fine>(), Ok(()));
}

#[test]
fn two_leaders_of_one_term_are_found_though_nobody_asks() {
    struct AllLead;
    impl Habit for AllLead {
        fn state(me: usize, _: u64) -> (u64, bool) {
            (3, me != 0)
        }
    }
    let message = message::<AllLead>();
    assert!(message.starts_with("two leaders in term 3: S"), "{message}");
    assert!(message.contains("S1") && message.contains("S2"), "{message}");
}

#[test]
fn two_leaders_of_one_term_are_found_though_one_leads_after_the_other() {
    struct OneAfterTheOther;
    impl Habit for OneAfterTheOther {
        fn state(me: usize, nth: u64) -> (u64, bool) {
            (3, (me == 0 && nth < 5) || (me == 1 && nth > 50))
        }
    }
    assert_eq!(message::<OneAfterTheOther>(), "two leaders in term 3: S0, S1");
}

#[test]
fn a_term_that_goes_back_is_found() {
    struct Backwards;
    impl Habit for Backwards {
        fn state(me: usize, nth: u64) -> (u64, bool) {
            (if me == 2 && nth == 9 { 4 } else { 5 }, false)
        }
    }
    assert_eq!(message::<Backwards>(), "S2's term went back from 5 to 4");
}

#[test]
fn a_lock_held_for_a_second_is_found() {
    struct Slow;
    impl Habit for Slow {
        fn state(me: usize, nth: u64) -> (u64, bool) {
            if me == 1 && nth == 20 {
                thread::sleep(Duration::from_secs(3));
            }
            (0, false)
        }
    }
    let message = message::<Slow>();
    assert!(message.starts_with("lock held: S1 did not answer get_state for 1s"), "{message}");
}

#[test]
fn a_server_that_crashed_in_a_read_is_not_accused_of_holding_a_lock() {
    struct SlowFrom5s;
    impl Habit for SlowFrom5s {
        fn state(me: usize, _: u64) -> (u64, bool) {
            if me == 1 && labrt::time::world_time() > Duration::from_secs(5) {
                thread::sleep(Duration::from_secs(60));
            }
            (0, false)
        }
    }
    let outcome = sim::run(&Config::new(1), || {
        let cluster = Cluster::new::<Server<SlowFrom5s>>(3);
        thread::sleep(Duration::from_millis(5_500));
        cluster.crash(1);
        thread::sleep(Duration::from_secs(10));
    });
    assert_eq!(outcome.result, Ok(()));
}

#[test]
fn different_commands_at_one_index_are_found() {
    struct Different;
    impl Habit for Different {
        fn applied(me: usize) -> Vec<ApplyMsg> {
            vec![command(1, 1), command(2, if me == 2 { 9 } else { 2 })]
        }
    }
    let message = message::<Different>();
    assert!(
        message.contains("S2") && message.contains("different commands at index 2"),
        "{message}"
    );
}

#[test]
fn a_gap_or_a_repetition_in_what_is_applied_is_found() {
    struct Gap;
    impl Habit for Gap {
        fn applied(me: usize) -> Vec<ApplyMsg> {
            if me == 0 { vec![command(1, 1), command(3, 3)] } else { Vec::new() }
        }
    }
    assert_eq!(message::<Gap>(), "S0 applied index 3 right after index 1");

    struct Twice;
    impl Habit for Twice {
        fn applied(me: usize) -> Vec<ApplyMsg> {
            if me == 0 { vec![command(1, 1), command(1, 1)] } else { Vec::new() }
        }
    }
    assert_eq!(message::<Twice>(), "S0 applied index 1 right after index 1");
}

/// A snapshot as the harness's service takes it: of `index`, holding commands of one byte.
fn snapshot(at: u64, of: u64, commands: &[u8]) -> ApplyMsg {
    let commands: Vec<Option<Vec<u8>>> =
        commands.iter().map(|&command| Some(vec![command])).collect();
    let snapshot = labgob::encode(&(of, commands)).expect("it can be encoded");
    let snapshot = [b"<snapshot of the commands>".as_slice(), &snapshot].concat();
    ApplyMsg::Snapshot { index: at, term: 1, snapshot }
}

/// Commands 1 and 2 at indices 1 and 2, and a while later, so that they are known by then, this.
fn after_two(me: usize, message: ApplyMsg) -> Vec<ApplyMsg> {
    if me == 1 { vec![command(1, 1), command(2, 2), message] } else { Vec::new() }
}

#[test]
fn a_snapshot_of_what_was_applied_is_not_objected_to() {
    struct Fine;
    impl Habit for Fine {
        fn applied(me: usize) -> Vec<ApplyMsg> {
            after_two(me, snapshot(2, 2, &[1, 2]))
        }
    }
    assert_eq!(verdict::<Fine>(), Ok(()));
}

#[test]
fn a_snapshot_that_moves_a_state_back_is_found() {
    struct Back;
    impl Habit for Back {
        fn applied(me: usize) -> Vec<ApplyMsg> {
            after_two(me, snapshot(1, 1, &[1]))
        }
    }
    let message = message::<Back>();
    assert_eq!(message, "S1 was handed the snapshot of index 1 after it had applied 2");
}

#[test]
fn a_snapshot_of_another_index_is_found() {
    struct Other;
    impl Habit for Other {
        fn applied(me: usize) -> Vec<ApplyMsg> {
            after_two(me, snapshot(3, 2, &[1, 2]))
        }
    }
    assert_eq!(message::<Other>(), "S1 was handed, for index 3, the snapshot of index 2");
}

#[test]
fn a_snapshot_of_something_that_nobody_applied_is_found() {
    struct Foreign;
    impl Habit for Foreign {
        fn applied(me: usize) -> Vec<ApplyMsg> {
            after_two(me, snapshot(2, 2, &[1, 9]))
        }
    }
    let message = message::<Foreign>();
    assert_eq!(message, "S1's snapshot of index 2 does not hold what was applied at 2");
}

#[test]
fn bytes_that_are_no_snapshot_are_found() {
    struct Garbage;
    impl Habit for Garbage {
        fn applied(me: usize) -> Vec<ApplyMsg> {
            after_two(me, ApplyMsg::Snapshot { index: 2, term: 1, snapshot: vec![7; 3] })
        }
    }
    let message = message::<Garbage>();
    assert!(
        message.starts_with("S1 was handed 3 bytes for a snapshot that no service took"),
        "{message}"
    );
}
