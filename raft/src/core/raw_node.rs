//! A server in a role that the compiler knows, and all changes of role there are.

use std::fmt;

use super::candidate::Candidate;
use super::follower::{Follower, Heard};
use super::leader::Leader;
use super::message::{
    AppendEntriesArgs, AppendEntriesReply, InstallSnapshotArgs, InstallSnapshotReply, Reply,
    Request, RequestVoteArgs, RequestVoteReply, ServerId, Term, TimeoutNowArgs, TimeoutNowReply,
};
use super::node::AnyNode;
use super::pre_candidate::PreCandidate;
use super::server::Server;
use super::step::{CallId, Input, Moment, RequestId};
use super::votes::Votes;

/// A server's role, for logs and for whoever has to know who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// Answers others, and waits.
    Follower,
    /// Asks whether an election would be of any use.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

impl RoleKind {
    /// Its name, as logs have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Follower => "follower",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        }
    }
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What differs from role to role. What a role does not mention, it ignores.
pub(super) trait Role: Sized {
    const KIND: RoleKind;

    /// Forgets, for storage, which role it is.
    fn wrap(node: RawNode<Self>) -> AnyNode;

    /// The deadline has passed.
    fn timed_out(node: RawNode<Self>, moment: Moment) -> AnyNode;

    /// What is left of the role when the server goes on as a follower, as by a vote it gives.
    fn into_follower(self, server: &mut Server, moment: Moment) -> Follower;

    /// The leader of the current term, where it is known.
    fn leader(&self, _server: &Server) -> Option<ServerId> {
        None
    }

    /// Whether the leader of the current term has been heard within the shortest election time-out.
    fn hears_leader(&self, _server: &Server, _moment: Moment) -> bool {
        false
    }

    /// More writes are durable than before.
    fn persisted(node: RawNode<Self>, _moment: Moment) -> AnyNode {
        node.wrap()
    }

    /// `from` would vote for this server, if it asked with `args`.
    fn pre_vote_granted(
        node: RawNode<Self>,
        _moment: Moment,
        _from: ServerId,
        _args: &RequestVoteArgs,
    ) -> AnyNode {
        node.wrap()
    }

    /// `from` voted for this server in `term`.
    fn vote_granted(node: RawNode<Self>, _moment: Moment, _from: ServerId, _term: Term) -> AnyNode {
        node.wrap()
    }

    /// `from` answered the AppendEntries of the current term.
    fn append_answered(
        node: RawNode<Self>,
        _moment: Moment,
        _from: ServerId,
        _call: CallId,
        _args: &AppendEntriesArgs,
        _reply: AppendEntriesReply,
    ) -> AnyNode {
        node.wrap()
    }

    /// `from` answered the InstallSnapshot of the current term: it has all up to that snapshot.
    fn snapshot_answered(
        node: RawNode<Self>,
        _moment: Moment,
        _from: ServerId,
        _call: CallId,
        _args: &InstallSnapshotArgs,
    ) -> AnyNode {
        node.wrap()
    }
}

/// The roles from which an election may be started: not a leader's, which steps down first.
pub(super) trait Campaigner: Role {}

/// A server in role `R`.
#[derive(Debug, Clone)]
pub(super) struct RawNode<R> {
    /// Boxed, for a step moves the node from one function to the next.
    pub(super) server: Box<Server>,
    pub(super) role: R,
}

impl RawNode<Follower> {
    /// Every incarnation of a server begins as a follower.
    pub(super) fn new(server: Server) -> Self {
        Self { server: Box::new(server), role: Follower::default() }
    }
}

/// The inputs.
impl<R: Role> RawNode<R> {
    pub(super) fn kind(&self) -> RoleKind {
        R::KIND
    }

    /// Handles one input. The first rule comes before all others: whoever hears of a newer term is
    /// a follower in it (Figure 2, rules for all servers). A vote that is ignored is not heard.
    pub(super) fn step(self, moment: Moment, input: Input) -> AnyNode {
        match input.term() {
            Some(term) if term > self.server.current_term() && !self.ignores(moment, &input) => {
                self.step_down(moment, term).handle(moment, input)
            }
            _ => self.handle(moment, input),
        }
    }

    fn ignores(&self, moment: Moment, input: &Input) -> bool {
        match input {
            Input::Request { request: Request::RequestVote(args), .. } => {
                self.is_content(moment, args)
            }
            _ => false,
        }
    }

