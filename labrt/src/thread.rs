//! Threads: `spawn`, `Builder`, `JoinHandle`, `sleep`, `yield_now`, in the shapes of
//! [`std::thread`].
//!
//! In a simulated world a panic in any thread fails the run, so [`JoinHandle::join`] gives an
//! error there only for a thread that was ended with its server ([`Killed`]).

use std::any::Any;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::group::Group;
use crate::raw::{self, Mode};
use crate::sim::futex::WaitFor;
use crate::sim::group::GroupId;
use crate::sim::thread::{NewThread, Packet};
use crate::{os, time};

pub use crate::sim::thread::Killed;

/// The result of [`JoinHandle::join`], as in [`std::thread::Result`].
pub type Result<T> = std::thread::Result<T>;

/// A thread that can be waited for. Dropping it lets the thread go on by itself.
pub struct JoinHandle<T>(Handle<T>);

enum Handle<T> {
    Os(std::thread::JoinHandle<T>),
    Sim(Arc<Packet<T>>),
}

impl<T> JoinHandle<T> {
    /// Waits for the thread's end.
    ///
    /// # Errors
    /// The payload of the panic that ended it; [`Killed`] if its server crashed.
    #[track_caller]
    pub fn join(self) -> Result<T> {
        match (self.0, raw::world()) {
            (Handle::Os(handle), None) => os::thread::join(handle),
            (Handle::Sim(packet), Some(world)) => world.join(&packet, Location::caller()),
            (Handle::Os(_), Some(_)) => panic!(
                "this thread is an OS thread: a simulated thread cannot wait for it; spawn it \
                 inside the simulation"
            ),
            (Handle::Sim(_), None) => panic!(
                "this thread is simulated and its world is gone: join it inside the simulation"
            ),
        }
    }

    /// Whether the thread has ended.
    #[track_caller]
    pub fn is_finished(&self) -> bool {
        checkpoint();
        match &self.0 {
            Handle::Os(handle) => handle.is_finished(),
            Handle::Sim(packet) => packet.is_finished(),
        }
    }
}

/// Spawns a thread in the current thread's group. See [`std::thread::spawn`].
#[track_caller]
pub fn spawn<T, F>(body: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn_at(body, Location::caller())
}

/// Chooses a new thread's name, and its group if that is not the current one.
#[derive(Debug, Default)]
pub struct Builder {
    name: Option<String>,
    home: Home,
    observer: bool,
}

/// Where a new thread belongs.
#[derive(Debug, Default)]
enum Home {
    /// Where the thread does that spawns it.
    #[default]
    Here,
    /// In this group, or in none.
    In(Option<Group>),
}

impl Builder {
    /// A thread without a name, in the current group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the thread; reports call it `server/name`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Puts the thread into `group`.
    #[must_use]
    pub fn group(self, group: &Group) -> Self {
        self.home(Some(group))
    }

    /// Puts the thread into `group`, or outside every group.
    pub(crate) fn home(mut self, group: Option<&Group>) -> Self {
        self.home = Home::In(group.cloned());
        self
    }

    /// Makes the thread an observer: in a simulated world it runs before all others and at no
    /// cost of time, and no draw is made for it, so that a run with it takes the course of a run
    /// without it (but for the locks it takes from others). For monitors, not for code under test.
    #[must_use]
    pub fn observer(mut self) -> Self {
        self.observer = true;
        self
    }

    /// Spawns the thread. Unlike [`std::thread::Builder::spawn`] this cannot fail: a machine that
    /// has no room for a thread cannot go on with the test.
    #[track_caller]
    pub fn spawn<T, F>(self, body: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_at(body, Location::caller())
    }

    fn spawn_at<T, F>(self, body: F, place: &'static Location<'static>) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let Some(world) = raw::world() else {
            os::group::checkpoint(place);
            let group = match self.home {
                Home::Here => os::group::current(),
                Home::In(group) => group.map(|group| Arc::clone(group.os())),
            };
            return JoinHandle(Handle::Os(os::thread::spawn(self.name, group, place, body)));
        };
        if !self.observer {
            world.point(place);
        }
        let group = match self.home {
            Home::Here => world.core.borrow().group_of(world.running()),
            Home::In(Some(group)) => group.sim_id(),
            Home::In(None) => GroupId::ROOT,
        };
        let new = NewThread { name: self.name, group, observer: self.observer, spawned_at: place };
        JoinHandle(Handle::Sim(world.spawn(new, body)))
    }
}

/// Sleeps for `duration` by the current server's clock.
#[track_caller]
pub fn sleep(duration: Duration) {
    match raw::mode() {
        Mode::Sim => time::sleep_in_sim(duration, Location::caller()),
        Mode::Grouped => os::thread::sleep(duration, Location::caller()),
        Mode::Plain => std::thread::sleep(duration),
    }
}

/// Lets other threads go first, if any can run.
#[track_caller]
pub fn yield_now() {
    match raw::world() {
        Some(world) => world.yield_now(Location::caller()),
        None => {
            os::group::checkpoint(Location::caller());
            std::thread::yield_now();
        }
    }
}

/// A switch point, and nothing else: in a simulated world another thread may run here, and a
/// crash that was asked for takes effect. For libraries that run hooks in sections without one.
#[track_caller]
pub fn checkpoint() {
    match raw::mode() {
        Mode::Sim => {
            if let Some(world) = raw::world() {
                world.point(Location::caller());
            }
        }
        Mode::Grouped => {
            os::group::checkpoint(Location::caller());
        }
        Mode::Plain => {}
    }
}

/// Whether the current thread's server has crashed. The thread is being ended then, and what asks
/// is a destructor.
pub fn is_ending() -> bool {
    match raw::mode() {
        Mode::Sim => raw::world().is_some_and(|world| world.is_ending()),
        Mode::Grouped => os::group::is_dead(),
        Mode::Plain => false,
    }
}

/// The current thread as reports call it: `server/thread`.
pub fn current_name() -> String {
    match raw::world() {
        Some(world) => match world.running() {
            Some(me) => world.core.borrow().thread_name(me),
            None => "the scheduler".to_string(),
        },
        None => os::thread::current_name(),
    }
}

/// So much of what a panic said is kept. Longer ones nobody reads, and reports keep them all.
const PANIC_BYTES_MAX: usize = 64 * 1024;

/// What a panic said, from the error of [`JoinHandle::join`] or of `catch_unwind`; the beginning,
/// if that is very long.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    match text {
        None => "a panic without a message".to_string(),
        Some(text) if text.len() <= PANIC_BYTES_MAX => text.to_string(),
        Some(text) => {
            let kept = &text[..text.floor_char_boundary(PANIC_BYTES_MAX)];
            format!("{kept}... ({} more bytes)", text.len() - kept.len())
        }
    }
}

/// Waits in virtual time.
pub(crate) fn sim_sleep_until(deadline: u64, place: &'static Location<'static>) {
    let Some(world) = raw::world() else { return };
    world.wait(&[], Some(deadline), WaitFor::Time, place, || true);
    if let Some(me) = world.running() {
        world.raise_if_dying(me);
    }
}
