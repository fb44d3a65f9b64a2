//! Priorities with change points, after PCT (Burckhardt et al., ASPLOS 2010).
//!
//! Each thread has a random priority, and the highest runnable one goes on. At random points of
//! virtual time the running thread falls to the lowest priority and stalls. PCT proper places its
//! change points over a known number of steps and so has a bound on the chance to hit a bug of a
//! given depth; servers that run for ever have no such number, so no bound is claimed here.

use super::{Stall, Strategy, ThreadId, stall_length};
use crate::random::Stream;

/// A thread picked so many times in a row, others waiting, is taken to be spinning.
const SPIN_LIMIT: u32 = 1_000;

pub(super) struct Pct {
    stream: Stream,
    /// By slot; higher goes first. An observer that polls takes part without one, and goes last
    /// but for those that fell.
    priorities: Vec<i64>,
    /// The next thread to fall gets this priority, below all others.
    lowest: i64,
    /// Virtual nanoseconds of the next change point.
    next_change: u64,
    /// Change points come at gaps of up to twice 2^`gap_power` ns: 1 to 67 ms, drawn per run.
    gap_power: u32,
    in_a_row: (ThreadId, u32),
}

impl Pct {
    pub(super) fn new(seed: u64) -> Self {
        let mut stream = Stream::new(seed, "priorities", 0);
        let gap_power = 20 + stream.below(7) as u32;
        let mut pct = Self {
            stream,
            priorities: Vec::new(),
            lowest: -1,
            next_change: 0,
            gap_power,
            in_a_row: (0, 0),
        };
        pct.next_change = pct.draw_gap();
        pct
    }

    fn draw_gap(&mut self) -> u64 {
        1 + self.stream.below(2 << self.gap_power)
    }

    fn demote(&mut self, thread: ThreadId) {
        self.set(thread, self.lowest);
        self.lowest -= 1;
    }

    fn set(&mut self, thread: ThreadId, priority: i64) {
        let slots = self.priorities.len().max(thread as usize + 1);
        self.priorities.resize(slots, 0);
        self.priorities[thread as usize] = priority;
    }

    fn highest(&self, threads: &[ThreadId]) -> usize {
        let priority =
            |&index: &usize| self.priorities.get(threads[index] as usize).copied().unwrap_or(0);
        (0..threads.len()).max_by_key(priority).unwrap_or(0)
    }

    fn note_pick(&mut self, thread: ThreadId) {
        self.in_a_row = match self.in_a_row {
            (last, times) if last == thread => (last, times + 1),
            _ => (thread, 1),
        };
        if self.in_a_row.1 > SPIN_LIMIT {
            self.demote(thread);
        }
    }
}

impl Strategy for Pct {
    fn pick(&mut self, candidates: &[ThreadId]) -> usize {
        let picked = self.highest(candidates);
        self.note_pick(candidates[picked]);
        picked
    }

    fn pick_waiter(&mut self, waiters: &[ThreadId]) -> usize {
        self.highest(waiters)
    }

    fn stall(&mut self, running: ThreadId, now: u64) -> Option<Stall> {
        if now < self.next_change {
            return None;
        }
        self.next_change = now + self.draw_gap();
        self.demote(running);
        Some(Stall::Thread(stall_length(&mut self.stream)))
    }

    fn yielded(&mut self, running: ThreadId) {
        self.demote(running);
    }

    fn spawned(&mut self, thread: ThreadId) {
        let priority = self.stream.below(1 << 40) as i64;
        self.set(thread, priority);
    }
}
