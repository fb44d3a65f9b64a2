//! All that is possible, moment by moment: the walk that a telling starts from.
//!
//! The search of [`crate::search`] wants *one* order, and dives for it. Who wants to tell why there
//! is none needs to know what could be the case *when*. So this walk (Lowe's just-in-time
//! linearization) goes through calls and returns by time, with every configuration that is
//! possible so far: a state, and those of the operations under way that have taken effect. An
//! operation takes effect at the last moment, when some return asks for it: its own, or that of
//! one that has to come later. A read that fits takes effect at once, as in the search.
//!
//! Steps may be *optional*: from call to return they may take effect as often as anybody likes, or
//! never. Treating an operation so loses knowledge, and makes no order impossible: what has none
//! with the optional step has none with the operation. And it is cheap, as a configuration need
//! not say which optional steps took effect.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use crate::history::NEVER;
use crate::model::Model;
use crate::search::{Interned, Step};

/// What a walk is about, all of it about one key.
pub(crate) struct Walk<'a, 's, M: Model> {
    pub(crate) model: &'a M,
    /// No reads without an answer among them: nothing asks for these.
    pub(crate) steps: &'a [Step<'s, M>],
    /// Which steps are optional. What does not return must be.
    pub(crate) optional: &'a [bool],
    /// Where it may start.
    pub(crate) start: &'a [M::State],
    /// How many configurations it may look at.
    pub(crate) budget: u64,
}

/// A call or a return.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    time: i64,
    /// A call stands before a return of the same time: they are concurrent.
    pub(crate) is_return: bool,
    pub(crate) step: u32,
}

/// How far a walk came.
pub(crate) struct Walked<S> {
    pub(crate) end: End,
    pub(crate) events: Vec<Event>,
    /// Before each event, up to the last one that was reached: in which states one may be if
    /// nothing takes effect that need not yet.
    pub(crate) possible: Vec<Rc<[u32]>>,
    /// The states by number.
    pub(crate) states: Interned<S>,
    /// How many configurations it looked at.
    pub(crate) work: u64,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There is an order.
    Through,
    /// There is none: nothing can return here.
    Stuck { event: usize },
    /// The budget is used up.
    TooMuch,
}

/// What may be the case: which of the operations under way have taken effect, and the state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Config {
    taken: Vec<u32>,
    state: u32,
}

impl<'s, M: Model> Walk<'_, 's, M> {
    pub(crate) fn run(&self) -> Walked<M::State> {
        let events = events(self.steps);
        let mut walker = Walker::new(self);
        let mut configs = walker.begin();
        let mut possible: Vec<Rc<[u32]>> = Vec::new();
        let mut end = End::Through;
        for (number, event) in events.iter().enumerate() {
            possible.push(match possible.last() {
                Some(last) if !events[number - 1].is_return => Rc::clone(last),
                _ => states_of(&configs),
            });
            walker.pass(*event, &mut configs);
            if walker.work > self.budget {
                end = End::TooMuch;
            } else if configs.is_empty() {
                end = End::Stuck { event: number };
            }
            if end != End::Through {
                break;
            }
        }
        Walked { end, events, possible, states: walker.states, work: walker.work }
    }
}

