//! Servers: who belongs to one, its clock and random numbers, its pauses, and its crash.
//!
//! Every thread belongs to a group, one incarnation of one server, and passes it on to the
//! threads it spawns. A crash ends them all in zero virtual time:
//!
//! 1. The group is fenced: from now on network and disk ignore what it still does.
//! 2. A member that was woken but has not run passes its wake-up on.
//! 3. Each member is resumed to unwind; nobody else runs until none of them can go on.
//! 4. What cannot finish (a destructor that waits for another server's lock) is given up, counted
//!    and named.
//!
//! The end of a world is the same path, for all groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::TryRng;

use super::decisions::DecisionKind;
use super::futex::{Key, Woken};
use super::strategy::ThreadId;
use super::timers::TimerAction;
use super::world::{Core, World};
use crate::group::Identity;
use crate::random::Stream;

/// A group by its number; the test itself is [`GroupId::ROOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupId(pub(crate) u32);

impl GroupId {
    pub(crate) const ROOT: Self = Self(0);
}

/// How a server's clock runs: `offset` + virtual time x `rate_ppm` / 10^6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) offset_ns: u64,
    pub(crate) rate_ppm: u64,
}

const RATE_ONE: u64 = 1_000_000;

impl Clock {
    pub(crate) const TRUE: Self = Self { offset_ns: 0, rate_ppm: RATE_ONE };

    fn local(self, now: u64) -> u64 {
        self.offset_ns + scale(now, self.rate_ppm, RATE_ONE)
    }

    /// The first virtual time at which this clock shows `local`.
    fn global(self, local: u64) -> u64 {
        let since_start = local.saturating_sub(self.offset_ns);
        if self.rate_ppm == RATE_ONE {
            return since_start;
        }
        let ticks = u128::from(since_start) * u128::from(RATE_ONE);
        u64::try_from(ticks.div_ceil(u128::from(self.rate_ppm))).unwrap_or(u64::MAX)
    }
}

fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    if numerator == denominator {
        return value;
    }
    let wide = u128::from(value) * u128::from(numerator) / u128::from(denominator);
    u64::try_from(wide).unwrap_or(u64::MAX)
}

struct GroupState {
    identity: Identity,
    stream: Stream,
    clock: Clock,
    /// The number of the present pause, if paused.
    paused: Option<u64>,
    pauses: u64,
    /// Threads that would be runnable.
    parked: Vec<ThreadId>,
}

/// All groups of a world. They are never removed: a restart is a new group.
pub(crate) struct Groups {
    seed: u64,
    /// The groups that are to crash at a switch point of their own, and after how many of them.
    countdowns: Vec<(GroupId, u64)>,
    /// Decides between channels that are ready at once.
    choices: Stream,
    groups: Vec<GroupState>,
    /// How many are paused.
    paused: usize,
}

impl Groups {
    pub(crate) fn new(seed: u64) -> Self {
        let choices = Stream::new(seed, "select", 0);
        let mut groups =
            Self { seed, countdowns: Vec::new(), choices, groups: Vec::new(), paused: 0 };
        let alive = Arc::new(AtomicBool::new(true));
        let test = Identity { name: "test".into(), server: 0, alive };
        groups.put(test, Stream::new(seed, "script", 0));
        groups
    }

    /// A new group. Its random numbers follow from the seed, the server and its incarnation.
    pub(crate) fn add(&mut self, identity: Identity, incarnation: u64) -> GroupId {
        let id = (identity.server as u64) << 32 | incarnation;
        self.put(identity, Stream::new(self.seed, "server", id))
    }

    fn put(&mut self, identity: Identity, stream: Stream) -> GroupId {
        let (paused, pauses, parked) = (None, 0, Vec::new());
        let clock = Clock::TRUE;
        self.groups.push(GroupState { identity, stream, clock, paused, pauses, parked });
        GroupId(u32::try_from(self.groups.len() - 1).expect("fewer than 2^32 groups"))
    }

    fn get(&self, id: GroupId) -> &GroupState {
        &self.groups[id.0 as usize]
    }

    fn get_mut(&mut self, id: GroupId) -> &mut GroupState {
        &mut self.groups[id.0 as usize]
    }

