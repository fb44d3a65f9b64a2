//! Servers: groups of threads that crash, pause, and keep time together.
//!
//! A [`Group`] is one incarnation of one server; a restart is a new group. Threads pass their
//! group on to those they spawn. [`Group::crash`] ends them all:
//!
//! * In a simulated world it takes zero virtual time. Each thread unwinds from the call in which
//!   it waits; destructors run, locks are released, and nobody else runs in between.
//! * On OS threads the group is fenced at once, and from then on every call into this crate by
//!   one of its threads unwinds that thread ([`Group::members`] tells who is left).
//!
//! While a thread is being ended, locks wait as usual (a destructor may need one) and every other
//! blocking call returns at once as disconnected or timed out.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::os::group::OsGroup;
use crate::sim::group::{Clock, GroupId};
use crate::thread::{Builder, JoinHandle};
use crate::{os, raw};

/// One incarnation of one server. Clones share it.
#[derive(Clone)]
pub struct Group(Arc<Inner>);

struct Inner {
    identity: Identity,
    kind: Kind,
}

/// What a group is in either kind of world.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) name: Arc<str>,
    pub(crate) server: usize,
    pub(crate) alive: Arc<AtomicBool>,
}

impl Identity {
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }
}

enum Kind {
    Sim(GroupId),
    Os(Arc<OsGroup>),
}

impl Group {
    /// A new incarnation of server number `server`, called `name` in reports.
    ///
    /// Its random numbers follow from the seed, `server` and `incarnation`.
    pub fn new(name: &str, server: usize, incarnation: u64) -> Self {
        let alive = Arc::new(AtomicBool::new(true));
        let identity = Identity { name: name.into(), server, alive };
        let kind = match raw::world() {
            Some(world) => {
                let groups = &mut world.core.borrow_mut().groups;
                Kind::Sim(groups.add(identity.clone(), incarnation))
            }
            None => Kind::Os(Arc::new(OsGroup::new(identity.clone()))),
        };
        Self(Arc::new(Inner { identity, kind }))
    }

    /// The current thread's group; none if that is a thread of the test itself.
    pub fn current() -> Option<Self> {
        let (identity, kind) = match raw::world() {
            Some(world) => {
                let core = world.core.borrow();
                let id = core.group_of(world.running());
                (core.groups.identity(id)?.clone(), Kind::Sim(id))
            }
            None => {
                let group = os::group::current()?;
                (group.identity.clone(), Kind::Os(group))
            }
        };
        Some(Self(Arc::new(Inner { identity, kind })))
    }

    /// The name given to [`Group::new`].
    pub fn name(&self) -> &str {
        &self.0.identity.name
    }

    /// The server's number.
    pub fn server(&self) -> usize {
        self.0.identity.server
    }

    /// False from the moment of the crash.
    #[inline]
    pub fn is_alive(&self) -> bool {
        self.0.identity.is_alive()
    }

    /// Spawns a thread in this group.
    #[track_caller]
    pub fn spawn<T, F>(&self, name: &str, body: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Builder::new().name(name).group(self).spawn(body)
    }

    /// Ends all threads of the group. A second crash does nothing. On OS threads each ends at its
    /// next call into this crate, be it the one that calls this.
    pub fn crash(&self) {
        match (&self.0.kind, raw::world()) {
            (Kind::Sim(id), Some(world)) => world.crash(*id),
            (Kind::Sim(_), None) => self.0.identity.alive.store(false, Ordering::Release),
            (Kind::Os(group), _) => group.crash(),
        }
    }

    /// Has the group crash at the `points`-th switch point (from 1) that one of its threads comes
    /// to from now on: a crash may fall between any two calls into this crate. A second number
    /// takes the first one's place.
    ///
    /// # Panics
    /// Outside a simulated world, or if `points` is 0.
    pub fn crash_after(&self, points: u64) {
        assert!(points > 0, "switch points are counted from 1");
        let (Kind::Sim(id), Some(world)) = (&self.0.kind, raw::world()) else {
            panic!("only a simulated world counts switch points: use LAB_WORLD=sim");
        };
        world.core.borrow_mut().groups.crash_after(*id, points);
    }

    /// Takes back what [`Group::crash_after`] said, if it has not happened.
    pub fn cancel_crash(&self) {
        if let (Kind::Sim(id), Some(world)) = (&self.0.kind, raw::world()) {
            world.core.borrow_mut().groups.cancel_crash(*id);
        }
    }

    /// Stops all threads of the group, until [`Group::resume`]. On OS threads each stops at its
    /// next call into this crate.
    pub fn pause(&self) {
        match (&self.0.kind, raw::world()) {
            (Kind::Sim(id), Some(world)) => world.pause(*id),
            (Kind::Sim(_), None) => {}
            (Kind::Os(group), _) => group.pause(),
        }
    }

    /// Lets the group's threads go on.
    pub fn resume(&self) {
        match (&self.0.kind, raw::world()) {
            (Kind::Sim(id), Some(world)) => world.unpause(*id),
            (Kind::Sim(_), None) => {}
            (Kind::Os(group), _) => group.resume(),
        }
    }

    /// Sets the server's clock: it shows `offset` at the world's beginning, and goes `rate_ppm`
    /// millionths of true time (1,000,000 is right). Only a simulated world has such clocks.
    ///
    /// # Panics
    /// If the rate is more than 20 % off, or outside a simulated world.
    pub fn set_clock(&self, offset: Duration, rate_ppm: u64) {
        assert!(
            (800_000..=1_200_000).contains(&rate_ppm),
            "a clock's rate must be within 20 % of true time, not {rate_ppm} millionths"
        );
        let (Kind::Sim(id), Some(world)) = (&self.0.kind, raw::world()) else {
            panic!("only a simulated world has clocks to set: run this test with LAB_WORLD=sim");
        };
        let offset_ns = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
        world.core.borrow_mut().groups.set_clock(*id, Clock { offset_ns, rate_ppm });
    }

    /// The group's threads that have not ended, each with its name and the place where it waits
    /// (on OS threads: of its last call into this crate). Empty once a simulated world is gone;
    /// its statistics name those that could not be ended.
    pub fn members(&self) -> Vec<String> {
        match (&self.0.kind, raw::world()) {
            (Kind::Sim(id), Some(world)) => world.describe_members(*id),
            (Kind::Sim(_), None) => Vec::new(),
            (Kind::Os(group), _) => group.members(),
        }
    }

    #[track_caller]
    pub(crate) fn sim_id(&self) -> GroupId {
        match self.0.kind {
            Kind::Sim(id) => id,
            Kind::Os(_) => panic!(
                "group {} belongs to OS threads: make it inside the simulation ({})",
                self.name(),
                Location::caller()
            ),
        }
    }

    #[track_caller]
    pub(crate) fn os(&self) -> &Arc<OsGroup> {
        match &self.0.kind {
            Kind::Os(group) => group,
            Kind::Sim(_) => panic!(
                "group {} belongs to a simulated world that is gone: make it in this one ({})",
                self.name(),
                Location::caller()
            ),
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_alive() { "alive" } else { "dead" };
        write!(f, "Group({}, {state})", self.name())
    }
}
