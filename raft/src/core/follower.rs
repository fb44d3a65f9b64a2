//! Followers: passive, they answer leaders and candidates (section 5.1).

use std::time::Duration;

use super::message::ServerId;
use super::node::AnyNode;
use super::raw_node::{Campaigner, RawNode, Role, RoleKind};
use super::server::Server;
use super::step::Moment;

/// A follower, with the leader that it follows once it has heard from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Follower {
    pub(super) heard: Option<Heard>,
}

/// The last that was heard from the leader of the current term.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) leader: ServerId,
    pub(super) at: Duration,
}

impl Role for Follower {
    const KIND: RoleKind = RoleKind::Follower;

    fn wrap(node: RawNode<Self>) -> AnyNode {
        AnyNode::Follower(node)
    }

    fn timed_out(node: RawNode<Self>, moment: Moment) -> AnyNode {
        node.campaign(moment)
    }

    fn into_follower(self, _server: &mut Server, _moment: Moment) -> Follower {
        self
    }

    fn leader(&self, _server: &Server) -> Option<ServerId> {
        self.heard.as_ref().map(|heard| heard.leader)
    }

    fn hears_leader(&self, server: &Server, moment: Moment) -> bool {
        self.heard.as_ref().is_some_and(|heard| {
            moment.now.saturating_sub(heard.at) < server.config.election_timeout.start
        })
    }
}

impl Campaigner for Follower {}
