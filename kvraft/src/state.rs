//! What a server's lock protects: its copy of the replicated state, and who waits for what.
//!
//! Nothing in here blocks. Each method does its part, puts replies into the outbox, and says what
//! the thread is to do once the lock is released.

use std::convert::Infallible;

use contract::{Index, ReadIndexError, Term};
use labrt::channel::Sender;

use crate::entry::{Entry, Tag};
use crate::in_flight::{InFlight, Offer};
use crate::machine::StateMachine;
use crate::reads::Reads;
use crate::replica::Replica;
use crate::sessions::{Outcome, RequestId};
use crate::waiting::{Outbox, Reader, Tick, Waiter};
use crate::wire::{Reply, ReplyOf};

/// After so many looks of the watcher, whoever waits since before them is told to try elsewhere.
const PATIENCE_TICKS: Tick = 10;

pub(crate) struct State<S: StateMachine> {
    me: usize,
    replica: Replica<S>,
    in_flight: InFlight<S>,
    reads: Reads<S>,
    /// Who proposed the last entry that was applied: who leads, most of the time.
    leader: Option<usize>,
    tick: Tick,
    /// Ends when the server is killed.
    life: Option<Sender<Infallible>>,
}

/// What a thread does next, after it has left the lock.
pub(crate) enum Next {
    /// It waits for its reply, if it has a request.
    Wait,
    /// It first offers this to Raft.
    Offer(Offer),
    /// It first asks Raft to confirm that it leads.
    Confirm,
}

impl<S: StateMachine> State<S> {
    pub(crate) fn new(
        me: usize,
        replica: Replica<S>,
        first_tag: Tag,
        life: Sender<Infallible>,
    ) -> Self {
        Self {
            me,
            replica,
            in_flight: InFlight::new(me, first_tag),
            reads: Reads::new(),
            leader: None,
            tick: 0,
            life: Some(life),
        }
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.life.is_none()
    }

    pub(crate) fn replica(&self) -> &Replica<S> {
        &self.replica
    }

