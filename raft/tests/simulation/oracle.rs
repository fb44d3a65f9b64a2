//! Sees everything, forgets nothing, and knows what must never happen.

use std::collections::BTreeMap;

use raft::core::{HardState, LogPosition, Node, Reply, Request, ServerId, Term};

pub(crate) struct Oracle {
    last_logs: Vec<LogPosition>,
    leaders: BTreeMap<Term, ServerId>,
    /// Whom each server told, in each term, that it has its vote.
    votes: BTreeMap<(ServerId, Term), ServerId>,
}

impl Oracle {
    pub(crate) fn new(last_logs: Vec<LogPosition>) -> Self {
        Self { last_logs, leaders: BTreeMap::new(), votes: BTreeMap::new() }
    }

    pub(crate) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// A server after a step.
    pub(crate) fn observe(&mut self, node: &Node, durable: HardState) {
        if !node.is_leader() {
            return;
        }
        let (id, term) = (node.id(), node.current_term());
        let leader = *self.leaders.entry(term).or_insert(id);
        assert_eq!(leader, id, "two leaders in term {term}");
        let own_vote = HardState { current_term: term, voted_for: Some(id) };
        assert_eq!(durable, own_vote, "S{id} leads by a vote that a crash would undo");
        let last_log = self.last_logs[id];
        let not_ahead = self.last_logs.iter().filter(|other| **other <= last_log).count();
        assert!(
            2 * not_ahead > self.last_logs.len(),
            "S{id} leads, but a majority has a log more up-to-date"
        );
    }

    /// A request leaves a server with this on its disk.
    pub(crate) fn request_leaves(&mut self, id: ServerId, request: &Request, durable: HardState) {
        match request {
            Request::PreVote(args) => check_term(id, args.term - 1, durable),
            Request::RequestVote(args) => {
                check_term(id, args.term, durable);
                self.vote(id, args.term, id, durable);
            }
            Request::AppendEntries(args) => check_term(id, args.term, durable),
        }
    }

    /// A reply leaves a server with this on its disk.
    pub(crate) fn reply_leaves(
        &mut self,
        id: ServerId,
        request: &Request,
        reply: &Reply,
        durable: HardState,
    ) {
        match (request, reply) {
            (Request::RequestVote(args), Reply::RequestVote(reply)) => {
                check_term(id, reply.term, durable);
                if reply.vote_granted {
                    assert_eq!(reply.term, args.term, "a vote is given in the candidate's term");
                    self.vote(id, reply.term, args.candidate_id, durable);
                }
            }
            (Request::PreVote(_), Reply::PreVote(reply)) => check_term(id, reply.term, durable),
            (Request::AppendEntries(_), Reply::AppendEntries(reply)) => {
                check_term(id, reply.term, durable);
            }
            _ => panic!("{reply:?} is no answer to {request:?}"),
        }
    }

    fn vote(&mut self, voter: ServerId, term: Term, candidate: ServerId, durable: HardState) {
        let first = *self.votes.entry((voter, term)).or_insert(candidate);
        assert_eq!(first, candidate, "S{voter} votes twice in term {term}");
        assert!(
            durable.current_term > term || durable.voted_for == Some(candidate),
            "S{voter} tells of a vote in term {term} that a crash would undo"
        );
    }
}

/// No server speaks of a term that it might not know after a crash.
fn check_term(id: ServerId, term: Term, durable: HardState) {
    assert!(
        term <= durable.current_term,
        "S{id} speaks of term {term}, but has {} on its disk",
        durable.current_term
    );
}
