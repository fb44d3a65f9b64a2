//! 2D: snapshots (Raft paper, section 7).
//!
//! The first seven tests mirror the MIT labs', numbers included: servers that take a snapshot of
//! their service every ten entries, and others that were away and need one. The service keeps all
//! commands, and a snapshot holds them all, so the oracle can tell of any snapshot, from the disk
//! or from a leader, whether it is what was applied, and whether it belongs to the index that it is
//! said to be of.
//!
//! The others have snapshots arrive late, twice, in the middle of another, or on a log that went
//! another way; crash servers, one or all, or have disks fail while they are written; and compact
//! logs until nothing is left of them, when votes have to go by what the snapshot remembers of the
//! log.

use std::time::Duration;

use harness::runner::TestCase;
use harness::{Cluster, CrashPoint, OutOfTurn, ServicePolicy};
use labrpc::Faults;
use labrt::random::{self, RngExt};
use labrt::thread::sleep;
use labrt::time::Instant;

use crate::raft_2c::{crash_by_plan, fail_disks};
use crate::script::{
    agree_without, crash, disconnect, is_so_within, leader_of, ms, must_elect, others, revive,
    secs, start_many,
};
use crate::{power_loss, swarm};

/// The tests of this part.
pub const CASES: &[TestCase] = &[
    TestCase::mirrored("snapshot_basic_2D", 3, snapshot_basic)
        .claims("servers that take snapshots keep short logs, and go on agreeing", "Raft §7")
        .worth(5),
    TestCase::mirrored("snapshot_install_2D", 3, snapshot_install)
        .claims(
            "a server that was cut off catches up by a snapshot where the log is gone",
            "Raft §7; Figure 13",
        )
        .worth(5),
    TestCase::mirrored("snapshot_install_unreliable_2D", 3, snapshot_install_unreliable)
        .claims("on a network that loses and delays messages, too", "Raft §7; Figure 13")
        .worth(5),
    TestCase::mirrored("snapshot_install_crash_2D", 3, snapshot_install_crash)
        .claims(
            "so does a server that crashed, from the snapshot it had",
            "Raft §7; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::mirrored("snapshot_install_uncrash_2D", 3, snapshot_install_uncrash)
        .claims("on a network that loses and delays messages, too", "Raft §7; Figure 13")
        .worth(5),
    TestCase::mirrored("snapshot_all_crash_2D", 3, snapshot_all_crash)
        .claims("though all servers crash, no index is used twice", "Raft §7")
        .worth(5),
    TestCase::mirrored("snapshot_init_2D", 3, snapshot_init)
        .claims("what a server writes after a restart does not cost it its snapshot", "Raft §7")
        .worth(5),
    TestCase::ours("install_late_2D", 3, install_late)
        .claims(
            "a snapshot that arrives late never moves a server back, nor drops entries that it \
             has confirmed",
            "Raft §7; Figure 13: step 6",
        )
        .worth(5),
    TestCase::ours("install_twice_2D", 3, install_twice)
        .claims(
            "nor does one that arrives again, be it after a crash",
            "Raft §7; Figure 13: step 6",
        )
        .worth(5),
    TestCase::ours("install_after_restart_2D", 3, install_after_restart)
        .claims(
            "a server that comes back with a snapshot knows that it is committed: an older one is \
             no news, though it is the first that arrives",
            "Raft §7; Figure 13: step 6",
        )
        .worth(5),
    TestCase::ours("install_over_other_tail_2D", 3, install_over_other_tail)
        .claims(
            "a snapshot leaves nothing of a log that has another term at its index",
            "Raft §7; Figure 13: step 7",
        )
        .worth(5),
    TestCase::ours("install_under_slow_service_2D", 3, install_under_slow_service)
        .claims(
            "a service that is behind is told of a snapshot in its turn, and never of an entry \
             that the snapshot holds",
            "Raft §7; Figure 13: step 8",
        )
        .worth(5),
    TestCase::ours("snapshot_while_installing_2D", 3, snapshot_while_installing)
        .claims(
            "a server that takes a snapshot while it is sent another keeps the newer, and index \
             and bytes belong together",
            "Raft §7",
        )
        .worth(5),
    TestCase::ours("crash_around_snapshot_2D", 3, crash_around_snapshot)
        .claims(
            "a crash anywhere about a snapshot leaves a snapshot and the log that begins after it",
            "Raft §7; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::ours("power_loss_2D", 3, power_loss)
        .claims(
            "all servers lose power while they replace their logs by snapshots, and each comes \
             back with a snapshot and the log that begins after it",
            "Raft §7; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::ours("failing_disk_2D", 3, failing_disk)
        .claims(
            "a disk that fails while a log gives way to a snapshot costs nothing that its server \
             has answered for",
            "Raft §7; Figure 2: updated on stable storage before responding to RPCs",
        )
        .worth(3),
    TestCase::ours("vote_after_snapshot_2D", 3, vote_after_snapshot)
        .claims(
            "a server all of whose log is in its snapshot refuses its vote to who has less",
            "Raft §5.4.1, §7: last included index and term",
        )
        .worth(5),
    TestCase::ours("swarm_2D", 5, swarm_of_faults)
        .claims(
            "every fault at once costs no safety of those who take snapshots all the time, and \
             there is progress when they end",
            "Raft §5, §7",
        )
        .worth(8),
];

/// A snapshot of the labs' service comes after so many entries.
const SNAPSHOT_EVERY: u64 = 10;
/// So many bytes Raft may have on a disk, the snapshot aside, at the end of each round.
const RAFT_STATE_MAX: usize = 2_000;

fn take_snapshots(cluster: &Cluster) {
    cluster.set_service_policy(&ServicePolicy::snapshot_every(SNAPSHOT_EVERY));
}

/// How a server misses what the others agree on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absence {
    None,
    CutOff,
    Crashed,
}

fn snapshot_basic(cluster: &Cluster) {
    rounds(cluster, Absence::None);
}

fn snapshot_install(cluster: &Cluster) {
    rounds(cluster, Absence::CutOff);
}

fn snapshot_install_unreliable(cluster: &Cluster) {
    cluster.network().set_all_faults(&Faults::unreliable().with_long_delays());
    rounds(cluster, Absence::CutOff);
}

fn snapshot_install_crash(cluster: &Cluster) {
    rounds(cluster, Absence::Crashed);
}

fn snapshot_install_uncrash(cluster: &Cluster) {
    cluster.network().set_all_faults(&Faults::unreliable().with_long_delays());
    rounds(cluster, Absence::Crashed);
}

/// Thirty rounds, in which one server misses up to sixteen entries: mostly a follower, and in one
/// of three rounds the leader.
fn rounds(cluster: &Cluster, absence: Absence) {
    let mut script = cluster.script();
    take_snapshots(cluster);
    cluster.agree(3);
    let mut leader = cluster.check_one_leader();
    for round in 0..30 {
        let next = (leader + 1) % 3;
        let (victim, sender) = if round % 3 == 1 { (leader, next) } else { (next, leader) };
        let present = begin_absence(cluster, absence, victim);
        start_many(cluster, sender, script.random_range(5..15));
        cluster.agree(present);
        check_log_size(cluster);
        if absence != Absence::None {
            end_absence(cluster, absence, victim);
            cluster.agree(3);
            leader = cluster.check_one_leader();
        }
    }
}

/// How many servers there are while the victim is away.
fn begin_absence(cluster: &Cluster, absence: Absence, victim: usize) -> usize {
    match absence {
        Absence::None => return 3,
        Absence::CutOff => cluster.disconnect(victim),
        Absence::Crashed => cluster.crash(victim),
    }
    cluster.agree(2);
    2
}

fn end_absence(cluster: &Cluster, absence: Absence, victim: usize) {
    match absence {
        Absence::None => {}
        Absence::CutOff => cluster.connect(victim),
        Absence::Crashed => cluster.restart(victim),
    }
}

fn check_log_size(cluster: &Cluster) {
    let size = cluster.largest_raft_state();
    assert!(
        size < RAFT_STATE_MAX,
        "a server's Raft keeps {size} bytes beside its snapshot: it has to be less than \
         {RAFT_STATE_MAX}; is the log trimmed?"
    );
}

fn snapshot_all_crash(cluster: &Cluster) {
    let mut script = cluster.script();
    take_snapshots(cluster);
    cluster.agree(3);
    for _ in 0..5 {
        for _ in 0..script.random_range(5..15) {
            cluster.agree(3);
        }
        let before = cluster.agree(3);
        crash(cluster, &[0, 1, 2]);
        revive(cluster, &[0, 1, 2]);
        let after = cluster.agree(3);
        assert!(after > before, "index {after} was given out after {before}");
    }
}

fn snapshot_init(cluster: &Cluster) {
    take_snapshots(cluster);
    for _ in 0..SNAPSHOT_EVERY + 2 {
        cluster.agree(3);
    }
    for _ in 0..2 {
        crash(cluster, &[0, 1, 2]);
        revive(cluster, &[0, 1, 2]);
        // One entry, so that something is written.
        cluster.agree(3);
    }
}

fn install_late(cluster: &Cluster) {
    let late = Faults {
        duplicate_ppm: 500_000,
        request_delay: Duration::ZERO..ms(250),
        ..Faults::reliable().with_long_delays()
    };
    confirm_to_leader_then_outlive_it(cluster, &late, 0, |snapshots| snapshots.late);
}

fn install_twice(cluster: &Cluster) {
    let twice = Faults {
        duplicate_ppm: 1_000_000,
        reply_loss_ppm: 200_000,
        request_delay: Duration::ZERO..ms(100),
        ..Faults::reliable().with_long_delays()
    };
    confirm_to_leader_then_outlive_it(cluster, &twice, 500_000, |snapshots| snapshots.repeated);
}

/// A leader that is alone, a follower that needs its snapshot, and one that has all up to here.
fn leave_one_behind(cluster: &Cluster) -> [usize; 3] {
    let leader = leader_of(cluster);
    let [follower, other] = others(cluster, leader);
    cluster.disconnect(follower);
    start_many(cluster, leader, 12);
    cluster.agree(2);
    cluster.disconnect(other);
    [leader, follower, other]
}

/// In each round a follower needs a snapshot of a leader that has no other follower, over a link
/// with `faults`, and confirms entries after it, with a chance to crash on the way. Then the leader
/// is gone: what the follower had confirmed must still be there, since the third server has
/// nothing of it. There are at least twelve rounds, and at most thrice as many: until a snapshot
/// has arrived out of turn, in the way that `count` counts.
fn confirm_to_leader_then_outlive_it(
    cluster: &Cluster,
    faults: &Faults,
    crash_ppm: u32,
    count: fn(OutOfTurn) -> u64,
) {
    let mut script = cluster.script();
    cluster.set_service_policy(&ServicePolicy::snapshot_every(5));
    let is_shown = || count(cluster.snapshots_out_of_turn()) > 0;
    for _ in (0..36).take_while(|&round| round < 12 || !is_shown()) {
        let [leader, follower, other] = leave_one_behind(cluster);
        cluster.network().set_faults(leader, follower, faults);
        cluster.connect(follower);
        for _ in 0..8 {
            cluster.start(leader);
            sleep(script.duration(Duration::ZERO..ms(80)));
            if script.chance(crash_ppm / 8) {
                cluster.restart(follower);
            }
        }
        sleep(script.duration(Duration::ZERO..ms(300)));
        cluster.disconnect(leader);
        cluster.heal_link(leader, follower);
        agree_without(cluster, leader, other);
    }
    assert!(is_shown(), "every snapshot arrived once and in its turn: this run shows nothing");
}

/// A follower has moved on from the snapshot that it was sent, has confirmed entries after it, and
/// crashes. Copies of the snapshot are late, and all else is lost: so one may be the first that it
/// hears of its leader. Then the leader is gone, and the third server has nothing of those entries.
fn install_after_restart(cluster: &Cluster) {
    let usual = Faults::reliable();
    let late = Faults {
        duplicate_ppm: 1_000_000,
        request_delay: Duration::ZERO..ms(600),
        ..usual.clone()
    };
    let nothing = Faults { request_loss_ppm: 1_000_000, ..usual.clone() };
    cluster.network().set_all_faults(&usual);
    cluster.set_service_policy(&ServicePolicy::snapshot_every(5));
    let arrived = || {
        let OutOfTurn { late, repeated } = cluster.snapshots_out_of_turn();
        late + repeated
    };
    let (started, mut rounds, mut is_shown) = (Instant::now(), 0, false);
    while (rounds < 12 || !is_shown) && started.elapsed() < secs(80) {
        let [leader, follower, other] = leave_one_behind(cluster);
        let size = || cluster.server(follower).snapshot_size();
        let own = size();
        cluster.network().set_faults(leader, follower, &late);
        cluster.connect(follower);
        assert!(is_so_within(secs(10), || size() != own), "no snapshot arrived within 10 s");
        cluster.network().set_faults(leader, follower, &usual);
        start_many(cluster, leader, 6);
        cluster.agree(2);
        cluster.network().set_faults(leader, follower, &nothing);
        sleep(ms(20));
        let before = arrived();
        cluster.restart(follower);
        sleep(ms(150));
        is_shown |= arrived() > before;
        cluster.disconnect(leader);
        cluster.network().set_faults(leader, follower, &usual);
        agree_without(cluster, leader, other);
        rounds += 1;
    }
    // In real time the machine may be too slow for it.
    let must_show = labrt::in_simulation();
    assert!(is_shown || !must_show, "no snapshot arrived at a server that had just started");
}

/// A leader is cut off with entries that nobody else has, more than the others agree on meanwhile.
/// They compact their logs to nothing, so what it is sent is a snapshot whose index its own log
/// has, in another term, and no entry after it. Then nothing is left that its disk has to hold.
fn install_over_other_tail(cluster: &Cluster) {
    cluster.set_service_policy(&ServicePolicy::snapshot_every(1));
    for _ in 0..4 {
        cluster.agree(3);
        let deposed = leader_of(cluster);
        let [next, other] = others(cluster, deposed);
        disconnect(cluster, &[next, other]);
        start_many(cluster, deposed, 200);
        let size = || cluster.server(deposed).raft_state_size();
        let has_tail = is_so_within(secs(10), || size() >= RAFT_STATE_MAX);
        assert!(has_tail, "200 entries take no more than {} bytes", size());
        cluster.disconnect(deposed);
        cluster.connect(next);
        cluster.connect(other);
        for _ in 0..19 {
            cluster.agree(2);
        }
        let last = cluster.agree(2);
        cluster.connect(deposed);
        cluster.wait(last, 3, None);
        assert!(
            is_so_within(secs(10), || size() < RAFT_STATE_MAX),
            "S{deposed} has installed the snapshot of index {last}, and its Raft still keeps {} \
             bytes beside it: its log had another term there, and nothing of it counts",
            size()
        );
    }
}

/// The follower's service is some twenty entries behind its log when the snapshot comes.
fn install_under_slow_service(cluster: &Cluster) {
    let mut script = cluster.script();
    take_snapshots(cluster);
    for _ in 0..8 {
        let leader = leader_of(cluster);
        let [slow, _] = others(cluster, leader);
        cluster.server(slow).set_service_policy(&ServicePolicy {
            apply_delay: ms(10)..ms(40),
            ..ServicePolicy::snapshot_every(SNAPSHOT_EVERY)
        });
        start_many(cluster, leader, 30);
        sleep(script.duration(ms(100)..ms(400)));
        cluster.disconnect(slow);
        start_many(cluster, leader, 30);
        cluster.agree(2);
        cluster.connect(slow);
        sleep(script.duration(Duration::ZERO..secs(1)));
        take_snapshots(cluster);
        cluster.agree(3);
    }
}

/// Snapshots are handed over by a thread of their own up to 50 ms late: then the follower that was
/// away may have been sent newer ones.
fn snapshot_while_installing(cluster: &Cluster) {
    let mut script = cluster.script();
    cluster.set_service_policy(&ServicePolicy {
        snapshot_delay: Some(Duration::ZERO..ms(50)),
        ..ServicePolicy::snapshot_every(3)
    });
    for _ in 0..15 {
        let leader = leader_of(cluster);
        let [follower, _] = others(cluster, leader);
        start_many(cluster, leader, 5);
        sleep(script.duration(Duration::ZERO..ms(30)));
        cluster.disconnect(follower);
        start_many(cluster, leader, 12);
        cluster.agree(2);
        cluster.connect(follower);
        for _ in 0..10 {
            cluster.start(leader);
            sleep(script.duration(Duration::ZERO..ms(20)));
        }
        if script.chance(500_000) {
            cluster.restart(follower);
        }
        cluster.agree(3);
    }
}

/// As in part 2C, with a snapshot every three entries: most writes have to do with one, and who was
/// away needs one.
fn crash_around_snapshot(cluster: &Cluster) {
    let mut script = cluster.script();
    let late = script.chance(500_000).then_some(Duration::ZERO..ms(10));
    let policy = ServicePolicy { snapshot_delay: late, ..ServicePolicy::snapshot_every(3) };
    cluster.set_service_policy(&policy);
    let at_leader = [CrashPoint::SaveBegun, CrashPoint::SaveDone, CrashPoint::SwitchPoint];
    let at_follower = [at_leader.as_slice(), &[CrashPoint::Answered]].concat();
    crash_by_plan(cluster, &at_leader, &at_follower);
}

/// A snapshot comes every few entries and takes a disk several syncs, so at most moments some
/// server is at one.
fn power_loss(cluster: &Cluster) {
    let mut script = random::stream("script", 2);
    let late = script.chance(500_000).then_some(Duration::ZERO..ms(10));
    let every = 1 + script.below(5);
    let policy = ServicePolicy { snapshot_delay: late, ..ServicePolicy::snapshot_every(every) };
    cluster.set_service_policy(&policy);
    power_loss::run(cluster, ms(8));
}

/// Rare enough to fail at any of the syncs that a snapshot takes.
const FAILING_PPM: u32 = 100_000;

fn failing_disk(cluster: &Cluster) {
    cluster.set_service_policy(&ServicePolicy::snapshot_every(2));
    fail_disks(cluster, FAILING_PPM);
}

/// Of a log that is all in a snapshot, index and term of the last entry must be known still: on
/// the server that took it, and after a restart.
fn vote_after_snapshot(cluster: &Cluster) {
    let mut script = cluster.script();
    cluster.set_service_policy(&ServicePolicy::snapshot_every(1));
    for _ in 0..3 {
        cluster.agree(3);
        let leader = leader_of(cluster);
        let [follower, outdated] = others(cluster, leader);
        cluster.disconnect(outdated);
        let last = cluster.agree(2);
        cluster.wait(last, 2, None);
        sleep(ms(50));
        cluster.crash(leader);
        if script.chance(500_000) {
            cluster.restart(follower);
        }
        cluster.connect(outdated);
        assert!(
            !cluster.elect(outdated, secs(3)),
            "S{outdated} leads, and has not what S{follower} keeps in a snapshot"
        );
        must_elect(cluster, follower);
        cluster.restart(leader);
    }
    cluster.agree(3);
}

/// How often services take snapshots, and how late they hand them over, is drawn as well.
fn swarm_of_faults(cluster: &Cluster) {
    let mut script = random::stream("script", 2);
    let every = 1 + script.below(12);
    let delay = script.chance(500_000).then(|| Duration::ZERO..ms(1 + script.below(100)));
    let apply_delay = Duration::ZERO..ms(if script.chance(300_000) { 20 } else { 0 });
    cluster.set_service_policy(&ServicePolicy {
        snapshot_every: every,
        snapshot_delay: delay,
        apply_delay,
    });
    swarm::run(cluster);
}
