//! What any Raft must do about elections, as seen from outside: through the contract, the network
//! and the disk. Each claim runs over several seeds.
//!
//! The claims know no implementation. What they have to read off an RPC or a disk is told by a
//! [`Wire`].

pub(crate) mod cluster;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{RaftNode, Term};
use labrpc::{Faults, Message, Stage};
use labrt::sync::Shared;
use labrt::thread;
use labrt::time::Instant;

use cluster::{Cluster, Disk, vanishes};

/// How one implementation writes down votes.
pub(crate) trait Wire: RaftNode {
    /// The term of a granted vote, in an encoded reply to a RequestVote.
    fn vote_in(reply: &[u8]) -> Option<Term>;
    /// The term and the vote, in a saved state.
    fn saved(state: &[u8]) -> (Term, Option<usize>);
}

/// The term and the vote on a disk.
fn saved<R: Wire>(disk: &Disk) -> (Term, Option<usize>) {
    let state = disk.contents();
    if state.is_empty() { (0, None) } else { R::saved(&state) }
}

/// Within the five seconds that the labs give an election; the term stays while nothing happens.
pub(crate) fn one_leader_emerges_and_stays<R: Wire>() {
    labrt::check(|| {
        for servers in [1, 3, 5] {
            let cluster = Cluster::<R>::start(servers);
            let (leader, term) = cluster.wait_for_leader();
            thread::sleep(Duration::from_secs(3));
            assert_eq!(cluster.wait_for_leader(), (leader, term), "the leader has changed");
            assert!((0..servers).all(|server| cluster.get_state(server).0 == term));
        }
    });
}

/// The labs allow ten heartbeats a second to each follower.
pub(crate) fn an_idle_cluster_is_quiet<R: Wire>() {
    labrt::check(|| {
        let cluster = Cluster::<R>::start(3);
        cluster.wait_for_leader();
        let before = cluster.network.counts().rpcs;
        thread::sleep(Duration::from_secs(10));
        let calls = cluster.network.counts().rpcs - before;
        assert!((150..=202).contains(&calls), "{calls} calls in 10 s, to two followers");
    });
}

/// Randomised time-outs (5.2): without them a vote that is split once may be split for ever.
pub(crate) fn election_timeouts_differ<R: Wire>() {
    labrt::check(|| {
        let mut cluster = Cluster::<R>::start(1);
        let mut times = Vec::new();
        for _ in 0..12 {
            cluster.crash(0);
            cluster.restart(0);
            let started = Instant::now();
            cluster.wait_for_leader();
            times.push(started.elapsed());
        }
        let (first, last) = (times.iter().min(), times.iter().max());
        let spread = last.zip(first).map(|(last, first)| *last - *first);
        assert!(spread > Some(Duration::from_millis(50)), "12 time-outs within {spread:?}");
    });
}

/// Election Safety (Figure 3), on a network that loses messages and holds back replies for longer
/// than an election takes.
pub(crate) fn there_is_at_most_one_leader_in_a_term<R: Wire>() {
    labrt::check(|| {
        let cluster = Cluster::<R>::start(5);
        cluster.network.set_all_faults(&Faults::unreliable().with_long_reordering());
        let mut leaders = BTreeMap::new();
        for _ in 0..2_000 {
            thread::sleep(Duration::from_millis(5));
            for (server, term) in cluster.leaders() {
                let first = *leaders.entry(term).or_insert(server);
                assert_eq!(first, server, "both lead term {term}");
            }
        }
    });
}

/// Though each call to the old leader hangs for up to seven seconds, and those of the old leader.
pub(crate) fn a_new_leader_follows_one_that_is_cut_off<R: Wire>() {
    labrt::check(|| {
        let cluster = Cluster::<R>::start(3);
        cluster.network.set_all_faults(&Faults::reliable().with_long_delays());
        let (old, old_term) = cluster.wait_for_leader();

        cluster.network.set_connected(old, false);
        let (new, new_term) = cluster.wait_for_leader();
        assert!(new != old && new_term > old_term);

        cluster.network.set_connected(old, true);
        thread::sleep(Duration::from_secs(1));
        assert!(!cluster.get_state(old).1, "S{old} leads still, beside S{new}");
        let (_, last_term) = cluster.wait_for_leader();
        assert!((0..3).all(|server| cluster.get_state(server).0 == last_term));
    });
}

