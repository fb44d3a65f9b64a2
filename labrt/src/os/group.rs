//! Servers made of OS threads: fence, pause, and who is left after a crash.

use std::cell::OnceCell;
use std::convert::Infallible;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

struct Membership {
    group: Arc<OsGroup>,
    member: Arc<Member>,
}

thread_local! {
    /// Set once, when the thread begins: reading it must not write anything, as every call does.
    static MEMBERSHIP: OnceCell<Membership> = const { OnceCell::new() };
}

/// None outside every group, and in a thread's last destructors.
fn with_membership<R>(look: impl FnOnce(&Membership) -> R) -> Option<R> {
    MEMBERSHIP.try_with(|membership| membership.get().map(look)).ok().flatten()
}

/// Runs a section in which neither a pause nor a crash takes effect: it may hold what threads of
/// other groups need. The thread acts as one outside every group meanwhile.
pub(crate) fn uninterrupted<R>(section: impl FnOnce() -> R) -> R {
    let _section = Section::begin();
    section()
}

/// As [`uninterrupted`], until it is dropped. In a simulated world it does nothing.
#[derive(Debug)]
pub struct Section {
    is_outermost: bool,
}

impl Section {
    pub(crate) fn begin() -> Self {
        let is_outermost = raw::mode() == Mode::Grouped;
        if is_outermost {
            raw::set_grouped(false);
        }
        Self { is_outermost }
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        if self.is_outermost {
            raw::set_grouped(true);
        }
    }
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

    /// Makes the current OS thread, which has just begun, a member until the guard is dropped at
    /// its end.
    pub(crate) fn join(self: &Arc<Self>, name: Option<&str>) -> Leave {
        let number = self.spawned.fetch_add(1, Ordering::Relaxed) + 1;
        let name = name.map_or_else(|| format!("thread-{number}"), str::to_string);
        let member = Arc::new(Member { name, place: PlaceCell::default() });
        self.members.lock().push(Arc::clone(&member));
        let is_first = MEMBERSHIP.with(|membership| {
            membership.set(Membership { group: Arc::clone(self), member }).is_ok()
        });
        assert!(is_first, "an OS thread joined a second group");
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
        with_membership(|Membership { group, member }| {
            group.members.lock().retain(|other| !Arc::ptr_eq(other, member));
        });
    }
}

/// The current thread's group.
pub(crate) fn current() -> Option<Arc<OsGroup>> {
    with_membership(|current| Arc::clone(&current.group))
}

pub(crate) fn current_name() -> Option<String> {
    with_membership(|current| format!("{}/{}", current.group.identity.name, current.member.name))
}

/// What becomes ready when the current thread's group crashes.
pub(crate) fn death() -> Option<Receiver<Infallible>> {
    with_membership(|current| current.group.death.clone())
}

/// Every call into this crate: a paused group's thread waits here, a crashed one's unwinds.
/// True in a destructor of a thread that is being ended.
#[inline]
pub(crate) fn checkpoint(place: &'static Location<'static>) -> bool {
    raw::mode() == Mode::Grouped && checkpoint_in_group(place)
}

fn checkpoint_in_group(place: &'static Location<'static>) -> bool {
    let is_disturbed = with_membership(|Membership { group, member }| {
        member.place.set(place);
        group.disturbed.load(Ordering::Acquire)
    });
    is_disturbed == Some(true) && disturb()
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
    with_membership(|current| !current.group.identity.is_alive()) == Some(true)
}

/// Waits for a notification, in slices, so that a crash is noticed soon. `wait_slice` gives true if
/// there was one. False if the time ran out before, and in a destructor of a thread that is being
/// ended, which waits no more.
pub(crate) fn wait_on(
    place: &'static Location<'static>,
    timeout: Option<Duration>,
    mut wait_slice: impl FnMut(Duration) -> bool,
) -> bool {
    checkpoint(place);
    let begun = Instant::now();
    loop {
        let left = timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(begun.elapsed()));
        if is_dead() {
            return false;
        }
        let notified = wait_slice(left.min(LOOK_EVERY));
        checkpoint(place);
        if notified || left <= LOOK_EVERY {
            return notified;
        }
    }
}
