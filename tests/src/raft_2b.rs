//! 2B: log replication and commitment (Raft paper, sections 5.3 and 5.4).
//!
//! The first ten tests mirror the MIT labs', numbers included. The others stage what those leave
//! to chance: requests and replies that arrive late, elections that only one server can win, the
//! situation of the paper's Figure 8. The oracle runs beside all of them: at an index, anything
//! but what was first applied there, ever and by anybody, ends the run. So a script only has to
//! lead a cluster to the place where a mistake would show.

use std::time::Duration;

use contract::{Index, Term};
use harness::runner::TestCase;
use harness::{AGREED_WITHIN, Cluster, LEADER_WITHIN};
use labrpc::Faults;
use labrt::thread::{self, sleep};
use labrt::time::Instant;

use crate::script::{
    ELECTION, agree_without, connect, crash, disconnect, join_all, leader_of, ms, must_elect,
    others, restart_all, revive, secs, start_many,
};

/// The tests of this part.
pub const CASES: &[TestCase] = &[
    TestCase::mirrored("basic_agree_2B", 3, basic_agree)
        .claims(
            "commands are applied everywhere, in order from index 1, and none before it is \
                started",
            "Raft §5.3",
        )
        .worth(5),
    TestCase::mirrored("rpc_bytes_2B", 3, rpc_bytes)
        .claims("each command is sent to each server once", "Raft §5.3")
        .worth(5),
    TestCase::mirrored("follower_failure_2B", 3, follower_failure)
        .claims(
            "a majority commits without the others, and nothing is committed without one",
            "Raft §5.3",
        )
        .worth(5),
    TestCase::mirrored("leader_failure_2B", 3, leader_failure)
        .claims("a new leader goes on, and nothing is committed without a majority", "Raft §5.3")
        .worth(5),
    TestCase::mirrored("fail_agree_2B", 3, fail_agree)
        .claims("a follower that comes back is brought up to date", "Raft §5.3")
        .worth(5),
    TestCase::mirrored("fail_no_agree_2B", 5, fail_no_agree)
        .claims(
            "what a minority was told is committed by nobody, until a majority is back",
            "Raft §5.3",
        )
        .worth(5),
    TestCase::mirrored("concurrent_starts_2B", 3, concurrent_starts)
        .claims("commands that are started at the same time are all committed", "Raft §5.3")
        .worth(5),
    TestCase::mirrored("rejoin_2B", 3, rejoin)
        .claims(
            "entries of a leader that had lost its majority give way to those of the next",
            "Raft §5.3, §5.4.1",
        )
        .worth(5),
    TestCase::mirrored("backup_2B", 5, backup)
        .claims(
            "logs that differ in a hundred entries are made equal within seconds",
            "Raft §5.3, the last paragraphs: fast back-up",
        )
        .worth(5),
    TestCase::mirrored("count_2B", 3, count)
        .claims("elections, agreement and idling take few RPCs", "Raft §5.2, §5.3")
        .worth(5),
    TestCase::ours("backup_bound_2B", 5, backup_bound)
        .claims(
            "a follower whose log conflicts in a hundred entries of two terms costs no more \
                than a few rejections",
            "Raft §5.3: one rejected AppendEntries per conflicting term",
        )
        .worth(3),
    TestCase::ours("late_append_2B", 3, late_append)
        .claims(
            "an append request that arrives after newer ones never shortens the log, and \
                duplicates change nothing",
            "Raft §5.3; Figure 2: AppendEntries RPC, step 3",
        )
        .worth(5),
    TestCase::ours("stale_reply_2B", 5, stale_reply)
        .claims(
            "an answer to a request of an older term never moves commitment",
            "Raft §5.3, §5.4.2: matchIndex is of this term",
        )
        .worth(5),
    TestCase::ours("slow_follower_2B", 3, slow_follower)
        .claims(
            "with one follower a hundred times slower, or dead, commands are committed at the \
                speed of the others; and it catches up",
            "Raft §5: a minority of slow servers need not impact performance",
        )
        .worth(3),
    TestCase::ours("old_term_commit_2B", 5, old_term_commit)
        .claims(
            "an entry of an older term is not committed by counting its copies",
            "Raft §5.4.2, Figure 8",
        )
        .worth(5),
    TestCase::ours("paused_leader_2B", 3, paused_leader)
        .claims(
            "a leader that stood still for 3 s commits nothing in its old term",
            "Raft §5.1, §5.4",
        )
        .worth(3),
    TestCase::ours("outdated_candidates_2B", 5, outdated_candidates)
        .claims(
            "candidates that cannot win do not keep the one that can from winning",
            "Raft §5.2, §5.4.1: who refuses a vote does not restart its election timer",
        )
        .worth(3)
        .only_in_sim("only a simulated world has clocks to set"),
    TestCase::ours("parallel_starts_2B", 3, parallel_starts)
        .claims(
            "of 1,000 commands from 20 threads each is at its index or the term has moved, and \
                those that come together travel together",
            "Raft §5.3; dissertation §10.2.2: batching",
        )
        .worth(5),
];

