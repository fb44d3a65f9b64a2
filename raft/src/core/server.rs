//! What a server has in every role: the first two boxes of Figure 2, and its timer.

use std::sync::Arc;
use std::time::Duration;

use super::config::{Config, ConfigError};
use super::durability::Durability;
use super::log::{Conflict, Entry, Index, Log, LogPosition, Payload};
use super::message::{AppendEntriesArgs, Reply, Request, RequestVoteArgs, ServerId, Term};
use super::persistent::{HardState, PersistentState, Snapshot, SnapshotData};
use super::step::{CallId, Effect, Input, Moment, RequestId, WriteId};

/// The part of a node that no change of role touches.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) me: ServerId,
    /// The cluster's size: its servers are `0..servers`.
    pub(super) servers: usize,
    pub(super) config: Config,
    pub(super) durability: Durability,
    /// Changed by [`append`](Self::append), [`merge`](Self::merge), [`compact`](Self::compact) and
    /// [`install`](Self::install) only, which see to it that it is written.
    pub(super) log: Log,
    /// The service's state at the log's base; empty if that is 0/0.
    pub(super) snapshot: SnapshotData,
    /// The last entry known to be committed: never to be replaced any more, anywhere. The log's
    /// base at least.
    pub(super) commit_index: Index,
    calls: u64,
    /// When the next tick matters: the election time-out, or a leader's next heartbeat.
    pub(super) deadline: Duration,
}

impl Server {
    /// Takes up what an earlier incarnation left on the disk.
    pub(super) fn new(
        me: ServerId,
        servers: usize,
        config: Config,
        PersistentState { hard_state, log, snapshot }: PersistentState,
        moment: Moment,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        check_restored(me, servers, hard_state, log.last())?;
        let mut server = Self {
            me,
            servers,
            config,
            durability: Durability::new(hard_state),
            commit_index: log.base().index,
            log,
            snapshot,
            calls: 0,
            deadline: Duration::ZERO,
        };
        server.restart_election_timer(moment);
        Ok(server)
    }

    pub(super) fn current_term(&self) -> Term {
        self.durability.hard_state().current_term
    }

    pub(super) fn voted_for(&self) -> Option<ServerId> {
        self.durability.hard_state().voted_for
    }

    /// How many servers are more than half: any two such groups have a server in common.
    pub(super) fn quorum(&self) -> usize {
        self.servers / 2 + 1
    }

    /// Enters a term that another server has reached, with the vote still to be given.
    pub(super) fn enter_term(&mut self, term: Term) {
        assert!(term > self.current_term(), "a server's term only ever grows");
        self.durability.save(HardState { current_term: term, voted_for: None });
    }

    /// Gives the vote of the current term.
    pub(super) fn vote_for(&mut self, candidate: ServerId) -> WriteId {
        let hard_state = self.durability.hard_state();
        assert!(
            hard_state.voted_for.is_none(),
            "a server votes for at most one candidate in a term"
        );
        self.durability.save(HardState { voted_for: Some(candidate), ..hard_state })
    }

    /// Figure 2, RequestVote RPC, receiver implementation.
    pub(super) fn may_vote(&self, args: &RequestVoteArgs) -> bool {
        args.term >= self.current_term()
            && self.voted_for().is_none_or(|voted_for| voted_for == args.candidate_id)
            && args.last_log() >= self.log.last()
    }

    /// Adds an entry to the log of the leader that this server is.
    pub(super) fn append(&mut self, payload: Payload) -> (LogPosition, WriteId) {
        let after = self.log.last().index;
        let position = self.log.append(Entry { term: self.current_term(), payload });
        (position, self.durability.save_log_after(after))
    }

    /// Takes over what the current term's leader sent (Figure 2, AppendEntries RPC, receiver
    /// implementation, 2 to 5).
    pub(super) fn merge(&mut self, args: AppendEntriesArgs) -> Result<(), Conflict> {
        let (prev, last, leader_commit) = (args.prev_log(), args.last_index(), args.leader_commit);
        if let Some(after) = self.log.merge(prev, args.entries)? {
            assert!(
                after >= self.commit_index,
                "the leader of term {} replaces the entry at {}, which is committed",
                self.current_term(),
                after + 1
            );
            self.durability.save_log_after(after);
        }
        // Beyond `last` there may be entries of this server's own that the leader does not have.
        self.commit_index = self.commit_index.max(leader_commit.min(last));
        Ok(())
    }

    /// Forgets the entries up to `index`, of which the service has made a snapshot. None if that
    /// changes nothing, because the present snapshot is as new.
    pub(super) fn compact(&mut self, index: Index, data: SnapshotData) -> Option<WriteId> {
        if index <= self.log.base().index {
            return None;
        }
        assert!(
            index <= self.commit_index,
            "a snapshot up to {index} covers what is not committed: that ends at {}",
            self.commit_index
        );
        self.log.compact(index);
        Some(self.replace_snapshot(data))
    }

