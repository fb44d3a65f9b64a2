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
use super::futex::Key;
use super::strategy::ThreadId;
use super::timers::TimerAction;
use super::world::{Core, World};
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
    name: Arc<str>,
    alive: Arc<AtomicBool>,
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
    /// Decides between channels that are ready at once.
    choices: Stream,
    groups: Vec<GroupState>,
}

impl Groups {
    pub(crate) fn new(seed: u64) -> Self {
        let choices = Stream::new(seed, "select", 0);
        let mut groups = Self { seed, choices, groups: Vec::new() };
        groups.add("test".into(), Arc::new(AtomicBool::new(true)), "script", 0);
        groups
    }

    /// A new group, whose random numbers are the stream (`purpose`, `id`).
    pub(crate) fn add(
        &mut self,
        name: Arc<str>,
        alive: Arc<AtomicBool>,
        purpose: &str,
        id: u64,
    ) -> GroupId {
        let stream = Stream::new(self.seed, purpose, id);
        let (paused, pauses, parked) = (None, 0, Vec::new());
        let clock = Clock::TRUE;
        self.groups.push(GroupState { name, alive, stream, clock, paused, pauses, parked });
        GroupId(u32::try_from(self.groups.len() - 1).expect("fewer than 2^32 groups"))
    }

    fn get(&self, id: GroupId) -> &GroupState {
        &self.groups[id.0 as usize]
    }

    fn get_mut(&mut self, id: GroupId) -> &mut GroupState {
        &mut self.groups[id.0 as usize]
    }

    pub(crate) fn name(&self, id: GroupId) -> &Arc<str> {
        &self.get(id).name
    }

    pub(crate) fn is_server(&self, id: GroupId) -> bool {
        id != GroupId::ROOT
    }

    pub(crate) fn is_alive(&self, id: GroupId) -> bool {
        self.get(id).alive.load(Ordering::Relaxed)
    }

    pub(super) fn is_paused(&self, id: GroupId) -> bool {
        self.get(id).paused.is_some()
    }

    pub(super) fn park(&mut self, id: GroupId, thread: ThreadId) {
        self.get_mut(id).parked.push(thread);
    }

    pub(super) fn draw(&mut self, id: GroupId) -> u64 {
        let Ok(number) = self.get_mut(id).stream.try_next_u64();
        number
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
            core.groups.get(group).alive.store(false, Ordering::Relaxed);
            core.crashes.push(group);
            core.record(DecisionKind::Crash, u64::from(group.0), self.running());
        }
        self.let_scheduler_act();
    }

    /// Switches to the scheduler and straight back, for what only the scheduler can do. Inside a
    /// section without switches that happens at the first switch point after it.
    fn let_scheduler_act(&self) {
        let Some(me) = self.running() else { return };
        if self.is_pinned() || self.core.borrow().threads.get(me).dying {
            return;
        }
        self.core.borrow_mut().next = Some(me);
        self.suspend(me);
        self.raise_if_dying(me);
    }

    /// Ends every thread of a fenced group, as far as they can be ended.
    pub(super) fn end_group(&self, group: GroupId) {
        let members = self.core.borrow_mut().condemn_members(group);
        while let Some(thread) = { self.core.borrow_mut().dying.pop_front() } {
            self.resume(thread);
        }
        let mut core = self.core.borrow_mut();
        let spawned_meanwhile = core.members(group);
        for thread in members.into_iter().chain(spawned_meanwhile) {
            let left = core.threads.get(thread);
            if left.group == group && left.is_alive() {
                core.leak(thread);
            }
        }
    }

    /// Ends all threads: the end of a world.
    pub(super) fn end_all(&self) {
        let groups: Vec<GroupId> = self.core.borrow().groups.newest_first().collect();
        for group in groups {
            self.core.borrow().groups.get(group).alive.store(false, Ordering::Relaxed);
            self.end_group(group);
        }
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

    fn members(&self, group: GroupId) -> Vec<ThreadId> {
        let member = |(id, thread): (ThreadId, &super::thread::Thread)| {
            (thread.group == group).then_some(id)
        };
        self.threads.alive().filter_map(member).collect()
    }

    fn condemn_members(&mut self, group: GroupId) -> Vec<ThreadId> {
        self.groups.get_mut(group).paused = None;
        self.groups.get_mut(group).parked.clear();
        let members = self.members(group);
        let unused: Vec<Key> = members.iter().filter_map(|&id| self.condemn(id)).collect();
        for key in unused {
            self.wake(key, 1);
        }
        members
    }

    fn pause(&mut self, group: GroupId) -> u64 {
        let state = self.groups.get_mut(group);
        state.pauses += 1;
        state.paused = Some(state.pauses);
        let number = state.pauses;
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
        self.groups.get_mut(group).paused = None;
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
