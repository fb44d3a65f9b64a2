//! Pre-candidates: they ask whether they would be elected, before they disturb anybody
//! (dissertation, 9.6).

use super::follower::Follower;
use super::message::{RequestVoteArgs, ServerId};
use super::node::AnyNode;
use super::raw_node::{Campaigner, RawNode, Role, RoleKind};
use super::server::Server;
use super::step::Moment;
use super::votes::Votes;

/// A server that has not heard from a leader in time, still in the old term.
#[derive(Debug, Clone)]
pub(super) struct PreCandidate {
    /// The question of this round.
    pub(super) args: RequestVoteArgs,
    pub(super) votes: Votes,
}

impl Role for PreCandidate {
    const KIND: RoleKind = RoleKind::PreCandidate;

    fn wrap(node: RawNode<Self>) -> AnyNode {
        AnyNode::PreCandidate(node)
    }

    fn timed_out(node: RawNode<Self>, moment: Moment) -> AnyNode {
        node.campaign(moment)
    }

    /// Whoever gives its vote away waits for the result like any follower.
    fn into_follower(self, _server: &mut Server, _moment: Moment) -> Follower {
        Follower::default()
    }

    /// An answer to another question does not count. Rounds in the same term ask the same
    /// question, and there a late answer is as good as a new one: it promises nothing either way.
    fn pre_vote_granted(
        mut node: RawNode<Self>,
        moment: Moment,
        from: ServerId,
        args: &RequestVoteArgs,
    ) -> AnyNode {
        let quorum = node.server.quorum();
        if *args == node.role.args && node.role.votes.count(from, quorum) {
            node.start_election(moment, false).wrap()
        } else {
            node.wrap()
        }
    }
}

impl Campaigner for PreCandidate {}
