//! Threads of the operating system.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::time::Duration;

use super::group::{self, OsGroup};
use crate::thread::Killed;
use std::sync::Arc;

pub(crate) fn spawn<T, F>(
    name: Option<String>,
    group: Option<Arc<OsGroup>>,
    place: &'static Location<'static>,
    body: F,
) -> std::thread::JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let mut builder = std::thread::Builder::new();
    if let Some(name) = &name {
        builder = builder.name(name.clone());
    }
    let spawned = builder.spawn(move || match group {
        Some(group) => run_in_group(&group, name.as_deref(), body),
        None => body(),
    });
    spawned.unwrap_or_else(|error| panic!("no OS thread for a spawn at {place}: {error}"))
}

/// A panic of a server's thread fails the run, unless it is what ends the thread.
fn run_in_group<T>(group: &Arc<OsGroup>, name: Option<&str>, body: impl FnOnce() -> T) -> T {
    let _leave = group.join(name);
    let result = catch_unwind(AssertUnwindSafe(body));
    result.unwrap_or_else(|payload| {
        if !payload.is::<Killed>() && !group::is_dead() {
            let who = group::current_name().unwrap_or_default();
            super::fail(format!("{} in {who}", crate::thread::panic_text(&*payload)));
        }
        resume_unwind(payload)
    })
}

/// Waits for a thread's end; a thread that is being ended itself waits in vain.
#[track_caller]
pub(crate) fn join<T>(handle: std::thread::JoinHandle<T>) -> std::thread::Result<T> {
    group::checkpoint(Location::caller());
    while group::death().is_some() && !handle.is_finished() {
        if group::is_dead() {
            return Err(Box::new(Killed));
        }
        std::thread::sleep(Duration::from_millis(1));
        group::checkpoint(Location::caller());
    }
    handle.join()
}

/// Sleeps, unless the thread's group crashes.
pub(crate) fn sleep(duration: Duration, place: &'static Location<'static>) {
    group::checkpoint(place);
    match group::death() {
        // Nothing is ever sent: the time runs out, or the crash disconnects the channel.
        Some(death) => drop(death.recv_timeout(duration)),
        None => std::thread::sleep(duration),
    }
    group::checkpoint(place);
}

pub(crate) fn current_name() -> String {
    group::current_name().unwrap_or_else(|| {
        let thread = std::thread::current();
        format!("test/{}", thread.name().unwrap_or("thread"))
    })
}