fn basic_agree(cluster: &Cluster) {
    for index in 1..=3 {
        let early = cluster.applied_by(index);
        assert!(early == 0, "{early} servers applied index {index} before anything was started");
        agree_at(cluster, index, cluster.len());
    }
}

/// Has `servers` servers agree on a command at the first attempt, at this index.
fn agree_at(cluster: &Cluster, index: Index, servers: usize) {
    let got = cluster.one(&cluster.fresh_command(), servers, false);
    assert!(got == index, "the command was to be at index {index}, but is at {got}");
}

fn rpc_bytes(cluster: &Cluster) {
    const COMMANDS: u64 = 10;
    const COMMAND_BYTES: u64 = 5_000;
    agree_at(cluster, 1, cluster.len());
    let before = cluster.network().counts().bytes;
    for number in 0..COMMANDS {
        let command = vec![number as u8; COMMAND_BYTES as usize];
        let index = cluster.one(&command, cluster.len(), false);
        assert!(index == number + 2, "command {number} is at index {index}");
    }
    let bytes = cluster.network().counts().bytes - before;
    let limit = cluster.len() as u64 * COMMANDS * COMMAND_BYTES + 50_000;
    assert!(bytes <= limit, "{bytes} bytes for {COMMANDS} commands: {limit} are the limit");
}

fn follower_failure(cluster: &Cluster) {
    agree_at(cluster, 1, 3);
    let [follower, _] = others(cluster, cluster.check_one_leader());
    cluster.disconnect(follower);
    agree_at(cluster, 2, 2);
    sleep(ELECTION);
    agree_at(cluster, 3, 2);
    let leader = cluster.check_one_leader();
    disconnect(cluster, &others::<2>(cluster, leader));
    let (index, _) = cluster.start(leader).expect("a leader knows nothing of its followers' end");
    assert!(index == 4, "the command was to be at index 4, but is at {index}");
    sleep(2 * ELECTION);
    assert_applied_by_nobody(cluster, 4);
}

fn assert_applied_by_nobody(cluster: &Cluster, index: Index) {
    let applied = cluster.applied_by(index);
    assert!(applied == 0, "{applied} servers applied index {index} without a majority");
}

fn leader_failure(cluster: &Cluster) {
    agree_at(cluster, 1, 3);
    cluster.disconnect(cluster.check_one_leader());
    agree_at(cluster, 2, 2);
    sleep(ELECTION);
    agree_at(cluster, 3, 2);
    cluster.disconnect(cluster.check_one_leader());
    for server in 0..cluster.len() {
        cluster.start(server);
    }
    sleep(2 * ELECTION);
    assert_applied_by_nobody(cluster, 4);
}

fn fail_agree(cluster: &Cluster) {
    cluster.one(&cluster.fresh_command(), 3, false);
    let [follower, _] = others(cluster, cluster.check_one_leader());
    cluster.disconnect(follower);
    for _ in 0..2 {
        cluster.one(&cluster.fresh_command(), 2, false);
    }
    sleep(ELECTION);
    for _ in 0..2 {
        cluster.one(&cluster.fresh_command(), 2, false);
    }
    cluster.connect(follower);
    cluster.agree(3);
    sleep(ELECTION);
    cluster.agree(3);
}