/// A minority elects nobody, and a majority that comes back does.
pub(crate) fn there_is_no_leader_without_a_majority<R: Wire>() {
    labrt::check(|| {
        let mut cluster = Cluster::<R>::start(3);
        let (leader, _) = cluster.wait_for_leader();
        cluster.crash(leader);
        let (next, _) = cluster.wait_for_leader();
        cluster.crash(next);
        let last = 3 - leader - next;
        thread::sleep(Duration::from_secs(3));
        assert!(!cluster.get_state(last).1, "S{last} was elected by itself");
        cluster.restart(leader);
        cluster.wait_for_leader();
    });
}

/// Persistence (Figure 2): terms go on from what was on the disk.
pub(crate) fn a_restarted_cluster_elects_in_a_later_term<R: Wire>() {
    labrt::check(|| {
        let mut cluster = Cluster::<R>::start(3);
        for _ in 0..3 {
            let (_, last_term) = cluster.wait_for_leader();
            (0..3).for_each(|server| cluster.crash(server));
            for server in 0..3 {
                let (saved, _) = saved::<R>(&cluster.disks[server]);
                cluster.restart(server);
                let (term, is_leader) = cluster.get_state(server);
                assert!(term >= saved, "S{server} saved term {saved} and starts in {term}");
                assert!(!is_leader, "S{server} starts as a leader");
            }
            assert!(cluster.wait_for_leader().1 > last_term);
        }
    });
}

/// "Updated on stable storage before responding to RPCs" (Figure 2): otherwise a crash undoes the
/// vote, and the server votes again.
pub(crate) fn a_vote_is_on_the_disk_before_it_is_answered<R: Wire>() {
    labrt::check(|| {
        let mut cluster = Cluster::<R>::with_slow_disks(3, Duration::from_millis(20));
        let granted = watch_votes::<R>(&cluster);
        let (leader, _) = cluster.wait_for_leader();
        cluster.crash(leader);
        cluster.wait_for_leader();
        assert!(granted.with(|granted| *granted) >= 2, "no vote was seen");
    });
}

/// Compares each vote that leaves a server with what is on its disk at that moment; counts them.
fn watch_votes<R: Wire>(cluster: &Cluster<R>) -> Arc<Shared<u32>> {
    let granted = Arc::new(Shared::new(0));
    let (count, disks) = (Arc::clone(&granted), cluster.disks.clone());
    cluster.network.set_hook(move |message| {
        let Some(term) = vote_that_leaves::<R>(message) else { return };
        count.with(|count| *count += 1);
        check_saved::<R>(&disks[message.to], message, term);
    });
    granted
}

fn vote_that_leaves<R: Wire>(message: &Message<'_>) -> Option<Term> {
    let is_vote = message.stage == Stage::Answered && message.method == "request_vote";
    is_vote.then(|| R::vote_in(message.bytes)).flatten()
}

fn check_saved<R: Wire>(disk: &Disk, message: &Message<'_>, term: Term) {
    let saved = saved::<R>(disk);
    // A vote that leaves late may be followed by a newer term on the disk.
    if saved.0 <= term && saved != (term, Some(message.from)) {
        let Message { from, to, .. } = message;
        labrt::fail(format!("S{to} voted for S{from} in term {term}, but has saved {saved:?}"));
    }
}

/// After `kill` nobody calls anybody any more, and once the calls under way have returned, no
/// thread is left that holds on to the node.
pub(crate) fn kill_ends_all_threads<R: Wire>() {
    labrt::check(|| {
        let mut cluster = Cluster::<R>::start(3);
        cluster.network.set_all_faults(&Faults::reliable().with_long_delays());
        let (leader, _) = cluster.wait_for_leader();
        // Some threads are to be in the middle of a call that takes long.
        cluster.network.set_connected((leader + 1) % 3, false);
        thread::sleep(Duration::from_millis(500));

        let killed: Vec<_> = (0..3).map(|server| cluster.kill(server)).collect();
        // A call may have been about to leave.
        thread::sleep(Duration::from_millis(100));
        let calls = cluster.network.counts().rpcs;
        (0..3).for_each(|server| cluster.network.stop(server));
        assert!(killed.iter().all(|trace| vanishes(trace, Duration::from_secs(8))));
        assert_eq!(cluster.network.counts().rpcs, calls, "somebody called after its kill");
    });
}
