//! Servers made of OS threads: fence, pause, and who is left after a crash.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Condvar, Mutex};

use crate::group::Identity;
use crate::raw::{self, Mode, PlaceCell};
use crate::thread::Killed;

/// How often a wait on a condition variable looks whether its group is still alive.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One incarnation of one server on OS threads.
pub(crate) struct OsGroup {
    pub(crate) identity: Identity,
    paused: Mutex<bool>,
    /// Read at every call: true while `paused` is, and from the crash on.
    disturbed: AtomicBool,
    resumed: Condvar,
    /// Dropped at the crash, which wakes everybody who waits on the receiver.
    life: Mutex<Option<Sender<Infallible>>>,
    death: Receiver<Infallible>,
    members: Mutex<Vec<Arc<Member>>>,
    spawned: AtomicU64,
}

/// One thread of a group, and where it last called us.
pub(crate) struct Member {
    name: String,
    place: PlaceCell,
}

#[derive(Clone)]
struct Membership {
    group: Arc<OsGroup>,
    member: Arc<Member>,
}

thread_local! {
    static CURRENT: RefCell<Option<Membership>> = const { RefCell::new(None) };
    /// How many sections the thread is in that nothing may interrupt.
    static SECTIONS: Cell<u32> = const { Cell::new(0) };
}

/// Runs a section in which neither a pause nor a crash takes effect: it may hold what threads of
/// other groups need.
pub(crate) fn uninterrupted<R>(section: impl FnOnce() -> R) -> R {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            SECTIONS.set(SECTIONS.get() - 1);
        }
    }
    SECTIONS.set(SECTIONS.get() + 1);
    let _end = End;
    section()
}

impl OsGroup {
    pub(crate) fn new(identity: Identity) -> Self {
        let (life, death) = crossbeam_channel::bounded(0);
        Self {
            identity,
            paused: Mutex::new(false),
            disturbed: AtomicBool::new(false),
            resumed: Condvar::new(),
            life: Mutex::new(Some(life)),
            death,
            members: Mutex::new(Vec::new()),
            spawned: AtomicU64::new(0),
        }
    }

    pub(crate) fn crash(&self) {
        self.identity.alive.store(false, Ordering::Release);
        self.resume();
        // Last: who is woken by it looks whether the group is disturbed, and must find it so.
        *self.life.lock() = None;
    }

    pub(crate) fn pause(&self) {
        let mut paused = self.paused.lock();
        *paused = true;
        self.disturbed.store(true, Ordering::Release);
    }

    pub(crate) fn resume(&self) {
        let mut paused = self.paused.lock();
        *paused = false;
        self.disturbed.store(!self.identity.is_alive(), Ordering::Release);
        drop(paused);
        self.resumed.notify_all();
    }

    pub(crate) fn members(&self) -> Vec<String> {
        let describe = |member: &Arc<Member>| match member.place.get() {
            Some(place) => format!("{}/{} at {place}", self.identity.name, member.name),
            None => format!("{}/{}", self.identity.name, member.name),
        };
        self.members.lock().iter().map(describe).collect()
    }

    /// Makes the current OS thread a member until the guard is dropped.
    pub(crate) fn join(self: &Arc<Self>, name: Option<&str>) -> Leave {
        let number = self.spawned.fetch_add(1, Ordering::Relaxed) + 1;
        let name = name.map_or_else(|| format!("thread-{number}"), str::to_string);
        let member = Arc::new(Member { name, place: PlaceCell::default() });
        self.members.lock().push(Arc::clone(&member));
        CURRENT.set(Some(Membership { group: Arc::clone(self), member }));
        raw::set_grouped(true);
        Leave
    }

    fn wait_while_paused(&self) {
        let mut paused = self.paused.lock();
        while *paused && self.identity.is_alive() {
            self.resumed.wait(&mut paused);
        }
    }
}

/// Ends the current OS thread's membership.
pub(crate) struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        raw::set_grouped(false);
        if let Some(Membership { group, member }) = CURRENT.take() {
            group.members.lock().retain(|other| !Arc::ptr_eq(other, &member));
        }
    }
}

/// The current thread's group.
pub(crate) fn current() -> Option<Arc<OsGroup>> {
    CURRENT.with_borrow(|current| current.as_ref().map(|current| Arc::clone(&current.group)))
}

pub(crate) fn current_name() -> Option<String> {
    CURRENT.with_borrow(|current| {
        let described = |current: &Membership| {
            format!("{}/{}", current.group.identity.name, current.member.name)
        };
        current.as_ref().map(described)
    })
}

/// What becomes ready when the current thread's group crashes.
pub(crate) fn death() -> Option<Receiver<Infallible>> {
    CURRENT.with_borrow(|current| current.as_ref().map(|current| current.group.death.clone()))
}

/// Every call into this crate: a paused group's thread waits here, a crashed one's unwinds.
/// True in a destructor of a thread that is being ended.
#[inline]
pub(crate) fn checkpoint(place: &'static Location<'static>) -> bool {
    raw::mode() == Mode::Grouped && checkpoint_in_group(place)
}

fn checkpoint_in_group(place: &'static Location<'static>) -> bool {
    if SECTIONS.get() > 0 {
        return false;
    }
    let is_disturbed = CURRENT.with_borrow(|current| {
        current.as_ref().is_some_and(|Membership { group, member }| {
            member.place.set(place);
            group.disturbed.load(Ordering::Acquire)
        })
    });
    is_disturbed && disturb()
}

#[cold]
fn disturb() -> bool {
    let Some(group) = current() else { return false };
    group.wait_while_paused();
    let is_dead = !group.identity.is_alive();
    if is_dead && !std::thread::panicking() {
        resume_unwind(Box::new(Killed));
    }
    is_dead
}

/// Whether the current thread's group has crashed.
pub(crate) fn is_dead() -> bool {
    CURRENT.with_borrow(|current| {
        current.as_ref().is_some_and(|current| !current.group.identity.is_alive())
    })
}

/// Waits for a slice of the time, so that a crash is noticed soon. `wait_slice` gives true if its
/// time ran out. True if all the time did; a slice that ran out before that is a spurious wake-up,
/// and the caller looks at its condition again: a notification may have come in between.
pub(crate) fn wait_on(
    place: &'static Location<'static>,
    timeout: Option<Duration>,
    wait_slice: impl FnOnce(Duration) -> bool,
) -> bool {
    checkpoint(place);
    if is_dead() {
        // A destructor of a thread that is being ended: nothing is waited for any more.
        return true;
    }
    let slice = timeout.map_or(LOOK_EVERY, |timeout| timeout.min(LOOK_EVERY));
    let ran_out = wait_slice(slice);
    checkpoint(place);
    ran_out && timeout == Some(slice)
}