fn fail_no_agree(cluster: &Cluster) {
    cluster.one(&cluster.fresh_command(), 5, false);
    let leader = cluster.check_one_leader();
    let [cut @ .., _] = others::<4>(cluster, leader);
    disconnect(cluster, &cut);
    let (index, _) = cluster.start(leader).expect("a leader knows nothing of its followers' end");
    assert!(index == 2, "the command was to be at index 2, but is at {index}");
    sleep(2 * ELECTION);
    assert_applied_by_nobody(cluster, 2);
    connect(cluster, &cut);
    // The minority's entry may have survived, or not.
    let (_, index, _) = start_at_leader(cluster);
    assert!((2..=3).contains(&index), "the next command was to be at index 2 or 3, not {index}");
    cluster.agree(5);
}

/// Has a leader take a command: who that is, and where and in which term the command is.
fn start_at_leader(cluster: &Cluster) -> (usize, Index, Term) {
    for _ in 0..10 {
        let leader = cluster.check_one_leader();
        // It may have lost its lead since.
        if let Some((index, term)) = cluster.start(leader) {
            return (leader, index, term);
        }
    }
    panic!("ten leaders in a row took no command");
}

/// Repeats a measurement whose term moved, up to five times, 3 s apart, as the labs do.
fn in_one_term<T>(measure: impl Fn() -> Option<T>) -> T {
    for _ in 0..5 {
        if let Some(result) = measure() {
            return result;
        }
        sleep(secs(3));
    }
    panic!("without a fault, the term moved five times in a row");
}

fn concurrent_starts(cluster: &Cluster) {
    in_one_term(|| {
        let (leader, _, term) = start_at_leader(cluster);
        let start = |_| {
            let (cluster, command) = (cluster.clone(), cluster.fresh_command());
            thread::spawn(move || {
                let started = cluster.server(leader).start(command.clone()).ok().flatten();
                started.filter(|(_, now)| *now == term).map(|(index, _)| (index, command))
            })
        };
        let threads: Vec<_> = (0..5).map(start).collect();
        let started: Option<Vec<_>> = join_all(threads).into_iter().collect();
        for (index, command) in started? {
            let applied = cluster.wait(index, 3, Some(term))?;
            assert!(applied == command, "index {index} holds another command than its leader said");
        }
        Some(())
    });
}

fn rejoin(cluster: &Cluster) {
    cluster.agree(3);
    let first = cluster.check_one_leader();
    cluster.disconnect(first);
    for _ in 0..3 {
        cluster.start(first);
    }
    cluster.agree(2);
    let second = cluster.check_one_leader();
    cluster.disconnect(second);
    cluster.connect(first);
    cluster.agree(2);
    cluster.connect(second);
    cluster.agree(3);
}

fn backup(cluster: &Cluster) {
    const ENTRIES: usize = 50;
    diverge(cluster, ENTRIES, || {
        for _ in 0..ENTRIES {
            cluster.agree(3);
        }
    });
    connect(cluster, &[0, 1, 2, 3, 4]);
    cluster.agree(5);
}

/// A cluster of five whose logs differ.
struct Diverged {
    /// These are connected, and have agreed.
    current: [usize; 3],
    /// These are cut off, and their last entries nobody else has.
    lagging: [usize; 2],
}

/// Twice leaves a leader and a follower with `entries` entries that nobody else has, and has the
/// others agree on others by `agree`.
fn diverge(cluster: &Cluster, entries: usize, agree: impl Fn()) -> Diverged {
    cluster.agree(5);
    let first = cluster.check_one_leader();
    let [follower, rest @ ..] = others::<4>(cluster, first);
    disconnect(cluster, &rest);
    start_many(cluster, first, entries);
    sleep(ELECTION / 2);
    disconnect(cluster, &[first, follower]);
    connect(cluster, &rest);
    agree();

    let second = cluster.check_one_leader();
    let mut lagging = rest.into_iter().filter(|&server| server != second);
    let (other, last) = (lagging.next().unwrap_or(second), lagging.next().unwrap_or(second));
    cluster.disconnect(other);
    start_many(cluster, second, entries);
    sleep(ELECTION / 2);
    disconnect(cluster, &[0, 1, 2, 3, 4]);
    let (current, lagging) = ([first, follower, other], [second, last]);
    connect(cluster, &current);
    agree();
    Diverged { current, lagging }
}

