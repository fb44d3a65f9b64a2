//! The zone engine: who read what is known, and only the times have to be compared.
//!
//! The chapter in `lib.rs` says why this is right. Here is what it comes to, for one key:
//!
//! 1. [`tokens`]: every value names the writes that made it, or the general engine takes over.
//! 2. [`chains`]: each get's value is read; what cannot be a value at any time is found here.
//! 3. Within a chain, nothing of a later level may return before something of an earlier one is
//!    called.
//! 4. The zones of the chains and of the writes nobody saw are compared with each other.

mod chains;
mod explain;
mod span;
mod tokens;

use crate::kv::KvOperation;
use crate::verdict::Verdict;
use chains::Chains;
use explain::Trouble;
use span::{NOBODY, Span};
use tokens::Tokens;

/// Is the part of the history about one key linearizable? `None` if it takes the general engine.
pub(crate) fn check(history: &[KvOperation], ids: &[u32]) -> Option<Verdict> {
    let tokens = Tokens::new(history, ids)?;
    Some(match find_trouble(history, ids, &tokens) {
        Ok(()) => Verdict::Linearizable,
        Err(trouble) => Verdict::NotLinearizable(trouble.explain(history)),
    })
}

/// A chain, or a write that no get saw.
#[derive(Clone, Copy, Debug)]
struct Block {
    span: Span,
    /// The get that saw all of the chain, or `NOBODY`.
    reader: u32,
}

fn find_trouble(history: &[KvOperation], ids: &[u32], tokens: &Tokens<'_>) -> Result<(), Trouble> {
    let chains = Chains::new(history, ids, tokens)?;
    for chain in &chains.chains {
        if let Some((earlier, later)) = chain.inversion() {
            return Err(Trouble::Inversion { earlier, later, reader: chain.reader });
        }
    }
    let seen = chains.chains.iter().map(|chain| Block { span: chain.span(), reader: chain.reader });
    // A write that nobody saw, and that did not return, need not have happened.
    let unseen = tokens.all().filter_map(|token| {
        let id = ids[token.place as usize];
        let op = &history[id as usize];
        let is_block = chains.chain_of[token.place as usize] == NOBODY && op.outcome.is_some();
        is_block.then(|| Block { span: Span::of(id, op), reader: NOBODY })
    });
    let (mut forward, backward): (Vec<_>, Vec<_>) =
        seen.chain(unseen).partition(|block| block.span.is_forward());
    forward.sort_unstable_by_key(|block| block.span.first_return);
    match overlap(&forward).or_else(|| inside(&forward, &backward)) {
        Some((one, other)) => Err(Trouble::Zones { one, other }),
        None => Ok(()),
    }
}

/// Two forward zones that overlap. If any do, two neighbours do: between two that overlap, the
/// next after the first begins no later than the second.
fn overlap(forward: &[Block]) -> Option<(Block, Block)> {
    let pair = forward.windows(2).find(|pair| pair[1].span.before(&pair[0].span))?;
    Some((pair[0], pair[1]))
}

/// A forward zone, and a backward one inside it. As the forward ones do not overlap, they end in
/// the order in which they begin, and only the last that begins before the backward one can
/// reach beyond it.
fn inside(forward: &[Block], backward: &[Block]) -> Option<(Block, Block)> {
    backward.iter().find_map(|inner| {
        let later = forward.partition_point(|outer| outer.span.before(&inner.span));
        let outer = forward[..later].last()?;
        inner.span.before(&outer.span).then_some((*outer, *inner))
    })
}
