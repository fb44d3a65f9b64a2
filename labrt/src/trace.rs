//! What happened, as structured events: for the log and the diagram of a failing run.
//!
//! Recording is off by default and costs a flag's test then. It never changes the schedule: no
//! draw is made for it, and it has no switch point. A run that fails in a simulated world is run
//! again with recording on, so nothing is lost by leaving it off.

mod diagram;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::{raw, time};

pub use diagram::diagram;

/// Events kept at most, the newest: some 100 MB.
const EVENTS_MAX: usize = 1_000_000;
/// Events kept on OS threads, where recording is always on under a test.
const OS_EVENTS_MAX: usize = 10_000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// World time in nanoseconds.
    pub time_ns: u64,
    /// The server it happened at; none for the test itself.
    pub server: Option<usize>,
    /// What it is about: `election`, `rpc`, `persist`, `test`, ...
    pub topic: &'static str,
    /// What kind of event, for drawing.
    pub kind: EventKind,
    /// In words.
    pub text: String,
}

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A line of the log, or something that happened at one server.
    Note,
    /// A message arrived, from this server.
    Arrived {
        /// The sender.
        from: usize,
    },
    /// A message to `server` was lost, from this server.
    Lost {
        /// The sender.
        from: usize,
    },
}

/// The events of one run, the newest if they are too many.
#[derive(Debug)]
pub(crate) struct Recorder {
    events: VecDeque<Event>,
    limit: usize,
    roles: BTreeMap<usize, String>,
    /// Servers that tell their role themselves.
    telling: BTreeSet<usize>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            events: VecDeque::new(),
            limit: EVENTS_MAX,
            roles: BTreeMap::new(),
            telling: BTreeSet::new(),
        }
    }

    fn push(&mut self, event: Event) {
        if self.events.len() == self.limit {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(crate) fn into_events(self) -> Vec<Event> {
        self.events.into()
    }
}

static OS_ENABLED: AtomicBool = AtomicBool::new(false);
static OS_RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);

/// Whether events are recorded here and now.
#[inline]
pub fn enabled() -> bool {
    match raw::world() {
        Some(world) => world.recorder.borrow().is_some(),
        None => OS_ENABLED.load(Ordering::Relaxed),
    }
}

/// Starts recording on OS threads (a simulated world records if its configuration says so).
pub fn start_on_os_threads() {
    *OS_RECORDER.lock() = Some(Recorder { limit: OS_EVENTS_MAX, ..Recorder::new() });
    OS_ENABLED.store(true, Ordering::Relaxed);
}

/// Stops recording on OS threads, and gives what was recorded.
pub fn take_from_os_threads() -> Vec<Event> {
    OS_ENABLED.store(false, Ordering::Relaxed);
    OS_RECORDER.lock().take().map(Recorder::into_events).unwrap_or_default()
}

fn with_recorder(record: impl FnOnce(&mut Recorder)) {
    match raw::world() {
        Some(world) => {
            if let Some(recorder) = &mut *world.recorder.borrow_mut() {
                record(recorder);
            }
        }
        None => {
            if let Some(recorder) = &mut *OS_RECORDER.lock() {
                record(recorder);
            }
        }
    }
}

/// Records something that happened at `server` (none: in the test). `text` is made only if
/// recording is on.
#[inline]
pub fn record(
    server: Option<usize>,
    topic: &'static str,
    kind: EventKind,
    text: impl FnOnce() -> String,
) {
    if enabled() {
        let time_ns = u64::try_from(time::world_time().as_nanos()).unwrap_or(u64::MAX);
        let text = text();
        let event = Event { time_ns, server, topic, kind, text };
        with_recorder(|recorder| recorder.push(event));
    }
}

/// Tells the term and role of `server`, for the column that logs show; recorded when it changes.
pub fn role(server: usize, term: u64, role: &'static str) {
    if enabled() {
        with_recorder(|recorder| {
            recorder.telling.insert(server);
        });
        note_role(server, format!("{role} {term}"));
    }
}

/// As [`role`], from somebody who looked at the server: the server's own word comes first.
pub fn observed_role(server: usize, term: u64, role: &'static str) {
    if enabled() {
        let mut tells = false;
        with_recorder(|recorder| tells = recorder.telling.contains(&server));
        if !tells {
            note_role(server, format!("{role} {term}"));
        }
    }
}

fn note_role(server: usize, text: String) {
    let mut changed = false;
    with_recorder(|recorder| {
        changed = recorder.roles.insert(server, text.clone()).as_ref() != Some(&text);
    });
    if changed {
        record(Some(server), "election", EventKind::Note, || text);
    }
}

/// The term and role that [`role`] was last told, as `role term`.
pub(crate) fn role_of(server: usize) -> String {
    let mut role = String::new();
    if enabled() {
        with_recorder(|recorder| {
            role = recorder.roles.get(&server).cloned().unwrap_or_default();
        });
    }
    role
}

impl Event {
    /// The event as a line of a log: time, server, topic, text.
    pub fn log_line(&self) -> String {
        let seconds = Duration::from_nanos(self.time_ns).as_secs_f64();
        let server = self.server.map_or("test".to_string(), |server| format!("S{server}"));
        let (topic, text) = (self.topic, &self.text);
        let text = match self.kind {
            EventKind::Note => text.clone(),
            EventKind::Arrived { from } => format!("{text} from S{from}"),
            EventKind::Lost { from } => format!("{text} from S{from} is lost"),
        };
        format!("{seconds:>14.9} {server:<5} {topic:<9} {text}")
    }
}
