//! Sees everything, forgets nothing, and knows what must never happen.

use std::collections::BTreeMap;

use raft::core::{
    AppendEntriesArgs, AppendEntriesReply, Entry, HardState, Index, Log, LogPosition, LogUpdate,
    Node, PersistentState, Reply, Request, ServerId, SnapshotData, Term,
};

use super::service::Service;

#[derive(Default)]
pub(crate) struct Oracle {
    leaders: BTreeMap<Term, ServerId>,
    /// Whom each server told, in each term, that it has its vote.
    votes: BTreeMap<(ServerId, Term), ServerId>,
    /// Every entry that any server ever had, with the term of the one before it.
    entries: BTreeMap<(Index, Term), (Entry, Term)>,
    /// Entries 1, 2, ... as somebody committed them.
    committed: Vec<Entry>,
    /// What a service is that has applied the first n entries, as the first one was that had.
    services: Vec<Service>,
    pub(crate) rejections: u64,
    pub(crate) replaced: u64,
}

/// A server before a step, as far as it matters.
pub(crate) struct Before {
    term: Term,
    commit_index: Index,
    base: LogPosition,
    last_log: LogPosition,
    is_leader: bool,
}

impl Before {
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            term: node.current_term(),
            commit_index: node.commit_index(),
            base: node.log().base(),
            last_log: node.last_log(),
            is_leader: node.is_leader(),
        }
    }
}

impl Oracle {
    pub(crate) fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    pub(crate) fn commits(&self) -> u64 {
        self.committed.len() as u64
    }

    /// A server after a step.
    pub(crate) fn observe(&mut self, before: &Before, node: &Node, durable: HardState) {
        let (id, term) = (node.id(), node.current_term());
        assert!(term >= before.term, "the term of S{id} went back");
        assert!(node.commit_index() >= before.commit_index, "S{id} takes a commit back");
        let base = node.log().base();
        assert!(base.index >= before.base.index, "S{id} goes back to an older snapshot");
        assert!(base.index <= node.commit_index(), "S{id} compacted what is not committed");
        if node.is_leader() {
            self.observe_leader(node, durable);
            if before.is_leader && before.term == term {
                let kept = has(node.log(), before.last_log);
                assert!(kept, "S{id}, a leader, deletes entries of its own log");
            }
        }
    }

    /// Election Safety: at most one leader in a term. Leader Completeness: it has all that has been
    /// committed before its term.
    fn observe_leader(&mut self, node: &Node, durable: HardState) {
        let (id, term) = (node.id(), node.current_term());
        let is_new = !self.leaders.contains_key(&term);
        let leader = *self.leaders.entry(term).or_insert(id);
        assert_eq!(leader, id, "two leaders in term {term}");
        let own_vote = HardState { current_term: term, voted_for: Some(id) };
        assert_eq!(durable, own_vote, "S{id} leads by a vote that a crash would undo");
        if is_new {
            for (index, entry) in (1..).zip(&self.committed) {
                check_leader_has(node, index, entry);
            }
        }
    }

    /// A server's log changes. Log Matching: two entries of the same index and term are the same,
    /// and so are those before them, in all logs there ever were.
    pub(crate) fn log_changes(&mut self, node: &Node, update: &LogUpdate) {
        let mut prev_term = node.log().term_at(update.after).expect("a log has no gaps");
        for (index, entry) in (update.after + 1..).zip(&update.entries) {
            let first = (entry.clone(), prev_term);
            let known = self.entries.entry((index, entry.term)).or_insert(first);
            let matches = known.0 == *entry && known.1 == prev_term;
            assert!(
                matches,
                "the entry at {index} of term {} is not the same in all logs",
                entry.term
            );
            prev_term = entry.term;
        }
    }

    /// A server commits up to an index. State Machine Safety: nobody ever committed another entry
    /// there. And what is committed survives any minority's crash: it is on a majority of disks.
    pub(crate) fn commits_up_to(&mut self, node: &Node, disks: &[&PersistentState]) {
        let base = node.log().base().index;
        for (index, entry) in (base + 1..=node.commit_index()).zip(node.log().after(base)) {
            match self.committed.get(index as usize - 1) {
                Some(first) => assert_eq!(entry, first, "two entries are committed at {index}"),
                None => {
                    let position = LogPosition { term: entry.term, index };
                    let copies = disks.iter().filter(|disk| has(&disk.log, position)).count();
                    assert!(
                        2 * copies > disks.len(),
                        "the entry at {index} is committed, but only {copies} disks have it"
                    );
                    self.committed.push(entry.clone());
                }
            }
        }
    }

