//! Uniform choices and no stalls: what a simulator does that has switch points alone. It is here
//! to be compared with.

use super::{Stall, Strategy, ThreadId};
use crate::random::Stream;

pub(super) struct Plain {
    schedule: Stream,
}

impl Plain {
    pub(super) fn new(seed: u64) -> Self {
        Self { schedule: Stream::new(seed, "schedule", 0) }
    }
}

impl Strategy for Plain {
    fn pick(&mut self, candidates: &[ThreadId]) -> usize {
        self.schedule.below(candidates.len() as u64) as usize
    }

    fn pick_waiter(&mut self, waiters: &[ThreadId]) -> usize {
        self.pick(waiters)
    }

    fn stall(&mut self, _running: ThreadId, _now: u64) -> Option<Stall> {
        None
    }
}
