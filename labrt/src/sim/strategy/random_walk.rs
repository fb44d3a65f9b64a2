//! Uniform choices, with stalls at random calls. How often is drawn per run, so that some runs
//! are nearly undisturbed and others stall all the time: each finds what the other hides.

use std::time::Duration;

use super::plain::Plain;
use super::{Stall, Strategy, ThreadId, stall_length};
use crate::random::Stream;

/// One stall in so many is a pause of the whole server.
const SERVER_PAUSE_ONE_IN: u64 = 300;

pub(super) struct RandomWalk {
    choices: Plain,
    stalls: Stream,
    /// Mean number of calls between two stalls: 2^7 to 2^11, about 500 in the middle.
    mean_gap: u64,
    calls_left: u64,
}

impl RandomWalk {
    pub(super) fn new(seed: u64) -> Self {
        let mut stalls = Stream::new(seed, "stalls", 0);
        let mean_gap = stalls.log_uniform(7, 11).as_nanos() as u64;
        let mut walk = Self { choices: Plain::new(seed), stalls, mean_gap, calls_left: 0 };
        walk.calls_left = walk.draw_gap();
        walk
    }

    fn draw_gap(&mut self) -> u64 {
        1 + self.stalls.below(2 * self.mean_gap)
    }
}

impl Strategy for RandomWalk {
    fn pick(&mut self, candidates: &[ThreadId]) -> usize {
        self.choices.pick(candidates)
    }

    fn pick_waiter(&mut self, waiters: &[ThreadId]) -> usize {
        self.choices.pick_waiter(waiters)
    }

    #[inline]
    fn stall(&mut self, _running: ThreadId, _now: u64) -> Option<Stall> {
        self.calls_left -= 1;
        if self.calls_left > 0 {
            return None;
        }
        self.calls_left = self.draw_gap();
        if self.stalls.below(SERVER_PAUSE_ONE_IN) > 0 {
            return Some(Stall::Thread(stall_length(&mut self.stalls)));
        }
        let pause = self.stalls.duration(Duration::from_millis(5)..Duration::from_millis(50));
        Some(Stall::Server(pause))
    }
}
