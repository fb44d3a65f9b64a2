//! Leaders: they keep their authority with heartbeats (section 5.2), bring all logs into line with
//! their own, and find out what is committed (5.3, 5.4).

use std::collections::VecDeque;
use std::time::Duration;

use super::follower::Follower;
use super::log::{Command, Entry, Index, LogPosition, Payload};
use super::message::{
    AppendEntriesArgs, AppendEntriesReply, InstallSnapshotArgs, Request, ServerId,
};
use super::node::AnyNode;
use super::persistent::Snapshot;
use super::progress::Progress;
use super::raw_node::{RawNode, Role, RoleKind};
use super::reads::Reads;
use super::server::Server;
use super::step::{CallId, Effect, Moment, WriteId};
use super::transfer::Transfer;

/// The leader of the current term.
#[derive(Debug, Clone)]
pub(super) struct Leader {
    /// By server. The leader's own says how much of its log is durable here.
    pub(super) progress: Vec<Progress>,
    /// Writes of its own entries, oldest first, and where the log ended then.
    own_writes: VecDeque<(WriteId, Index)>,
    pub(super) reads: Reads,
    /// The transfer of its leadership that is under way.
    pub(super) transfer: Option<Transfer>,
}

impl Leader {
    /// Reinitialized after election (Figure 2). All of its log is durable: a candidate's gets no
    /// entries, and so was written before the vote for itself. (It may have been compacted since.)
    pub(super) fn new(server: &Server, now: Duration) -> Self {
        let last = server.log.last().index;
        let mut progress = vec![Progress::new(last, now); server.servers];
        progress[server.me] = Progress::of_leader(last);
        Self { progress, own_writes: VecDeque::new(), reads: Reads::default(), transfer: None }
    }

    /// The greatest number that so many servers have reached.
    pub(super) fn reached_by<T: Ord>(&self, quorum: usize, number: impl Fn(&Progress) -> T) -> T {
        let mut numbers: Vec<_> = self.progress.iter().map(number).collect();
        numbers.sort_unstable();
        numbers.swap_remove(numbers.len() - quorum)
    }
}

impl Role for Leader {
    const KIND: RoleKind = RoleKind::Leader;

    fn wrap(node: RawNode<Self>) -> AnyNode {
        AnyNode::Leader(node)
    }

    fn timed_out(mut node: RawNode<Self>, moment: Moment) -> AnyNode {
        if node.has_lost_its_majority(moment) {
            return node.follow(moment).wrap();
        }
        node.expire_reads(moment);
        node.expire_transfer(moment);
        node.send_heartbeats(moment);
        node.wrap()
    }

    /// A leader has no election timer, so it starts one as it becomes a follower. Those who wait
    /// for it wait no more.
    fn into_follower(self, server: &mut Server, moment: Moment) -> Follower {
        server.restart_election_timer(moment);
        for read in self.reads.into_waiting() {
            server.durability.send_at_once(Effect::Read { id: read.id, index: None });
        }
        if let Some(Transfer { id, .. }) = self.transfer {
            server.durability.send_at_once(Effect::Transfer { id, ceased: true });
        }
        Follower::default()
    }

    fn leader(&self, server: &Server) -> Option<ServerId> {
        Some(server.me)
    }

    fn hears_leader(&self, _server: &Server, _moment: Moment) -> bool {
        true
    }

    /// Its own entries count from now on, as far as they are durable.
    fn persisted(mut node: RawNode<Self>, _moment: Moment) -> AnyNode {
        let RawNode { server, role } = &mut node;
        while let Some((_, index)) =
            role.own_writes.pop_front_if(|(write, _)| server.durability.is_durable(*write))
        {
            role.progress[server.me].accepted(index);
        }
        node.advance_commit_index();
        node.wrap()
    }

    fn append_answered(
        mut node: RawNode<Self>,
        moment: Moment,
        from: ServerId,
        call: CallId,
        args: &AppendEntriesArgs,
        reply: AppendEntriesReply,
    ) -> AnyNode {
        node.role.progress[from].answered(call, moment.now);
        if reply.success {
            node.accepted(from, args.last_index());
        } else {
            node.rejected(from, args.prev_log_index, reply);
        }
        node.confirm_reads();
        node.wrap()
    }

    fn snapshot_answered(
        mut node: RawNode<Self>,
        moment: Moment,
        from: ServerId,
        call: CallId,
        args: &InstallSnapshotArgs,
    ) -> AnyNode {
        node.role.progress[from].answered(call, moment.now);
        node.accepted(from, args.last_included_index);
        node.confirm_reads();
        node.wrap()
    }
}

impl RawNode<Leader> {
    /// Figure 2, rules for leaders: upon election, send initial heartbeats. With them goes the
    /// entry without a command, if there is to be one (section 8).
    pub(super) fn begin(&mut self, moment: Moment) {
        if self.server.config.no_op {
            self.append(Payload::NoOp);
        }
        self.send_heartbeats(moment);
    }

    /// Whether it has not heard from a majority for so long that the others may have given it up
    /// (dissertation, 6.2).
    fn has_lost_its_majority(&self, moment: Moment) -> bool {
        let Self { server, role } = self;
        let heard_at = role.reached_by(server.quorum(), |progress| progress.heard_at);
        let limit = server.config.election_timeout.end;
        server.config.check_quorum && moment.now.saturating_sub(heard_at) >= limit
    }

    /// Tells everybody that the leader is there. The next is due an interval from now, not from
    /// when this one was due: a leader that was held up must not make up for it with a burst.
    pub(super) fn send_heartbeats(&mut self, moment: Moment) {
        // Whoever answers these confirms the reads that wait, too.
        self.role.reads.join_round(self.server.last_call());
        for to in self.server.others() {
            self.send_heartbeat(to);
        }
        let interval = self.server.config.heartbeat_interval;
        self.server.deadline = moment.now.saturating_add(interval);
    }

