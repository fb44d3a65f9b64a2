//! Time: an [`Instant`] by the current server's clock, and the usual [`Duration`].
//!
//! In a simulated world each server has a clock of its own, with an offset and a rate that a test
//! may set ([`crate::group::Group::set_clock`]), so instants of two servers cannot be compared, as
//! in life. On OS threads there is one monotonic clock.

use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub use std::time::Duration;

use crate::{os, raw, thread};

/// A point in time by the current server's clock: nanoseconds since an arbitrary zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    #[track_caller]
    pub fn now() -> Self {
        match raw::world() {
            Some(world) => {
                world.point(Location::caller());
                Self(world.local_now())
            }
            None => {
                os::group::checkpoint(Location::caller());
                Self(os_nanos())
            }
        }
    }

    /// The time between `earlier` and this instant; zero if `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// As [`Instant::duration_since`]; for those who like to say so.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }

    /// The time since this instant; zero if it is in the future.
    #[track_caller]
    pub fn elapsed(self) -> Duration {
        Self::now().duration_since(self)
    }

    /// This instant and `duration`, if it can be told.
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }

    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Stays at the end of time if the sum lies beyond it.
    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self(u64::MAX))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Stays at zero if the difference lies before it.
    fn sub(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// Nanoseconds since this process first asked, by the OS's monotonic clock.
pub(crate) fn os_nanos() -> u64 {
    static ZERO: OnceLock<std::time::Instant> = OnceLock::new();
    let zero = *ZERO.get_or_init(std::time::Instant::now);
    u64::try_from(zero.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The deadline in the units that waiting wants: virtual nanoseconds in a simulated world.
pub(crate) fn sim_deadline(timeout: Duration) -> Option<u64> {
    let world = raw::world()?;
    let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
    Some(world.deadline(world.local_now().saturating_add(nanos)))
}

pub(crate) fn sleep_in_sim(duration: Duration, place: &'static Location<'static>) {
    let Some(world) = raw::world() else { return };
    world.point(place);
    if let Some(deadline) = sim_deadline(duration) {
        thread::sim_sleep_until(deadline, place);
    }
}

/// How old the world was when this process first asked for the time.
static BEFORE_NS: AtomicU64 = AtomicU64::new(0);

/// Time since the world began: virtual in a simulated world, whatever the server's own clock
/// shows; since the process first asked elsewhere. For logs and traces, not for protocols.
pub fn world_time() -> Duration {
    Duration::from_nanos(match raw::world() {
        Some(world) => world.now(),
        None => os_nanos() + BEFORE_NS.load(Ordering::Relaxed),
    })
}

/// Has this process's world be one that is `world_time` old now, in another process.
pub fn join_world(world_time: Duration) {
    let now = u64::try_from(world_time.as_nanos()).unwrap_or(u64::MAX);
    BEFORE_NS.store(now.saturating_sub(os_nanos()), Ordering::Relaxed);
}
