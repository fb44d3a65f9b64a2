//! 2A: leader election (Raft paper, section 5.2).
//!
//! The first three tests mirror the MIT labs', numbers included; the others look where those do
//! not. The oracle runs beside all of them: two leaders in one term, ever, or a term that goes
//! back within an incarnation, end the run, whatever the test itself is about.

use std::time::Duration;

use harness::runner::TestCase;
use harness::{Cluster, CrashPlan, CrashPoint, LEADER_WITHIN};
use labrpc::Faults;
use labrt::thread::sleep;

use crate::script::{
    ELECTION, crash, draw_plan, ms, restart_all, restart_the_crashed, secs, some_of,
};

/// RPCs per second and follower that heartbeats may cost.
const HEARTBEATS_PER_SECOND: u64 = 10;

/// The tests of this part.
pub const CASES: &[TestCase] = &[
    TestCase::mirrored("initial_election_2A", 3, initial_election)
        .claims(
            "one server becomes leader, and without a failure the term does not move",
            "Raft §5.2",
        )
        .worth(5),
    TestCase::mirrored("reelection_2A", 3, reelection)
        .claims(
            "a leader that is lost is replaced, and nobody leads without a majority",
            "Raft §5.2",
        )
        .worth(5),
    TestCase::mirrored("many_elections_2A", 7, many_elections)
        .claims("with any three of seven servers cut off, the others have one leader", "Raft §5.2")
        .worth(5),
    TestCase::ours("cluster_of_one_2A", 1, cluster_of_one)
        .claims("one of one is a majority", "Raft §5.2")
        .worth(1),
    TestCase::ours("cluster_of_two_2A", 2, half_is_no_majority)
        .claims("one of two is no majority, two of two are", "Raft §5.2")
        .worth(1),
    TestCase::ours("cluster_of_four_2A", 4, half_is_no_majority)
        .claims("two of four are no majority, three of four are", "Raft §5.2")
        .worth(2),
    TestCase::ours("equal_clocks_2A", 5, equal_clocks)
        .claims(
            "a leader within 5 s though all servers start at the same moment of equal clocks",
            "Raft §5.2, randomised time-outs",
        )
        .worth(2)
        .only_in_sim("only a simulated world has clocks to set"),
    TestCase::ours("skewed_clocks_2A", 5, skewed_clocks)
        .claims("a leader within 5 s though clocks go up to 20 % too fast or too slow", "Raft §5.6")
        .worth(2)
        .only_in_sim("only a simulated world has clocks to set"),
    TestCase::ours("vote_once_2A", 5, vote_once)
        .claims(
            "no server votes for two candidates in a term, whatever is repeated, late or lost \
                in a crash",
            "Raft §5.2, Figure 2: votedFor is on stable storage",
        )
        .worth(5),
    TestCase::ours("forgotten_vote_2A", 3, forgotten_vote)
        .claims(
            "a server that crashes right after it voted still knows for whom",
            "Raft §5.2, Figure 2: updated on stable storage before responding to RPCs",
        )
        .worth(3),
    TestCase::ours("stable_leader_2A", 3, stable_leader)
        .claims(
            "60 s without a fault bring no election, and at most ten heartbeats a second",
            "Raft §5.2",
        )
        .only_in_sim(
            "on a real machine a thread may wait for its turn longer than an election takes",
        )
        .worth(3),
    TestCase::ours("slow_network_2A", 5, slow_network)
        .claims(
            "delays above the election time-out cost leaders, never safety; a leader within \
                5 s of their end",
            "Raft §5.6",
        )
        .worth(3),
    TestCase::ours("one_way_cut_2A", 5, one_way_cut)
        .claims(
            "links that carry messages one way only cost no safety, and one leader is there \
                after they heal",
            "Raft §5.2; dissertation §6.2",
        )
        .worth(3),
    TestCase::ours("deposed_leader_2A", 3, deposed_leader)
        .claims(
            "a leader whose requests are answered in a newer term stops leading its own, though \
                it hears nothing else of the new leader",
            "Raft §5.1; Figure 2: rules for all servers, responses included",
        )
        .worth(3),
    TestCase::ours("partial_partition_2A", 3, partial_partition)
        .claims(
            "servers that cannot hear each other, but both hear a third, cost no safety, and \
                one leader is there after they heal",
            "Raft §5.2; dissertation §9.6",
        )
        .worth(3),
];

fn initial_election(cluster: &Cluster) {
    cluster.check_one_leader();
    // Followers learn of the election a little later.
    sleep(ms(50));
    let term = cluster.check_terms();
    assert!(term >= 1, "a leader was elected, but the term is {term}");
    sleep(secs(2));
    let later = cluster.check_terms();
    // On a real machine the leader's threads may wait for their turn longer than an election takes:
    // the labs, too, only warn.
    let stays = later == term || !labrt::in_simulation();
    assert!(stays, "the term moved from {term} to {later} without a failure");
    cluster.check_one_leader();
}

