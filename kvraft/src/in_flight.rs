//! What was proposed and is not applied yet, and who waits for it.
//!
//! Operations come from many clients at once. While one batch of them is offered to Raft, which
//! may take as long as a write to the disk, the next ones gather, and are offered together. When
//! nothing is being offered, an operation is a batch by itself, at once.
//!
//! A batch has a tag, which its entry carries. So the entry is known again when it is applied, and
//! by nothing else: at the index that Raft named, another leader's entry may be applied, and then
//! whoever waits for that index must not take its outcome for theirs.
//!
//! A request that has waited too long is refused, but its batch stays here until its fate is known.
//! When the client sends the command again meanwhile, that request joins the batch: a leader that
//! is cut off from all others would otherwise fill its log with copies.

use std::collections::{BTreeMap, HashMap, VecDeque};

use contract::{Index, Term};

use crate::entry::{self, Tag};
use crate::machine::StateMachine;
use crate::sessions::{RequestId, SessionId};
use crate::waiting::{Reader, Tick, Waiter};

/// A batch is not added to when its entry has so many bytes. With the largest request on top that
/// still is far below labgob's limit on a message.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// A batch that is to be offered to Raft.
pub(crate) struct Offer {
    pub(crate) tag: Tag,
    pub(crate) entry: Vec<u8>,
}

/// Who waits for an entry, and what it holds.
pub(crate) struct Batch<S: StateMachine> {
    /// Where Raft put it, once it has.
    started: Option<(Index, Term)>,
    operations: usize,
    /// The sessions whose commands are in it.
    sessions: Vec<SessionId>,
    /// Who waits for the operation of this number. Several may wait for the same.
    pub(crate) waiters: Vec<(usize, Waiter)>,
    /// Who waits for the entry itself: when it is applied, the state shows all that was
    /// acknowledged before it was proposed.
    pub(crate) readers: Vec<Reader<S>>,
}

/// The place of a command that is under way.
struct Place {
    sequence: u64,
    tag: Tag,
    operation: usize,
}

/// The batches of one server.
pub(crate) struct InFlight<S: StateMachine> {
    me: usize,
    next_tag: Tag,
    batches: BTreeMap<Tag, Batch<S>>,
    /// Those that Raft has not been offered; operations are added to the last one.
    gathering: VecDeque<Offer>,
    /// Whether a thread is about to offer what gathers.
    offering: bool,
    by_index: BTreeMap<Index, Tag>,
    commands: HashMap<SessionId, Place>,
}

impl<S: StateMachine> Batch<S> {
    fn new() -> Self {
        Self {
            started: None,
            operations: 0,
            sessions: Vec::new(),
            waiters: Vec::new(),
            readers: Vec::new(),
        }
    }

    /// Everybody who waits.
    pub(crate) fn into_waiters(self) -> impl Iterator<Item = Waiter> {
        let readers = self.readers.into_iter().map(|reader| reader.waiter);
        self.waiters.into_iter().map(|(_, waiter)| waiter).chain(readers)
    }
}

