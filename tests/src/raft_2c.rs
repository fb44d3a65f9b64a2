//! 2C: persistence (Raft paper, Figure 2: persistent state; sections 5.1 to 5.4).
//!
//! The first eight tests mirror the MIT labs', numbers included. The others let a crash fall where
//! it hurts: in the middle of a save, right after an answer left, inside a handler; on disks that
//! take their time, on all servers in the same instant; or let everything go wrong at once. What a
//! crash would make untrue must not have been said: the script leads to an election that only those
//! can win who forgot, and the oracle sees what they do.

use std::time::Duration;

use harness::runner::TestCase;
use harness::{Cluster, CrashPlan, CrashPoint, DiskFaults, LEADER_WITHIN};
use labrpc::Faults;
use labrt::random::{RngExt, Stream};
use labrt::thread::{self, JoinHandle, sleep};
use labrt::time::Instant;

use crate::script::{
    ELECTION, check_no_threads, connect, crash, disconnect, join_all, leader_of, leads, ms, others,
    restart_the_crashed, revive, secs, start_everywhere, start_many,
};
use crate::{power_loss, swarm};

/// The tests of this part.
pub const CASES: &[TestCase] = &[
    TestCase::mirrored("persist1_2C", 3, persist1)
        .claims(
            "servers that crash, all or one by one, go on with what they had",
            "Raft §5.2, §5.3; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::mirrored("persist2_2C", 5, persist2)
        .claims(
            "majorities of servers that were away or crashed know all that was committed",
            "Raft §5.4.1; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::mirrored("persist3_2C", 3, persist3)
        .claims(
            "a leader that crashed with its follower brings a third up to date",
            "Raft §5.3; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::mirrored("figure8_2C", 5, figure8)
        .claims(
            "leaders that crash over and over, with and without having copied their entries, \
                cost nothing that was committed",
            "Raft §5.4.2, Figure 8",
        )
        .worth(5),
    TestCase::mirrored("unreliable_agree_2C", 5, unreliable_agree)
        .claims("a network that loses and delays messages costs time only", "Raft §5.3, §5.5")
        .worth(5),
    TestCase::mirrored("figure8_unreliable_2C", 5, figure8_unreliable)
        .claims(
            "nor do leaders that are cut off, on a network that loses and reorders; and once \
                nobody is, ten seconds on that network bring agreement",
            "Raft §5.4.2, Figure 8; §5.3: fast back-up",
        )
        .worth(5),
    TestCase::mirrored("reliable_churn_2C", 5, reliable_churn)
        .claims(
            "what clients saw committed while servers came and went is committed",
            "Raft §5.4, §8",
        )
        .worth(5),
    TestCase::mirrored("unreliable_churn_2C", 5, unreliable_churn)
        .claims("and on a network that loses and delays messages, too", "Raft §5.4, §8")
        .worth(5),
    TestCase::ours("crash_at_save_2C", 3, crash_at_save)
        .claims(
            "a crash before, in or after a write to the disk forgets nothing that was answered \
                for",
            "Raft Figure 2: updated on stable storage before responding to RPCs",
        )
        .worth(5),
    TestCase::ours("crash_after_answer_2C", 3, crash_after_answer)
        .claims(
            "a crash right after an answer left, or arrived, forgets nothing that it promised",
            "Raft Figure 2: updated on stable storage before responding to RPCs",
        )
        .worth(5),
    TestCase::ours("crash_in_handler_2C", 3, crash_in_handler)
        .claims(
            "nor does a crash anywhere inside a handler",
            "Raft Figure 2: updated on stable storage before responding to RPCs",
        )
        .worth(5),
    TestCase::ours("restart_storm_2C", 5, restart_storm)
        .claims(
            "servers that restart over and over, within a term and across terms, cost no \
                safety; and there is progress when it stops",
            "Raft §5.2, §5.4; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::ours("slow_disk_2C", 3, slow_disk)
        .claims(
            "a server whose disk is slower than its peers' answers for nothing, and counts nothing \
                of its own, before that disk has it",
            "Raft Figure 2: updated on stable storage before responding to RPCs; dissertation \
                §10.2.1",
        )
        .worth(5),
    TestCase::ours("vote_on_slow_disk_2C", 3, vote_on_slow_disk)
        .claims(
            "nobody leads by a vote, its own or another's, that is not on the voter's disk",
            "Raft §5.2; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::ours("power_loss_2C", 3, power_loss)
        .claims(
            "all servers lose power in the same instant, over and over, and any majority that \
                comes back has all that was committed",
            "Raft §5.4; Figure 2: persistent state",
        )
        .worth(5),
    TestCase::ours("failing_disk_2C", 3, failing_disk)
        .claims(
            "a server whose disk fails to sync answers for nothing that may be lost, and comes \
                back with all it answered for",
            "Raft Figure 2: updated on stable storage before responding to RPCs",
        )
        .worth(3)
        .needs_journal(),
    TestCase::ours("kill_returns_2C", 3, kill_returns)
        .claims(
            "after kill() all of a server's threads end within a second",
            "the labs' guide: long-running goroutines check killed()",
        )
        .worth(3),
    TestCase::ours("swarm_2C", 5, swarm_of_faults)
        .claims(
            "every fault at once, as strong as this run's seed says, costs no safety; and there \
                is progress when they end",
            "Raft §5",
        )
        .worth(8),
];

fn persist1(cluster: &Cluster) {
    cluster.agree(3);
    revive(cluster, &[0, 1, 2]);
    cluster.agree(3);

    revive(cluster, &[cluster.check_one_leader()]);
    cluster.agree(3);

    let leader = cluster.check_one_leader();
    cluster.disconnect(leader);
    cluster.agree(2);
    revive(cluster, &[leader]);
    // It has to be back before the next one goes.
    cluster.wait(4, 3, None);

    let [follower, _] = others(cluster, cluster.check_one_leader());
    cluster.disconnect(follower);
    cluster.agree(2);
    revive(cluster, &[follower]);
    cluster.agree(3);
}

fn persist2(cluster: &Cluster) {
    for _ in 0..5 {
        cluster.agree(5);
        let leader = cluster.check_one_leader();
        let [first, second, third, fourth] = others(cluster, leader);
        disconnect(cluster, &[first, second]);
        cluster.agree(3);
        disconnect(cluster, &[leader, third, fourth]);
        revive(cluster, &[first, second]);
        sleep(ELECTION);
        revive(cluster, &[third]);
        cluster.agree(3);
        connect(cluster, &[fourth, leader]);
    }
    cluster.agree(5);
}

fn persist3(cluster: &Cluster) {
    cluster.agree(3);
    let leader = cluster.check_one_leader();
    let [follower, away] = others(cluster, leader);
    cluster.disconnect(away);
    cluster.agree(2);
    crash(cluster, &[leader, follower]);
    cluster.connect(away);
    revive(cluster, &[leader]);
    cluster.agree(2);
    revive(cluster, &[follower]);
    cluster.agree(3);
}

/// Steps of the two Figure 8 tests.
const STEPS: usize = 1_000;

/// Mostly next to no time, and in one of ten cases enough for an entry to be copied.
fn pause_of_figure8(script: &mut Stream) {
    let range = if script.chance(100_000) { ms(0)..ELECTION / 2 } else { ms(0)..ms(13) };
    sleep(script.duration(range));
}

fn figure8(cluster: &Cluster) {
    let mut script = cluster.script();
    cluster.agree(1);
    for _ in 0..STEPS {
        let leaders = start_everywhere(cluster);
        pause_of_figure8(&mut script);
        if let Some(&leader) = leaders.last() {
            cluster.crash(leader);
        }
        let running = |server: &usize| cluster.server(*server).is_running();
        if (0..5).filter(running).count() < 3 {
            let server = script.random_range(0..5);
            if !running(&server) {
                cluster.restart(server);
            }
        }
    }
    cluster.heal();
    cluster.agree(5);
}

fn figure8_unreliable(cluster: &Cluster) {
    let mut script = cluster.script();
    let unreliable = Faults::unreliable().with_long_delays();
    cluster.network().set_all_faults(&unreliable);
    cluster.agree(1);
    let is_connected = |server: &usize| cluster.network().is_connected(*server);
    let mut cut = 0;
    for step in 0..STEPS {
        if step == 200 {
            cluster.network().set_all_faults(&unreliable.clone().with_long_reordering());
        }
        // One that is cut off may go on to believe that it leads.
        let leader = start_everywhere(cluster).into_iter().rfind(is_connected);
        pause_of_figure8(&mut script);
        if let Some(leader) = leader.filter(|_| script.chance(500_000)) {
            cluster.disconnect(leader);
            cut += 1;
        }
        if (0..5).filter(is_connected).count() < 3 {
            let server = script.random_range(0..5);
            if !is_connected(&server) {
                cluster.connect(server);
            }
        }
    }
    assert!(cut >= 5, "of {STEPS} steps only {cut} found a leader to cut off");
    connect(cluster, &[0, 1, 2, 3, 4]);
    cluster.agree(5);
}

fn unreliable_agree(cluster: &Cluster) {
    cluster.network().set_all_faults(&Faults::unreliable().with_long_delays());
    let mut threads = Vec::new();
    for _ in 0..49 {
        threads.extend((0..4).map(|_| {
            let cluster = cluster.clone();
            thread::spawn(move || cluster.agree(1))
        }));
        cluster.agree(1);
    }
    cluster.network().set_all_faults(&Faults::reliable().with_long_delays());
    join_all(threads);
    cluster.agree(5);
}

fn reliable_churn(cluster: &Cluster) {
    churn(cluster);
}

fn unreliable_churn(cluster: &Cluster) {
    cluster.network().set_all_faults(&Faults::unreliable().with_long_delays());
    churn(cluster);
}

/// Three clients offer commands while servers are cut off, crash and come back; in the end all
/// servers must hold what the clients saw.
fn churn(cluster: &Cluster) {
    let mut script = cluster.script();
    let clients = swarm::Clients::start(cluster, 3, Duration::ZERO);
    for _ in 0..20 {
        if script.chance(200_000) {
            cluster.disconnect(script.random_range(0..5));
        }
        if script.chance(500_000) {
            let server = script.random_range(0..5);
            if !cluster.server(server).is_running() {
                cluster.restart(server);
            }
            cluster.connect(server);
        }
        if script.chance(200_000) {
            crash_and_cut(cluster, script.random_range(0..5));
        }
        // Often enough that not all has settled from one change to the next.
        sleep(ELECTION * 7 / 10);
    }
    sleep(ELECTION);
    cluster.heal();
    clients.end_and_check(cluster);
}

/// As in the labs, where a server that crashed is connected again by its own step.
fn crash_and_cut(cluster: &Cluster, server: usize) {
    cluster.crash(server);
    cluster.disconnect(server);
}

fn crash_at_save(cluster: &Cluster) {
    const POINTS: [CrashPoint; 2] = [CrashPoint::SaveBegun, CrashPoint::SaveDone];
    crash_by_plan(cluster, &POINTS, &POINTS);
}

fn crash_after_answer(cluster: &Cluster) {
    crash_by_plan(cluster, &[CrashPoint::ReplyDelivered], &[CrashPoint::Answered]);
}

fn crash_in_handler(cluster: &Cluster) {
    let at_follower = [CrashPoint::HandlerEntered, CrashPoint::SwitchPoint];
    crash_by_plan(cluster, &[CrashPoint::SwitchPoint], &at_follower);
}

/// In each round a leader and one follower commit while the third is away; one of the two crashes
/// at a point of its own code, and from then on is alone with the third. What it had answered for
/// is all that is left of what the other one committed. (The leader gets no requests then, and the
/// follower makes none, so each has points of its own.)
pub(crate) fn crash_by_plan(
    cluster: &Cluster,
    at_leader: &[CrashPoint],
    at_follower: &[CrashPoint],
) {
    crash_by_plan_on(cluster, &DiskFaults::default(), at_leader, at_follower);
}

/// As [`crash_by_plan`]; until it crashes, the one of the two has a disk like this.
fn crash_by_plan_on(
    cluster: &Cluster,
    disk: &DiskFaults,
    at_leader: &[CrashPoint],
    at_follower: &[CrashPoint],
) {
    let mut script = cluster.script();
    let mut crashes = 0;
    for _ in 0..15 {
        let leader = leader_of(cluster);
        let [mut follower, mut away] = others(cluster, leader);
        if script.chance(500_000) {
            (follower, away) = (away, follower);
        }
        let (victim, survivor, points) = match script.chance(500_000) {
            true => (leader, follower, at_leader),
            false => (follower, leader, at_follower),
        };
        cluster.disconnect(away);
        cluster.server(victim).set_disk_faults(disk);
        cluster.plan_crash(draw_point(victim, points, &mut script));
        offer_until_crash(cluster, leader, victim, &mut script);
        // What left before the crash may arrive.
        sleep(script.duration(Duration::ZERO..ms(6)));
        cluster.clear_plans();
        cluster.disconnect(survivor);
        cluster.server(victim).set_disk_faults(&DiskFaults::default());
        if !cluster.server(victim).is_running() {
            crashes += 1;
            cluster.restart(victim);
        }
        cluster.connect(away);
        cluster.agree(2);
        cluster.connect(survivor);
    }
    cluster.agree(3);
    assert!(crashes >= 5, "of 15 crashes only {crashes} came about");
}

/// One of the next few events of these kinds; switch points are far more frequent than others, and
/// only a simulated world has them.
fn draw_point(server: usize, points: &[CrashPoint], script: &mut Stream) -> CrashPlan {
    let drawn = points[script.random_range(0..points.len())];
    match drawn {
        CrashPoint::SwitchPoint if labrt::in_simulation() => {
            CrashPlan { server, point: drawn, nth: 1 + script.below(400) }
        }
        CrashPoint::SwitchPoint => {
            CrashPlan { server, point: CrashPoint::MessageSent, nth: 1 + script.below(6) }
        }
        point => CrashPlan { server, point, nth: 1 + script.below(6) },
    }
}

/// Offers commands to a leader until `victim` has crashed, for a second at most.
fn offer_until_crash(cluster: &Cluster, leader: usize, victim: usize, script: &mut Stream) {
    for _ in 0..100 {
        if !cluster.server(victim).is_running() {
            return;
        }
        cluster.start(leader);
        sleep(script.duration(Duration::ZERO..ms(10)));
    }
}

/// Any number of servers is down at a time, and each comes back soon: within the election of the
/// term in which it crashed, or after it.
fn restart_storm(cluster: &Cluster) {
    let mut script = cluster.script();
    for _ in 0..60 {
        start_everywhere(cluster);
        let range = if script.chance(200_000) { ms(300)..ms(1_200) } else { ms(0)..ms(100) };
        sleep(script.duration(range));
        let crashing = 1 + script.random_range(0..3);
        for _ in 0..crashing {
            cluster.crash(script.random_range(0..5));
        }
        restart_the_crashed(cluster, ms(20 + script.below(40)));
    }
    cluster.heal();
    cluster.agree(5);
}

/// Commands come faster than that disk writes: at any moment some of them are durable there, some
/// are being written, and some will be with the next write. The other server has them long before.
fn slow_disk(cluster: &Cluster) {
    let slow = DiskFaults { delay: ms(10)..ms(60), ..DiskFaults::default() };
    let at_leader = [CrashPoint::ReplyDelivered, CrashPoint::SaveBegun];
    let at_follower = [CrashPoint::Answered, CrashPoint::SaveBegun];
    crash_by_plan_on(cluster, &slow, &at_leader, &at_follower);
}

/// Two servers that do not hear each other are candidates of the same term, more often than not.
/// The third one, or the first of them to lead, has a slow disk, and crashes as soon as it has
/// voted, or leads. Back at once, it is asked for its vote by the other candidate.
fn vote_on_slow_disk(cluster: &Cluster) {
    let mut script = cluster.script();
    for round in 0..12 {
        let (voter, a, b) = (round % 3, (round + 1) % 3, (round + 2) % 3);
        cluster.wait_for_agreed_leader(LEADER_WITHIN);
        crash(cluster, &[0, 1, 2]);
        mute(cluster, voter);
        for (from, to) in [(a, b), (b, a)] {
            cluster.cut_one_way(from, to, true);
        }
        (0..3).for_each(|server| cluster.restart(server));
        if script.chance(500_000) {
            crash_when_voted(cluster, voter);
            sleep(script.duration(Duration::ZERO..ms(3)));
        } else {
            crash_when_leading(cluster, [a, b]);
            for (from, to) in [(a, b), (b, a)] {
                cluster.cut_one_way(from, to, false);
            }
        }
        restart_the_crashed(cluster, ELECTION);
        cluster.heal();
    }
}

/// No request of this server arrives, so it wins no election.
fn mute(cluster: &Cluster, server: usize) {
    for peer in (0..cluster.len()).filter(|&peer| peer != server) {
        let faults = cluster.network().faults(server, peer);
        let mute = Faults { request_loss_ppm: 1_000_000, ..faults };
        cluster.network().set_faults(server, peer, &mute);
    }
}

/// A candidate may have its votes in a tenth of this time.
const SLOWER_THAN_A_VOTE: Duration = ms(20);

fn set_slow_disks(cluster: &Cluster, servers: &[usize]) {
    let slow =
        DiskFaults { delay: SLOWER_THAN_A_VOTE..5 * SLOWER_THAN_A_VOTE, ..DiskFaults::default() };
    servers.iter().for_each(|&server| cluster.server(server).set_disk_faults(&slow));
}

fn set_usual_disks(cluster: &Cluster) {
    (0..cluster.len())
        .for_each(|server| cluster.server(server).set_disk_faults(&DiskFaults::default()));
}

/// Crashes the voter, whose disk is slow, right after its first answer, if there is one soon.
fn crash_when_voted(cluster: &Cluster, voter: usize) {
    set_slow_disks(cluster, &[voter]);
    let plan = CrashPlan { server: voter, point: CrashPoint::Answered, nth: 1 };
    cluster.plan_crash(plan).wait(ELECTION);
    cluster.clear_plans();
    set_usual_disks(cluster);
}

/// Crashes the first of two candidates to lead, whose disks are slow, if one of them does soon.
fn crash_when_leading(cluster: &Cluster, candidates: [usize; 2]) {
    set_slow_disks(cluster, &candidates);
    wait_until(ELECTION, || {
        let leader = candidates.into_iter().find(|&server| leads(cluster, server));
        leader.inspect(|&leader| cluster.crash(leader)).is_some()
    });
    set_usual_disks(cluster);
}

/// Looks every millisecond, for so long at most.
fn wait_until(limit: Duration, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !reached() && Instant::now() < end {
        sleep(ms(1));
    }
}

/// A disk may take as long as ten messages.
fn power_loss(cluster: &Cluster) {
    power_loss::run(cluster, ms(20));
}

/// One of the first few syncs fails.
const FAILING_PPM: u32 = 300_000;

fn failing_disk(cluster: &Cluster) {
    fail_disks(cluster, FAILING_PPM);
}

/// In each round the disk of a leader or of its only follower fails, at so many syncs in a million,
/// and from then on that server is alone with the third.
pub(crate) fn fail_disks(cluster: &Cluster, sync_failure_ppm: u32) {
    let mut script = cluster.script();
    for _ in 0..10 {
        let leader = leader_of(cluster);
        let [follower, away] = others(cluster, leader);
        let (victim, survivor) = match script.chance(500_000) {
            true => (leader, follower),
            false => (follower, leader),
        };
        cluster.disconnect(away);
        let faults = DiskFaults { sync_failure_ppm, ..DiskFaults::default() };
        cluster.server(victim).set_disk_faults(&faults);
        for _ in 0..30 {
            cluster.start(leader);
            sleep(script.duration(Duration::ZERO..ms(10)));
        }
        // Those two alone, on a disk that works again.
        cluster.disconnect(survivor);
        cluster.server(victim).set_disk_faults(&DiskFaults::default());
        cluster.restart(victim);
        cluster.connect(away);
        cluster.agree(2);
        cluster.connect(survivor);
    }
    cluster.agree(3);
}

/// Under load, so that its threads hold locks, wait for them, and are in the middle of calls. (A
/// call returns when it returns, within 7 s, and nobody can end it before.)
fn kill_returns(cluster: &Cluster) {
    let mut script = cluster.script();
    for round in 0..5 {
        let leader = leader_of(cluster);
        let clients: Vec<JoinHandle<()>> = (0..3)
            .map(|_| {
                let cluster = cluster.clone();
                thread::spawn(move || start_many(&cluster, leader, 20))
            })
            .collect();
        sleep(script.duration(Duration::ZERO..ms(100)));
        let killed = script.random_range(0..cluster.len());
        let _ = cluster.server(killed).kill();
        sleep(secs(1));
        check_no_threads(cluster, killed);
        join_all(clients);
        if round == 0 {
            sleep(secs(8));
            let left = cluster.server(killed).threads();
            assert!(left.is_empty(), "S{killed} makes calls for ever: {}", left.join("\n  "));
        }
        cluster.restart(killed);
        cluster.wait_for_agreed_leader(LEADER_WITHIN);
    }
    cluster.agree(3);
}

fn swarm_of_faults(cluster: &Cluster) {
    swarm::run(cluster);
}