/// A leader that was just elected takes all logs to be as long as its own. Elections and heartbeats
/// come to some 25 RPCs a second at each server. One rejection for each entry would be 200 more at
/// once.
fn backup_bound(cluster: &Cluster) {
    const ENTRIES: usize = 200;
    let Diverged { current, lagging } = diverge(cluster, ENTRIES, || {
        let (leader, ..) = start_at_leader(cluster);
        start_many(cluster, leader, ENTRIES - 1);
        cluster.agree(3);
    });
    let leader = cluster.check_one_leader();
    // A leader would refuse its successor a pre-vote, and there is no majority without it.
    cluster.restart(leader);
    let next = current.into_iter().find(|&server| server != leader);
    must_elect(cluster, next.expect("only one of them leads"));
    let rpcs = || lagging.map(|server| cluster.network().counts_at(server).rpcs);
    let (before, started) = (rpcs(), Instant::now());
    connect(cluster, &[0, 1, 2, 3, 4]);
    cluster.agree(5);
    let limit = 25.0 + 30.0 * started.elapsed().as_secs_f64();
    for (server, (before, after)) in lagging.into_iter().zip(before.into_iter().zip(rpcs())) {
        let rpcs = after - before;
        assert!(
            rpcs as f64 <= limit,
            "S{server} got {rpcs} RPCs until its log was made equal: {limit:.0} are the limit"
        );
    }
}

fn count(cluster: &Cluster) {
    const COMMANDS: u64 = 12;
    const IDLE_SECOND: f64 = 60.0;
    let rpcs = || cluster.network().counts().rpcs;
    let started = Instant::now();
    cluster.check_one_leader();
    let election = rpcs();
    // It is looked for a leader every half second, and less often on a busy machine in real time:
    // there an idle second may have passed in between, with its heartbeats.
    let idle = started.elapsed().as_secs_f64() - 1.0;
    let limit = 30 + (IDLE_SECOND * idle.max(0.0)) as u64;
    assert!(election > 0, "a leader without a single RPC");
    assert!(election <= limit, "{election} RPCs for an election: {limit} are the limit");

    let after = in_one_term(|| {
        let leader = cluster.check_one_leader();
        let before = rpcs();
        let commands: Vec<_> = (0..COMMANDS).map(|_| cluster.fresh_command()).collect();
        let (first, term) = start_in_a_row(cluster, leader, &commands)?;
        for (index, command) in (first..).zip(&commands) {
            let applied = cluster.wait(index, 3, Some(term))?;
            assert!(applied == *command, "index {index} holds another command than was started");
        }
        let after = rpcs();
        let took = after - before;
        let limit = (COMMANDS + 2) * 3;
        let settled = !cluster.has_left(term);
        assert!(!settled || took <= limit, "{took} RPCs for {COMMANDS} commands: {limit} at most");
        settled.then_some(after)
    });
    sleep(ELECTION);
    let idle = rpcs() - after;
    assert!(
        idle as f64 <= IDLE_SECOND,
        "{idle} RPCs in an idle second: {IDLE_SECOND} are the limit"
    );
}

/// Starts commands at one leader, one right after the other: where the first is, and in which
/// term; none if the term moves meanwhile.
fn start_in_a_row(cluster: &Cluster, leader: usize, commands: &[Vec<u8>]) -> Option<(Index, Term)> {
    let start = |command: &Vec<u8>| cluster.server(leader).start(command.clone()).ok().flatten();
    let started: Option<Vec<_>> = commands.iter().map(start).collect();
    let started = started?;
    let &(first, term) = started.first()?;
    for (number, &(index, now)) in (0..).zip(&started) {
        if now != term {
            return None;
        }
        let expected = first + number;
        assert!(index == expected, "command {number} was to be at index {expected}, not {index}");
    }
    Some((first, term))
}

/// Requests to one follower arrive twice, late and in any order. Whenever the last to arrive is an
/// old one, the leader is lost, and that follower elects a leader with one that has seen nothing:
/// what it had confirmed must still be there.
fn late_append(cluster: &Cluster) {
    let mut script = cluster.script();
    let disordered = Faults {
        duplicate_ppm: 500_000,
        request_delay: Duration::ZERO..ms(150),
        ..Faults::reliable().with_long_delays()
    };
    for _ in 0..15 {
        let leader = leader_of(cluster);
        let [follower, other] = others(cluster, leader);
        cluster.disconnect(other);
        cluster.network().set_faults(leader, follower, &disordered);
        for _ in 0..8 {
            cluster.start(leader);
            sleep(script.duration(Duration::ZERO..ms(80)));
        }
        sleep(script.duration(Duration::ZERO..ms(200)));
        cluster.disconnect(leader);
        cluster.heal_link(leader, follower);
        agree_without(cluster, leader, other);
    }
}

