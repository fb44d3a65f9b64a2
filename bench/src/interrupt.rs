//! Ctrl-C: whoever measures looks now and then whether it came, and returns, so that all it started
//! and made goes as at any other end.

use std::sync::atomic::{AtomicBool, Ordering};

use labrt::thread;
use labrt::time::{Duration, Instant};

static CAME: AtomicBool = AtomicBool::new(false);

/// How often whoever waits looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// From now on a Ctrl-C only leaves word.
pub(crate) fn watch() -> Result<(), String> {
    ctrlc::set_handler(|| CAME.store(true, Ordering::Relaxed))
        .map_err(|error| format!("Ctrl-C cannot be caught: {error}"))
}

/// An error once it came.
pub(crate) fn check() -> Result<(), String> {
    match CAME.load(Ordering::Relaxed) {
        true => Err("stopped".to_owned()),
        false => Ok(()),
    }
}

pub(crate) fn sleep(time: Duration) -> Result<(), String> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        check()?;
        thread::sleep(LOOK_EVERY.min(until.duration_since(Instant::now())));
    }
    Ok(())
}

/// Asks again and again until there is something; for `limit` at most, and then says that `what`
/// did not come about.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, String> {
    let found = wait_regardless(limit, || match check() {
        Ok(()) => look().map(Ok),
        Err(stopped) => Some(Err(stopped)),
    });
    found.unwrap_or_else(|| Err(format!("not within {limit:?}: {what}")))
}

/// The same, whether Ctrl-C came or not.
pub(crate) fn wait_regardless<T>(
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let until = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= until {
            return found;
        }
        thread::sleep(LOOK_EVERY);
    }
}