    /// A service has applied something, or restored itself. State Machine Safety across snapshots:
    /// whichever way it came there, it is what all others are who have applied as much.
    pub(crate) fn applies(&mut self, id: ServerId, service: &Service) {
        let applied = service.applied() as usize;
        if self.services.is_empty() {
            self.services.push(Service::default());
        }
        match self.services.get(applied) {
            Some(first) => assert_eq!(service, first, "S{id} is not what others were there"),
            None => {
                assert_eq!(applied, self.services.len(), "S{id} has what nobody has applied");
                self.services.push(*service);
            }
        }
    }

    /// The snapshot of any service that has applied so much.
    pub(crate) fn snapshot_at(&self, index: Index) -> SnapshotData {
        self.services[index as usize].to_snapshot()
    }

    /// Leader Completeness, for a leader that was elected before the commit was noticed.
    pub(crate) fn check_leader(&self, committer: &Node, leader: &Node) {
        if leader.is_leader() && leader.current_term() >= committer.current_term() {
            let index = committer.commit_index();
            check_leader_has(leader, index, &self.committed[index as usize - 1]);
        }
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
            Request::InstallSnapshot(args) => {
                check_term(id, args.term, durable);
                let expected = self.snapshot_at(args.last_included_index);
                assert_eq!(args.data, expected, "S{id} sends a snapshot of another index");
            }
        }
    }

    /// A reply leaves a server with this on its disk.
    pub(crate) fn reply_leaves(
        &mut self,
        node: &Node,
        request: &Request,
        reply: &Reply,
        durable: &PersistentState,
    ) {
        let (id, hard_state) = (node.id(), durable.hard_state);
        match (request, reply) {
            (Request::RequestVote(args), Reply::RequestVote(reply)) => {
                check_term(id, reply.term, hard_state);
                if reply.vote_granted {
                    assert_eq!(reply.term, args.term, "a vote is given in the candidate's term");
                    self.vote(id, reply.term, args.candidate_id, hard_state);
                }
            }
            (Request::PreVote(_), Reply::PreVote(reply)) => check_term(id, reply.term, hard_state),
            (Request::AppendEntries(args), Reply::AppendEntries(reply)) => {
                check_term(id, reply.term, hard_state);
                self.rejections += u64::from(reply.conflict.is_some());
                check_stored(id, args, *reply, durable);
            }
            (Request::InstallSnapshot(args), Reply::InstallSnapshot(reply)) => {
                check_term(id, reply.term, hard_state);
                let (term, index) = (args.last_included_term, args.last_included_index);
                let is_stored = has(&durable.log, LogPosition { term, index });
                assert!(is_stored || reply.term > args.term, "S{id} has no snapshot up to {index}");
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

/// Whether a log has an entry, or a snapshot that covers it.
fn has(log: &Log, position: LogPosition) -> bool {
    position.index <= log.base().index || log.contains(position)
}

fn check_leader_has(leader: &Node, index: Index, entry: &Entry) {
    let (id, term) = (leader.id(), leader.current_term());
    let is_there = has(leader.log(), LogPosition { term: entry.term, index });
    assert!(is_there, "S{id} leads term {term} without the entry at {index}, which is committed");
}

/// No server speaks of a term that it might not know after a crash.
fn check_term(id: ServerId, term: Term, durable: HardState) {
    assert!(
        term <= durable.current_term,
        "S{id} speaks of term {term}, but has {} on its disk",
        durable.current_term
    );
}

/// No server says that it has stored what it might not have after a crash. (A leader of a newer
/// term may have replaced it meanwhile: then it cannot have been committed.)
fn check_stored(
    id: ServerId,
    args: &AppendEntriesArgs,
    reply: AppendEntriesReply,
    durable: &PersistentState,
) {
    if reply.success && durable.hard_state.current_term == reply.term {
        let last_term = args.entries.last().map_or(args.prev_log_term, |entry| entry.term);
        let last = LogPosition { term: last_term, index: args.last_index() };
        assert!(has(&durable.log, last), "S{id} says that it has {last:?}, but its disk has not");
    }
}
