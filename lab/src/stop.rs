//! Who wants the work to end.
//!
//! A person's Ctrl-C, or whoever ends this program with a signal that can be caught, ends all of
//! it; a part of the work, a campaign, may be over before that, and what is left to do about it
//! goes on.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use labrt::time::{Duration, Instant};
use rustix::process::Signal;

use crate::refusal::{Refusal, because};

/// When workers are to end: all of them as soon as a person says so; those of a part of the work
/// also at some time, or once it has come to what it was for.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    told: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    at: Option<Instant>,
}

/// What a shell gives a program that Ctrl-C has stopped.
pub(crate) const STOPPED_EXIT_STATUS: u8 = 130;

impl Stop {
    /// One that Ctrl-C tells, or whoever ends us.
    ///
    /// # Errors
    /// If signals cannot be caught.
    pub(crate) fn on_signal() -> Result<Self, Refusal> {
        let stop = Self::default();
        let told = Arc::clone(&stop.told);
        let caught = ctrlc::set_handler(move || told.store(true, Ordering::Relaxed));
        caught.map_err(because("Ctrl-C cannot be caught"))?;
        Ok(stop)
    }

    /// That of a part of the work, which lasts no longer than this.
    pub(crate) fn of_part(&self, time: Option<Duration>) -> Self {
        let at = time.and_then(|time| Instant::now().checked_add(time));
        Self { told: Arc::clone(&self.told), over: Arc::default(), at }
    }

    /// A process has ended in which no code under test can have run. If it was for a signal that a
    /// terminal sends, that was meant for us: a process is in our group until it has one of its
    /// own, and hears what we hear, perhaps before we do.
    pub(crate) fn hear(&self, status: ExitStatus) {
        let of_terminal = [Signal::INT, Signal::TERM, Signal::HUP].map(Signal::as_raw);
        if status.signal().is_some_and(|signal| of_terminal.contains(&signal)) {
            self.told.store(true, Ordering::Relaxed);
        }
    }

    /// This part is over; what it is a part of goes on.
    pub(crate) fn now(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether a person wants it all to end.
    pub(crate) fn was_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    pub(crate) fn is_now(&self) -> bool {
        let is_over = || self.over.load(Ordering::Relaxed);
        self.was_told() || is_over() || self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// What came of a command, if a person ended it and it could not go on for that: nothing else
    /// is to blame then.
    ///
    /// # Errors
    /// What it could not do, if nobody did.
    pub(crate) fn explains(
        &self,
        result: Result<ExitCode, Refusal>,
        so_far: &str,
    ) -> Result<ExitCode, Refusal> {
        if result.is_err() && self.was_told() {
            eprintln!("stopped: {so_far}");
            return Ok(ExitCode::from(STOPPED_EXIT_STATUS));
        }
        result
    }
}
