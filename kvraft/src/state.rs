//! What a server's lock protects: its copy of the replicated state, and who waits for what.
//!
//! Nothing in here blocks. Each method does its part, puts replies into the outbox, and says what
//! the thread is to do once the lock is released.

use contract::{Index, ReadIndexError, Term};
use labrpc::Responder;

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
    is_killed: bool,
}

/// What a thread does next, after it has left the lock.
pub(crate) enum Next {
    /// Nothing.
    Rest,
    /// It offers this to Raft.
    Offer(Offer),
    /// It asks Raft to confirm that it leads.
    Confirm,
}

impl<S: StateMachine> State<S> {
    pub(crate) fn new(me: usize, replica: Replica<S>, first_tag: Tag) -> Self {
        Self {
            me,
            replica,
            in_flight: InFlight::new(me, first_tag),
            reads: Reads::new(),
            leader: None,
            tick: 0,
            is_killed: false,
        }
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed
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
        to: Responder,
        outbox: &mut Outbox<S>,
    ) -> Next {
        let waiter = self.waiter(to);
        if self.is_killed() {
            outbox.put(waiter, self.not_here());
            return Next::Rest;
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
    pub(crate) fn read(&mut self, query: S::Query, to: Responder, outbox: &mut Outbox<S>) -> Next {
        let waiter = self.waiter(to);
        if self.is_killed() {
            outbox.put(waiter, self.not_here());
            return Next::Rest;
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
            None => Next::Rest,
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
        self.is_killed = true;
        let mut lost = Vec::new();
        self.in_flight.clear(&mut lost);
        self.reads.release_since(Tick::MAX, &mut lost);
        self.refuse(lost, outbox);
    }

    fn waiter(&self, to: Responder) -> Waiter {
        Waiter { to, since: self.tick }
    }

    fn refuse(&self, waiters: impl IntoIterator<Item = Waiter>, outbox: &mut Outbox<S>) {
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

#[cfg(test)]
mod tests {
    use labrpc::RpcError;
    use labrt::channel::Receiver;

    use super::*;
    use crate::entry::{self, Operation};
    use crate::kv::{KvCommand, KvMap};
    use crate::sessions::SessionId;

    /// Where a client's reply arrives.
    struct Replies(Receiver<Result<Vec<u8>, RpcError>>);

    impl Replies {
        fn new() -> (Responder, Self) {
            let (responder, answer) = Responder::channel();
            (responder, Self(answer))
        }

        fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        fn take(&self) -> Option<ReplyOf<KvMap>> {
            let answer = self.0.try_recv().ok()?.expect("the call is carried out");
            Some(labgob::decode(&answer).expect("it is a reply"))
        }
    }

    const ME: usize = 1;

    fn not_here(leader: Option<usize>) -> ReplyOf<KvMap> {
        Reply::NotHere { server: ME, leader }
    }

    /// Server 1 without anybody else, and without threads: the tests do what those would.
    struct Alone {
        state: State<KvMap>,
    }

    impl Alone {
        /// With a session, number 1, opened by entry 1.
        fn new() -> Self {
            let mut alone = Self { state: State::new(ME, Replica::new(), 100) };
            let operations = vec![Operation::Open { max_sessions: 10 }];
            alone.apply(1, Entry { server: ME, tag: 0, operations });
            alone
        }

        fn step<T>(
            &mut self,
            change: impl FnOnce(&mut State<KvMap>, &mut Outbox<KvMap>) -> T,
        ) -> T {
            let mut outbox = Outbox::new();
            let result = change(&mut self.state, &mut outbox);
            outbox.send();
            result
        }

        /// A client sends the `sequence`-th append of session 1.
        fn append(&mut self, sequence: u64, value: &str) -> (Replies, Option<Offer>) {
            let (to, replies) = Replies::new();
            let id = RequestId { session: SessionId(1), sequence };
            let (key, value) = ("x".to_string(), value.to_string());
            let command = KvCommand::Append { key, value };
            let operation = entry::encode(&Operation::Command { id, command });
            let next = self.step(|state, outbox| state.submit(&operation, Some(id), to, outbox));
            (replies, offer(next))
        }

        fn read(&mut self) -> (Replies, Next) {
            let (to, replies) = Replies::new();
            let next = self.step(|state, outbox| state.read("x".to_string(), to, outbox));
            (replies, next)
        }

        fn offered(&mut self, tag: Tag, started: Option<(Index, Term)>) -> Option<Offer> {
            offer(self.step(|state, outbox| {
                state.offered(tag, started, outbox);
                state.next()
            }))
        }

        fn apply(&mut self, index: Index, entry: Entry<KvCommand>) {
            self.step(|state, outbox| state.apply(index, entry, outbox));
        }

        /// An entry of server 2 is applied.
        fn apply_other(&mut self, index: Index) {
            self.apply(index, Entry { server: 2, tag: 7, operations: Vec::new() });
        }

        fn check(&mut self, term: Term, leads: bool) {
            self.step(|state, outbox| state.check(term, leads, outbox));
        }
    }

    fn offer(next: Next) -> Option<Offer> {
        match next {
            Next::Offer(offer) => Some(offer),
            Next::Rest => None,
            Next::Confirm => panic!("no read by ReadIndex was to be made"),
        }
    }

    fn decoded(offer: &Offer) -> Entry<KvCommand> {
        Entry::decode(&offer.entry).expect("it was encoded here")
    }

    /// With an append in the log at index 2, of term 5.
    fn with_append_at_2() -> (Alone, Replies, Offer) {
        let mut alone = Alone::new();
        let (replies, offer) = alone.append(1, "a");
        let offer = offer.expect("nothing else is being offered");
        assert!(alone.offered(offer.tag, Some((2, 5))).is_none());
        (alone, replies, offer)
    }

    #[test]
    fn whoever_waits_is_told_when_the_entry_is_applied_and_not_earlier() {
        let (mut alone, replies, offer) = with_append_at_2();
        assert!(replies.is_empty());
        alone.apply(2, decoded(&offer));
        assert_eq!(replies.take(), Some(Reply::Done(())));
        assert!(alone.state.is_idle());
    }

    #[test]
    fn an_entry_may_be_applied_before_start_returns() {
        let mut alone = Alone::new();
        let (replies, offer) = alone.append(1, "a");
        let offer = offer.expect("nothing else is being offered");
        alone.apply(2, decoded(&offer));
        assert_eq!(replies.take(), Some(Reply::Done(())));
        alone.offered(offer.tag, Some((2, 5)));
        assert!(alone.state.is_idle());
    }

    #[test]
    fn another_entry_at_the_index_is_not_taken_for_the_own_one() {
        let (mut alone, replies, _) = with_append_at_2();
        alone.apply_other(2);
        assert_eq!(replies.take(), Some(not_here(Some(2))));
        let (replies, offer) = alone.append(2, "b");
        alone.apply_other(3);
        // It was applied before Raft's answer was heard.
        alone.offered(offer.expect("nothing is being offered").tag, Some((3, 5)));
        assert_eq!(replies.take(), Some(not_here(Some(2))));
        assert!(alone.state.is_idle());
    }

    #[test]
    fn what_an_earlier_incarnation_proposed_is_not_taken_for_the_own() {
        let (mut alone, replies, _) = with_append_at_2();
        alone.apply(2, Entry { server: ME, tag: 99, operations: Vec::new() });
        assert_eq!(replies.take(), Some(not_here(None)));
    }

    #[test]
    fn when_the_term_moves_or_leadership_is_lost_those_who_wait_are_released() {
        for (term, leads, released) in [(5, true, false), (5, false, true), (6, true, true)] {
            let (mut alone, replies, _) = with_append_at_2();
            alone.check(term, leads);
            assert_eq!(replies.take().is_some(), released, "term {term}, leads: {leads}");
        }
        let (mut alone, replies, _) = with_append_at_2();
        alone.check(4, false);
        assert!(replies.is_empty(), "the watcher looked before the election");
    }

    #[test]
    fn whoever_waits_too_long_is_released_and_a_copy_of_the_command_joins_the_first() {
        let (mut alone, first, offer) = with_append_at_2();
        (0..PATIENCE_TICKS).for_each(|_| alone.check(5, true));
        assert!(first.is_empty());
        alone.check(5, true);
        assert_eq!(first.take(), Some(not_here(None)));
        let (second, again) = alone.append(1, "a");
        assert!(again.is_none(), "it is in the log already");
        alone.apply(2, decoded(&offer));
        assert_eq!(second.take(), Some(Reply::Done(())));
        let (third, again) = alone.append(1, "a");
        assert!(again.is_none());
        assert_eq!(third.take(), Some(Reply::Done(())), "from the table");
    }

    #[test]
    fn what_comes_while_a_batch_is_offered_goes_together() {
        let mut alone = Alone::new();
        let (_, first) = alone.append(1, "a");
        let first = first.expect("nothing else is being offered");
        let others = [2, 3, 4].map(|sequence| alone.append(sequence, "b"));
        assert!(others.iter().all(|(_, offer)| offer.is_none()));
        let batch = alone.offered(first.tag, Some((2, 5))).expect("others came");
        assert_eq!(decoded(&batch).operations.len(), 3);
        assert!(alone.offered(batch.tag, Some((3, 5))).is_none());
        alone.apply(2, decoded(&first));
        alone.apply(3, decoded(&batch));
        for (replies, _) in others {
            assert_eq!(replies.take(), Some(Reply::Done(())));
        }
    }

    #[test]
    fn a_server_that_does_not_lead_says_so() {
        let mut alone = Alone::new();
        alone.apply_other(2);
        let (replies, offer) = alone.append(1, "a");
        alone.offered(offer.expect("nothing is being offered").tag, None);
        assert_eq!(replies.take(), Some(not_here(Some(2))));
        assert!(alone.state.is_idle());
    }

    /// The entry of term 5 at index 2 was overwritten, and index 2 is free again when this server
    /// leads once more.
    #[test]
    fn an_entry_whose_place_is_taken_is_lost() {
        let (mut alone, lost, _) = with_append_at_2();
        let (kept, offer) = alone.append(2, "b");
        let offer = offer.expect("nothing is being offered");
        alone.offered(offer.tag, Some((2, 7)));
        assert_eq!(lost.take(), Some(not_here(None)));
        alone.apply(2, decoded(&offer));
        assert_eq!(kept.take(), Some(Reply::Done(())));
    }

    /// Were it answered with the entry that was there before, it could miss what another leader has
    /// committed and acknowledged meanwhile, behind that entry.
    #[test]
    fn a_read_through_the_log_waits_for_an_entry_that_was_proposed_after_it() {
        let (mut alone, _, offer) = with_append_at_2();
        let (read, next) = alone.read();
        assert!(matches!(next, Next::Confirm));
        let unsupported = Err(ReadIndexError::Unsupported);
        alone.step(|state, outbox| state.confirmed(unsupported, outbox));
        let empty = match alone.step(|state, _| state.next()) {
            Next::Offer(offer) => offer,
            Next::Rest | Next::Confirm => panic!("the read needs an entry"),
        };
        assert!(decoded(&empty).operations.is_empty());
        alone.offered(empty.tag, Some((3, 5)));
        alone.apply(2, decoded(&offer));
        assert!(read.is_empty());
        alone.apply(3, decoded(&empty));
        assert_eq!(read.take(), Some(Reply::Answer("a".to_string())));
    }

    #[test]
    fn reads_that_come_during_a_confirmation_wait_for_the_next() {
        let mut alone = Alone::new();
        let (first, next) = alone.read();
        assert!(matches!(next, Next::Confirm));
        let (second, next) = alone.read();
        assert!(matches!(next, Next::Rest));
        alone.step(|state, outbox| state.confirmed(Ok(1), outbox));
        assert_eq!(first.take(), Some(Reply::Answer(String::new())));
        assert!(second.is_empty());
        assert!(matches!(alone.step(|state, _| state.next()), Next::Confirm));
        alone.step(|state, outbox| state.confirmed(Ok(3), outbox));
        alone.step(|state, outbox| state.skip(2, outbox));
        assert!(second.is_empty(), "the state does not show index 3");
        alone.step(|state, outbox| state.skip(3, outbox));
        assert_eq!(second.take(), Some(Reply::Answer(String::new())));
    }

    #[test]
    fn a_snapshot_takes_the_place_of_the_state_unless_it_is_not_newer() {
        let (mut alone, replies, offer) = with_append_at_2();
        let old = Replica::<KvMap>::new();
        alone.step(|state, outbox| state.install(old, outbox));
        assert_eq!(alone.state.replica.applied(), 1);
        let mut new = Replica::restore(&alone.state.replica.snapshot()).expect("it is a snapshot");
        new.advance(2);
        for operation in decoded(&offer).operations {
            new.apply(operation);
        }
        alone.step(|state, outbox| state.install(new, outbox));
        assert_eq!(alone.state.replica.applied(), 2);
        assert_eq!(replies.take(), Some(not_here(None)), "it is not known here what it did");
        let (again, offer) = alone.append(1, "a");
        assert!(offer.is_none());
        assert_eq!(again.take(), Some(Reply::Done(())), "but it is in the table");
    }

    #[test]
    fn whoever_waits_at_a_kill_is_released_and_nobody_waits_after_it() {
        let (mut alone, command, _) = with_append_at_2();
        let (read, _) = alone.read();
        alone.step(State::kill);
        let (late, offer) = alone.append(2, "b");
        assert!(offer.is_none());
        for replies in [command, read, late] {
            assert_eq!(replies.take(), Some(not_here(None)));
        }
    }

    #[test]
    #[should_panic(expected = "entry 2 is the next to be applied, but Raft says 3")]
    fn a_gap_in_what_raft_says_is_noticed() {
        Alone::new().apply_other(3);
    }
}