fn events<M: Model>(steps: &[Step<'_, M>]) -> Vec<Event> {
    let calls = (0u32..).zip(steps);
    let calls = calls.map(|(step, of)| Event { time: of.call, is_return: false, step });
    let returns = (0u32..).zip(steps).filter(|(_, of)| of.ret != NEVER);
    let returns = returns.map(|(step, of)| Event { time: of.ret, is_return: true, step });
    let mut events: Vec<Event> = calls.chain(returns).collect();
    events.sort_unstable();
    events
}

fn states_of(configs: &BTreeSet<Config>) -> Rc<[u32]> {
    let states: BTreeSet<u32> = configs.iter().map(|config| config.state).collect();
    states.into_iter().collect()
}

struct Walker<'a, 's, M: Model> {
    walk: &'a Walk<'a, 's, M>,
    shown: Vec<&'s M::Output>,
    states: Interned<M::State>,
    under_way: Vec<u32>,
    work: u64,
}

impl<'a, 's, M: Model> Walker<'a, 's, M> {
    fn new(walk: &'a Walk<'a, 's, M>) -> Self {
        let mut shown: Vec<_> = walk.steps.iter().filter_map(|step| step.output).collect();
        shown.sort_unstable();
        shown.dedup();
        Self { walk, shown, states: Interned::new(), under_way: Vec::new(), work: 0 }
    }

    fn begin(&mut self) -> BTreeSet<Config> {
        let mut configs = BTreeSet::new();
        for state in self.walk.start {
            let state = self.states.number(self.walk.model.merge(state.clone(), &self.shown));
            configs.insert(Config { taken: Vec::new(), state });
        }
        configs
    }

    fn pass(&mut self, event: Event, configs: &mut BTreeSet<Config>) {
        let step = event.step;
        self.work += 1;
        if event.is_return {
            *configs = self.after_return(step, configs);
            self.under_way.retain(|&other| other != step);
        } else if !self.is_known(step) {
            self.under_way.push(step);
            if self.is_read(step) {
                self.work += configs.len() as u64;
                let before = std::mem::take(configs);
                *configs = before.into_iter().map(|config| self.with_reads(config)).collect();
            }
        }
    }

    /// Whether the same is under way, and for ever.
    fn is_known(&self, step: u32) -> bool {
        let of = |step: u32| &self.walk.steps[step as usize];
        let same = |&&other: &&u32| of(other).ret == NEVER && of(other).input == of(step).input;
        of(step).ret == NEVER && self.under_way.iter().find(same).is_some()
    }

    /// All configurations in which the operation has taken effect, from those before its return;
    /// if it is optional, those as well in which it has not.
    fn after_return(&mut self, step: u32, configs: &BTreeSet<Config>) -> BTreeSet<Config> {
        let mut after = BTreeSet::new();
        if self.walk.optional[step as usize] {
            after.clone_from(configs);
        }
        let mut seen: HashSet<Config> = configs.iter().cloned().collect();
        let mut open: Vec<Config> = Vec::new();
        for config in configs {
            match self.without(config, step) {
                Some(done) => drop(after.insert(done)),
                None => open.push(config.clone()),
            }
        }
        while let Some(config) = open.pop() {
            for (last, next) in self.nexts(&config) {
                if let Some(done) = self.without(&next, step) {
                    after.insert(done);
                } else if last == step {
                    after.insert(next.clone());
                }
                let needed = last != step && !next.taken.contains(&step);
                if needed && seen.insert(next.clone()) {
                    open.push(next);
                }
            }
            if self.work > self.walk.budget {
                break;
            }
        }
        after
    }

    /// The configuration once the step has returned, if it has taken effect and is not optional.
    fn without(&self, config: &Config, step: u32) -> Option<Config> {
        let at = config.taken.binary_search(&step).ok()?;
        let mut config = config.clone();
        config.taken.remove(at);
        Some(config)
    }

    /// One more operation takes effect: which, and what is the case then.
    fn nexts(&mut self, config: &Config) -> Vec<(u32, Config)> {
        let mut nexts = Vec::new();
        for at in 0..self.under_way.len() {
            let step = self.under_way[at];
            let taken = config.taken.binary_search(&step);
            let (false, Err(place)) = (self.is_read(step), taken) else { continue };
            self.work += 1;
            let Some(state) = self.state_after(config.state, step) else { continue };
            let mut next = Config { taken: config.taken.clone(), state };
            if !self.walk.optional[step as usize] {
                next.taken.insert(place, step);
            } else if state == config.state {
                continue;
            }
            nexts.push((step, self.with_reads(next)));
        }
        nexts
    }

    fn state_after(&mut self, before: u32, step: u32) -> Option<u32> {
        let Step { input, output, .. } = self.walk.steps[step as usize];
        let model = self.walk.model;
        let after = model.step(self.states.get(before), input, output)?;
        Some(self.states.number(model.merge(after, &self.shown)))
    }

    fn is_read(&self, step: u32) -> bool {
        self.walk.model.is_read(self.walk.steps[step as usize].input)
    }

    /// The configuration with every read under way taken that fits.
    fn with_reads(&self, mut config: Config) -> Config {
        let before = self.states.get(config.state);
        for &step in &self.under_way {
            let Step { input, output, .. } = self.walk.steps[step as usize];
            if self.is_read(step)
                && let Err(place) = config.taken.binary_search(&step)
                && self.walk.model.step(before, input, output).is_some()
            {
                config.taken.insert(place, step);
            }
        }
        config
    }
}
