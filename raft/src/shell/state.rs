//! What the lock protects: the core, and what its effects still wait for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use contract::{ApplyMsg, ReadIndexError, TransferError};
use labrpc::Responder;
use labrt::channel::{self, Receiver, Sender};
use labrt::trace;

use super::rpc::Call;
use super::writer::SizeLimit;
use crate::core::{
    Command, Effect, Index, Input, LogPosition, Moment, Node, Reply, Request, RequestId, RoleKind,
    ServerId, SnapshotData, Term, ToApply, Update, WriteId,
};

pub(super) struct State {
    pub(super) node: Node,
    /// The peers that wait for an answer. One that is dropped learns that none will come.
    waiting: BTreeMap<RequestId, Responder>,
    /// Who waits for a read, and learns from the end of the channel that no answer will come.
    reading: BTreeMap<RequestId, Sender<Option<Index>>>,
    /// Who waits for a transfer of leadership, likewise, to hear whether it came about.
    handing_over: BTreeMap<RequestId, Sender<bool>>,
    requests: u64,
    unwritten: Unwritten,
    /// Whether somebody is at the disk. Writes go there one after the other.
    writing: bool,
    /// When the ticker looks at the deadline next, if nobody wakes it earlier.
    ticker_looks: Duration,
    pub(super) size_limit: SizeLimit,
    /// The right to hand over what is committed, unless somebody is at it.
    handover: Option<Handover>,
    /// What the service had no room for: it is left to the applier.
    pub(super) held_up: Option<(Handover, ApplyMsg)>,
    /// Up to where the service has been told what to apply, or is being told just now.
    told: Index,
    /// What the last step wants done; empty between steps, and kept for its memory.
    effects: Vec<Effect>,
    /// What the core was after the last step.
    view: View,
    /// Ends when the server is killed.
    life: Option<Sender<Infallible>>,
}

/// What the disk writer has not taken yet, oldest first.
#[derive(Default)]
pub(super) struct Unwritten {
    pub(super) updates: Vec<Update>,
    /// The write that covers them all.
    pub(super) last: WriteId,
}

/// Whoever has this tells the service what to apply, and nobody else does.
pub(super) struct Handover {
    pub(super) apply: Sender<ApplyMsg>,
    last_applied: Index,
}

/// What is left to do after a step, once the lock is released.
#[derive(Default)]
pub(super) struct ToDo {
    pub(super) answers: Vec<(Responder, Reply)>,
    pub(super) calls: Vec<Call>,
    /// The deadline has come to be before the time at which the ticker looks.
    pub(super) wake_ticker: bool,
    pub(super) wake_writer: bool,
    /// There may be something to hand over to the service.
    pub(super) hand_over: bool,
}

impl State {
    /// With it comes what ends when the server is killed.
    pub(super) fn new(node: Node, apply: Sender<ApplyMsg>) -> (Self, Receiver<Infallible>) {
        let (life, death) = channel::bounded(0);
        let state = Self {
            waiting: BTreeMap::new(),
            reading: BTreeMap::new(),
            handing_over: BTreeMap::new(),
            requests: 0,
            unwritten: Unwritten::default(),
            writing: false,
            ticker_looks: Duration::ZERO,
            size_limit: SizeLimit::default(),
            handover: Some(Handover { apply, last_applied: node.snapshot().last.index }),
            held_up: None,
            told: node.snapshot().last.index,
            effects: Vec::new(),
            view: View::of(&node),
            life: Some(life),
            node,
        };
        (state, death)
    }

    pub(super) fn is_killed(&self) -> bool {
        self.life.is_none()
    }

    /// From now on there are no more steps, and nobody gets an answer.
    pub(super) fn kill(&mut self) {
        self.life = None;
        self.handover = None;
        self.held_up = None;
        self.waiting.clear();
        self.reading.clear();
        self.handing_over.clear();
    }

    /// All that is to be written, if there is something and nobody is writing. Whoever takes it
    /// writes it, and then says so ([`persisted`](Self::persisted)).
    pub(super) fn take_unwritten(&mut self) -> Option<Unwritten> {
        let is_taken = !self.writing && !self.unwritten.updates.is_empty();
        self.writing |= is_taken;
        is_taken.then(|| std::mem::take(&mut self.unwritten))
    }