    /// Takes over a snapshot of the current term's leader (Figure 13, receiver implementation, 5 to
    /// 8), unless all that it covers is committed here anyway: then it is old news.
    pub(super) fn install(&mut self, Snapshot { last, data }: Snapshot) {
        if last.index > self.commit_index {
            self.log.begin_after(last);
            self.commit_index = last.index;
            self.replace_snapshot(data);
        }
    }

    fn replace_snapshot(&mut self, data: SnapshotData) -> WriteId {
        self.snapshot = data;
        self.durability.save_snapshot(self.snapshot())
    }

    /// The snapshot that the log follows.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { last: self.log.base(), data: Arc::clone(&self.snapshot) }
    }

    /// Only servers of the cluster, and only others, may speak to this one.
    pub(super) fn check_sender(&self, input: &Input) {
        let Some(from) = input.from() else { return };
        assert!(
            from < self.servers && from != self.me,
            "S{} got a message from S{from}, no other server of its cluster of {}",
            self.me,
            self.servers
        );
        if let Input::Request { request, .. } = input {
            assert_eq!(from, request.sender(), "a request names its sender");
        }
    }

    /// What this server says of itself when it asks for votes.
    pub(super) fn vote_request(&self, term: Term, leadership_transfer: bool) -> RequestVoteArgs {
        let LogPosition { term: last_log_term, index: last_log_index } = self.log.last();
        let candidate_id = self.me;
        RequestVoteArgs { term, candidate_id, last_log_index, last_log_term, leadership_transfer }
    }

    /// Gives the others a new, random time to be heard from (section 5.2).
    pub(super) fn restart_election_timer(&mut self, moment: Moment) {
        let timeout = self.config.draw_election_timeout(moment.jitter);
        self.deadline = moment.now.saturating_add(timeout);
    }

    /// All servers but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = ServerId> + use<> {
        let me = self.me;
        (0..self.servers).filter(move |other| *other != me)
    }

    /// The last call that was issued.
    pub(super) fn last_call(&self) -> CallId {
        CallId(self.calls)
    }

    pub(super) fn next_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    /// Asks all other servers the same.
    pub(super) fn call_all(&mut self, request: &Request) {
        for to in self.others() {
            let call = self.next_call();
            self.durability.send(Effect::Call { to, call, request: request.clone() });
        }
    }

    /// Ends a step.
    pub(super) fn flush(&mut self, effects: &mut Vec<Effect>) {
        self.durability.flush(&self.log, effects);
    }

    pub(super) fn answer(&mut self, id: RequestId, reply: Reply) {
        self.durability.send(Effect::Answer { id, reply });
    }
}

/// Tells whether a server of that cluster can have left that state.
fn check_restored(
    me: ServerId,
    servers: usize,
    HardState { current_term, voted_for }: HardState,
    last_log: LogPosition,
) -> Result<(), ConfigError> {
    if me >= servers {
        return Err(ConfigError::NotInCluster { server: me, servers });
    }
    if let Some(voted_for) = voted_for.filter(|voted_for| *voted_for >= servers) {
        return Err(ConfigError::VoteOutsideCluster { voted_for, servers });
    }
    if last_log.term > current_term {
        return Err(ConfigError::LogAheadOfTerm { last_log, current_term });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_disk(
        me: ServerId,
        voted_for: Option<ServerId>,
        log_term: Term,
    ) -> Result<(), ConfigError> {
        let hard_state = HardState { current_term: 4, voted_for };
        check_restored(me, 3, hard_state, LogPosition { term: log_term, index: 9 })
    }

    #[test]
    fn a_disk_of_this_cluster_is_taken_up() {
        assert_eq!(check_disk(2, Some(2), 4), Ok(()));
    }

    #[test]
    fn a_server_outside_the_cluster_is_refused() {
        let error = ConfigError::NotInCluster { server: 3, servers: 3 };
        assert_eq!(check_disk(3, None, 4), Err(error));
    }

    #[test]
    fn a_vote_outside_the_cluster_is_refused() {
        let error = ConfigError::VoteOutsideCluster { voted_for: 3, servers: 3 };
        assert_eq!(check_disk(0, Some(3), 4), Err(error));
    }

    #[test]
    fn a_log_ahead_of_the_term_is_refused() {
        let last_log = LogPosition { term: 5, index: 9 };
        let error = ConfigError::LogAheadOfTerm { last_log, current_term: 4 };
        assert_eq!(check_disk(0, None, 5), Err(error));
    }
}
