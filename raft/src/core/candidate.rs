//! Candidates: they have started a term and ask for the votes of it (section 5.2).

use super::follower::Follower;
use super::message::{ServerId, Term};
use super::node::AnyNode;
use super::raw_node::{Campaigner, RawNode, Role, RoleKind};
use super::server::Server;
use super::step::{Moment, WriteId};
use super::votes::Votes;

/// A candidate of the current term.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// The write that makes its vote for itself durable.
    pub(super) own_vote: WriteId,
    votes: Votes,
}

impl Candidate {
    /// At first no vote counts, not even its own.
    pub(super) fn new(own_vote: WriteId) -> Self {
        Self { own_vote, votes: Votes::default() }
    }
}

impl Role for Candidate {
    const KIND: RoleKind = RoleKind::Candidate;

    fn wrap(node: RawNode<Self>) -> AnyNode {
        AnyNode::Candidate(node)
    }

    /// The vote was split, or messages were lost: start over.
    fn timed_out(node: RawNode<Self>, moment: Moment) -> AnyNode {
        node.campaign(moment)
    }

    fn into_follower(self, _server: &mut Server, _moment: Moment) -> Follower {
        Follower::default()
    }

    fn persisted(node: RawNode<Self>, moment: Moment) -> AnyNode {
        if node.server.durability.is_durable(node.role.own_vote) {
            let me = node.server.me;
            node.count(moment, me)
        } else {
            node.wrap()
        }
    }

    fn vote_granted(node: RawNode<Self>, moment: Moment, from: ServerId, term: Term) -> AnyNode {
        if term == node.server.current_term() { node.count(moment, from) } else { node.wrap() }
    }
}

impl Campaigner for Candidate {}

impl RawNode<Candidate> {
    fn count(mut self, moment: Moment, voter: ServerId) -> AnyNode {
        if !self.role.votes.count(voter, self.server.quorum()) {
            return self.wrap();
        }
        let mut leader = self.lead(moment);
        leader.begin(moment);
        leader.wrap()
    }
}