    /// What was taken is durable. What came meanwhile is left to the writer.
    pub(super) fn persisted(&mut self, moment: Moment, write: WriteId) -> ToDo {
        self.writing = false;
        let mut todo = self.step(moment, Input::Persisted { write });
        todo.wake_writer = !self.unwritten.updates.is_empty();
        todo
    }

    /// The right to hand over to the service, if nobody has it and there is something to hand over.
    pub(super) fn take_handover(&mut self) -> Option<(Handover, ToApply)> {
        let handover = self.handover.take()?;
        self.next_to_apply(handover)
    }

    /// What the service is to be told next, for whoever has the right to do so. If there is
    /// nothing, the right is given back.
    pub(super) fn next_to_apply(&mut self, mut handover: Handover) -> Option<(Handover, ToApply)> {
        if self.is_killed() {
            return None;
        }
        match self.node.next_to_apply(handover.last_applied) {
            Some(next) => {
                self.told = next.last_index();
                handover.last_applied = self.told;
                Some((handover, next))
            }
            None => {
                self.handover = Some(handover);
                None
            }
        }
    }

    /// The core's deadline, for the ticker: it looks again then, or when it is woken.
    pub(super) fn deadline_for_ticker(&mut self) -> Duration {
        self.ticker_looks = self.node.next_deadline();
        self.ticker_looks
    }

    /// Whether the ticker has to be woken for the deadline; who asks wakes it. With every message
    /// the deadline moves, mostly on, and the ticker may sleep: it looks when the old one has come.
    fn has_to_wake_ticker(&mut self) -> bool {
        let deadline = self.node.next_deadline();
        let needed = deadline < self.ticker_looks;
        self.ticker_looks = self.ticker_looks.min(deadline);
        needed
    }

    /// Gives the core one input, and does at once what takes no time.
    pub(super) fn step(&mut self, moment: Moment, input: Input) -> ToDo {
        self.node.step(moment, input, &mut self.effects);
        self.finish()
    }

    /// Has the core append a command, if it leads.
    pub(super) fn propose(&mut self, command: Command) -> (Option<LogPosition>, ToDo) {
        let position = self.node.propose(command, &mut self.effects);
        (position, self.finish())
    }

    /// Has the core forget what a snapshot of the service covers. Tells the write that makes it
    /// durable, if there is anything to write.
    pub(super) fn compact(
        &mut self,
        index: Index,
        snapshot: SnapshotData,
    ) -> (Option<WriteId>, ToDo) {
        assert!(
            index <= self.told,
            "a snapshot up to {index} is the caller's mistake: it was told to apply up to {}",
            self.told
        );
        let write = self.node.compact(index, snapshot, &mut self.effects);
        (write, self.finish())
    }

    /// Gives the core a request. Most answers wait for no write, and then they are there at once;
    /// whether this one waits.
    pub(super) fn request(
        &mut self,
        moment: Moment,
        request: Request,
        responder: Responder,
    ) -> (bool, ToDo) {
        let (id, from) = (self.next_request(), request.sender());
        self.node.step(moment, Input::Request { from, id, request }, &mut self.effects);
        let answer = self.take_answer(id);
        let mut todo = self.finish();
        let waits = answer.is_none();
        match answer {
            Some(reply) => todo.answers.push((responder, reply)),
            None => drop(self.waiting.insert(id, responder)),
        }
        (waits, todo)
    }

    /// Has the core find out up to where a read sees all; it will come through the channel, or none
    /// if the server does not lead any more.
    pub(super) fn read_index(
        &mut self,
        moment: Moment,
    ) -> Result<(Receiver<Option<Index>>, ToDo), ReadIndexError> {
        let id = self.next_request();
        self.node.read_index(moment, id, &mut self.effects)?;
        let (reader, index) = channel::bounded(1);
        self.reading.insert(id, reader);
        Ok((index, self.finish()))
    }