fn reelection(cluster: &Cluster) {
    let first = cluster.check_one_leader();
    cluster.disconnect(first);
    cluster.check_one_leader();
    // The old leader's return must not disturb the new one.
    cluster.connect(first);
    let second = cluster.check_one_leader();
    let other = (second + 1) % cluster.len();
    cluster.disconnect(second);
    cluster.disconnect(other);
    sleep(secs(2));
    cluster.check_no_leader();
    cluster.connect(other);
    cluster.check_one_leader();
    cluster.connect(second);
    cluster.check_one_leader();
}

fn many_elections(cluster: &Cluster) {
    let mut script = cluster.script();
    cluster.check_one_leader();
    for _ in 0..9 {
        let cut = some_of(cluster.len(), 3, &mut script);
        cut.iter().for_each(|&server| cluster.disconnect(server));
        cluster.check_one_leader();
        cut.iter().for_each(|&server| cluster.connect(server));
    }
    cluster.check_one_leader();
}

fn cluster_of_one(cluster: &Cluster) {
    cluster.wait_for_leader(LEADER_WITHIN);
    let term = cluster.check_terms();
    sleep(secs(2));
    cluster.check_one_leader();
    assert!(cluster.check_terms() == term, "a cluster of one has nobody to lose its lead to");
}

/// Half the servers elect nobody, one more do. They are started anew: a leader from before might
/// not know that it has lost its majority, and may stay.
fn half_is_no_majority(cluster: &Cluster) {
    cluster.check_one_leader();
    (0..cluster.len()).for_each(|server| cluster.crash(server));
    let half = cluster.len() / 2;
    (0..half).for_each(|server| cluster.restart(server));
    for _ in 0..30 {
        sleep(ms(100));
        cluster.check_no_leader();
    }
    cluster.restart(half);
    cluster.wait_for_agreed_leader(LEADER_WITHIN);
}

/// Messages take longer than servers and disks differ in their start: whoever would stand whenever
/// the others do hears of them when it has voted for itself.
fn equal_clocks(cluster: &Cluster) {
    cluster.network().set_all_faults(&Faults {
        request_delay: ms(10)..ms(15),
        reply_delay: ms(10)..ms(15),
        ..cluster.usual_faults().clone()
    });
    for _ in 0..5 {
        restart_all(cluster, |_| (Duration::ZERO, 1_000_000));
        cluster.wait_for_leader(LEADER_WITHIN);
    }
}

fn skewed_clocks(cluster: &Cluster) {
    let mut script = cluster.script();
    for _ in 0..5 {
        restart_all(cluster, |_| {
            let offset = script.duration(Duration::ZERO..secs(1_000));
            (offset, 800_000 + script.below(400_001))
        });
        let (leader, _) = cluster.wait_for_leader(LEADER_WITHIN);
        cluster.disconnect(leader);
        sleep(secs(1));
        cluster.wait_for_leader(LEADER_WITHIN);
        cluster.connect(leader);
    }
}

/// Candidates compete in one term, for messages take about as long as elections; requests arrive
/// twice and late; voters crash at every point around a vote, and are back before the term ends.
/// Whether anybody votes twice shows in two leaders of one term.
fn vote_once(cluster: &Cluster) {
    /// Twice as often right after an answer left, which finds out who answers before the vote is
    /// saved.
    const POINTS: [CrashPoint; 7] = [
        CrashPoint::HandlerEntered,
        CrashPoint::SaveBegun,
        CrashPoint::SaveDone,
        CrashPoint::MessageSent,
        CrashPoint::Answered,
        CrashPoint::Answered,
        CrashPoint::ReplyDelivered,
    ];
    let mut script = cluster.script();
    let faults = Faults {
        duplicate_ppm: 300_000,
        reply_loss_ppm: 50_000,
        request_delay: ms(0)..ms(400),
        ..Faults::reliable()
    };
    for _ in 0..25 {
        cluster.network().set_all_faults(&faults);
        let disturbed = some_of(cluster.len(), 3, &mut script);
        for &server in &disturbed {
            cluster.plan_crash(draw_plan(server, &POINTS, &mut script));
        }
        cluster.disconnect(disturbed[0]);
        restart_the_crashed(cluster, ms(300 + script.below(700)));
        cluster.connect(disturbed[0]);
    }
    cluster.heal();
    cluster.wait_for_agreed_leader(LEADER_WITHIN);
}

