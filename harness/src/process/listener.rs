//! Hearing what a server tells, and how it ended.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;

use labrt::channel::Sender;
use labrt::trace::{self, EventKind};

use super::incarnation::{Answer, Incarnation};
use super::link::{DiskSizes, FromServer, GAVE_UP, Inbox, ToServer};
use crate::plan::Victim as _;
use crate::server::Surroundings;

/// Hears what an incarnation tells, until its end.
pub(super) struct Listener {
    pub(super) incarnation: Arc<Incarnation>,
    pub(super) around: Surroundings,
}

impl Listener {
    pub(super) fn listen(self, mut inbox: Inbox, ready: &Sender<SocketAddr>) {
        let mut last_words = None;
        while let Some(message) = inbox.next() {
            self.hear(message, ready, &mut last_words);
        }
        self.bury(last_words);
        self.incarnation.seen.with(|seen| seen.heard_out = true);
    }

    fn hear(
        &self,
        message: FromServer,
        ready: &Sender<SocketAddr>,
        last_words: &mut Option<LastWords>,
    ) {
        let (it, oracle) = (&self.incarnation, &self.around.oracle);
        let (me, number) = (it.me, it.number);
        match message {
            FromServer::Ready(address) => {
                let _ = ready.send(address);
            }
            FromServer::Refused(why, is_damage) => {
                let why = format!("S{me} cannot start: {why}");
                *last_words = Some(LastWords { why, is_failure: is_damage });
                it.seen.with(|seen| seen.disk.failed = true);
            }
            FromServer::Answer(question, response) => {
                it.answer(question, Answer::Response(response));
            }
            FromServer::Threads(question, threads) => it.answer(question, Answer::Threads(threads)),
            FromServer::State(term, leader) => {
                oracle.note_state(me, number, term, leader);
                it.looked();
            }
            FromServer::Applied(message) => oracle.note_applied(me, number, &message),
            FromServer::Installed(index, snapshot) => {
                oracle.note_installed(me, number, index, &snapshot);
            }
            FromServer::Disk(disk) => self.hear_of_disk(disk, last_words),
            FromServer::At(point) => {
                // After its crash it gets no further.
                if it.group.is_alive() {
                    self.around.crashes.count(me, point);
                    it.order(ToServer::GoOn);
                }
            }
            FromServer::Failed(why) => *last_words = Some(LastWords { why, is_failure: true }),
        }
    }

    fn hear_of_disk(&self, disk: DiskSizes, last_words: &mut Option<LastWords>) {
        let DiskSizes { raft_state, snapshot, failed, .. } = disk;
        let me = self.incarnation.me;
        trace::record(Some(me), "persist", EventKind::Note, || {
            format!("{raft_state} and {snapshot} bytes on the disk")
        });
        if failed {
            *last_words = Some(LastWords {
                why: format!("S{me} stops, for its disk has failed"),
                is_failure: false,
            });
        }
        self.incarnation.seen.with(|seen| {
            // A last word of failure says nothing of sizes.
            let kept = seen.disk;
            seen.disk = if failed { DiskSizes { failed, ..kept } } else { disk };
        });
    }

    /// The process is gone. If it ended by itself, be it a moment before it was to be crashed, the
    /// test has failed; but for one whose disk has failed, which can do no better.
    fn bury(&self, last_words: Option<LastWords>) {
        let it = &self.incarnation;
        let was_crashed = !it.group.is_alive();
        it.crash();
        let status = it.end();
        let by_us = |status: &ExitStatus| was_crashed && status.signal() == Some(SIGKILL);
        match (last_words, status) {
            (Some(LastWords { why, is_failure: true }), _) => labrt::fail(why),
            (_, Ok(status)) if by_us(&status) => {}
            (Some(words), Ok(status)) if status.code() == Some(GAVE_UP) => {
                trace::record(Some(it.me), "test", EventKind::Note, || "ended".to_owned());
                log::warn!(target: "disk", "{}", words.why);
            }
            (_, Ok(status)) => {
                let me = it.me;
                labrt::fail(format!("S{me} is a process that ended by itself, with {status}"));
            }
            (_, Err(error)) => {
                labrt::fail(format!("S{} is a process that is gone: {error}", it.me));
            }
        }
    }
}

const SIGKILL: i32 = 9;

/// Why a server ended by itself, in its own words.
struct LastWords {
    why: String,
    is_failure: bool,
}