    /// Whether nobody waits here for anything, and nothing is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.reads.is_empty()
    }

    /// An operation from a client: it is added to those that are to be proposed, unless its outcome
    /// is known or it is under way.
    pub(crate) fn submit(
        &mut self,
        operation: &[u8],
        id: Option<RequestId>,
        to: Sender<ReplyOf<S>>,
        outbox: &mut Outbox<S>,
    ) -> Next {
        let waiter = self.waiter(to);
        if self.is_killed() {
            outbox.put(waiter, self.not_here());
            return Next::Wait;
        }
        let Some(request) = id else {
            self.in_flight.gather(operation, None, waiter);
            return self.next();
        };
        if let Some(outcome) = self.replica.recall(request) {
            outbox.put(waiter, self.reply(outcome));
        } else if let Err(waiter) = self.in_flight.join(request, waiter) {
            self.in_flight.gather(operation, id, waiter);
        }
        self.next()
    }

    /// A query from a client.
    pub(crate) fn read(
        &mut self,
        query: S::Query,
        to: Sender<ReplyOf<S>>,
        outbox: &mut Outbox<S>,
    ) -> Next {
        let waiter = self.waiter(to);
        if self.is_killed() {
            outbox.put(waiter, self.not_here());
            return Next::Wait;
        }
        let reader = Reader { query, waiter };
        if self.reads.supported {
            self.reads.gather(reader);
        } else {
            self.in_flight.gather_reader(reader);
        }
        self.next()
    }

    /// What is to be done now, unless another thread is at it.
    pub(crate) fn next(&mut self) -> Next {
        match self.in_flight.take() {
            Some(offer) => Next::Offer(offer),
            None if self.reads.begin() => Next::Confirm,
            None => Next::Wait,
        }
    }

    /// Raft was offered a batch, and has put it somewhere or does not lead.
    pub(crate) fn offered(
        &mut self,
        tag: Tag,
        started: Option<(Index, Term)>,
        outbox: &mut Outbox<S>,
    ) {
        let mut lost = Vec::new();
        self.in_flight.offered(tag, started, self.replica.applied(), &mut lost);
        self.refuse(lost, outbox);
    }

    /// Raft was asked to confirm that it leads, and has an index or a reason.
    pub(crate) fn confirmed(
        &mut self,
        index: Result<Index, ReadIndexError>,
        outbox: &mut Outbox<S>,
    ) {
        let readers = self.reads.end();
        match index {
            Ok(index) if index <= self.replica.applied() => self.answer(readers, outbox),
            Ok(index) => self.reads.wait_for(index, readers),
            Err(ReadIndexError::NotLeader) => {
                self.refuse(readers.into_iter().map(|reader| reader.waiter), outbox);
            }
            Err(ReadIndexError::NotReady) => self.read_through_log(readers),
            Err(ReadIndexError::Unsupported) => {
                self.read_through_log(readers);
                let others = self.reads.give_up();
                self.read_through_log(others);
            }
        }
    }

    fn read_through_log(&mut self, readers: Vec<Reader<S>>) {
        readers.into_iter().for_each(|reader| self.in_flight.gather_reader(reader));
    }

    /// An entry is committed.
    pub(crate) fn apply(&mut self, index: Index, entry: Entry<S::Command>, outbox: &mut Outbox<S>) {
        self.replica.advance(index);
        self.leader = Some(entry.server);
        let tag = (entry.server == self.me).then_some(entry.tag);
        let mut lost = Vec::new();
        let batch = self.in_flight.applied(index, tag, &mut lost);
        let outcomes = entry.operations.into_iter().map(|operation| self.replica.apply(operation));
        if let Some(batch) = batch {
            let outcomes: Vec<_> = outcomes.collect();
            for (operation, waiter) in batch.waiters {
                outbox.put(waiter, self.reply(outcomes[operation].clone()));
            }
            self.answer(batch.readers, outbox);
        } else {
            outcomes.for_each(drop);
        }
        self.refuse(lost, outbox);
        self.answer_reads(outbox);
    }

    /// An entry without a command is committed.
    pub(crate) fn skip(&mut self, index: Index, outbox: &mut Outbox<S>) {
        self.replica.advance(index);
        self.overtake(index, outbox);
    }

    /// A leader has sent a snapshot; one that shows nothing new changes nothing.
    pub(crate) fn install(&mut self, replica: Replica<S>, outbox: &mut Outbox<S>) {
        let index = replica.applied();
        if index > self.replica.applied() {
            self.replica = replica;
            self.overtake(index, outbox);
        }
    }

    /// Nobody here knows what became of entries up to `index` that are not applied one by one. A
    /// client that asks again finds it in the table.
    fn overtake(&mut self, index: Index, outbox: &mut Outbox<S>) {
        let mut lost = Vec::new();
        self.in_flight.applied(index, None, &mut lost);
        self.refuse(lost, outbox);
        self.answer_reads(outbox);
    }

    fn answer_reads(&mut self, outbox: &mut Outbox<S>) {
        let readers = self.reads.take_up_to(self.replica.applied());
        self.answer(readers, outbox);
    }

    fn answer(&self, readers: Vec<Reader<S>>, outbox: &mut Outbox<S>) {
        for Reader { query, waiter } in readers {
            outbox.put(waiter, Reply::Answer(self.replica.query(&query)));
        }
    }

    /// The watcher has looked: whoever waits in vain, or for too long, is told.
    pub(crate) fn check(&mut self, term: Term, leads: bool, outbox: &mut Outbox<S>) {
        self.tick += 1;
        let mut lost = Vec::new();
        self.in_flight.check(term, leads, &mut lost);
        let oldest = self.tick.saturating_sub(PATIENCE_TICKS);
        self.in_flight.release_since(oldest, &mut lost);
        self.reads.release_since(oldest, &mut lost);
        self.refuse(lost, outbox);
    }

    /// From now on nobody gets an answer, and those who wait are told.
    pub(crate) fn kill(&mut self, outbox: &mut Outbox<S>) {
        self.life = None;
        let mut lost = Vec::new();
        self.in_flight.clear(&mut lost);
        self.reads.release_since(Tick::MAX, &mut lost);
        self.refuse(lost, outbox);
    }

    fn waiter(&self, to: Sender<ReplyOf<S>>) -> Waiter<S> {
        Waiter { to, since: self.tick }
    }

    fn refuse(&self, waiters: impl IntoIterator<Item = Waiter<S>>, outbox: &mut Outbox<S>) {
        waiters.into_iter().for_each(|waiter| outbox.put(waiter, self.not_here()));
    }

    fn reply(&self, outcome: Outcome<S::Response>) -> ReplyOf<S> {
        match outcome {
            Outcome::Opened(session) => Reply::Opened(session),
            Outcome::Done(response) => Reply::Done(response),
            Outcome::Closed => Reply::Closed,
            Outcome::Ended => Reply::SessionEnded,
            // Nobody waits for it.
            Outcome::Superseded => self.not_here(),
        }
    }

    fn not_here(&self) -> ReplyOf<S> {
        Reply::NotHere { server: self.me, leader: self.leader.filter(|&leader| leader != self.me) }
    }
}
