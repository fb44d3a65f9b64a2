//! Deadlines, in order. A timer that is no longer wanted is left where it is and skipped when its
//! turn comes: it must neither fire nor move the clock. Once these are the majority they are thrown
//! out all at once, so a program whose waits mostly end early does not carry all their time-outs.

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

/// So few stale timers are not worth a look at all of them.
const STALE_KEPT: usize = 64;

/// All deadlines of a world.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    sequence: u64,
    /// Timers that somebody other than an observer waits for: with none of these left, and no
    /// thread runnable, the world is deadlocked.
    awaited: usize,
    /// Timers of waits that have ended.
    stale: usize,
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

    /// A wait with a deadline has ended. `is_stale` tells which timers nobody waits for.
    pub(crate) fn forsake(&mut self, is_stale: impl Fn(&TimerAction) -> bool) {
        self.stale += 1;
        if self.stale > STALE_KEPT.max(self.heap.len() / 2) {
            self.heap.retain(|Reverse(timer)| !is_stale(&timer.action));
            self.stale = 0;
        }
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

    /// A timer was removed whose wait has ended.
    pub(crate) fn stale_is_gone(&mut self) {
        // None is counted if they have just been thrown out.
        self.stale = self.stale.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_of_ended_waits_do_not_pile_up() {
        let mut timers = Timers::default();
        timers.add(7, TimerAction::Wake { thread: 0, wait: u64::MAX }, true);
        for number in 0..100_000 {
            timers.add(1_000_000, TimerAction::Wake { thread: 1, wait: number }, true);
            timers.disarm();
            let ended =
                |action: &TimerAction| matches!(action, TimerAction::Wake { thread: 1, .. });
            timers.forsake(ended);
            assert!(timers.heap.len() <= 2 * STALE_KEPT, "{} timers", timers.heap.len());
        }
        assert!(matches!(timers.next(), Some((7, TimerAction::Wake { thread: 0, .. }))));
    }
}