/// Two candidates cannot hear each other, so both are candidates of the same term, and both ask the
/// third server, which asks nobody. It crashes with its first answer, and is back for the other.
fn forgotten_vote(cluster: &Cluster) {
    let mut script = cluster.script();
    for round in 0..10 {
        let (voter, a, b) = (round % 3, (round + 1) % 3, (round + 2) % 3);
        cluster.wait_for_agreed_leader(LEADER_WITHIN);
        crash(cluster, &[0, 1, 2]);
        for peer in [a, b] {
            let faults = cluster.network().faults(voter, peer);
            let mute = Faults { request_loss_ppm: 1_000_000, ..faults };
            cluster.network().set_faults(voter, peer, &mute);
        }
        cluster.cut_one_way(a, b, true);
        cluster.cut_one_way(b, a, true);
        (0..3).for_each(|server| cluster.restart(server));
        let plan = CrashPlan { server: voter, point: CrashPoint::Answered, nth: 1 };
        cluster.plan_crash(plan).wait(ELECTION);
        sleep(script.duration(Duration::ZERO..ms(3)));
        restart_the_crashed(cluster, ELECTION);
        cluster.heal();
    }
}

fn stable_leader(cluster: &Cluster) {
    let leader = cluster.check_one_leader();
    sleep(ms(500));
    let term = cluster.check_terms();
    let before = cluster.network().counts().rpcs;
    for _ in 0..60 {
        sleep(secs(1));
        let later = cluster.check_terms();
        assert!(later == term, "the term moved from {term} to {later} without a failure");
    }
    assert!(cluster.check_one_leader() == leader, "the leader changed, but not the term");
    let rpcs = cluster.network().counts().rpcs - before;
    let followers = cluster.len() as u64 - 1;
    // The checks between take up to a second more.
    let limit = followers * HEARTBEATS_PER_SECOND * 62;
    assert!(rpcs <= limit, "{rpcs} RPCs in 62 s without a command: {limit} are the limit");
}

fn slow_network(cluster: &Cluster) {
    cluster.check_one_leader();
    cluster.network().set_all_faults(&Faults {
        request_delay: ms(200)..ms(2_000),
        reply_delay: ms(200)..ms(2_000),
        ..Faults::reliable()
    });
    sleep(secs(20));
    cluster.heal();
    // What is under way arrives within 2 s; only then the delays have fallen.
    sleep(secs(2));
    cluster.wait_for_agreed_leader(LEADER_WITHIN);
}

fn one_way_cut(cluster: &Cluster) {
    let mut script = cluster.script();
    for _ in 0..10 {
        let leader = cluster.wait_for_agreed_leader(LEADER_WITHIN);
        let peers = some_of(cluster.len(), 2, &mut script);
        // One cut at the leader, in or out; another anywhere.
        let (from, to) =
            if script.chance(500_000) { (leader, peers[0]) } else { (peers[0], leader) };
        cluster.cut_one_way(from, to, true);
        cluster.cut_one_way(peers[0], peers[1], true);
        sleep(ms(500 + script.below(2_500)));
        cluster.heal();
    }
    cluster.wait_for_agreed_leader(LEADER_WITHIN);
}

fn partial_partition(cluster: &Cluster) {
    let mut script = cluster.script();
    for _ in 0..5 {
        cluster.wait_for_agreed_leader(LEADER_WITHIN);
        let pair = some_of(cluster.len(), 2, &mut script);
        cluster.cut_one_way(pair[0], pair[1], true);
        cluster.cut_one_way(pair[1], pair[0], true);
        sleep(ms(1_000 + script.below(4_000)));
        cluster.heal();
        cluster.wait_for_agreed_leader(LEADER_WITHIN);
    }
}

/// The old leader comes back to a network that loses every request to it, so that the new leader
/// cannot tell it. Only the answers to its own heartbeats do. A call to a server that cannot be
/// reached takes up to 7 s to fail, and a leader may wait for that before it makes the next.
fn deposed_leader(cluster: &Cluster) {
    for _ in 0..3 {
        let old = cluster.wait_for_agreed_leader(LEADER_WITHIN);
        let term = cluster.check_terms();
        cluster.disconnect(old);
        cluster.check_one_leader();
        for peer in 0..cluster.len() {
            let faults = cluster.network().faults(peer, old);
            let deaf = Faults { request_loss_ppm: 1_000_000, ..faults };
            cluster.network().set_faults(peer, old, &deaf);
        }
        cluster.connect(old);
        let still_leads = || cluster.server(old).get_state() == Ok((term, true));
        for _ in 0..80 {
            sleep(ms(100));
            if !still_leads() {
                break;
            }
        }
        assert!(!still_leads(), "S{old} still leads term {term}, 8 s after it could know better");
        cluster.heal();
    }
}
