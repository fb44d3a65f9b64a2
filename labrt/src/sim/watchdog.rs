//! Notices when a world stops calling us.
//!
//! One OS thread per process looks at the pulse of every running world: a counter that each call
//! into this crate moves. A world whose counter stands still while one of its threads runs is
//! either computing (its OS thread's CPU clock goes on) or asleep in something that is not ours.
//! Neither can be unwound from outside, so the failure is told and the process ends.

use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::report::{Failure, FailureKind};
use super::strategy::ThreadId;
use super::thread::Labels;
use super::{Config, OnStuck};
use crate::raw::{self, OsThread, PlaceCell};

/// The exit status of a process that the watchdog ended.
const STUCK_EXIT_STATUS: i32 = 102;

/// In place of a thread's slot: a timer's callback runs.
const CALLBACK: u64 = u64::MAX;

/// What a world shows of itself to the watchdog.
#[derive(Default)]
pub(crate) struct Pulse {
    steps: AtomicU64,
    /// Virtual time of the last call, nanoseconds.
    now: AtomicU64,
    /// The running thread's slot + 1; 0 in the scheduler.
    running: AtomicU64,
    place: PlaceCell,
    labels: Arc<Labels>,
}

impl Pulse {
    pub(super) fn new(labels: &Arc<Labels>) -> Self {
        Self { labels: Arc::clone(labels), ..Self::default() }
    }

    #[inline]
    pub(crate) fn beat(&self, steps: u64, now: u64, place: &'static Location<'static>) {
        self.steps.store(steps, Ordering::Relaxed);
        self.now.store(now, Ordering::Relaxed);
        self.place.set(place);
    }

    #[inline]
    pub(super) fn enter(&self, thread: ThreadId) {
        self.running.store(u64::from(thread) + 1, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn leave(&self) {
        self.running.store(0, Ordering::Relaxed);
    }

    pub(super) fn running_name(&self) -> String {
        let slot = self.running.load(Ordering::Relaxed);
        if slot == CALLBACK {
            return "a timer's callback".to_string();
        }
        let thread = ThreadId::try_from(slot).unwrap_or(0).checked_sub(1);
        thread.map(|thread| self.labels.name(thread)).unwrap_or_default()
    }

    /// Scheduler code that belongs to somebody else begins: a timer's callback.
    pub(super) fn enter_callback(&self) {
        self.running.store(CALLBACK, Ordering::Relaxed);
    }

    pub(super) fn last_time(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }

    pub(super) fn last_place(&self) -> Option<&'static Location<'static>> {
        self.place.get()
    }
}

struct Watched {
    id: u64,
    pulse: Arc<Pulse>,
    os_thread: OsThread,
    /// Where Linux tells whether the thread sleeps.
    status: Option<PathBuf>,
    patience: Duration,
    on_stuck: Option<OnStuck>,
    seen: Seen,
}

/// When the world last moved, by both clocks.
struct Seen {
    steps: u64,
    /// When it last moved, or was last seen to want the CPU.
    awake: Instant,
    cpu_ns: u64,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

/// Takes a world off the watch when its run ends.
pub(super) struct Watch(u64);

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.lock().retain(|watched| watched.id != self.0);
    }
}

/// Puts the world that the current OS thread is about to run under watch.
pub(super) fn watch(config: &Config, pulse: &Arc<Pulse>) -> Watch {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let watched = Watched {
        id,
        pulse: Arc::clone(pulse),
        os_thread: raw::this_thread(),
        status: std::fs::read_link("/proc/thread-self")
            .ok()
            .map(|own| PathBuf::from("/proc").join(own).join("stat")),
        patience: config.patience,
        on_stuck: config.on_stuck.clone(),
        seen: Seen { steps: 0, awake: Instant::now(), cpu_ns: 0 },
    };
    WATCHED.lock().push(watched);
    start(config.patience);
    Watch(id)
}

/// How often the watchdog looks: often enough for the shortest patience asked for so far.
static LOOK_EVERY_MS: AtomicU64 = AtomicU64::new(1_000);

fn start(patience: Duration) {
    static STARTED: Once = Once::new();
    static FAILED: AtomicBool = AtomicBool::new(false);
    let wish = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX) / 4;
    LOOK_EVERY_MS.fetch_min(wish.max(10), Ordering::Relaxed);
    STARTED.call_once(|| {
        let spawned = std::thread::Builder::new().name("watchdog".into()).spawn(look_on);
        FAILED.store(spawned.is_err(), Ordering::Relaxed);
    });
    if FAILED.load(Ordering::Relaxed) {
        log::warn!("no OS thread for the watchdog: a busy loop would not be noticed");
    }
}

fn look_on() {
    loop {
        std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS.load(Ordering::Relaxed)));
        let mut worlds = WATCHED.lock();
        let stuck = worlds.iter_mut().find_map(look_at);
        if let Some((failure, on_stuck)) = stuck {
            end_process(&failure, on_stuck);
        }
    }
}

fn look_at(world: &mut Watched) -> Option<(Failure, Option<OnStuck>)> {
    let steps = world.pulse.steps.load(Ordering::Relaxed);
    let cpu_ns = raw::cpu_time_ns(world.os_thread)?;
    let in_scheduler = world.pulse.running.load(Ordering::Relaxed) == 0;
    if steps != world.seen.steps || in_scheduler || world.seen.cpu_ns == 0 {
        world.seen = Seen { steps, awake: Instant::now(), cpu_ns };
        return None;
    }
    let busy = Duration::from_nanos(cpu_ns - world.seen.cpu_ns);
    if wants_cpu(world.status.as_deref()) {
        world.seen.awake = Instant::now();
    }
    let idle = world.seen.awake.elapsed().saturating_sub(busy);
    let kind = if busy >= world.patience {
        FailureKind::BusyLoop
    } else if idle >= world.patience && busy * 10 < idle {
        FailureKind::OutsideWait
    } else {
        return None;
    };
    Some((Failure::stuck(&world.pulse, kind, world.patience), world.on_stuck.clone()))
}

/// Whether the OS thread runs or would like to: on a crowded machine one that computes may get
/// next to no CPU time, and yet does not sleep. (False where the system does not say.)
fn wants_cpu(status: Option<&Path>) -> bool {
    let line = status.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    line.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('R'))
}

fn end_process(failure: &Failure, on_stuck: Option<OnStuck>) -> ! {
    match on_stuck {
        Some(tell) => tell(failure),
        None => eprintln!("FAIL {failure}"),
    }
    std::process::exit(STUCK_EXIT_STATUS);
}
