//! The general engine: a search for an order, for any [`Model`].
//!
//! It is the method of Wing and Gong (1993) with the improvements of Lowe (2017) and of Horn and
//! Kroening (2015). Calls and returns stand in a list by time. An operation may come next in the
//! order if its call stands before the first return that is still in the list; if its answer fits
//! the state, its call and return are taken out, and the search goes on from the new state. Where
//! nothing fits, the last choice is undone and the next one tried. Three things keep this short:
//!
//! * Keys are searched one by one: a history is linearizable if and only if its part about each
//!   key is (Herlihy and Wing's locality).
//! * A pair of (operations taken, state) that was reached before is not gone into again, in
//!   whichever order it was reached. [`Model::merge`] makes one state of several.
//! * A read whose answer fits is taken at once, and this choice is never undone alone: whatever
//!   order would take it later is as good with the read moved to here, since it changes nothing.
//!
//! An operation of unknown outcome has no return in the list: the search is over when no return
//! is left, whether or not such operations were taken.
//!
//! When the search fails, the furthest return it could not get past is the first moment at which
//! the history was not linearizable any more: what had returned before has an order, and all
//! orders were tried. The operation that returned there is the one to show; which others belong to
//! the clash is found out by [`crate::shrink`].

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::history::{self, NEVER, Operation};
use crate::model::{self, Model};
use crate::shrink;
use crate::verdict::Verdict;

/// When the general engine gives up. It counts work, not time: the answer is the same on a slow
/// machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many times, for one key, an operation may be looked at as the next one in the order.
    pub steps: u64,
    /// How much the search for one key may remember, in words of 8 bytes, the model's states
    /// aside.
    pub memory_words: u64,
}

impl Default for Limits {
    /// Some ten seconds, and at most about 1 GB.
    fn default() -> Self {
        Self { steps: 200_000_000, memory_words: 100_000_000 }
    }
}

/// Is the history linearizable, by this model?
pub fn check_model<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    limits: &Limits,
) -> Verdict {
    if let Some(fault) = history::fault(history) {
        return Verdict::Undecided(fault);
    }
    let parts = model::partition(history.iter().map(|op| model.key(&op.input)));
    parts.iter().fold(Verdict::Linearizable, |verdict, ids| {
        verdict.and(|| check_part(model, history, ids, limits))
    })
}

/// Is this part of the history linearizable, all of it about one key?
pub(crate) fn check_part<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    ids: &[u32],
    limits: &Limits,
) -> Verdict {
    let steps: Vec<Step<'_, M>> = ids.iter().map(|&id| Step::of(&history[id as usize])).collect();
    match search(model, &steps, limits) {
        Found::Order => Verdict::Linearizable,
        Found::TooMuch(reason) => Verdict::Undecided(reason),
        Found::Nothing(stuck) => {
            Verdict::NotLinearizable(shrink::clash(model, history, ids, &steps, &stuck))
        }
    }
}

/// An operation as the search sees it.
pub(crate) struct Step<'a, M: Model> {
    pub(crate) input: &'a M::Input,
    pub(crate) output: Option<&'a M::Output>,
    pub(crate) call: i64,
    pub(crate) ret: i64,
}

impl<'a, M: Model> Step<'a, M> {
    pub(crate) fn of(op: &'a Operation<M::Input, M::Output>) -> Self {
        let output = op.outcome.as_ref().map(|o| &o.output);
        Self { input: &op.input, output, call: op.call(), ret: op.ret() }
    }
}

impl<M: Model> Clone for Step<'_, M> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// How a search ended.
pub(crate) enum Found<S> {
    Order,
    Nothing(Stuck<S>),
    TooMuch(String),
}

/// The furthest return that a search did not get past.
pub(crate) struct Stuck<S> {
    /// The operation that returned: its index in the steps.
    pub(crate) step: usize,
    /// A state in which everything that had returned before was done.
    pub(crate) state: S,
}