    /// Appends a command, and sends it to all who are not busy with others. Those get it, with all
    /// that came meanwhile, as soon as they answer: commands go in batches by themselves. A leader
    /// that is about to hand over takes no more.
    pub(super) fn propose(&mut self, command: Command) -> Option<LogPosition> {
        if self.role.transfer.is_some() {
            return None;
        }
        let position = self.append(Payload::Command(command));
        for to in self.server.others() {
            self.send_if_idle(to);
        }
        Some(position)
    }

    fn append(&mut self, payload: Payload) -> LogPosition {
        let (position, write) = self.server.append(payload);
        self.role.own_writes.push_back((write, position.index));
        position
    }

    /// A heartbeat has with it what its receiver lacks, and so is the retry of whatever was lost;
    /// but nothing for a server that is silent, and never a snapshot: such things are sent to those
    /// who are there to receive them, which their answer will tell.
    fn send_heartbeat(&mut self, to: ServerId) {
        let progress = &self.role.progress[to];
        let base = self.server.log.base().index;
        let call = if progress.is_silent() || progress.next_index <= base {
            let prev_log_index = base.max(progress.next_index - 1);
            self.call_append(to, prev_log_index, Vec::new())
        } else {
            self.call_next_append(to)
        };
        self.role.progress[to].sent_heartbeat(call);
    }

    /// Sends what follows the last entry that the two are thought to agree on, or the snapshot if
    /// that has been compacted.
    fn send_next(&mut self, to: ServerId) {
        if self.role.progress[to].next_index <= self.server.log.base().index {
            self.send_snapshot(to);
        } else {
            let call = self.call_next_append(to);
            self.role.progress[to].sent(call);
        }
    }

    fn call_next_append(&mut self, to: ServerId) -> CallId {
        let prev_log_index = self.role.progress[to].next_index - 1;
        let limit = self.server.config.max_append_bytes;
        let entries = self.server.log.batch_after(prev_log_index, limit).to_vec();
        self.call_append(to, prev_log_index, entries)
    }

    /// Asks those who give any for a sign of life and nothing else, beside whatever is under way.
    pub(super) fn send_round(&mut self) {
        self.role.reads.start_round(self.server.last_call());
        let base = self.server.log.base().index;
        for to in self.server.others() {
            if self.role.progress[to].takes_rounds() {
                let prev_log_index = base.max(self.role.progress[to].next_index - 1);
                let call = self.call_append(to, prev_log_index, Vec::new());
                self.role.progress[to].sent_round(call);
            }
        }
    }

    fn call_append(&mut self, to: ServerId, prev_log_index: Index, entries: Vec<Entry>) -> CallId {
        let server = &self.server;
        let prev_log_term = server.log.term_at(prev_log_index);
        let args = AppendEntriesArgs {
            term: server.current_term(),
            leader_id: server.me,
            prev_log_index,
            prev_log_term: prev_log_term.expect("a leader appends to what it has"),
            entries,
            leader_commit: server.commit_index,
        };
        self.call(to, Request::AppendEntries(args))
    }

    /// Sends the snapshot that there is now. It may be replaced by a newer one on the way; then the
    /// receiver still has the use of what it got.
    fn send_snapshot(&mut self, to: ServerId) {
        let server = &self.server;
        let Snapshot { last, data } = server.snapshot();
        let args = InstallSnapshotArgs {
            term: server.current_term(),
            leader_id: server.me,
            last_included_index: last.index,
            last_included_term: last.term,
            data,
        };
        let call = self.call(to, Request::InstallSnapshot(args));
        self.role.progress[to].sent_snapshot(call, last.index);
    }

    pub(super) fn call(&mut self, to: ServerId, request: Request) -> CallId {
        let call = self.server.next_call();
        self.server.durability.send_at_once(Effect::Call { to, call, request });
        call
    }

    pub(super) fn send_if_idle(&mut self, to: ServerId) {
        let progress = &self.role.progress[to];
        if progress.is_idle() && progress.next_index <= self.server.log.last().index {
            self.send_next(to);
        }
    }

    /// `from` has on its disk what this server has, up to `index`.
    fn accepted(&mut self, from: ServerId, index: Index) {
        self.role.progress[from].accepted(index);
        self.advance_commit_index();
        self.send_if_idle(from);
        self.hand_over_to(from);
    }

    /// `from` has another entry at `prev_log_index`, or none.
    fn rejected(&mut self, from: ServerId, prev_log_index: Index, reply: AppendEntriesReply) {
        let progress = &mut self.role.progress[from];
        let Some(conflict) = reply.conflict else { return };
        let is_news = progress.believes_rejection(prev_log_index);
        if is_news {
            progress.back_up(self.server.log.next_after(conflict));
        }
        // A better guess is worth another AppendEntries, but not another snapshot.
        if is_news && !progress.awaits_snapshot() {
            self.send_next(from);
        } else {
            self.send_if_idle(from);
        }
    }

    /// Figure 2, rules for leaders. An entry of an older term is not committed by counting: a later
    /// leader may still replace it though a majority has it (Figure 8). It is committed with the
    /// first entry of this term after it (5.4.2).
    fn advance_commit_index(&mut self) {
        let server = &mut self.server;
        let index = self.role.reached_by(server.quorum(), |progress| progress.match_index);
        if index > server.commit_index && server.log.term_at(index) == Some(server.current_term()) {
            server.commit_index = index;
        }
    }
}
