//! The loop that runs a world.

use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::{Arc, Once};
use std::time::Duration;

use parking_lot::Mutex;

use super::group::GroupId;
use super::report::Failure;
use super::strategy::ThreadId;
use super::thread::NewThread;
use super::timers::TimerAction;
use super::watchdog;
use super::world::{Core, World};
use super::{Config, Outcome};
use crate::thread::panic_text;
use crate::{raw, trace};

/// Runs `main` as the first thread of a new world, to its end or to the first failure; then ends
/// every thread that is left.
///
/// The world gets an OS thread of its own, so that nothing thread-local is left from the one
/// before: the standard library draws a thread's `HashMap` keys once.
#[track_caller]
pub fn run<T: Send + 'static>(
    config: &Config,
    main: impl FnOnce() -> T + Send + 'static,
) -> Outcome<T> {
    assert!(
        raw::world().is_none(),
        "a simulated world was started inside another one: it would block that one's only thread"
    );
    let place = Location::caller();
    let config = config.clone();
    install_panic_hook();
    let thread = std::thread::Builder::new()
        .name("simulation".into())
        .spawn(move || run_here(&config, place, main))
        .unwrap_or_else(|error| panic!("no OS thread for a simulated world: {error}"));
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

fn run_here<T: Send + 'static>(
    config: &Config,
    place: &'static Location<'static>,
    main: impl FnOnce() -> T + Send + 'static,
) -> Outcome<T> {
    let world = World::new(config);
    let watched = watchdog::watch(config, &world.pulse);
    let returned = Arc::new(Mutex::new(None));
    raw::enter(&world, || {
        let slot = Arc::clone(&returned);
        let new = NewThread {
            name: Some("main".into()),
            group: GroupId::ROOT,
            observer: false,
            spawned_at: place,
        };
        world.spawn(new, move || {
            *slot.lock() = Some(main());
            if let Some(world) = raw::world() {
                world.core.borrow_mut().over = true;
            }
        });
        world.drive();
        world.end_all();
        world.drop_timers();
    });
    drop(watched);
    finish(&world, returned.lock().take())
}

fn finish<T>(world: &World, returned: Option<T>) -> Outcome<T> {
    let stats = world.stats();
    let mut core = world.core.borrow_mut();
    let result = match core.failure.take() {
        Some(failure) => Err(failure),
        None => Ok(returned.expect("the first thread has returned, or the run has failed")),
    };
    let recorder = world.recorder.borrow_mut().take();
    let events = recorder.map(trace::Recorder::into_events).unwrap_or_default();
    Outcome { result, stats, decisions: core.take_decisions(), events }
}

/// Destructors of timers that set timers are not followed for ever.
const TIMERS_DROP_ROUNDS_MAX: u32 = 100;

/// What the scheduler does next.
enum Step {
    Resume(ThreadId),
    EndGroup(GroupId),
    Call(Box<dyn FnOnce()>),
    Again,
    Over,
}

impl World {
    /// Runs threads until the run is over.
    fn drive(&self) {
        loop {
            let step = self.core.borrow_mut().next_step();
            match step {
                Step::Resume(thread) => self.resume(thread),
                Step::EndGroup(group) => self.end_group(group),
                Step::Call(callback) => self.call(callback),
                Step::Again => {}
                Step::Over => return,
            }
        }
    }

    /// Runs a timer's callback; its panic fails the run as a thread's does.
    fn call(&self, callback: Box<dyn FnOnce()>) {
        self.pulse.enter_callback();
        let called = panic::catch_unwind(AssertUnwindSafe(|| self.pinned(callback)));
        self.pulse.leave();
        if called.is_err() {
            let mut core = self.core.borrow_mut();
            let note = core.callback_panic.take().unwrap_or_else(|| "a panic".to_string());
            let failure = Failure::callback_panic(&core, note);
            core.fail(failure);
        }
    }

    /// Drops the callbacks whose time has not come. They own channels and locks, whose destructors
    /// need the core, and may set further timers.
    fn drop_timers(&self) {
        for _ in 0..TIMERS_DROP_ROUNDS_MAX {
            let timers = std::mem::take(&mut self.core.borrow_mut().timers);
            if timers.next().is_none() {
                return;
            }
            self.pinned(|| drop(timers));
        }
    }
}

impl Core {
    fn next_step(&mut self) -> Step {
        if !self.crashes.is_empty() {
            return Step::EndGroup(self.crashes.remove(0));
        }
        if self.over {
            return Step::Over;
        }
        if self.wake_due_threads() {
            return self.fire();
        }
        if let Some(thread) = self.observers.pop_front().or_else(|| self.next.take()) {
            return Step::Resume(thread);
        }
        if !self.runnable.is_empty() {
            return Step::Resume(self.pick());
        }
        self.advance_clock()
    }

    /// Takes the first timer, which is due and needs the scheduler.
    fn fire(&mut self) -> Step {
        self.timers.disarm();
        match self.timers.pop() {
            Some(TimerAction::Call(callback)) => return Step::Call(callback),
            Some(TimerAction::Resume { group, pause }) => self.end_pause(group, pause),
            Some(TimerAction::Wake { .. }) | None => unreachable!("threads were woken before"),
        }
        Step::Again
    }

    /// Nobody can run: time passes to the next deadline that somebody waits for.
    fn advance_clock(&mut self) -> Step {
        if !self.timers.any_awaited() {
            let failure = Failure::deadlock(self);
            self.fail(failure);
            return Step::Over;
        }
        while let Some((at, action)) = self.timers.next() {
            if self.threads.is_stale(action) {
                self.timers.pop();
                self.timers.stale_is_gone();
                continue;
            }
            self.now = self.now.max(at);
            break;
        }
        if self.now > self.max_time {
            let failure = Failure::livelock(self, "virtual time");
            self.fail(failure);
        }
        Step::Again
    }
}

impl World {
    /// Has the scheduler run `callback` at virtual time `at`. It must not block.
    pub(crate) fn call_at(&self, at: u64, callback: Box<dyn FnOnce()>) {
        self.core.borrow_mut().timers.add(at, TimerAction::Call(callback), true);
    }

    /// Has the scheduler run `callback` after `delay`.
    pub(crate) fn call_after(&self, delay: Duration, callback: Box<dyn FnOnce()>) {
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.call_at(self.now().saturating_add(delay), callback);
    }
}

/// Panics of simulated threads are told by the run's failure; everybody else's as before.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let message = panic_text(info.payload());
            let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line()));
            let note = format!("{message}{}", place.unwrap_or_default());
            let told = raw::world().is_some_and(|world| world.note_panic(note));
            if !told {
                previous(info);
            }
        }));
    });
}
