//! One incarnation of a server, as the test's process sees it.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use labrt::channel::{self, Sender};
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread::Builder;
use labrt::timer;
use rustix::process::{Pid, Signal, kill_process};

use super::link::{DiskSizes, Outbox, ToServer};
use crate::plan::Victim;
use crate::server::{Gone, Response};

/// Between two looks of the oracle. (Roles that last less long are seen in a simulated world.)
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// Sends orders one after the other: the process may be stopped, and nobody is to wait for it.
pub(super) fn send_in_order(outbox: Outbox) -> Sender<ToServer> {
    let (orders, given) = channel::unbounded();
    Builder::new().name("orders").spawn(move || {
        while let Ok(order) = given.recv() {
            match outbox.send(&order) {
                Ok(()) => {}
                // A process that is gone needs no orders.
                Err(error) if error.kind() != io::ErrorKind::Other => return,
                Err(error) => return labrt::fail(format!("a server cannot be told: {error}")),
            }
        }
    });
    orders
}

/// One incarnation as the test's process sees it.
pub(super) struct Incarnation {
    pub(super) me: usize,
    pub(super) number: u64,
    /// No thread of the server's: those that wait for its answers.
    pub(super) group: Group,
    pub(super) child: Shared<Child>,
    pub(super) orders: Sender<ToServer>,
    pub(super) questions: Shared<Questions>,
    pub(super) seen: Shared<Seen>,
}

pub(super) enum Answer {
    Response(Response),
    Threads(Vec<String>),
}

/// What was asked and not answered yet.
#[derive(Default)]
pub(super) struct Questions {
    closed: bool,
    last: u64,
    open: BTreeMap<u64, Sender<Answer>>,
}

/// What is known of it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) paused: bool,
    pub(super) disk: DiskSizes,
    /// Whether all that it has told was heard, to its end.
    pub(super) heard_out: bool,
    /// Whether a look was asked for that has not come back.
    looking: bool,
    /// Whether another one is due then.
    look_again: bool,
}

impl Incarnation {
    pub(super) fn order(&self, order: ToServer) {
        // A process that is gone needs no orders.
        let _ = self.orders.send(order);
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&self, question: impl FnOnce(u64) -> ToServer) -> Result<Answer, Gone> {
        let (tell, answer) = channel::bounded(1);
        let number = self.questions.with(|questions| {
            questions.last += 1;
            if !questions.closed {
                questions.open.insert(questions.last, tell);
            }
            questions.last
        });
        self.order(question(number));
        answer.recv().map_err(|_| Gone)
    }

    pub(super) fn answer(&self, number: u64, answer: Answer) {
        if let Some(asker) = self.questions.with(|questions| questions.open.remove(&number)) {
            let _ = asker.send(answer);
        }
    }

    /// Nothing will be answered any more.
    fn close(&self) {
        let _open = self.questions.with(|questions| {
            questions.closed = true;
            std::mem::take(&mut questions.open)
        });
    }

    /// Has the oracle look. One look at a time is under way, so that orders do not pile up at a
    /// server that is slow, or paused; and the next one comes after a pause, for a look wakes five
    /// threads, and a server under load would be looked at more than it works.
    pub(super) fn look(&self) {
        let begins = self.seen.with(|seen| {
            seen.look_again = seen.looking;
            !std::mem::replace(&mut seen.looking, true)
        });
        if begins {
            self.order(ToServer::Look);
        }
    }

    pub(super) fn looked(self: &Arc<Self>) {
        let again = self.seen.with(|seen| {
            seen.looking = std::mem::take(&mut seen.look_again);
            seen.looking
        });
        if again {
            let looker = Arc::clone(self);
            timer::after(LOOK_PAUSE, move || looker.order(ToServer::Look));
        }
    }

    pub(super) fn syncs(&self) -> u64 {
        self.seen.with(|seen| seen.disk.syncs)
    }

    pub(super) fn signal(&self, signal: Signal, paused: bool) {
        self.seen.with(|seen| seen.paused = paused);
        self.child.with(|child| {
            // Its number is its own until it has been waited for.
            let is_there = matches!(child.try_wait(), Ok(None));
            let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(number) = number.filter(|_| is_there) {
                let _ = kill_process(number, signal);
            }
        });
    }

    /// Kills the process, if it is there, and waits for its end.
    pub(super) fn end(&self) -> io::Result<ExitStatus> {
        self.child.with(|child| {
            child.kill()?;
            child.wait()
        })
    }
}

impl Victim for Incarnation {
    fn crash(&self) {
        self.group.crash();
        self.child.with(|child| {
            // It may have ended.
            let _ = child.kill();
        });
        self.close();
    }

    fn watch_saves(&self, watched: bool) {
        self.order(ToServer::WatchSaves(watched));
    }
}

impl Drop for Incarnation {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