/// The leader A has one follower, B, that takes its entries, and whose answers take 15 s. The
/// others agree on something else, which A and B learn. Then A leads again, with one follower that
/// has its new entries, and B's answers of the older term arrive: who counts them has a majority.
fn stale_reply(cluster: &Cluster) {
    const LATE: Duration = secs(15);
    cluster.agree(5);
    let a = leader_of(cluster);
    let [b, c, d, e] = others(cluster, a);
    let slow = Faults { reply_delay: LATE..LATE + ms(1), ..cluster.network().faults(b, a) };
    cluster.network().set_faults(b, a, &slow);
    disconnect(cluster, &[c, d, e]);
    let started = Instant::now();
    start_many(cluster, a, 10);
    sleep(ms(400));
    cluster.heal_link(b, a);

    disconnect(cluster, &[a, b]);
    connect(cluster, &[c, d, e]);
    cluster.agree(3);
    connect(cluster, &[a, b]);
    cluster.agree(5);

    must_elect(cluster, a);
    // Its answers come all the same: they left long ago.
    cluster.crash(b);
    disconnect(cluster, &[d, e]);
    start_many(cluster, a, 10);
    sleep((LATE + ELECTION).saturating_sub(started.elapsed()));
    crash(cluster, &[a, c]);
    revive(cluster, &[b, d, e]);
    cluster.agree(3);
    revive(cluster, &[a, c]);
    cluster.agree(5);
}

/// Twenty commands, one after the other: first with two followers, then with one of them a hundred
/// times slower, then with that one dead. Waiting for it would take more than 2 s.
fn slow_follower(cluster: &Cluster) {
    cluster.agree(3);
    in_one_term(|| {
        cluster.heal();
        let leader = leader_of(cluster);
        let [slow, _] = others(cluster, leader);
        let usual = time_of_twenty(cluster, leader)?;
        slow_down(cluster, leader, slow);
        let beside_slow = time_of_twenty(cluster, leader)?;
        cluster.disconnect(slow);
        let beside_dead = time_of_twenty(cluster, leader)?;
        for (time, state) in [(beside_slow, "slow"), (beside_dead, "dead")] {
            assert!(
                time <= 2 * usual + secs(1),
                "20 commands took {time:?} with a {state} follower, and {usual:?} without one"
            );
        }
        Some(())
    });
    cluster.heal();
    cluster.agree(3);
}

fn slow_down(cluster: &Cluster, leader: usize, slow: usize) {
    let faults = Faults {
        request_delay: ms(20)..ms(100),
        reply_delay: ms(20)..ms(100),
        ..Faults::reliable().with_long_delays()
    };
    cluster.network().set_faults(leader, slow, &faults);
    cluster.network().set_faults(slow, leader, &faults);
}

/// How long a leader takes to commit twenty commands, one after the other; none if it does not lead
/// all the time.
fn time_of_twenty(cluster: &Cluster, leader: usize) -> Option<Duration> {
    let started = Instant::now();
    for _ in 0..20 {
        let (index, term) = cluster.start(leader)?;
        let offered = Instant::now();
        while cluster.applied_by(index) == 0 {
            if cluster.has_left(term) {
                return None;
            }
            let waited = offered.elapsed();
            assert!(waited < AGREED_WITHIN, "index {index} is not committed after {waited:?}");
            sleep(ms(1));
        }
    }
    Some(started.elapsed())
}

