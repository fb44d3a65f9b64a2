//! The simulated world: threads are coroutines on one OS thread, and time is a number.
//!
//! [`run`] makes a world, runs a closure as its first thread, and ends every thread that is left.
//! Inside, each call into this crate is a point at which another thread may run; which one does,
//! and when a thread loses the CPU, follows from the seed alone. So a run is a function of its
//! seed and of the code, and a failure can be had again as often as one likes.
//!
//! | module | what it holds |
//! |---|---|
//! | `world` | the state of a run, and the points at which threads may switch |
//! | `scheduler` | the loop that picks a thread, moves the clock, and starts and ends a run |
//! | `futex` | the one way to wait, and the one way to wake |
//! | `timers` | deadlines, in order |
//! | `thread` | simulated threads: spawn, join, unwinding |
//! | `stacks` | the memory they run on, used again |
//! | `group` | servers: membership, pause, local clocks, and `crash` |
//! | `strategy` | which thread next, and who stalls: one file each |
//! | `report` | what a person reads when a run fails |
//! | `decisions` | the record that tells where two runs of a seed part |
//! | `watchdog` | the OS thread that notices when a world stops calling us |
//!
//! Two rules make the rest simple. State is changed only between switch points, so it needs no
//! locks. And nothing waits but through [`futex`](self), which checks and enqueues without a
//! switch in between: otherwise a wake-up could fall into the gap and be lost.
//!
//! # What breaks replay
//! Whatever a run uses must be made inside it. A `static` survives from one world to the next; an
//! address depends on the allocator; `std::time::Instant` is real time; bytes read from a file or
//! from the operating system are the outside world. `HashMap`'s random keys are taken care of:
//! they are drawn from the seed. The decisions' record ([`Config::decisions`]) finds the rest.
//!
//! Left out: weak memory (one OS thread runs everything, so atomics are sequentially consistent;
//! loom explores that), and preemption between two plain instructions (only calls into this crate
//! are switch points).

pub(crate) mod decisions;
pub(crate) mod futex;
pub(crate) mod group;
mod lock;
pub(crate) mod report;
mod scheduler;
mod stacks;
pub(crate) mod strategy;
pub(crate) mod thread;
pub(crate) mod timers;
mod watchdog;
pub(crate) mod world;

use std::sync::Arc;
use std::time::Duration;

use crate::trace::Event;

pub use decisions::{Decision, DecisionKind, Difference, first_difference};
pub use report::{Failure, FailureKind};
pub use scheduler::run;
pub use strategy::StrategyKind;

/// What decides a run, and what bounds it.
#[derive(Clone)]
pub struct Config {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// How threads are picked and stalled.
    pub strategy: StrategyKind,
    /// Virtual time after which a run is called a livelock.
    pub max_time: Duration,
    /// Calls into this crate after which a run is called a livelock.
    pub max_steps: u64,
    /// Record what happens ([`crate::trace`]).
    pub record: bool,
    /// Keep every decision, for comparing two runs ([`first_difference`]).
    pub decisions: bool,
    /// CPU time (busy loop) or real time asleep (a lock, sleep or IO that is not ours) without a
    /// call into this crate, after which the watchdog gives the run up.
    pub patience: Duration,
    /// What the watchdog calls with its failure before it ends the process: a coroutine that
    /// spins cannot be unwound. Without one it prints the failure itself.
    pub on_stuck: Option<OnStuck>,
}

/// Tells a failure that ends the process.
pub type OnStuck = Arc<dyn Fn(&Failure) + Send + Sync>;

impl Config {
    /// The usual limits: an hour of virtual time, 200 million steps, 10 s of patience.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            strategy: StrategyKind::RandomWalk,
            max_time: Duration::from_secs(3600),
            max_steps: 200_000_000,
            record: false,
            decisions: false,
            patience: Duration::from_secs(10),
            on_stuck: None,
        }
    }

    /// The same with another strategy.
    pub fn with_strategy(mut self, strategy: StrategyKind) -> Self {
        self.strategy = strategy;
        self
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What the first thread returned, or the first thing that went wrong.
    pub result: Result<T, Failure>,
    /// What the run took.
    pub stats: Stats,
    /// Every decision, if [`Config::decisions`] asked for them.
    pub decisions: Vec<Decision>,
    /// What happened, if [`Config::record`] asked for it.
    pub events: Vec<Event>,
}

/// What a run took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Virtual time at the end, since the world began.
    pub time: Duration,
    /// Calls into this crate.
    pub steps: u64,
    /// Times that a thread was resumed.
    pub switches: u64,
    /// Threads spawned, observers aside.
    pub threads: u64,
    /// A hash over every decision: two runs with one digest took the same course.
    pub digest: u64,
    /// Threads that could not be ended, by name and place.
    pub leaked: Vec<String>,
}
