//! Which writes made what each get read.

use super::explain::Trouble;
use super::span::{NOBODY, Span};
use super::tokens::Tokens;
use crate::kv::KvOperation;

/// A put, or the first value of the key, with the appends that gets saw behind it.
pub(super) struct Chain<'h> {
    /// By what the value holds: `levels[i]` is after `i` appends.
    pub(super) levels: Vec<Level>,
    /// The longest value that a get of this chain read, ...
    longest: &'h str,
    /// ... and that get.
    pub(super) reader: u32,
}

/// A write of a chain, and the gets that saw its value up to this write.
pub(super) struct Level {
    /// How long the value is with it.
    end: usize,
    pub(super) write: Span,
    pub(super) gets: Span,
}

/// All chains of a key.
pub(super) struct Chains<'h> {
    pub(super) chains: Vec<Chain<'h>>,
    /// The chain that each operation, by its place on the key, writes to; `NOBODY`: none seen.
    pub(super) chain_of: Vec<u32>,
}

/// The chain of a key's first value.
const INITIAL: u32 = 0;

impl<'h> Chains<'h> {
    /// Reads the chains off what the gets saw, or finds one that saw what cannot be.
    pub(super) fn new(
        history: &'h [KvOperation],
        ids: &[u32],
        tokens: &Tokens<'h>,
    ) -> Result<Self, Trouble> {
        let first = Level { end: 0, write: Span::START, gets: Span::EMPTY };
        let initial = Chain { levels: vec![first], longest: "", reader: NOBODY };
        let mut chains = Self { chains: vec![initial], chain_of: vec![NOBODY; ids.len()] };
        let parse = Parse { history, ids, tokens };
        for &id in ids {
            if let Some(value) = history[id as usize].read() {
                chains.add(&parse, id, value)?;
            }
        }
        Ok(chains)
    }

    /// Adds a get to its chain.
    fn add(&mut self, parse: &Parse<'_, 'h>, get: u32, value: &'h str) -> Result<(), Trouble> {
        let number = self.chain_for(parse, get, value)?;
        let chain = &self.chains[number as usize];
        let (shorter, longer) = if value.len() <= chain.longest.len() {
            (value, chain.longest)
        } else {
            (chain.longest, value)
        };
        if !longer.starts_with(shorter) {
            let trouble = Trouble::Fork { get, other: chain.reader };
            return Err(parse.fault(get, value).unwrap_or(trouble));
        }
        if value.len() > chain.longest.len() {
            self.extend(parse, number, get, value)?;
        }
        let chain = &mut self.chains[number as usize];
        let level = chain.levels.binary_search_by_key(&value.len(), |level| level.end);
        let level = level.map_err(|_| Trouble::Unexplained { get, at: value.len() })?;
        let gets = &mut chain.levels[level].gets;
        *gets = gets.and(Span::of(get, &parse.history[get as usize]));
        Ok(())
    }

    /// The chain of a value: that of the put it begins with, or else of the first value.
    fn chain_for(
        &mut self,
        parse: &Parse<'_, 'h>,
        get: u32,
        value: &'h str,
    ) -> Result<u32, Trouble> {
        if value.is_empty() {
            return Ok(INITIAL);
        }
        let unexplained = Trouble::Unexplained { get, at: 0 };
        let token = parse.tokens.first_of(value).ok_or(unexplained)?;
        if !parse.is_put(token.place) {
            return Ok(INITIAL);
        }
        let known = &mut self.chain_of[token.place as usize];
        if *known == NOBODY {
            *known = u32::try_from(self.chains.len()).expect("fewer chains than operations");
            let levels = vec![parse.level(token.place, token.text.len())];
            self.chains.push(Chain { levels, longest: token.text, reader: get });
        }
        Ok(*known)
    }

    /// The get saw more than those before it: the appends behind are its chain's next levels.
    fn extend(
        &mut self,
        parse: &Parse<'_, 'h>,
        number: u32,
        get: u32,
        value: &'h str,
    ) -> Result<(), Trouble> {
        let chain = &mut self.chains[number as usize];
        let mut at = chain.longest.len();
        while at < value.len() {
            let unexplained = Trouble::Unexplained { get, at };
            let token = parse.tokens.first_of(&value[at..]).ok_or(unexplained)?;
            let write = parse.ids[token.place as usize];
            if parse.is_put(token.place) {
                return Err(Trouble::PutInside { get, put: write });
            }
            let owner = &mut self.chain_of[token.place as usize];
            if *owner == number {
                return Err(Trouble::Twice { get, append: write });
            } else if *owner != NOBODY {
                let other = self.chains[*owner as usize].reader;
                return Err(Trouble::TwoChains { get, append: write, other });
            }
            *owner = number;
            at += token.text.len();
            self.chains[number as usize].levels.push(parse.level(token.place, at));
        }
        let chain = &mut self.chains[number as usize];
        (chain.longest, chain.reader) = (value, get);
        Ok(())
    }
}

impl Chain<'_> {
    /// The span of the whole chain.
    pub(super) fn span(&self) -> Span {
        self.levels.iter().fold(Span::EMPTY, |span, level| span.and(level.write).and(level.gets))
    }

    /// An operation that returned before one of an earlier level was called: these two, the one
    /// of the earlier level first.
    pub(super) fn inversion(&self) -> Option<(u32, u32)> {
        let mut earlier = Span::EMPTY;
        for level in &self.levels {
            for group in [level.write, level.gets] {
                if group.before(&earlier) {
                    return Some((earlier.called, group.returned));
                }
                earlier = earlier.and(group);
            }
        }
        None
    }
}

/// What is needed to read a value.
struct Parse<'p, 'h> {
    history: &'h [KvOperation],
    ids: &'p [u32],
    tokens: &'p Tokens<'h>,
}

impl Parse<'_, '_> {
    fn is_put(&self, place: u32) -> bool {
        self.history[self.ids[place as usize] as usize].input.is_put()
    }

    /// A new level, after the write at this place.
    fn level(&self, place: u32, end: usize) -> Level {
        let id = self.ids[place as usize];
        Level { end, write: Span::of(id, &self.history[id as usize]), gets: Span::EMPTY }
    }

    /// What is wrong with the value by itself, if it is no put and appends to it, each once.
    fn fault(&self, get: u32, value: &str) -> Option<Trouble> {
        let mut seen = std::collections::HashSet::new();
        let mut at = 0;
        while at < value.len() {
            let Some(token) = self.tokens.first_of(&value[at..]) else {
                return Some(Trouble::Unexplained { get, at });
            };
            let write = self.ids[token.place as usize];
            if at > 0 && self.is_put(token.place) {
                return Some(Trouble::PutInside { get, put: write });
            }
            if !seen.insert(write) {
                return Some(Trouble::Twice { get, append: write });
            }
            at += token.text.len();
        }
        None
    }
}
