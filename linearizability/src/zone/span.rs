//! The two moments of a group of operations that decide what may come before and after it.

use crate::history::{NEVER, Operation};

/// The first return and the last call in a group of operations, and whose they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) first_return: i64,
    pub(super) last_call: i64,
    pub(super) returned: u32,
    pub(super) called: u32,
}

/// No operation at all.
pub(super) const NOBODY: u32 = u32::MAX;

impl Span {
    /// The span of nothing.
    pub(super) const EMPTY: Self =
        Self { first_return: NEVER, last_call: i64::MIN, returned: NOBODY, called: NOBODY };

    /// The span of the write that gave a key its first value, before every call.
    pub(super) const START: Self = Self { first_return: i64::MIN, ..Self::EMPTY };

    /// The span of operation `id` alone.
    pub(super) fn of<I, O>(id: u32, op: &Operation<I, O>) -> Self {
        Self { first_return: op.ret(), last_call: op.call(), returned: id, called: id }
    }

    /// The span of both groups together.
    pub(super) fn and(self, other: Self) -> Self {
        let mut both = self;
        if other.first_return < both.first_return {
            (both.first_return, both.returned) = (other.first_return, other.returned);
        }
        if other.last_call > both.last_call {
            (both.last_call, both.called) = (other.last_call, other.called);
        }
        both
    }

    /// Whether one of this group returned before one of the other was called. A return at the
    /// time of a call is not before it.
    pub(super) fn before(&self, other: &Self) -> bool {
        self.first_return < other.last_call
    }

    /// Whether the group takes all the time from its first return to its last call.
    pub(super) fn is_forward(&self) -> bool {
        self.before(self)
    }
}
