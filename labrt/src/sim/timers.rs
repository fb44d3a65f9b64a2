//! Deadlines, in order. A timer that is no longer wanted is left where it is and skipped when its
//! turn comes: it must neither fire nor move the clock.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::group::GroupId;
use super::strategy::ThreadId;

/// What happens at a deadline.
pub(crate) enum TimerAction {
    /// The thread goes on, if it still is in the wait with this number.
    Wake { thread: ThreadId, wait: u64 },
    /// The server goes on, if this still is its last pause.
    Resume { group: GroupId, pause: u64 },
    /// Code that must not block, run by the scheduler.
    Call(Box<dyn FnOnce()>),
}

struct Timer {
    at: u64,
    /// Breaks ties: first come, first served.
    sequence: u64,
    action: TimerAction,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// All deadlines of a world.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    sequence: u64,
    /// Timers that somebody other than an observer waits for: with none of these left, and no
    /// thread runnable, the world is deadlocked.
    awaited: usize,
}

impl Timers {
    /// Adds a deadline at virtual time `at`; `awaited` as for [`Timers::disarm`].
    pub(crate) fn add(&mut self, at: u64, action: TimerAction, awaited: bool) {
        self.sequence += 1;
        self.awaited += usize::from(awaited);
        self.heap.push(Reverse(Timer { at, sequence: self.sequence, action }));
    }

    /// An awaited timer fired or is no longer waited for (its entry is skipped later).
    pub(crate) fn disarm(&mut self) {
        self.awaited -= 1;
    }

    pub(crate) fn any_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// The action that is due first at `now`, left in place.
    #[inline]
    pub(crate) fn due(&self, now: u64) -> Option<&TimerAction> {
        let Reverse(timer) = self.heap.peek()?;
        (timer.at <= now).then_some(&timer.action)
    }

    /// The next deadline and its action.
    pub(crate) fn next(&self) -> Option<(u64, &TimerAction)> {
        self.heap.peek().map(|Reverse(timer)| (timer.at, &timer.action))
    }

    /// Removes the first timer.
    pub(crate) fn pop(&mut self) -> Option<TimerAction> {
        self.heap.pop().map(|Reverse(timer)| timer.action)
    }
}
