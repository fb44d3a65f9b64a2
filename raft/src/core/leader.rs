//! Leaders: they keep their authority with heartbeats (section 5.2).

use super::follower::Follower;
use super::message::{AppendEntriesArgs, Request, ServerId};
use super::node::AnyNode;
use super::raw_node::{RawNode, Role, RoleKind};
use super::server::Server;
use super::step::Moment;

/// The leader of the current term.
#[derive(Debug, Clone)]
pub(super) struct Leader;

impl Role for Leader {
    const KIND: RoleKind = RoleKind::Leader;

    fn wrap(node: RawNode<Self>) -> AnyNode {
        AnyNode::Leader(node)
    }

    fn timed_out(mut node: RawNode<Self>, moment: Moment) -> AnyNode {
        node.send_heartbeats(moment);
        node.wrap()
    }

    /// A leader has no election timer, so it starts one as it becomes a follower.
    fn into_follower(self, server: &mut Server, moment: Moment) -> Follower {
        server.restart_election_timer(moment);
        Follower::default()
    }

    fn leader(&self, server: &Server) -> Option<ServerId> {
        Some(server.me)
    }

    fn hears_leader(&self, _server: &Server, _moment: Moment) -> bool {
        true
    }
}

impl RawNode<Leader> {
    /// Sends a heartbeat to everybody. The next is due an interval from now, not from when this
    /// one was due: a leader that was held up must not make up for it with a burst.
    pub(super) fn send_heartbeats(&mut self, moment: Moment) {
        let server = &mut self.server;
        let heartbeat = AppendEntriesArgs {
            term: server.current_term(),
            leader_id: server.me,
            prev_log_index: server.last_log.index,
            prev_log_term: server.last_log.term,
            leader_commit: 0,
        };
        server.call_all(&Request::AppendEntries(heartbeat));
        server.deadline = moment.now.saturating_add(server.config.heartbeat_interval);
    }
}