/// Looks for an order of the steps, all of them about one key.
pub(crate) fn search<M: Model>(
    model: &M,
    steps: &[Step<'_, M>],
    limits: &Limits,
) -> Found<M::State> {
    Search::new(model, steps).run(limits)
}

const NONE: u32 = u32::MAX;
/// How often an output may be compared with an input before the search: beyond that, it costs more
/// than it saves.
const COMPARISONS: usize = 20_000_000;

/// Which steps the search has to try: not those of unknown outcome that can help nobody.
fn candidates<M: Model>(model: &M, steps: &[Step<'_, M>], shown: &[&M::Output]) -> Vec<bool> {
    let unknown = steps.iter().filter(|step| step.ret == NEVER).count();
    let worth_it = unknown.saturating_mul(shown.len()) <= COMPARISONS;
    let is_idle = |step: &Step<'_, M>| step.ret == NEVER && !model.matters(step.input, shown);
    steps.iter().map(|step| !(worth_it && is_idle(step))).collect()
}

/// A choice that may have to be undone.
struct Frame {
    step: u32,
    state_before: u32,
    /// A read taken because it fitted: undone together with the choice before it.
    free: bool,
}

struct Search<'a, 's, M: Model> {
    model: &'a M,
    steps: &'a [Step<'s, M>],
    shown: Vec<&'s M::Output>,
    is_read: Vec<bool>,
    list: List,
    taken: Taken,
    states: Interned<M::State>,
    state: u32,
    frames: Vec<Frame>,
    seen: HashSet<Box<[u64]>>,
    key: Vec<u64>,
    work: u64,
    words: u64,
    furthest: Option<(u32, u32)>,
}

impl<'a, 's, M: Model> Search<'a, 's, M> {
    fn new(model: &'a M, steps: &'a [Step<'s, M>]) -> Self {
        let mut shown: Vec<_> = steps.iter().filter_map(|step| step.output).collect();
        shown.sort_unstable();
        shown.dedup();
        let mut states = Interned::new();
        let state = states.number(model.merge(model.init(), &shown));
        let list = List::new(steps, &candidates(model, steps, &shown));
        Self {
            model,
            steps,
            shown,
            is_read: steps.iter().map(|step| model.is_read(step.input)).collect(),
            list,
            taken: Taken::new(steps),
            states,
            state,
            frames: Vec::new(),
            seen: HashSet::new(),
            key: Vec::new(),
            work: 0,
            words: 0,
            furthest: None,
        }
    }

    fn run(mut self, limits: &Limits) -> Found<M::State> {
        self.take_reads();
        let mut entry = self.list.first();
        while self.list.returns_left > 0 {
            if self.work > limits.steps {
                return Found::TooMuch(self.too_much("steps", limits.steps));
            }
            if self.words > limits.memory_words {
                return Found::TooMuch(self.too_much("words of memory", limits.memory_words));
            }
            self.work += 1;
            entry = match self.list.call_at(entry) {
                Some(step) => self.try_next(step, entry),
                None => match self.undo(entry) {
                    Some(entry) => entry,
                    None => return Found::Nothing(self.stuck()),
                },
            };
        }
        Found::Order
    }

    /// Takes the step if it fits and leads somewhere new. Returns where to look on.
    fn try_next(&mut self, step: u32, entry: u32) -> u32 {
        // A read that fits was taken when the state was reached.
        if self.is_read[step as usize] {
            return self.list.after(entry);
        }
        let Some(state) = self.state_after(step) else { return self.list.after(entry) };
        self.take(step, state, false);
        self.take_reads();
        if self.is_new() {
            return self.list.first();
        }
        self.undo_last();
        self.list.after(entry)
    }

    fn state_after(&mut self, step: u32) -> Option<u32> {
        let Step { input, output, .. } = self.steps[step as usize];
        let before = self.states.get(self.state);
        let after = self.model.merge(self.model.step(before, input, output)?, &self.shown);
        let helps = self.list.has_return(step) || self.model.helps(before, &after);
        helps.then(|| self.states.number(after))
    }

    /// Takes every read that may come next and fits.
    fn take_reads(&mut self) {
        let mut entry = self.list.first();
        while let Some(step) = self.list.call_at(entry) {
            // Looked up before the call goes; if the next entry is this step's own return, that
            // goes as well.
            if self.is_read[step as usize] && self.fits(step) {
                self.take(step, self.state, true);
                entry = self.list.after_taken(entry);
            } else {
                entry = self.list.after(entry);
            }
            self.work += 1;
        }
    }

    fn fits(&self, step: u32) -> bool {
        let Step { input, output, .. } = self.steps[step as usize];
        // What nobody saw the answer of needs no place.
        output.is_some() && self.model.step(self.states.get(self.state), input, output).is_some()
    }

    fn take(&mut self, step: u32, state: u32, free: bool) {
        self.frames.push(Frame { step, state_before: self.state, free });
        self.state = state;
        self.list.take(step);
        self.taken.insert(step);
    }

    /// Undoes the last choice and the reads after it; returns it.
    fn undo_last(&mut self) -> Option<u32> {
        while let Some(Frame { step, state_before, free }) = self.frames.pop() {
            self.taken.remove(step);
            self.list.put_back(step);
            self.state = state_before;
            if !free {
                return Some(step);
            }
        }
        None
    }

    /// Nothing fits before the return at `entry`. Undoes the last choice; returns where to look on.
    fn undo(&mut self, entry: u32) -> Option<u32> {
        if self.furthest.is_none_or(|(furthest, _)| entry > furthest) {
            self.furthest = Some((entry, self.state));
        }
        let step = self.undo_last()?;
        Some(self.list.after(self.list.call_of[step as usize]))
    }

    /// Whether this set of operations was never before followed by this state.
    fn is_new(&mut self) -> bool {
        self.key.clear();
        self.taken.write_key(self.state, &mut self.key);
        if self.seen.contains(self.key.as_slice()) {
            return false;
        }
        // The words themselves, and what the set and the allocator need beside them.
        self.words += self.key.len() as u64 + 6;
        self.seen.insert(self.key.as_slice().into());
        true
    }

    fn stuck(self) -> Stuck<M::State> {
        let (entry, state) = self.furthest.expect("a search that fails was stuck somewhere");
        Stuck {
            step: self.list.steps[entry as usize] as usize,
            state: self.states.get(state).clone(),
        }
    }

    fn too_much(&self, what: &str, limit: u64) -> String {
        let operations = self.steps.len();
        format!(
            "the search for an order of {operations} operations reached its limit, {limit} {what}"
        )
    }
}

/// Calls and returns by time, a call before a return of the same time: they are concurrent.
/// Doubly linked, so that what was taken out can be put back in the opposite order.
struct List {
    /// Whose call or return the entry is. Entry 0 is none: it stands before the first.
    steps: Vec<u32>,
    next: Vec<u32>,
    prev: Vec<u32>,
    call_of: Vec<u32>,
    return_of: Vec<u32>,
    returns_left: usize,
}

impl List {
    /// The list of those steps that are candidates.
    fn new<M: Model>(steps: &[Step<'_, M>], candidates: &[bool]) -> Self {
        let calls = (0u32..).zip(steps).map(|(i, step)| (step.call, false, i));
        let calls = calls.filter(|call| candidates[call.2 as usize]);
        let returns = (0u32..).zip(steps).map(|(i, step)| (step.ret, true, i));
        let mut events: Vec<_> = calls.chain(returns.filter(|r| r.0 != NEVER)).collect();
        events.sort_unstable();
        let entries = u32::try_from(events.len() + 1).expect("the history is not that long");
        let mut list = Self {
            steps: std::iter::once(NONE).chain(events.iter().map(|e| e.2)).collect(),
            next: (1..=entries).collect(),
            prev: (0..=entries).map(|entry| entry.saturating_sub(1)).collect(),
            call_of: vec![NONE; steps.len()],
            return_of: vec![NONE; steps.len()],
            returns_left: events.iter().filter(|e| e.1).count(),
        };
        for (entry, &(_, is_return, step)) in (1..).zip(&events) {
            let of = if is_return { &mut list.return_of } else { &mut list.call_of };
            of[step as usize] = entry;
        }
        list
    }

    fn first(&self) -> u32 {
        self.next[0]
    }

    fn after(&self, entry: u32) -> u32 {
        self.next[entry as usize]
    }

    /// What followed an entry that was just taken out.
    fn after_taken(&self, entry: u32) -> u32 {
        self.next[self.prev[entry as usize] as usize]
    }

    /// The step that is called here, or `None` at a return and behind the end.
    fn call_at(&self, entry: u32) -> Option<u32> {
        let step = *self.steps.get(entry as usize)?;
        (self.call_of[step as usize] == entry).then_some(step)
    }

    fn has_return(&self, step: u32) -> bool {
        self.return_of[step as usize] != NONE
    }

    fn take(&mut self, step: u32) {
        self.unlink(self.call_of[step as usize]);
        if self.has_return(step) {
            self.unlink(self.return_of[step as usize]);
            self.returns_left -= 1;
        }
    }

    fn put_back(&mut self, step: u32) {
        if self.has_return(step) {
            self.link(self.return_of[step as usize]);
            self.returns_left += 1;
        }
        self.link(self.call_of[step as usize]);
    }

    fn unlink(&mut self, entry: u32) {
        let (prev, next) = (self.prev[entry as usize], self.next[entry as usize]);
        self.next[prev as usize] = next;
        self.prev[next as usize] = prev;
    }

    fn link(&mut self, entry: u32) {
        let (prev, next) = (self.prev[entry as usize], self.next[entry as usize]);
        self.next[prev as usize] = entry;
        self.prev[next as usize] = entry;
    }
}

/// The set of steps taken, and a short name for it.
///
/// Of those that return, all are taken up to some call, and none from some later call on: the bits
/// between, by the order of the calls, name the set. Those of unknown outcome are named one by one.
struct Taken {
    /// The place of each step among those that return, by call; `NONE` if it does not return.
    place: Vec<u32>,
    bits: Vec<u64>,
    /// No word of `bits` before this one lacks a bit.
    low: usize,
    /// No word from this one on has a bit.
    high: usize,
    unknown: Vec<u32>,
}

impl Taken {
    fn new<M: Model>(steps: &[Step<'_, M>]) -> Self {
        let mut by_call: Vec<u32> =
            (0u32..).zip(steps).filter(|(_, s)| s.ret != NEVER).map(|(i, _)| i).collect();
        by_call.sort_by_key(|&step| steps[step as usize].call);
        let mut place = vec![NONE; steps.len()];
        for (number, &step) in (0..).zip(&by_call) {
            place[step as usize] = number;
        }
        Self { place, bits: vec![0; by_call.len() / 64 + 1], low: 0, high: 0, unknown: Vec::new() }
    }

    fn insert(&mut self, step: u32) {
        let place = self.place[step as usize] as usize;
        if place == NONE as usize {
            let at = self.unknown.partition_point(|&other| other < step);
            self.unknown.insert(at, step);
            return;
        }
        self.bits[place / 64] |= 1 << (place % 64);
        self.high = self.high.max(place / 64 + 1);
        while self.bits[self.low] == u64::MAX {
            self.low += 1;
        }
    }

    fn remove(&mut self, step: u32) {
        let place = self.place[step as usize] as usize;
        if place == NONE as usize {
            self.unknown.retain(|&other| other != step);
            return;
        }
        self.bits[place / 64] &= !(1 << (place % 64));
        self.low = self.low.min(place / 64);
        while self.high > 0 && self.bits[self.high - 1] == 0 {
            self.high -= 1;
        }
    }

    /// A key that only this set and this state have.
    fn write_key(&self, state: u32, key: &mut Vec<u64>) {
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        key.push(pair(state, u32::try_from(self.low).expect("fewer words than steps")));
        let words = &self.bits[self.low..self.high.max(self.low)];
        key.push(words.len() as u64);
        key.extend(words);
        key.extend(self.unknown.chunks(2).map(|two| pair(two[0], *two.get(1).unwrap_or(&NONE))));
    }
}

/// States by number: equal states have equal numbers.
pub(crate) struct Interned<S> {
    numbers: HashMap<S, u32>,
    states: Vec<S>,
}

impl<S: Clone + Eq + Hash> Interned<S> {
    pub(crate) fn new() -> Self {
        Self { numbers: HashMap::new(), states: Vec::new() }
    }

    pub(crate) fn number(&mut self, state: S) -> u32 {
        if let Some(&number) = self.numbers.get(&state) {
            return number;
        }
        let number = u32::try_from(self.states.len()).expect("the limits keep it far below");
        self.states.push(state.clone());
        self.numbers.insert(state, number);
        number
    }

    pub(crate) fn get(&self, number: u32) -> &S {
        &self.states[number as usize]
    }
}