impl<S: StateMachine> InFlight<S> {
    /// For server `me`. `first_tag` is drawn: no other incarnation's tags are near it.
    pub(crate) fn new(me: usize, first_tag: Tag) -> Self {
        Self {
            me,
            next_tag: first_tag,
            batches: BTreeMap::new(),
            gathering: VecDeque::new(),
            offering: false,
            by_index: BTreeMap::new(),
            commands: HashMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Adds an encoded operation to the batch that gathers.
    pub(crate) fn gather(&mut self, operation: &[u8], id: Option<RequestId>, waiter: Waiter) {
        let (offer, batch) = self.last_gathering();
        offer.entry.extend_from_slice(operation);
        let (tag, operation) = (offer.tag, batch.operations);
        batch.operations += 1;
        batch.waiters.push((operation, waiter));
        if let Some(RequestId { session, sequence }) = id {
            batch.sessions.push(session);
            self.commands.insert(session, Place { sequence, tag, operation });
        }
    }

    /// Has a reader wait for the batch that gathers, which is proposed later than now.
    pub(crate) fn gather_reader(&mut self, reader: Reader<S>) {
        self.last_gathering().1.readers.push(reader);
    }

    /// Has the waiter wait for a command that is under way; gives it back if it is not.
    pub(crate) fn join(&mut self, id: RequestId, waiter: Waiter) -> Result<(), Waiter> {
        let place = self.commands.get(&id.session).filter(|place| place.sequence == id.sequence);
        let batch = place.and_then(|place| Some((place, self.batches.get_mut(&place.tag)?)));
        let Some((place, batch)) = batch else { return Err(waiter) };
        batch.waiters.push((place.operation, waiter));
        Ok(())
    }

    /// The batch to which operations are added.
    fn last_gathering(&mut self) -> (&mut Offer, &mut Batch<S>) {
        let has_room = |offer: &Offer| offer.entry.len() < BATCH_BYTES_MAX;
        if !self.gathering.back().is_some_and(has_room) {
            let tag = self.next_tag;
            self.next_tag = tag.wrapping_add(1);
            self.gathering.push_back(Offer { tag, entry: entry::begin(self.me, tag) });
            self.batches.insert(tag, Batch::new());
        }
        let offer = self.gathering.back_mut().expect("one was just added if there was none");
        let batch = self.batches.get_mut(&offer.tag);
        (offer, batch.expect("what gathers is a batch until it is offered"))
    }

    /// What is to be offered to Raft now, unless something is being offered. Whoever takes it
    /// offers it, and calls [`offered`](Self::offered).
    pub(crate) fn take(&mut self) -> Option<Offer> {
        if self.offering {
            return None;
        }
        let offer = self.gathering.pop_front();
        self.offering = offer.is_some();
        offer
    }

    /// Raft has taken a batch at some place, or does not lead. Those whose batch is lost for good
    /// are added to `lost`. The entry may have been applied meanwhile.
    pub(crate) fn offered(
        &mut self,
        tag: Tag,
        started: Option<(Index, Term)>,
        applied: Index,
        lost: &mut Vec<Waiter>,
    ) {
        self.offering = false;
        match (self.batches.get_mut(&tag), started) {
            (Some(batch), Some((index, _))) if index > applied => {
                batch.started = started;
                // Somebody else's place: that entry was of an earlier term, and is overwritten.
                if let Some(overwritten) = self.by_index.insert(index, tag) {
                    self.lose(overwritten, lost);
                }
            }
            _ => self.lose(tag, lost),
        }
    }

    /// An entry is applied at `index`; `tag` if it is one of this server's. Gives its batch. All
    /// that was to be applied there or before, and was not, is lost.
    pub(crate) fn applied(
        &mut self,
        index: Index,
        tag: Option<Tag>,
        lost: &mut Vec<Waiter>,
    ) -> Option<Batch<S>> {
        let batch = tag.and_then(|tag| self.remove(tag));
        while let Some(entry) = self.by_index.first_entry().filter(|entry| *entry.key() <= index) {
            let overtaken = entry.remove();
            self.lose(overtaken, lost);
        }
        batch
    }

    /// The server is in `term`, and leads it or does not: what was proposed before, or is not
    /// offered by a leader any more, is lost.
    pub(crate) fn check(&mut self, term: Term, leads: bool, lost: &mut Vec<Waiter>) {
        let is_lost = |batch: &Batch<S>| {
            batch.started.is_some_and(|(_, started)| started < term || started == term && !leads)
        };
        let batches = self.batches.iter().filter(|(_, batch)| is_lost(batch));
        let tags: Vec<Tag> = batches.map(|(&tag, _)| tag).collect();
        tags.into_iter().for_each(|tag| self.lose(tag, lost));
    }

    /// Releases those who wait since before `tick`; their batches stay.
    pub(crate) fn release_since(&mut self, tick: Tick, lost: &mut Vec<Waiter>) {
        for batch in self.batches.values_mut() {
            let waiters = batch.waiters.extract_if(.., |(_, waiter)| waiter.since < tick);
            lost.extend(waiters.map(|(_, waiter)| waiter));
            let readers = batch.readers.extract_if(.., |reader| reader.waiter.since < tick);
            lost.extend(readers.map(|reader| reader.waiter));
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, lost: &mut Vec<Waiter>) {
        self.gathering.clear();
        let tags: Vec<Tag> = self.batches.keys().copied().collect();
        tags.into_iter().for_each(|tag| self.lose(tag, lost));
    }

    fn lose(&mut self, tag: Tag, lost: &mut Vec<Waiter>) {
        lost.extend(self.remove(tag).into_iter().flat_map(Batch::into_waiters));
    }

    fn remove(&mut self, tag: Tag) -> Option<Batch<S>> {
        let batch = self.batches.remove(&tag)?;
        if let Some((index, _)) = batch.started
            && self.by_index.get(&index) == Some(&tag)
        {
            self.by_index.remove(&index);
        }
        for session in &batch.sessions {
            if self.commands.get(session).is_some_and(|place| place.tag == tag) {
                self.commands.remove(session);
            }
        }
        Some(batch)
    }
}
