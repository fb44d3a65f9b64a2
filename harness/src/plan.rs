//! Crashes that fall at the n-th event of a kind, wherever in the code that is.
//!
//! A test that crashes servers from outside hits the moments between two events at random, and
//! most of the time nothing happens there. A plan says: at the third answer that server 2 gives,
//! right after it left. The numbers are drawn by the test, from its seed.

use labrpc::{Message, Stage};
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread;
use labrt::trace::{self, EventKind};

/// A kind of moment at which a server may crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    /// A request has arrived, and its handler is about to run.
    HandlerEntered,
    /// A save has begun, and nothing is durable yet.
    SaveBegun,
    /// A save is durable, and its caller does not know yet.
    SaveDone,
    /// A request has just left.
    MessageSent,
    /// An answer has just left.
    Answered,
    /// A reply to this server has just arrived.
    ReplyDelivered,
    /// Any switch point: between any two calls into the runtime (`sim` only). It is counted in
    /// the present incarnation, and a second plan of this kind takes the first one's place.
    SwitchPoint,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::HandlerEntered,
        Self::SaveBegun,
        Self::SaveDone,
        Self::MessageSent,
        Self::Answered,
        Self::ReplyDelivered,
        Self::SwitchPoint,
    ];
}

/// A crash to come: at the `nth` event (from 1) of this kind that `server` sees from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPlan {
    /// The server that is to crash.
    pub server: usize,
    /// The kind of event.
    pub point: CrashPoint,
    /// Which of them.
    pub nth: u64,
}

/// The plans of a cluster, and the groups that they would crash.
#[derive(Default)]
pub(crate) struct Crashes(Shared<State>);

#[derive(Default)]
struct State {
    plans: Vec<CrashPlan>,
    /// By server: the group of its present incarnation.
    groups: Vec<Option<Group>>,
}

impl Crashes {
    /// Tells which group a server is now.
    pub(crate) fn set_group(&self, server: usize, group: &Group) {
        self.0.with(|state| {
            let servers = state.groups.len().max(server + 1);
            state.groups.resize(servers, None);
            state.groups[server] = Some(group.clone());
        });
    }

    pub(crate) fn plan(&self, plan: CrashPlan) {
        assert!(plan.nth > 0, "events are counted from 1");
        let group = self.0.with(|state| {
            if plan.point != CrashPoint::SwitchPoint {
                state.plans.push(plan);
            }
            state.groups.get(plan.server).cloned().flatten()
        });
        if let (CrashPoint::SwitchPoint, Some(group)) = (plan.point, group) {
            group.crash_after(plan.nth);
        }
    }

    /// Takes back what is still to come.
    pub(crate) fn clear(&self) {
        let groups = self.0.with(|state| {
            state.plans.clear();
            state.groups.clone()
        });
        groups.iter().flatten().for_each(Group::cancel_crash);
    }

    /// Something happened at `server` on one of its own threads: if that was to be its last, it
    /// ends here.
    pub(crate) fn note(&self, server: usize, point: CrashPoint) {
        self.count(server, point);
        thread::checkpoint();
    }

    /// As [`Crashes::note`], from a section without switch points: the crash takes effect after
    /// it.
    pub(crate) fn note_message(&self, message: &Message<'_>) {
        match message.stage {
            Stage::Sent => self.count(message.from, CrashPoint::MessageSent),
            Stage::Delivered => self.count(message.to, CrashPoint::HandlerEntered),
            Stage::Answered => self.count(message.to, CrashPoint::Answered),
            Stage::Replied => self.count(message.from, CrashPoint::ReplyDelivered),
            Stage::RequestLost | Stage::ReplyLost => {}
        }
    }

    fn count(&self, server: usize, point: CrashPoint) {
        let doomed = self.0.with(|state| {
            let mut due = false;
            state.plans.retain_mut(|plan| {
                let hit = plan.server == server && plan.point == point;
                plan.nth -= u64::from(hit);
                due |= plan.nth == 0;
                plan.nth > 0
            });
            due.then(|| state.groups.get(server).cloned().flatten()).flatten()
        });
        if let Some(group) = doomed {
            let text = || format!("CRASH at {point:?}");
            trace::record(Some(server), "test", EventKind::Note, text);
            group.crash();
        }
    }
}