    /// Has the core hand the leadership over; whether it did will come through the channel.
    pub(super) fn transfer_leadership(
        &mut self,
        moment: Moment,
        to: ServerId,
    ) -> Result<(Receiver<bool>, ToDo), TransferError> {
        let id = self.next_request();
        self.node.transfer_leadership(moment, to, id, &mut self.effects)?;
        let (waiter, ceased) = channel::bounded(1);
        self.handing_over.insert(id, waiter);
        Ok((ceased, self.finish()))
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn take_answer(&mut self, request: RequestId) -> Option<Reply> {
        let is_answer =
            |effect: &Effect| matches!(effect, Effect::Answer { id, .. } if *id == request);
        let position = self.effects.iter().position(is_answer)?;
        match self.effects.remove(position) {
            Effect::Answer { reply, .. } => Some(reply),
            _ => None,
        }
    }

    /// Does at once what takes no time, and returns the rest.
    fn finish(&mut self) -> ToDo {
        let after = View::of(&self.node);
        let before = std::mem::replace(&mut self.view, after);
        after.tell_changes(&before);
        let mut todo = ToDo {
            wake_ticker: self.has_to_wake_ticker(),
            hand_over: after.commit_index > before.commit_index,
            ..ToDo::default()
        };
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out(effect, &mut todo);
        }
        self.effects = effects;
        todo
    }

    fn carry_out(&mut self, effect: Effect, todo: &mut ToDo) {
        match effect {
            Effect::Call { to, call, request } => todo.calls.push(Call { to, call, request }),
            Effect::Answer { id, reply } => {
                todo.answers.push((take(&mut self.waiting, id), reply));
            }
            Effect::Read { id, index } => tell(&mut self.reading, id, index),
            Effect::Transfer { id, ceased } => tell(&mut self.handing_over, id, ceased),
            Effect::Persist { write, update } => {
                // A writer that has something to take needs no second call, and who is writing
                // looks again.
                todo.wake_writer |= !self.writing && self.unwritten.updates.is_empty();
                self.unwritten.updates.push(update);
                self.unwritten.last = write;
            }
        }
    }
}

/// The channel has room for the one answer it is there for, so this does not block.
fn tell<T>(waiting: &mut BTreeMap<RequestId, Sender<T>>, id: RequestId, answer: T) {
    // Whoever is gone needs no answer.
    let _ = take(waiting, id).try_send(answer);
}

fn take<T>(waiting: &mut BTreeMap<RequestId, T>, id: RequestId) -> T {
    waiting.remove(&id).expect("the core answers each request once")
}

/// What a log tells of a server, and what a step changes of that.
#[derive(Clone, Copy)]
pub(super) struct View {
    me: ServerId,
    term: Term,
    role: RoleKind,
    voted_for: Option<ServerId>,
    leader: Option<ServerId>,
    base: LogPosition,
    last_log: LogPosition,
    commit_index: Index,
}

impl View {
    pub(super) fn of(node: &Node) -> Self {
        Self {
            me: node.id(),
            term: node.current_term(),
            role: node.role(),
            voted_for: node.voted_for(),
            leader: node.leader(),
            base: node.log().base(),
            last_log: node.last_log(),
            commit_index: node.commit_index(),
        }
    }

    /// Says what a server is that has just started.
    pub(super) fn tell_start(&self) {
        let Self { me, term, role, voted_for, base, last_log, .. } = *self;
        trace::role(me, term, role.name());
        log::debug!(target: "election", "starts as {role} in term {term}, vote: {voted_for:?}");
        let (base, last) = (base.index, last_log.index);
        log::debug!(target: "persist", "finds a snapshot up to {base} and a log up to {last}");
    }

    /// Says what is new since `before`.
    fn tell_changes(&self, before: &Self) {
        let Self { me, term, role, voted_for, leader, .. } = *self;
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
        self.tell_log_changes(before);
    }

    fn tell_log_changes(&self, before: &Self) {
        let (last, before_last) = (self.last_log, before.last_log);
        if last != before_last {
            let (from, to) = (before_last.index, last.index);
            log::debug!(target: "replicate", "log ended at {from}, ends at {to}");
        }
        if self.base != before.base {
            log::debug!(target: "snapshot", "has a snapshot up to {}", self.base.index);
        }
        if self.commit_index != before.commit_index {
            log::debug!(target: "commit", "committed up to {}", self.commit_index);
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
