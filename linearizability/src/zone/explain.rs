//! What the zone engine found, told as a person would.

use super::Block;
use super::span::NOBODY;
use crate::kv::{Kv, KvAction, KvOperation};
use crate::verdict::{self, Clash, quote};

/// Why the operations on a key have no order. Operations are given by their index in the history.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// What the get read is no sequence of tokens from byte `at` on.
    Unexplained { get: u32, at: usize },
    /// What the get read goes on with what a put wrote.
    PutInside { get: u32, put: u32 },
    /// What the get read holds an append twice.
    Twice { get: u32, append: u32 },
    /// Two gets saw one append behind different puts.
    TwoChains { get: u32, append: u32, other: u32 },
    /// Two gets saw the appends behind one put in different orders.
    Fork { get: u32, other: u32 },
    /// `later` shows or is a later write than `earlier`, and yet returned before its call. That
    /// their writes belong together is known from `reader`.
    Inversion { earlier: u32, later: u32, reader: u32 },
    /// Each of two groups of operations must be done before the other begins.
    Zones { one: Block, other: Block },
}

impl Trouble {
    pub(super) fn explain(self, history: &[KvOperation]) -> Clash {
        let (claim, operations) = match self {
            Self::Unexplained { get, at } => (unexplained(history, get, at), vec![get]),
            Self::PutInside { get, put } => (put_inside(history, get, put), vec![get, put]),
            Self::Twice { get, append } => (twice(history, get, append), vec![get, append]),
            Self::TwoChains { get, append, other } => {
                (two_chains(history, get, append, other), vec![get, append, other])
            }
            Self::Fork { get, other } => (fork(history, get, other), vec![get, other]),
            Self::Inversion { earlier, later, reader } => {
                let mut operations = vec![earlier, later];
                operations.extend((!is_get(history, later)).then_some(reader));
                (inversion(history, earlier, later), operations)
            }
            Self::Zones { one, other } => return zones(history, one, other),
        };
        clash(history, operations, claim)
    }
}

fn clash(history: &[KvOperation], operations: Vec<u32>, claim: String) -> Clash {
    let operations = operations.into_iter().map(|id| id as usize).collect();
    Clash::new(&Kv, history, operations, claim)
}

fn is_get(history: &[KvOperation], id: u32) -> bool {
    history[id as usize].read().is_some()
}

/// Who did what, in half a sentence.
fn who(history: &[KvOperation], id: u32) -> String {
    verdict::who(&Kv, history, id as usize)
}

fn unexplained(history: &[KvOperation], get: u32, at: usize) -> String {
    let value = history[get as usize].read().unwrap_or_default();
    let rest = value.get(at..).unwrap_or_default();
    let what = if rest.is_empty() {
        "it ends in the middle of what one write wrote".to_string()
    } else {
        format!("nobody wrote what stands from byte {at} on, {}", quote(rest))
    };
    format!("{} cannot be: {what}", who(history, get))
}

fn put_inside(history: &[KvOperation], get: u32, put: u32) -> String {
    format!(
        "{} cannot be: a put replaces the value, and {} stands behind another write's",
        who(history, get),
        who(history, put)
    )
}

fn twice(history: &[KvOperation], get: u32, append: u32) -> String {
    format!("{} shows {} twice", who(history, get), who(history, append))
}

fn two_chains(history: &[KvOperation], get: u32, append: u32, other: u32) -> String {
    format!(
        "{} shows {} behind one write and {} behind another: it took effect twice",
        who(history, get),
        who(history, append),
        who(history, other)
    )
}

fn fork(history: &[KvOperation], get: u32, other: u32) -> String {
    format!(
        "{} and {} begin with the same write, and neither goes on where the other ends",
        who(history, get),
        who(history, other)
    )
}

fn inversion(history: &[KvOperation], earlier: u32, later: u32) -> String {
    let (first, second) = (who(history, earlier), who(history, later));
    match (is_get(history, earlier), is_get(history, later)) {
        (true, _) => format!("{first} is stale: {second} had returned before it was called"),
        (false, true) => format!("{second} shows {first}, which was called only later"),
        (false, false) => {
            format!("gets show {first} before {second}, which had returned before it was called")
        }
    }
}

/// One of the two groups was over before something of the other returned, which was over before
/// something of the first was called: the last of these is the one that came too late.
fn zones(history: &[KvOperation], one: Block, other: Block) -> Clash {
    let readers = [one, other].map(|block| needed_reader(history, block));
    let is_get = |id: u32| is_get(history, id);
    let (one, other) = (one.span, other.span);
    // A key's first value was there before everything, and so has no operation that returned.
    let from_start = one.returned == NOBODY;
    let one_is_late = from_start || is_get(one.called) || !is_get(other.called);
    let (late, new) = if one_is_late { (one, other) } else { (other, one) };

    let (last, between) = (who(history, late.called), who(history, new.returned));
    let what = if is_get(late.called) { "is stale" } else { "came too late for what gets show" };
    let mut claim = format!("{last} {what}: {between} had returned before it was called");
    let mut operations = vec![late.called, new.returned, new.called];
    if !from_start {
        let first = who(history, late.returned);
        let then = if new.called == new.returned {
            format!(", and was itself called after {first} had returned")
        } else {
            let begun = who(history, new.called);
            format!(", and {begun}, of the same value, was called after {first} had returned")
        };
        claim.push_str(&then);
        operations.push(late.returned);
    }
    operations.extend(readers.iter().flatten());
    clash(history, operations, claim)
}

/// The get that shows behind which put an append stands, if the block's times are an append's.
fn needed_reader(history: &[KvOperation], block: Block) -> Option<u32> {
    let is_append = |id: u32| {
        let op = history.get(id as usize);
        op.is_some_and(|op| matches!(op.input.action, KvAction::Append(_)))
    };
    let span = block.span;
    (block.reader != NOBODY && (is_append(span.returned) || is_append(span.called)))
        .then_some(block.reader)
}