    /// Whether there is a leader, and so no reason to vote for another, unless the leader itself
    /// wants that (dissertation, 4.2.3 and 3.10).
    fn is_content(&self, moment: Moment, args: &RequestVoteArgs) -> bool {
        self.server.config.check_quorum
            && !args.leadership_transfer
            && self.role.hears_leader(&self.server, moment)
    }

    fn handle(mut self, moment: Moment, input: Input) -> AnyNode {
        match input {
            Input::Tick if moment.now >= self.server.deadline => R::timed_out(self, moment),
            Input::Tick => self.wrap(),
            Input::Request { id, request, .. } => self.request(moment, id, request),
            Input::Reply { from, call, request, reply } => {
                self.reply(moment, from, call, &request, &reply)
            }
            Input::Persisted { write } => {
                self.server.durability.persisted(write);
                R::persisted(self, moment)
            }
        }
    }

    fn request(self, moment: Moment, id: RequestId, request: Request) -> AnyNode {
        match request {
            Request::PreVote(args) => self.pre_vote(moment, id, &args),
            Request::RequestVote(args) => self.request_vote(moment, id, &args),
            Request::AppendEntries(args) => self.append_entries(moment, id, args),
            Request::InstallSnapshot(args) => self.install_snapshot(moment, id, args),
            Request::TimeoutNow(args) => self.timeout_now(moment, id, args),
        }
    }

    fn reply(
        self,
        moment: Moment,
        from: ServerId,
        call: CallId,
        request: &Request,
        reply: &Reply,
    ) -> AnyNode {
        match (request, reply) {
            (Request::PreVote(args), Reply::PreVote(reply)) if reply.vote_granted => {
                R::pre_vote_granted(self, moment, from, args)
            }
            (Request::RequestVote(args), Reply::RequestVote(reply)) if reply.vote_granted => {
                R::vote_granted(self, moment, from, args.term)
            }
            (Request::AppendEntries(args), Reply::AppendEntries(reply))
                if args.term == self.server.current_term() =>
            {
                R::append_answered(self, moment, from, call, args, *reply)
            }
            (Request::InstallSnapshot(args), Reply::InstallSnapshot(_))
                if args.term == self.server.current_term() =>
            {
                R::snapshot_answered(self, moment, from, call, args)
            }
            // A refusal says no more than its term, which is dealt with; and what a leader of an
            // older term was told means nothing now.
            (Request::PreVote(_), Reply::PreVote(_))
            | (Request::RequestVote(_), Reply::RequestVote(_))
            | (Request::AppendEntries(_), Reply::AppendEntries(_))
            | (Request::InstallSnapshot(_), Reply::InstallSnapshot(_))
            | (Request::TimeoutNow(_), Reply::TimeoutNow(_)) => self.wrap(),
            _ => panic!("{reply:?} is no answer to {request:?}: an RPC's reply is of its kind"),
        }
    }

    /// Answers what it would do if it were asked in earnest, and changes nothing at all.
    fn pre_vote(mut self, moment: Moment, id: RequestId, args: &RequestVoteArgs) -> AnyNode {
        let server = &mut self.server;
        let term = server.current_term();
        let vote_granted = args.term > term
            && args.last_log() >= server.log.last()
            && !self.role.hears_leader(server, moment);
        server.answer(id, Reply::PreVote(RequestVoteReply { term, vote_granted }));
        self.wrap()
    }

    fn request_vote(mut self, moment: Moment, id: RequestId, args: &RequestVoteArgs) -> AnyNode {
        let is_content = self.is_content(moment, args);
        let server = &mut self.server;
        let term = server.current_term();
        let vote_granted = !is_content && server.may_vote(args);
        // A request that comes twice is granted twice, but the timer ran from the first time on.
        let first = vote_granted && server.voted_for().is_none();
        if first {
            server.vote_for(args.candidate_id);
            server.restart_election_timer(moment);
        }
        server.answer(id, Reply::RequestVote(RequestVoteReply { term, vote_granted }));
        if first { self.follow(moment).wrap() } else { self.wrap() }
    }

    fn append_entries(mut self, moment: Moment, id: RequestId, args: AppendEntriesArgs) -> AnyNode {
        let term = self.server.current_term();
        if args.term < term {
            let reply = AppendEntriesReply { term, success: false, conflict: None };
            self.server.answer(id, Reply::AppendEntries(reply));
            return self.wrap();
        }
        // Whoever leads the term is heard, whether the logs agree or not.
        let RawNode { mut server, role } = self.follow_leader(moment, args.leader_id);
        server.restart_election_timer(moment);
        let conflict = server.merge(args).err();
        let reply = AppendEntriesReply { term, success: conflict.is_none(), conflict };
        server.answer(id, Reply::AppendEntries(reply));
        RawNode { server, role }.wrap()
    }

