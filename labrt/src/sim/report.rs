//! What a person reads when a run fails: what went wrong, who was involved, and where.

use std::fmt::{self, Write as _};
use std::panic::Location;
use std::time::Duration;

use super::decisions::Decision;
use super::futex::{Holder, Key, WaitFor};
use super::strategy::ThreadId;
use super::thread::{State, Thread};
use super::watchdog::Pulse;
use super::world::{Core, World};

/// The ways in which a run can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// A thread panicked; a failed assertion is one too.
    Panic,
    /// A check that runs beside the test said so ([`crate::fail`]).
    Verdict,
    /// Nobody can ever go on.
    Deadlock,
    /// The run goes on and on: its limit of steps or of virtual time is reached.
    Livelock,
    /// A thread computes without ever calling into this crate.
    BusyLoop,
    /// The OS thread sleeps: a std lock, a real sleep, or IO.
    OutsideWait,
}

impl FailureKind {
    /// The kind in a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Verdict => "verdict",
            Self::Deadlock => "deadlock",
            Self::Livelock => "livelock",
            Self::BusyLoop => "busy loop",
            Self::OutsideWait => "a std lock, real sleep or IO inside the simulation",
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which way.
    pub kind: FailureKind,
    /// One line: what a footer says.
    pub message: String,
    /// Further lines: threads, places, holders.
    pub details: String,
    /// The thread that failed, as `server/thread`; empty if it was no single one.
    pub thread: String,
    /// Virtual time since the world began.
    pub time: Duration,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.9} s", self.message, self.time.as_secs_f64())?;
        if !self.thread.is_empty() {
            write!(f, " in {}", self.thread)?;
        }
        if !self.details.is_empty() {
            write!(f, "\n{}", self.details.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl Failure {
    fn new(core: &Core, kind: FailureKind, message: String) -> Self {
        let (details, thread) = (String::new(), String::new());
        Self { kind, message, details, thread, time: Duration::from_nanos(core.now) }
    }

    pub(super) fn panic(core: &Core, thread: ThreadId, note: String) -> Self {
        let thread = core.thread_name(thread);
        Self { thread, ..Self::new(core, FailureKind::Panic, note) }
    }

    pub(super) fn callback_panic(core: &Core, note: String) -> Self {
        let thread = "a timer's callback".to_string();
        Self { thread, ..Self::new(core, FailureKind::Panic, note) }
    }

    pub(super) fn deadlock(core: &Core) -> Self {
        let waiting = core.threads.alive().filter(|(_, thread)| !thread.observer);
        let mut details = String::new();
        let mut count = 0;
        for (id, thread) in waiting {
            count += 1;
            let _ = writeln!(details, "  {} {}", core.thread_name(id), core.describe_wait(thread));
        }
        let message = format!("deadlock: all {count} threads wait and no deadline is set");
        Self { details, ..Self::new(core, FailureKind::Deadlock, message) }
    }

    /// A thread about to wait for a lock that, in the end, it holds itself.
    pub(super) fn lock_cycle(
        core: &Core,
        me: ThreadId,
        place: &'static Location<'static>,
        cycle: &[(Key, Holder)],
    ) -> Self {
        let thread = core.thread_name(me);
        let message = match cycle {
            [(key, holder)] => format!(
                "deadlock: {thread} locks #{key} at {place}, but holds it since {}",
                holder.place
            ),
            _ => format!("deadlock: {} locks are waited for in a circle", cycle.len()),
        };
        let mut details = String::new();
        let mut waiter = (thread.clone(), place);
        for (key, holder) in cycle {
            let holder_name = core.thread_name(holder.thread);
            let _ = writeln!(
                details,
                "  {} waits at {} for lock #{key}, held by {holder_name} since {}",
                waiter.0, waiter.1, holder.place
            );
            waiter = (holder_name, core.threads.get(holder.thread).wait.place);
        }
        Self { details, thread, ..Self::new(core, FailureKind::Deadlock, message) }
    }

    pub(super) fn livelock(core: &Core, limit: &str) -> Self {
        let mut busiest: Vec<(ThreadId, &Thread)> = core.threads.alive().collect();
        busiest.sort_by_key(|(_, thread)| std::cmp::Reverse(thread.steps));
        let mut details = String::from("the busiest threads:\n");
        for (id, thread) in busiest.iter().take(5) {
            let (name, steps) = (core.thread_name(*id), thread.steps);
            let _ =
                writeln!(details, "  {name} made {steps} calls, {}", core.describe_wait(thread));
        }
        let message = format!("livelock: the limit of {limit} is reached and the run goes on");
        Self { details, ..Self::new(core, FailureKind::Livelock, message) }
    }

    /// What the watchdog says: it cannot look into the world, only at its pulse.
    pub(super) fn stuck(pulse: &Pulse, kind: FailureKind, patience: Duration) -> Self {
        let thread = pulse.running_name();
        let seconds = patience.as_secs_f64();
        let message = match kind {
            FailureKind::BusyLoop => {
                format!("busy loop: {seconds} s of CPU time without a call into labrt")
            }
            _ => format!("{}: the OS thread slept for {seconds} s", kind.name()),
        };
        let place = pulse.last_place().map(|place| format!("its last call was at {place}"));
        let advice = match kind {
            FailureKind::BusyLoop => "",
            _ => "; use labrt's lock, sleep or channel there: it waits in virtual time",
        };
        let details = format!("{}{advice}", place.unwrap_or_default());
        Self { kind, message, details, thread, time: pulse.last_time() }
    }
}

impl Core {
    /// A thread as reports call it: `server/thread`.
    pub(crate) fn thread_name(&self, id: ThreadId) -> String {
        self.threads.labels.name(id)
    }

    fn describe_wait(&self, thread: &Thread) -> String {
        let (what, place) = (thread.wait.what, thread.wait.place);
        match thread.state {
            State::Running => "is running".to_string(),
            State::Runnable if self.groups.is_paused(thread.group) => {
                "is paused with its server".to_string()
            }
            State::Runnable => "can run".to_string(),
            _ => format!("waits for {} at {place}{}", name_of(what), self.object(thread)),
        }
    }

    fn object(&self, thread: &Thread) -> String {
        let Some(&key) = thread.keys.first() else {
            return String::new();
        };
        let object = self.objects.get(key);
        let told = |how: &str, holder: &Holder| {
            format!(", {how} by {} since {}", self.thread_name(holder.thread), holder.place)
        };
        let holder = object.holder.iter().map(|holder| told("held", holder));
        let readers = object.readers.iter().map(|reader| told("read", reader));
        format!(": #{key}{}", holder.chain(readers).collect::<String>())
    }

    pub(crate) fn take_decisions(&mut self) -> Vec<Decision> {
        if !self.recorder.keeps() {
            return Vec::new();
        }
        let names = self.threads.names_by_number(|id| self.thread_name(id));
        let name = |number: u32| match names.get(&number) {
            Some(name) => name.clone(),
            None if number == 0 => "the scheduler".to_string(),
            None => format!("thread-{number}"),
        };
        self.recorder.take(name)
    }
}

fn name_of(what: WaitFor) -> &'static str {
    match what {
        WaitFor::Lock => "a lock",
        WaitFor::ReadLock => "a read lock",
        WaitFor::WriteLock => "a write lock",
        WaitFor::Notification => "a condition variable",
        WaitFor::Message => "a message from a channel",
        WaitFor::Room => "room in a channel",
        WaitFor::Select => "one of several channels",
        WaitFor::Join => "a thread's end",
        WaitFor::Time => "a time",
        WaitFor::Nothing => "nothing (it lost the CPU)",
    }
}

impl World {
    /// A check beside the test failed: ends the run.
    pub(crate) fn fail(&self, message: String) {
        let mut core = self.core.borrow_mut();
        let thread = self.running().map(|me| core.thread_name(me)).unwrap_or_default();
        let failure = Failure { thread, ..Failure::new(&core, FailureKind::Verdict, message) };
        core.fail(failure);
    }
}
