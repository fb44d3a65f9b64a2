//! A leader hands over to a server that it names (dissertation, 3.10): before it is shut down, say.
//!
//! It takes no more commands, waits until that server has all of its log, and tells it to start an
//! election at once. Nobody else is near a time-out then, so that server wins, unless messages are
//! lost; and if nothing has come of it after an election time-out, the leader goes on as before.

use std::time::Duration;

use contract::TransferError;

use super::leader::Leader;
use super::message::{Request, ServerId, TimeoutNowArgs};
use super::raw_node::RawNode;
use super::step::{Effect, Moment, RequestId};

/// A transfer under way.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) id: RequestId,
    to: ServerId,
    /// When to give up.
    deadline: Duration,
}

impl RawNode<Leader> {
    /// Begins to hand over. A transfer under way is given up.
    pub(super) fn transfer_leadership(
        &mut self,
        moment: Moment,
        to: ServerId,
        id: RequestId,
    ) -> Result<(), TransferError> {
        if to >= self.server.servers || to == self.server.me {
            return Err(TransferError::NoSuchPeer);
        }
        self.give_up_transfer();
        let deadline = moment.now.saturating_add(self.server.config.election_timeout.end);
        self.role.transfer = Some(Transfer { id, to, deadline });
        self.send_if_idle(to);
        self.hand_over_to(to);
        Ok(())
    }

    /// Tells `to` that it is its turn, if it is: it has all there is. Each of its answers to the
    /// leader has it told again, for the message may be lost.
    pub(super) fn hand_over_to(&mut self, to: ServerId) {
        let Self { server, role } = self;
        let is_successor = role.transfer.as_ref().is_some_and(|transfer| transfer.to == to);
        if is_successor && role.progress[to].match_index == server.log.last().index {
            let args = TimeoutNowArgs { term: server.current_term(), leader_id: server.me };
            self.call(to, Request::TimeoutNow(args));
        }
    }

    /// Goes on leading if the transfer takes too long.
    pub(super) fn expire_transfer(&mut self, moment: Moment) {
        if self.role.transfer.as_ref().is_some_and(|transfer| transfer.deadline <= moment.now) {
            self.give_up_transfer();
        }
    }

    fn give_up_transfer(&mut self) {
        if let Some(Transfer { id, .. }) = self.role.transfer.take() {
            self.server.durability.send_at_once(Effect::Transfer { id, ceased: false });
        }
    }
}
