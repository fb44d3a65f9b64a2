//! From a search that failed to the few operations that clash.
//!
//! A history without an order may have thousands of operations, and a person wants to hear of
//! three: who read what, which finished write says otherwise, and where the answer came from. Which
//! operations may be left unsaid?
//!
//! * **What was called after the return that no order gets past**, which is that of the *culprit*:
//!   it must stand behind the culprit, and there is no order even without it.
//! * **A read, always.** It changes no state: an order of all operations is, with the read struck
//!   out, an order of the others. So what has no order without the read has none with it.
//! * **A write, not always.** Striking it out takes away what others may have read. But it may be
//!   made *optional*: in force as often as one likes, or not at all, while it was under way. Any
//!   order of all operations is one of these as well; so what has no order though the write is
//!   optional has none with it. Whoever is told so needs to know one thing about all optional
//!   writes together: no matter whether they took effect while they were under way, it does not
//!   help.
//! * **Everything before some moment**, if in its place stands the set of the states that are
//!   possible at that moment. Cut any order there: up to it stand only operations that were called
//!   before, and all that had returned; so the state is one of the set, and what comes after it is
//!   an order, from that state, of operations that were called later, and of some that were under
//!   way, which are made optional.
//!
//! So: the [walk](crate::frontier) says which states were possible when. The window begins at the
//! culprit's call, and further back if it has to, until there is no order from any state possible
//! at its beginning. Then as many of its operations as can be are taken out or made optional: reads
//! first, as they cost nothing. If no other than the culprit is left, its answer was impossible
//! from its call on; then the window goes back to the return by which the answer became impossible,
//! and that operation joins: it had returned before the culprit's call, and says otherwise.
//!
//! All of this counts work, not time, and has an allowance of its own.

use crate::frontier::{End, Walk, Walked};
use crate::history::{NEVER, Operation};
use crate::model::Model;
use crate::search::{Step, Stuck};
use crate::verdict::{Clash, who};

/// The walk through the whole history is worth so much work: a few seconds.
const WHOLE: u64 = 5_000_000;
/// One try of a window is worth so much, ...
const WINDOW: u64 = 50_000;
/// ... and all of them together so much.
const WINDOWS: u64 = 5_000_000;
/// Nobody reads more operations than this, ...
const SHOWN: usize = 8;
/// ... or more states.
const STATES_SHOWN: usize = 3;

/// The clash of a history that has no order from the return of `stuck` on.
pub(crate) fn clash<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    ids: &[u32],
    steps: &[Step<'_, M>],
    stuck: &Stuck<M::State>,
) -> Clash {
    let end = steps[stuck.step].ret;
    // What was called too late is of no matter, nor is a read without an answer.
    let matters =
        |step: &Step<'_, M>| step.call <= end && (step.ret != NEVER || !model.is_read(step.input));
    let places: Vec<usize> = (0..steps.len()).filter(|&place| matters(&steps[place])).collect();
    let steps: Vec<Step<'_, M>> = places.iter().map(|&place| steps[place].clone()).collect();
    match Teller::new(model, &steps).and_then(|mut teller| teller.tell()) {
        Some(told) => told.clash(model, history, |step| ids[places[step as usize]] as usize),
        None => culprit(model, history, ids[stuck.step] as usize, &stuck.state),
    }
}

/// What can be said where more takes too long: who is the first to have no place.
fn culprit<M: Model>(
    model: &M,
    history: &[Operation<M::Input, M::Output>],
    id: usize,
    state: &M::State,
) -> Clash {
    let claim = format!(
        "{} has no place in any order. What had returned before it did has one, such as one that \
         leads to {}; to find out which of these operations say otherwise takes too long",
        who(model, history, id),
        model.tell_state(state),
    );
    Clash::new(model, history, vec![id], claim)
}

/// What there is to tell. Operations are given by their number among the steps.
struct Told<S> {
    culprit: u32,
    /// What clashes, the culprit among it.
    kept: Vec<u32>,
    /// The operation by whose return the culprit's answer became impossible.
    otherwise: Option<u32>,
    /// The one that made it possible before.
    source: Option<u32>,
    /// The operation by whose call the window begins.
    first: u32,
    /// What was possible then.
    states: Vec<S>,
}

