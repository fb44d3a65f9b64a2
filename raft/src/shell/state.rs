//! What the lock protects: the core, and what its effects still wait for.

use std::collections::BTreeMap;

use labrt::channel::Sender;
use labrt::trace;

use crate::core::{
    Effect, HardState, Input, Moment, Node, Reply, Request, RequestId, RoleKind, ServerId, Term,
    WriteId,
};

pub(super) struct State {
    pub(super) node: Node,
    /// The handlers that wait for an answer. A handler learns that none will come from the end of
    /// its channel.
    waiting: BTreeMap<RequestId, Sender<Reply>>,
    requests: u64,
    /// The newest state that the disk writer has not taken yet.
    unwritten: Option<(WriteId, HardState)>,
    killed: bool,
}

/// What is left to do after a step, once the lock is released.
#[derive(Default)]
pub(super) struct ToDo {
    pub(super) calls: Vec<(ServerId, Request)>,
    /// The deadline moved to an earlier time than the ticker may know of.
    pub(super) wake_ticker: bool,
    pub(super) wake_writer: bool,
}

impl State {
    pub(super) fn new(node: Node) -> Self {
        Self { node, waiting: BTreeMap::new(), requests: 0, unwritten: None, killed: false }
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed
    }

    /// From now on there are no more steps, and nobody gets an answer.
    pub(super) fn kill(&mut self) {
        self.killed = true;
        self.waiting.clear();
    }

    /// Has `handler` get the core's answer to the request that is given this id.
    pub(super) fn expect_answer(&mut self, handler: Sender<Reply>) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.waiting.insert(id, handler);
        id
    }

    /// The newest state to be written, if there is one. It stands for all those before it.
    pub(super) fn take_unwritten(&mut self) -> Option<(WriteId, HardState)> {
        self.unwritten.take()
    }

    /// Gives the core one input, and does at once what takes no time.
    pub(super) fn step(&mut self, moment: Moment, input: Input) -> ToDo {
        let before = View::of(&self.node);
        let deadline = self.node.next_deadline();
        let mut effects = Vec::new();
        self.node.step(moment, input, &mut effects);
        View::of(&self.node).tell_changes(&before);

        let mut todo = ToDo::default();
        for effect in effects {
            self.carry_out(effect, &mut todo);
        }
        todo.wake_ticker = self.node.next_deadline() < deadline;
        todo
    }

    fn carry_out(&mut self, effect: Effect, todo: &mut ToDo) {
        match effect {
            Effect::Call { to, request } => todo.calls.push((to, request)),
            Effect::Answer { id, reply } => self.answer(id, reply),
            Effect::Persist { write, hard_state } => {
                self.unwritten = Some((write, hard_state));
                todo.wake_writer = true;
            }
        }
    }

    /// The channel has room for the one answer it is there for, so this does not block.
    fn answer(&mut self, id: RequestId, reply: Reply) {
        let handler = self.waiting.remove(&id);
        let handler = handler.expect("the core answers each request once");
        // A handler that is gone needs no answer.
        let _ = handler.try_send(reply);
    }
}

/// What a log wants to know of a server.
#[derive(Clone, Copy)]
pub(super) struct View {
    me: ServerId,
    term: Term,
    role: RoleKind,
    voted_for: Option<ServerId>,
    leader: Option<ServerId>,
}

impl View {
    pub(super) fn of(node: &Node) -> Self {
        Self {
            me: node.id(),
            term: node.current_term(),
            role: node.role(),
            voted_for: node.voted_for(),
            leader: node.leader(),
        }
    }

    /// Says what a server is that has just started.
    pub(super) fn tell_start(&self) {
        let Self { me, term, role, voted_for, .. } = *self;
        trace::role(me, term, role.name());
        log::debug!(target: "election", "starts as {role} in term {term}, vote: {voted_for:?}");
    }

    /// Says what is new since `before`.
    fn tell_changes(&self, before: &Self) {
        let Self { me, term, role, voted_for, leader } = *self;
        if (term, role) != (before.term, before.role) {
            trace::role(me, term, role.name());
            let (was, old_term) = (before.role, before.term);
            log::debug!(target: "election", "{role} in term {term}, was {was} in term {old_term}");
        }
        if let Some(candidate) = changed_to_another(me, before.voted_for, voted_for) {
            log::debug!(target: "election", "votes for S{candidate} in term {term}");
        }
        if let Some(leader) = changed_to_another(me, before.leader, leader) {
            log::debug!(target: "election", "follows S{leader}, the leader of term {term}");
        }
    }
}

/// The server that `now` names if `before` did not, and if it is not `me`: what a server does for
/// itself its role tells.
fn changed_to_another(
    me: ServerId,
    before: Option<ServerId>,
    now: Option<ServerId>,
) -> Option<ServerId> {
    now.filter(|server| before != now && *server != me)
}
