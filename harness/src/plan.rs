//! Crashes that fall at the n-th event of a kind, wherever in the code that is.
//!
//! A test that crashes servers from outside hits the moments between two events at random, and
//! most of the time nothing happens there. A plan says: at the third answer that server 2 gives,
//! right after it left. The numbers are drawn by the test, from its seed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use labrpc::{Message, Stage};
use labrt::channel::{self, Receiver, RecvTimeoutError, Sender};
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread;
use labrt::trace::{self, EventKind};
use serde::{Deserialize, Serialize};

/// A kind of moment at which a server may crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// A crash to come, for whoever waits for it.
#[derive(Debug)]
pub struct Planned(Receiver<Infallible>);

impl Planned {
    /// Blocks until the crash has come about or was taken back, for `limit` at most; whether one of
    /// these. (When a server comes to a [`CrashPoint::SwitchPoint`] is not told: no time is spent
    /// waiting for that.)
    pub fn wait(&self, limit: Duration) -> bool {
        matches!(self.0.recv_timeout(limit), Err(RecvTimeoutError::Disconnected))
    }
}

/// An incarnation that plans may crash.
pub(crate) trait Victim: Send + Sync {
    /// Ends it at once. It may be a thread of its own that asks.
    fn crash(&self);

    /// Has it tell of its saves, or not any more, if nobody here would see them otherwise.
    fn watch_saves(&self, watched: bool) {
        let _ = watched;
    }

    /// Has it crash at the `points`-th switch point from now on, or not at all any more.
    ///
    /// # Panics
    /// If it has none.
    fn crash_after(&self, points: Option<u64>) {
        assert!(points.is_none(), "only a simulated world counts switch points");
    }
}

/// (On OS threads a planned crash does not call `kill` before, as others do: it is a thread of the
/// server that is in the middle of a save, perhaps with the locks that `kill` needs.)
impl Victim for Group {
    fn crash(&self) {
        Self::crash(self);
    }

    fn crash_after(&self, points: Option<u64>) {
        match points {
            Some(points) => Self::crash_after(self, points),
            None => self.cancel_crash(),
        }
    }
}

/// The plans of a cluster, and whom they would crash.
#[derive(Default)]
pub(crate) struct Crashes(Shared<State>);

#[derive(Default)]
struct State {
    /// Each with what hangs up when it is no plan any more.
    plans: Vec<(CrashPlan, Sender<Infallible>)>,
    /// By server: its present incarnation.
    victims: Vec<Option<Arc<dyn Victim>>>,
}

impl State {
    fn victim(&self, server: usize) -> Option<Arc<dyn Victim>> {
        self.victims.get(server).cloned().flatten()
    }
}

impl CrashPoint {
    fn is_of_a_save(self) -> bool {
        matches!(self, Self::SaveBegun | Self::SaveDone)
    }
}

impl Crashes {
    /// Tells which incarnation of a server is the present one.
    pub(crate) fn set_victim(&self, server: usize, victim: Arc<dyn Victim>) {
        let before = self.0.with(|state| {
            let servers = state.victims.len().max(server + 1);
            state.victims.resize(servers, None);
            state.victims[server].replace(victim)
        });
        // It may be the last to know of that one, and to end a process takes a while.
        drop(before);
    }

    pub(crate) fn plan(&self, plan: CrashPlan) -> Planned {
        assert!(plan.nth > 0, "events are counted from 1");
        let (hangs_up, hung_up) = channel::bounded(1);
        let victim = self.0.with(|state| {
            if plan.point != CrashPoint::SwitchPoint {
                state.plans.push((plan, hangs_up));
            }
            state.victim(plan.server)
        });
        match (plan.point, victim) {
            (CrashPoint::SwitchPoint, Some(victim)) => victim.crash_after(Some(plan.nth)),
            (point, Some(victim)) if point.is_of_a_save() => victim.watch_saves(true),
            _ => {}
        }
        Planned(hung_up)
    }

    /// Whether a server is to crash at a save.
    pub(crate) fn watches_saves(&self, server: usize) -> bool {
        let is_one = |plan: &CrashPlan| plan.server == server && plan.point.is_of_a_save();
        self.0.with(|state| state.plans.iter().any(|(plan, _)| is_one(plan)))
    }

    /// Takes back what is still to come.
    pub(crate) fn clear(&self) {
        let (victims, _plans) =
            self.0.with(|state| (state.victims.clone(), std::mem::take(&mut state.plans)));
        for victim in victims.into_iter().flatten() {
            victim.crash_after(None);
            victim.watch_saves(false);
        }
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

    /// Something happened at `server`: if that was to be its last, it ends here.
    pub(crate) fn count(&self, server: usize, point: CrashPoint) {
        let (due, victim) = self.0.with(|state| {
            let comes_true = |(plan, _): &mut (CrashPlan, _)| {
                let hit = plan.server == server && plan.point == point;
                plan.nth -= u64::from(hit);
                plan.nth == 0
            };
            let due: Vec<_> = state.plans.extract_if(.., comes_true).collect();
            let victim = if due.is_empty() { None } else { state.victim(server) };
            (due, victim)
        });
        if let Some(victim) = victim {
            let text = || format!("CRASH at {point:?}");
            trace::record(Some(server), "test", EventKind::Note, text);
            victim.crash();
        }
        // Now whoever waits is told.
        drop(due);
    }
}