    pub(crate) fn name(&self, id: GroupId) -> &Arc<str> {
        &self.get(id).identity.name
    }

    /// None for the test itself.
    pub(crate) fn identity(&self, id: GroupId) -> Option<&Identity> {
        self.is_server(id).then(|| &self.get(id).identity)
    }

    pub(crate) fn is_server(&self, id: GroupId) -> bool {
        id != GroupId::ROOT
    }

    pub(crate) fn is_alive(&self, id: GroupId) -> bool {
        self.get(id).identity.is_alive()
    }

    #[inline]
    pub(super) fn is_paused(&self, id: GroupId) -> bool {
        self.paused > 0 && self.get(id).paused.is_some()
    }

    fn set_paused(&mut self, id: GroupId, pause: Option<u64>) {
        let before = std::mem::replace(&mut self.get_mut(id).paused, pause);
        self.paused += usize::from(pause.is_some());
        self.paused -= usize::from(before.is_some());
    }

    pub(super) fn park(&mut self, id: GroupId, thread: ThreadId) {
        self.get_mut(id).parked.push(thread);
    }

    pub(super) fn draw(&mut self, id: GroupId) -> u64 {
        let Ok(number) = self.get_mut(id).stream.try_next_u64();
        number
    }

    /// Has a group crash at its `points`-th switch point from now.
    pub(crate) fn crash_after(&mut self, id: GroupId, points: u64) {
        self.cancel_crash(id);
        self.countdowns.push((id, points));
    }

    /// Takes that back.
    pub(crate) fn cancel_crash(&mut self, id: GroupId) {
        self.countdowns.retain(|(group, _)| *group != id);
    }

    /// A thread of `id` is at a switch point. True if its group is to crash here.
    #[inline]
    pub(super) fn counts_down(&mut self, id: GroupId) -> bool {
        if self.countdowns.is_empty() {
            return false;
        }
        self.counts_down_to(id)
    }

    fn counts_down_to(&mut self, id: GroupId) -> bool {
        let Some((_, points)) = self.countdowns.iter_mut().find(|(group, _)| *group == id) else {
            return false;
        };
        *points -= 1;
        let now = *points == 0;
        if now {
            self.cancel_crash(id);
        }
        now
    }

    pub(super) fn draw_choice(&mut self, count: u64) -> u64 {
        self.choices.below(count)
    }

    pub(crate) fn set_clock(&mut self, id: GroupId, clock: Clock) {
        self.get_mut(id).clock = clock;
    }

    fn newest_first(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.groups.len() as u32).rev().map(GroupId)
    }
}

impl World {
    /// The running thread's local time, nanoseconds since its server's own arbitrary zero.
    pub(crate) fn local_now(&self) -> u64 {
        let core = self.core.borrow();
        core.clock_of_running(self.running()).local(core.now)
    }

    /// The virtual time at which the running thread's clock shows `local`.
    pub(crate) fn deadline(&self, local: u64) -> u64 {
        self.core.borrow().clock_of_running(self.running()).global(local)
    }

    /// Fences a group, and has the scheduler end its threads before anything else happens.
    pub(crate) fn crash(&self, group: GroupId) {
        {
            let mut core = self.core.borrow_mut();
            if !core.groups.is_alive(group) {
                return;
            }
            core.groups.get(group).identity.alive.store(false, Ordering::Relaxed);
            core.crashes.push(group);
            core.record(DecisionKind::Crash, u64::from(group.0), self.running());
        }
        self.let_scheduler_act();
    }

    /// Gives the CPU up and has it straight back, for what only the scheduler can do meanwhile.
    /// Inside a section without switches that happens at the first switch point after it.
    fn let_scheduler_act(&self) {
        let Some(me) = self.running() else { return };
        if self.is_pinned() || self.core.borrow().threads.get(me).dying {
            return;
        }
        self.core.borrow_mut().come_back(me);
        self.suspend(me);
        self.raise_if_dying(me);
    }