impl<S> Told<S> {
    fn clash<M: Model<State = S>>(
        self,
        model: &M,
        history: &[Operation<M::Input, M::Output>],
        id: impl Fn(u32) -> usize,
    ) -> Clash {
        let who = |step: u32| who(model, history, id(step));
        let (culprit, first) = (who(self.culprit), id(self.first));
        let mut claim = format!("{culprit} has no place in any order");
        if let Some(otherwise) = self.otherwise {
            claim += &format!(": {} had returned before it was called", who(otherwise));
        }
        claim += &format!(
            ". When #{first} was called, what had to be done by then had led to {}",
            states(model, &self.states)
        );
        if let Some(source) = self.source {
            claim += &format!(", as {} did", who(source));
        }
        claim += match self.kept.len() {
            1 => "; no write that was under way from then on leads to that answer",
            2 => "; no other write that was under way from then on leads back to that answer",
            _ => {
                "; from there the operations below have no order, whichever other writes took \
                 effect while they were under way"
            }
        };
        let mut clashing: Vec<usize> = self.kept.iter().map(|&step| id(step)).collect();
        clashing.extend(self.source.map(&id));
        if let Some(more) = clashing.len().checked_sub(SHOWN + 1) {
            let culprit = id(self.culprit);
            clashing.sort_by_key(|&id| (id != culprit, std::cmp::Reverse(history[id].call_ns)));
            clashing.truncate(SHOWN);
            claim += &format!(". {} more operations belong to this", more + 1);
        }
        Clash::new(model, history, clashing, claim)
    }
}

/// The states, told: `"a" or "b"`.
fn states<M: Model>(model: &M, states: &[M::State]) -> String {
    let mut told: Vec<String> =
        states.iter().take(STATES_SHOWN).map(|state| model.tell_state(state)).collect();
    if let Some(more) = states.len().checked_sub(STATES_SHOWN + 1) {
        told.push(format!("one of {} others", more + 1));
    }
    told.join(" or ")
}

struct Teller<'a, 's, M: Model> {
    model: &'a M,
    steps: &'a [Step<'s, M>],
    whole: Walked<M::State>,
    /// Each step's call and return among the events; a return that is not, behind them.
    calls: Vec<usize>,
    returns: Vec<usize>,
    culprit: u32,
    allowance: u64,
}