    fn install_snapshot(
        mut self,
        moment: Moment,
        id: RequestId,
        args: InstallSnapshotArgs,
    ) -> AnyNode {
        let reply =
            Reply::InstallSnapshot(InstallSnapshotReply { term: self.server.current_term() });
        if args.term < self.server.current_term() {
            self.server.answer(id, reply);
            return self.wrap();
        }
        let RawNode { mut server, role } = self.follow_leader(moment, args.leader_id);
        server.restart_election_timer(moment);
        server.install(args.into_snapshot());
        server.answer(id, reply);
        RawNode { server, role }.wrap()
    }
}

/// A leader hands over.
impl<R: Role> RawNode<R> {
    /// The leader of the term wants this server in its place. It has seen to it that this one has
    /// all of its log; so nobody need be asked first.
    fn timeout_now(mut self, moment: Moment, id: RequestId, args: TimeoutNowArgs) -> AnyNode {
        let term = self.server.current_term();
        self.server.answer(id, Reply::TimeoutNow(TimeoutNowReply { term }));
        if args.term < term {
            return self.wrap();
        }
        self.follow_leader(moment, args.leader_id).start_election(moment, true).wrap()
    }
}

/// The changes of role. `with_role` is private to this file: there are no others.
impl<R: Role> RawNode<R> {
    /// To the store of all roles.
    pub(super) fn wrap(self) -> AnyNode {
        R::wrap(self)
    }

    fn with_role<T>(self, role: T) -> RawNode<T> {
        RawNode { server: self.server, role }
    }

    /// Any role to follower, in the same term.
    pub(super) fn follow(mut self, moment: Moment) -> RawNode<Follower> {
        let role = self.role.into_follower(&mut self.server, moment);
        RawNode { server: self.server, role }
    }

    /// Any role to follower, in a term that another server has reached.
    fn step_down(mut self, moment: Moment, term: Term) -> RawNode<Follower> {
        self.server.enter_term(term);
        let server = self.follow(moment).server;
        RawNode { server, role: Follower::default() }
    }

    /// Any role to follower of the current term's leader; but not a leader's.
    fn follow_leader(self, moment: Moment, leader: ServerId) -> RawNode<Follower> {
        let known = self.role.leader(&self.server);
        assert!(
            known.is_none_or(|known| known == leader),
            "two leaders in term {}: S{leader} and S{}",
            self.server.current_term(),
            known.unwrap_or(leader),
        );
        self.with_role(Follower { heard: Some(Heard { leader, at: moment.now }) })
    }
}

impl<R: Campaigner> RawNode<R> {
    /// No leader was heard in time, or no election decided: try to become the leader.
    pub(super) fn campaign(self, moment: Moment) -> AnyNode {
        if self.server.config.pre_vote {
            self.start_pre_vote(moment)
        } else {
            self.start_election(moment, false).wrap()
        }
    }

    /// Asks first whether an election could be won, in the term it would be held in.
    fn start_pre_vote(mut self, moment: Moment) -> AnyNode {
        let server = &mut self.server;
        server.restart_election_timer(moment);
        let args = server.vote_request(server.current_term() + 1, false);
        server.call_all(&Request::PreVote(args.clone()));

        // Its own pre-vote promises nothing, so it counts at once.
        let mut votes = Votes::default();
        let enough = votes.count(server.me, server.quorum());
        let node = self.with_role(PreCandidate { args, votes });
        if enough { node.start_election(moment, false).wrap() } else { node.wrap() }
    }

    /// Figure 2, rules for candidates: on conversion to candidate, start election. It may be that
    /// the leader itself wants it.
    pub(super) fn start_election(
        mut self,
        moment: Moment,
        leadership_transfer: bool,
    ) -> RawNode<Candidate> {
        let server = &mut self.server;
        server.enter_term(server.current_term() + 1);
        let own_vote = server.vote_for(server.me);
        server.restart_election_timer(moment);
        let args = server.vote_request(server.current_term(), leadership_transfer);
        server.call_all(&Request::RequestVote(args));
        self.with_role(Candidate::new(own_vote))
    }
}

impl RawNode<Candidate> {
    /// Candidate to leader, by the votes of a majority.
    pub(super) fn lead(self, moment: Moment) -> RawNode<Leader> {
        assert!(
            self.server.durability.is_durable(self.role.own_vote),
            "nobody is asked for a vote, and so nobody wins, before the own vote is durable"
        );
        let leader = Leader::new(&self.server, moment.now);
        self.with_role(leader)
    }
}
