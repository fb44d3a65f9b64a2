//! Was it as if one server had answered, one request at a time?
//!
//! A replicated service is many servers, and its clients should not be able to tell. *Linearizable*
//! makes that exact (Herlihy and Wing, 1990): there is an order of all operations such that
//!
//! * a single server that took them in this order would have answered each as it was answered, and
//! * an operation that returned before another was called stands before it.
//!
//! So each operation takes effect at one moment between its call and its return. Two that overlap
//! in time may stand either way round; it is their answers that tell. This crate takes down what
//! the clients did ([`Recorder`]) and says whether there is such an order ([`check`]):
//!
//! ```
//! use linearizability::{KvInput, Operation, Verdict, check};
//!
//! let history = [
//!     Operation::returned(1, KvInput::put("x", "a"), 10, 20, None),
//!     Operation::returned(1, KvInput::put("x", "b"), 30, 40, None),
//!     Operation::returned(2, KvInput::get("x"), 50, 60, Some("a".to_string())),
//! ];
//! let Verdict::NotLinearizable(clash) = check(&history) else { panic!("a stale read") };
//! assert_eq!(clash.operations, [0, 1, 2]);
//! println!("{clash}");
//! ```
//!
//! There are three answers. *Linearizable* and *not linearizable* are certain, and the second comes
//! with the few operations that clash, of however many: for the general engine, `src/shrink.rs`
//! says which operations may be left unsaid, and why. *Undecided* comes with a reason, and is never
//! a pass.
//!
//! # Times and unknown outcomes
//!
//! Times are `u64` nanoseconds of one clock that all clients share. A return at the very time of a
//! call is concurrent with it: a clock with coarse ticks does not make a history wrong.
//!
//! A client that gave up does not know whether its request took effect. Such an operation has no
//! return: it may take effect at any moment after its call, or never.
//!
//! # Which engine
//!
//! To look for an order is hard in general (Gibbons and Korach, 1997: NP-complete, even for one
//! register). It is easy when a get's answer tells *which* writes it saw, and a test harness that
//! chooses its own values can see to that. [`check`] looks at one key after the other, which is
//! enough (a history has an order if and only if its part about each key has one: Herlihy and
//! Wing's locality), and picks for each:
//!
//! * the *zone engine*, if all tokens written to the key are different and not empty, and, should
//!   there be appends among the writes, none is the beginning of another. It takes time in
//!   O(n log n + bytes) and always decides;
//! * the *general engine* otherwise. It takes any [`Model`], searches, and may run into its
//!   [`Limits`], which count work, so that the answer does not depend on the machine.
//!
//! # Why the zone engine is right
//!
//! Take the operations on one key; at first, its value is empty. A put replaces the value by its
//! token, an append adds its token at the end.
//!
//! **What a get saw.** No token is empty or the beginning of another. Then at most one token stands
//! at the beginning of a given string, and by induction there is at most one way to cut a string
//! into tokens; and no two writes have the same token. (Without appends, a value is a single token,
//! and it is enough that they differ.) In any order, the value at any moment is the token of the
//! last put, if there was one, followed by those of all appends since, each once. So a get's answer
//! must be cut in this way: a put or nothing, then appends, none of them twice. If it cannot be, no
//! order explains it. If it can, it says which write was the last put and which appends followed,
//! in which order, and that no other write stood between.
//!
//! **Chains.** Sort the gets by the put at the beginning of what they saw. A get that saw none saw
//! the key's first value, which we take for the token, empty, of a put at minus infinity. A put
//! that was seen, the appends seen behind it and the gets that saw it are its *chain*. Of two gets
//! in a chain, one must have seen the beginning of what the other saw (as from one put to the next
//! the value only grows), and no append may be in two chains (as it takes effect once). The longest
//! value seen in the chain then puts it into *levels*: the put, the gets that saw just that; the
//! first append, the gets that saw up to it; the second append, and so on.
//!
//! **A chain is a block.** Let an order of the whole be given. Between the put of a chain and the
//! last of its operations there is no operation of another chain, and no write that nobody saw. For
//! the last of its operations is a get (each of its writes is seen by some get, which stands
//! later), one that saw the longest value. A write in between, not of the chain, would be a put,
//! which would replace what that get saw, or an append, which would be in what it saw. A get in
//! between sees the value of this chain's put and hence is in this chain. Within the block the
//! operations stand by level: a get of some level comes after its level's append, since it sees it,
//! and before the next append, since it does not see that.
//!
//! So an order is nothing but an order of *blocks*: the chains, and the writes that nobody saw,
//! each a block by itself. And every order of blocks, with each chain sorted by its levels, gives
//! the right answers, provided that the chain of the first value comes first: a chain begins with a
//! put, so that it does not matter what came before, and the writes that nobody saw are never asked
//! about. The put at minus infinity comes first by its time, if times are respected. What is left
//! is to respect the times. Write `call` and `ret` for an operation's times; `x` must stand before
//! `y` if `ret(x) < call(y)`. An outcome that is unknown has `ret` at infinity; if it is a write
//! that nobody saw, or a get, it is left out, as it may never have taken effect: it restricts
//! nobody (its return precedes no call), and so an order of the others is an order of all.
//!
//! **Within a chain** the levels can be respected if and only if no operation returned before
//! one of an *earlier* level was called. That this is needed is plain. It is enough, since we may
//! sort by level and within a level by call: `ret(x) < call(y)` implies `call(x) < call(y)`.
//!
//! **Between blocks.** For a block A, let `f(A)` be the first return of its operations and `s(A)`
//! the last call. A must stand before B, written A → B, if some operation of A returned before one
//! of B was called: if and only if `f(A) < s(B)`. The blocks can be ordered if and only if there is
//! no cycle of different blocks in →. Claim: *if there is a cycle, then there is one of two
//! blocks.* For in a cycle, let M be the block whose `s` is the greatest, X the one that follows it
//! and Y the one that follows X. Then M → X. And `f(X) < s(Y) <= s(M)`, that is X → M. So it is
//! enough to compare pairs: the order exists if and only if there are no two blocks with both
//!
//! > `f(A) < s(B)` and `f(B) < s(A)`.
//!
//! **Zones.** To find such a pair without comparing all, call A *forward* if `f(A) < s(A)`, else
//! *backward*; its zone is the time between the two (Gibbons and Korach).
//!
//! * Both forward: the pair of inequalities says that the zones `(f, s)` overlap. Sorted by `f`, if
//!   any two of them overlap then two neighbours do.
//! * A forward, B backward: it says `f(A) < s(B) <= f(B) < s(A)`: B's zone lies inside A's. As the
//!   forward zones do not overlap, only the last one that begins before `s(B)` has to be looked at.
//! * Both backward: `f(A) < s(B) <= f(B) < s(A) <= f(A)` cannot be.
//!
//! All comparisons are strict, as ties are concurrent. That a put and the gets that saw it are
//! *two* levels matters: one group for both would let a get return before its put was called.
//!
//! # Histories in files
//!
//! `cargo run -p linearizability -- check FILE` reads JSON lines ([`read_history`]), one object per
//! operation, in any order:
//!
//! ```text
//! {"client":1,"op":"put","key":"x","value":"a","call":10,"return":20}
//! {"client":2,"op":"append","key":"x","value":"b","call":15,"return":null}
//! {"client":3,"op":"get","key":"x","output":"ab","call":30,"return":42}
//! ```
//!
//! | field | what it is |
//! |---|---|
//! | `client` | a number: who called. It serves the telling alone |
//! | `op` | `"get"`, `"put"` or `"append"` |
//! | `key` | a string |
//! | `value` | a string: what a put or an append wrote. A get has none |
//! | `output` | a string: what a get that returned read, `""` if nobody wrote. Others have none |
//! | `call` | a whole number below 2^63 - 1: when it was called, in any unit |
//! | `return` | when it returned, not before the call; `null` or left out if it never did |
//!
//! There are no other fields. Empty lines are skipped. A line that is wrong is named by its number.
//! The exit status is 0 for linearizable, 1 for not linearizable, 2 for undecided or bad input.
//!
//! # What is left out
//!
//! * An order, when there is one: the answer is a yes.
//! * Operations on several keys at once. In a [`Model`] of one's own, they need one key for all.
//! * Models that may answer in several ways and remember which: [`Model::step`] leads to one state.
//!   A get of unknown outcome has no such trouble; an operation that draws a number would.
//! * Weaker promises, such as sequential consistency or stale reads within a bound.
//! * Tokens that could be told apart in other ways, such as none being the *end* of another: they
//!   go to the general engine.
//! * Pictures. Porcupine draws the furthest orders it found; here, a clash is told in words.

// The tests in here share their histories with those beside.
#[cfg(test)]
extern crate self as linearizability;

mod frontier;
mod history;
mod json;
mod kv;
mod model;
mod search;
mod shrink;
mod verdict;
mod zone;

pub use history::{OpId, Operation, Outcome, Recorder};
pub use json::{FormatError, read_history, write_history};
pub use kv::{Kv, KvAction, KvInput, KvOperation, KvValue, check, check_with};
pub use model::Model;
pub use search::{Limits, check_model};
pub use verdict::{Clash, Verdict};