/// Figure 8, step by step; the letters are the figure's.
fn old_term_commit(cluster: &Cluster) {
    cluster.agree(5);
    let s1 = leader_of(cluster);
    let [s2, s3, s4, s5] = others(cluster, s1);
    // (a) S1 leads, and copies an entry to S2 alone.
    disconnect(cluster, &[s3, s4, s5]);
    cluster.start(s1);
    sleep(ms(400));
    // (b) S1 crashes. S5 is elected by S3, S4 and itself, and takes another entry at that index.
    cluster.crash(s1);
    cluster.disconnect(s2);
    connect(cluster, &[s3, s4, s5]);
    must_elect(cluster, s5);
    disconnect(cluster, &[s3, s4]);
    cluster.start(s5);
    sleep(ms(100));
    // (c) S5 crashes. S1 leads again, and copies its entry to S3: a majority has it.
    cluster.crash(s5);
    cluster.restart(s1);
    connect(cluster, &[s2, s3]);
    must_elect(cluster, s1);
    sleep(ms(500));
    // (d) S1 crashes. S5 can be elected by S2, S3 and S4, and overwrites that entry with its own.
    // (It cannot if S1 began its term with an entry of that term: then this is (e).)
    cluster.crash(s1);
    revive(cluster, &[s5]);
    cluster.connect(s4);
    cluster.elect(s5, LEADER_WITHIN);
    cluster.agree(4);
    cluster.restart(s1);
    cluster.agree(5);
}

fn paused_leader(cluster: &Cluster) {
    for _ in 0..5 {
        let leader = leader_of(cluster);
        // Some are on their way when it stops, and some are not.
        start_many(cluster, leader, 5);
        cluster.pause(leader);
        sleep(secs(3));
        cluster.agree(2);
        cluster.resume(leader);
        start_many(cluster, leader, 5);
        cluster.agree(3);
    }
}

/// Of five servers two are dead; of the others one, S0, has every entry, and the slowest clock. The
/// two that cannot win try more often than it does.
fn outdated_candidates(cluster: &Cluster) {
    let outdated = [1, 2];
    let fast_or_slow = |server| if outdated.contains(&server) { 1_200_000 } else { 800_000 };
    restart_all(cluster, |server| (Duration::ZERO, fast_or_slow(server)));
    for _ in 0..4 {
        must_elect(cluster, 3);
        cluster.agree(5);
        disconnect(cluster, &outdated);
        cluster.agree(3);
        crash(cluster, &[3, 4]);
        connect(cluster, &outdated);
        cluster.wait_for_leader(LEADER_WITHIN);
        revive(cluster, &[3, 4]);
    }
}

/// Messages take 10 ms each way, so whoever has an append on its way for 20 ms sends what comes
/// meanwhile with the next: two appends for every 20 ms, and the heartbeats.
fn parallel_starts(cluster: &Cluster) {
    const THREADS: u64 = 20;
    const EACH: u64 = 50;
    cluster.agree(3);
    cluster.network().update_faults(|faults| {
        faults.request_delay = ms(10)..ms(11);
        faults.reply_delay = ms(10)..ms(11);
    });
    in_one_term(|| {
        let leader = leader_of(cluster);
        let (before, started) = (cluster.network().counts().rpcs, Instant::now());
        let offer = |_| {
            let cluster = cluster.clone();
            thread::spawn(move || start_each(&cluster, leader, EACH))
        };
        let threads: Vec<_> = (0..THREADS).map(offer).collect();
        let accepted: Vec<_> = join_all(threads).into_iter().flatten().collect();
        let &(_, term, _) = accepted.first()?;
        // Entries of a term that is over may have given way to others.
        if accepted.iter().any(|&(_, other, _)| other != term) {
            return None;
        }
        for (index, _, command) in &accepted {
            let applied = cluster.wait(*index, 3, Some(term))?;
            assert!(applied == *command, "index {index} holds another command than was started");
        }
        let (rpcs, took) = (cluster.network().counts().rpcs - before, started.elapsed());
        let batches = took.as_millis() as u64 / 20 + 2;
        let heartbeats = took.as_millis() as u64 / 100 + 1;
        let limit = 2 * (2 * batches + heartbeats);
        let settled = !cluster.has_left(term) && accepted.len() as u64 == THREADS * EACH;
        assert!(
            !settled || rpcs <= limit,
            "{rpcs} RPCs to two followers for {} commands within {took:?}: {limit} are the limit",
            accepted.len()
        );
        settled.then_some(())
    });
}

/// Starts so many commands at a leader: those that it takes, each with its index and term.
fn start_each(cluster: &Cluster, leader: usize, count: u64) -> Vec<(Index, Term, Vec<u8>)> {
    let start = |_| {
        let command = cluster.fresh_command();
        let started = cluster.server(leader).start(command.clone()).ok().flatten();
        started.map(|(index, term)| (index, term, command))
    };
    (0..count).filter_map(start).collect()
}