impl<'a, 's, M: Model> Teller<'a, 's, M> {
    /// `None` if the walk through the history takes too long.
    fn new(model: &'a M, steps: &'a [Step<'s, M>]) -> Option<Self> {
        let optional: Vec<bool> = steps.iter().map(|step| step.ret == NEVER).collect();
        let start = [model.init()];
        let walk = Walk { model, steps, optional: &optional, start: &start, budget: WHOLE };
        let whole = walk.run();
        let End::Stuck { event } = whole.end else { return None };
        let culprit = whole.events[event].step;
        let (mut calls, mut returns) = (vec![0; steps.len()], vec![usize::MAX; steps.len()]);
        for (number, event) in whole.events.iter().enumerate() {
            let of = if event.is_return { &mut returns } else { &mut calls };
            of[event.step as usize] = number;
        }
        Some(Self { model, steps, whole, calls, returns, culprit, allowance: WINDOWS })
    }

    fn call(&self, step: u32) -> usize {
        self.calls[step as usize]
    }

    /// The last event that matters.
    fn end(&self) -> usize {
        self.returns[self.culprit as usize]
    }

    fn tell(&mut self) -> Option<Told<M::State>> {
        let (mut begin, mut kept) = self.clash_before(self.call(self.culprit))?;
        let mut otherwise = None;
        if kept.len() == 1
            && let Some(last) = self.last_possible(begin)
            && let Some(clash) = self.clash_with(last)
        {
            (begin, kept) = clash;
            otherwise = kept.contains(&last).then_some(last);
        }
        begin = kept.iter().map(|&step| self.call(step)).min().map_or(begin, |call| {
            // The later the window begins, the less there is to believe.
            if self.has_no_order(call, &kept) { call } else { begin }
        });
        Some(Told {
            culprit: self.culprit,
            otherwise,
            source: self.source(begin),
            first: self.whole.events[begin].step,
            states: self.states_at(begin),
            kept,
        })
    }

    /// The latest window, from the call at `latest` or one before it, without an order; and of its
    /// operations those that it takes.
    fn clash_before(&mut self, latest: usize) -> Option<(usize, Vec<u32>)> {
        let mut back = 0;
        loop {
            let begin = self.next_call(latest.saturating_sub(back));
            let kept = self.called_from(begin);
            if self.has_no_order(begin, &kept) {
                return Some((begin, self.fewest(begin, kept)));
            }
            if begin == 0 || self.allowance == 0 {
                return None;
            }
            back = 2 * back + 1;
        }
    }

    /// A window with this operation and the culprit, and more if it takes more.
    fn clash_with(&mut self, other: u32) -> Option<(usize, Vec<u32>)> {
        let (begin, both) = (self.call(other), vec![other, self.culprit]);
        if self.has_no_order(begin, &both) {
            return Some((begin, both));
        }
        self.clash_before(begin)
    }

    /// The last operation up to whose return the culprit's answer was possible. By halves: it was
    /// not at `begin`.
    fn last_possible(&mut self, begin: usize) -> Option<u32> {
        let alone = [self.culprit];
        let (mut impossible, mut back) = (begin, 1);
        let mut possible = loop {
            if impossible == 0 {
                return None;
            }
            let earlier = begin.saturating_sub(back);
            if !self.has_no_order(earlier, &alone) {
                break earlier;
            }
            (impossible, back) = (earlier, 2 * back);
        };
        while impossible - possible > 1 {
            let middle = usize::midpoint(possible, impossible);
            let of =
                if self.has_no_order(middle, &alone) { &mut impossible } else { &mut possible };
            *of = middle;
        }
        let event = self.whole.events[possible];
        event.is_return.then_some(event.step)
    }

    /// The last write that was over when the window begins and led to the culprit's answer, if that
    /// was possible then.
    fn source(&self, begin: usize) -> Option<u32> {
        let Step { input, output, .. } = self.steps[self.culprit as usize];
        let fits = |state: &M::State| self.model.step(state, input, output).is_some();
        if !self.states_at(begin).iter().any(fits) {
            return None;
        }
        let leads_there = |step: u32| {
            let Step { input, output, .. } = self.steps[step as usize];
            let before = self.whole.possible[self.call(step)].iter();
            before
                .filter_map(|&state| self.model.step(self.whole.states.get(state), input, output))
                .any(|state| fits(&state))
        };
        let events = self.whole.events[..begin].iter().rev();
        let is_write = |step: &u32| !self.model.is_read(self.steps[*step as usize].input);
        events.filter(|e| e.is_return).map(|e| e.step).filter(is_write).find(|&s| leads_there(s))
    }

    /// The first event from this one on that is a call.
    fn next_call(&self, event: usize) -> usize {
        (event..).find(|&event| !self.whole.events[event].is_return).unwrap_or(event)
    }

    fn states_at(&self, begin: usize) -> Vec<M::State> {
        self.whole.possible[begin].iter().map(|&s| self.whole.states.get(s).clone()).collect()
    }

    /// What was called in the window and returns at some time, the culprit included: the reads,
    /// then the writes.
    fn called_from(&self, begin: usize) -> Vec<u32> {
        let events = self.whole.events[begin..self.end()].iter();
        let mut steps: Vec<u32> = events.filter(|e| !e.is_return).map(|e| e.step).collect();
        steps.retain(|&step| self.steps[step as usize].ret != NEVER);
        steps.sort_by_key(|&step| !self.model.is_read(self.steps[step as usize].input));
        steps
    }

    /// As few of these as are without an order; the culprit stays.
    fn fewest(&mut self, begin: usize, mut kept: Vec<u32>) -> Vec<u32> {
        let mut chunk = kept.len();
        while chunk > 0 {
            for part in kept.clone().chunks(chunk) {
                let goes = |step: &u32| part.contains(step) && *step != self.culprit;
                let less: Vec<u32> = kept.iter().copied().filter(|step| !goes(step)).collect();
                if less.len() < kept.len() && self.has_no_order(begin, &less) {
                    kept = less;
                }
            }
            chunk /= 2;
        }
        kept
    }

    /// Whether the steps have no order from any state that is possible at `begin`, whatever the
    /// other writes do while they are under way. `false` as well if that takes too long to say.
    fn has_no_order(&mut self, begin: usize, kept: &[u32]) -> bool {
        let end = self.end();
        let under_way = |&step: &u32| {
            self.call(step) < end
                && self.returns[step as usize] >= begin
                && !self.model.is_read(self.steps[step as usize].input)
                && !kept.contains(&step)
        };
        let others: Vec<u32> = (0..self.steps.len() as u32).filter(under_way).collect();
        let both = kept.iter().chain(&others);
        let steps: Vec<Step<'s, M>> = both.map(|&s| self.steps[s as usize].clone()).collect();
        let optional: Vec<bool> = (0..steps.len()).map(|at| at >= kept.len()).collect();
        let start = self.states_at(begin);
        let budget = WINDOW.min(self.allowance);
        let walk =
            Walk { model: self.model, steps: &steps, optional: &optional, start: &start, budget };
        let walked = walk.run();
        self.allowance = self.allowance.saturating_sub(walked.work);
        matches!(walked.end, End::Stuck { .. })
    }
}

#[cfg(test)]
mod tests;