    /// Ends every thread of a fenced group, as far as they can be ended.
    pub(super) fn end_group(&self, group: GroupId) {
        self.core.borrow_mut().condemn_members(group);
        while let Some(thread) = { self.core.borrow_mut().next_dying(group) } {
            self.resume(thread);
        }
        let mut core = self.core.borrow_mut();
        for thread in core.members(group) {
            core.leak(thread);
        }
    }

    /// Ends all threads: the end of a world.
    pub(super) fn end_all(&self) {
        let groups: Vec<GroupId> = self.core.borrow().groups.newest_first().collect();
        for group in groups {
            self.core.borrow().groups.get(group).identity.alive.store(false, Ordering::Relaxed);
            self.end_group(group);
        }
        // Destructors may have spawned threads into groups that had been ended, or into new ones.
        let mut core = self.core.borrow_mut();
        let left: Vec<ThreadId> = core.threads.alive().map(|(id, _)| id).collect();
        left.into_iter().for_each(|thread| core.leak(thread));
    }

    /// A group's threads, each with its name and the place where it waits.
    pub(crate) fn describe_members(&self, group: GroupId) -> Vec<String> {
        let core = self.core.borrow();
        let describe =
            |id| format!("{} at {}", core.thread_name(id), core.threads.get(id).wait.place);
        core.members(group).into_iter().map(describe).collect()
    }

    /// Stops a server's threads until [`World::unpause`].
    pub(crate) fn pause(&self, group: GroupId) {
        self.core.borrow_mut().pause(group);
    }

    /// Lets a paused server go on.
    pub(crate) fn unpause(&self, group: GroupId) {
        self.core.borrow_mut().unpause(group);
    }
}

impl Core {
    fn clock_of_running(&self, running: Option<ThreadId>) -> Clock {
        self.groups.get(self.group_of(running)).clock
    }

    /// A group's threads in the order in which they were spawned (slots come in another order
    /// when an observer is there).
    fn members(&self, group: GroupId) -> Vec<ThreadId> {
        let of_group = self.threads.alive().filter(|(_, thread)| thread.group == group);
        let mut members: Vec<ThreadId> = of_group.map(|(id, _)| id).collect();
        members.sort_by_key(|&id| self.threads.get(id).number);
        members
    }

    fn condemn_members(&mut self, group: GroupId) {
        self.groups.set_paused(group, None);
        self.groups.get_mut(group).parked.clear();
        let members = self.members(group);
        let unused: Vec<Key> = members.into_iter().filter_map(|id| self.condemn(id)).collect();
        for key in unused {
            self.wake(key, 1);
        }
    }

    /// The next thread that can go on unwinding. Time stands still in a crash, so a member that
    /// waits for a lock with a time-out has it run out once nobody else can release the lock.
    fn next_dying(&mut self, group: GroupId) -> Option<ThreadId> {
        if self.dying.is_empty() {
            let waits = |id: &ThreadId| self.threads.get(*id).wait.deadline.is_some();
            let late = self.members(group).into_iter().find(waits)?;
            self.end_wait(late, Woken::TimedOut);
        }
        self.dying.pop_front()
    }

    fn pause(&mut self, group: GroupId) -> u64 {
        let state = self.groups.get_mut(group);
        state.pauses += 1;
        let number = state.pauses;
        self.groups.set_paused(group, Some(number));
        let observers = self.observers.drain(..).collect();
        for list in [std::mem::take(&mut self.runnable), observers] {
            // Those of this server are parked on the way.
            list.into_iter().for_each(|thread| self.make_runnable(thread));
        }
        number
    }

    /// Pauses a server, and has it go on at virtual time `until`.
    pub(super) fn pause_until(&mut self, group: GroupId, until: u64) {
        let pause = self.pause(group);
        self.timers.add(until, TimerAction::Resume { group, pause }, true);
    }

    fn unpause(&mut self, group: GroupId) {
        self.groups.set_paused(group, None);
        for thread in std::mem::take(&mut self.groups.get_mut(group).parked) {
            self.make_runnable(thread);
        }
    }

    /// The end of a pause, if that pause still is the present one.
    pub(super) fn end_pause(&mut self, group: GroupId, pause: u64) {
        if self.groups.get(group).paused == Some(pause) {
            self.unpause(group);
        }
    }
}
