//! The shell and its core as a server, in clusters made by hand.

mod claims;

use std::time::Duration;

use contract::Term;
use labrpc::RpcError;
use labrt::thread::{self, JoinHandle};
use labrt::time::Instant;
use raft::Raft;
use raft::core::{HardState, RequestVoteArgs, RequestVoteReply};

use claims::Wire;
use claims::cluster::Cluster;

impl Wire for Raft {
    fn vote_in(reply: &[u8]) -> Option<Term> {
        let reply: Option<RequestVoteReply> = labgob::decode(reply).expect("a reply");
        reply.filter(|reply| reply.vote_granted).map(|reply| reply.term)
    }

    fn saved(state: &[u8]) -> (Term, Option<usize>) {
        let HardState { current_term, voted_for } = labgob::decode(state).expect("a saved state");
        (current_term, voted_for)
    }
}

#[test]
fn one_leader_emerges_and_stays() {
    claims::one_leader_emerges_and_stays::<Raft>();
}

#[test]
fn an_idle_cluster_is_quiet() {
    claims::an_idle_cluster_is_quiet::<Raft>();
}

#[test]
fn election_timeouts_differ() {
    claims::election_timeouts_differ::<Raft>();
}

#[test]
fn there_is_at_most_one_leader_in_a_term() {
    claims::there_is_at_most_one_leader_in_a_term::<Raft>();
}

#[test]
fn a_new_leader_follows_one_that_is_cut_off() {
    claims::a_new_leader_follows_one_that_is_cut_off::<Raft>();
}

#[test]
fn there_is_no_leader_without_a_majority() {
    claims::there_is_no_leader_without_a_majority::<Raft>();
}

#[test]
fn a_restarted_cluster_elects_in_a_later_term() {
    claims::a_restarted_cluster_elects_in_a_later_term::<Raft>();
}

#[test]
fn a_vote_is_on_the_disk_before_it_is_answered() {
    claims::a_vote_is_on_the_disk_before_it_is_answered::<Raft>();
}

#[test]
fn kill_ends_all_threads() {
    claims::kill_ends_all_threads::<Raft>();
}

/// It must not be told of a vote that may never reach the disk.
#[test]
fn whoever_waits_for_a_vote_at_a_kill_gets_no_answer() {
    labrt::check(|| {
        let mut cluster = Cluster::<Raft>::with_slow_disks(2, Duration::from_secs(2));
        let candidate = ask_for_vote(&cluster, 1);
        thread::sleep(Duration::from_millis(100));
        let killed_at = Instant::now();
        cluster.kill(1);
        assert_eq!(candidate.join().expect("a call does not panic"), Ok(None));
        assert!(killed_at.elapsed() < Duration::from_secs(1), "the handler waited for the disk");
    });
}

/// The second write is the last of all that came while the first was under way.
#[test]
fn one_write_answers_all_that_wait_for_it() {
    labrt::check(|| {
        let cluster = Cluster::<Raft>::with_slow_disks(2, Duration::from_millis(100));
        let asked_at = Instant::now();
        let candidates: Vec<_> = (1..=5)
            .map(|term| {
                thread::sleep(Duration::from_millis(5));
                ask_for_vote(&cluster, term)
            })
            .collect();
        for candidate in candidates {
            let reply = candidate.join().expect("a call does not panic");
            assert!(matches!(reply, Ok(Some(_))), "{reply:?}");
        }
        assert!(asked_at.elapsed() < Duration::from_millis(290), "more than two writes");
        assert_eq!(Raft::saved(&cluster.disks[1].contents()), (5, Some(0)));
    });
}

type Answer = Result<Option<RequestVoteReply>, RpcError>;

/// Has server 0 ask server 1 for its vote, on a thread of its own.
fn ask_for_vote(cluster: &Cluster<Raft>, term: Term) -> JoinHandle<Answer> {
    let server = cluster.network.client_end(0, 1);
    let args = RequestVoteArgs { term, candidate_id: 0, last_log_index: 0, last_log_term: 0 };
    thread::spawn(move || server.call("RaftRpc", "request_vote", &args))
}
