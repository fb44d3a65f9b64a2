//! The handle of a server that is a process.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use contract::{Index, Term};
use labrpc::tcp::{Client, Options};
use labrt::channel::{self, Sender};
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread::Builder;
use labrt::trace::{self, EventKind};
use labrt::{random, time, timer};
use rustix::process::{Pid, Signal, kill_process};

use super::Site;
use super::link::{self, Assignment, DiskSizes, FromServer, Inbox, Outbox, ToServer};
use crate::disk::DiskFaults;
use crate::plan::Victim;
use crate::server::{
    Gone, Request, Response, Role, ServerHandle, ServicePolicy, Surroundings, is_of_the_harness,
    name_of,
};

/// A call is given up after this time: well above what the network lets a caller wait.
const CALL_TIME: Duration = Duration::from_secs(15);
/// A server that has said where it is can be connected to so soon.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks of the oracle. (Roles that last less long are seen in a simulated world.)
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// A server that is a process of its own.
pub(crate) struct ProcessServer {
    me: usize,
    role: Role,
    site: Arc<Site>,
    around: Surroundings,
    state: Shared<State>,
}

#[derive(Default)]
struct State {
    incarnations: u64,
    last: Option<Arc<Incarnation>>,
    policy: ServicePolicy,
    disk_faults: DiskFaults,
    /// Syncs of the journal by incarnations that are over.
    syncs: u64,
}

impl ProcessServer {
    pub(crate) fn new(me: usize, role: Role, site: &Arc<Site>, around: Surroundings) -> Self {
        Self { me, role, site: Arc::clone(site), around, state: Shared::default() }
    }

    fn last(&self) -> Option<Arc<Incarnation>> {
        self.state.with(|state| state.last.clone())
    }

    fn running(&self) -> Option<Arc<Incarnation>> {
        self.last().filter(|it| it.group.is_alive())
    }

    fn ask(&self, request: Request) -> Result<Response, Gone> {
        let running = self.running().ok_or(Gone)?;
        let answer = running.ask(|number| ToServer::Ask(number, request))?;
        let Answer::Response(response) = answer else { return Err(Gone) };
        running.look();
        if let Response::State(term, true) = response {
            self.around.oracle.note_leader(self.me, term);
        }
        Ok(response)
    }

    fn sizes(&self) -> DiskSizes {
        self.last().map(|it| it.seen.with(|seen| seen.disk)).unwrap_or_default()
    }

    fn assignment(&self, incarnation: u64) -> Assignment {
        let (policy, disk_faults) =
            self.state.with(|state| (state.policy.clone(), state.disk_faults.clone()));
        Assignment {
            role: self.role,
            me: self.me,
            incarnation,
            peers: self.site.peers_of(self.me),
            folder: self.site.folder_of(self.me),
            seed: random::seed(),
            world_time: time::world_time(),
            policy,
            disk_faults,
            watches_saves: self.around.crashes.watches_saves(self.me),
        }
    }

    /// Starts the next incarnation's process, and tells it what it is.
    fn start_process(&self) -> io::Result<(Arc<Incarnation>, Inbox)> {
        let (number, syncs) = self.state.with(|state| {
            state.incarnations += 1;
            (state.incarnations, state.last.as_ref().map_or(0, |last| last.syncs()))
        });
        let name = name_of(self.me, number);
        let (child, socket) = self.site.start(&name)?;
        let (outbox, inbox) = link::ends(socket)?;
        outbox.send(&self.assignment(number))?;
        let group = Group::new(&name, self.me, number);
        let incarnation = Arc::new(Incarnation {
            me: self.me,
            number,
            group,
            child: Shared::new(child),
            orders: send_in_order(outbox),
            questions: Shared::default(),
            seen: Shared::default(),
        });
        self.state.with(|state| {
            state.syncs += syncs;
            state.last = Some(Arc::clone(&incarnation));
        });
        Ok((incarnation, inbox))
    }

    /// Has the network find the new process.
    fn connect(&self, incarnation: &Incarnation, address: std::net::SocketAddr) {
        let options = Options { call_time: CALL_TIME, ..Options::default() };
        let client = Client::new(address, &options);
        if client.wait_until_connected(CONNECTED_WITHIN) {
            self.around.network.serve_at(self.me, &incarnation.group, &client);
        } else if incarnation.group.is_alive() {
            labrt::fail(format!("S{} cannot be connected to at {address}", self.me));
        }
    }

    /// To everybody who runs now; the next incarnation is told at its start.
    fn order(&self, order: ToServer) {
        if let Some(running) = self.running() {
            running.order(order);
        }
    }
}

impl ServerHandle for ProcessServer {
    fn start(&self, command: Vec<u8>) -> Result<Option<(Index, Term)>, Gone> {
        self.ask(Request::Start(command)).map(Response::started)
    }

    fn get_state(&self) -> Result<(Term, bool), Gone> {
        self.ask(Request::GetState).map(Response::state)
    }

    fn kill(&self) -> Result<(), Gone> {
        self.ask(Request::Kill).map(|_| ())
    }

    fn crash(&self) {
        self.around.network.stop(self.me);
        if let Some(running) = self.running() {
            running.crash();
        }
    }

    fn restart(&self) {
        self.crash();
        if let Some(last) = self.last() {
            // Its folder is locked as long as it is there. (If it cannot be waited for, the next
            // one says so.)
            let _ = last.end();
        }
        let (incarnation, inbox) = self
            .start_process()
            .unwrap_or_else(|error| panic!("S{} cannot be started: {error}", self.me));
        self.around.oracle.begin_incarnation(self.me, incarnation.number);
        self.around.crashes.set_victim(self.me, Arc::clone(&incarnation) as Arc<dyn Victim>);
        let (ready, begun) = channel::bounded(1);
        let listener =
            Listener { incarnation: Arc::clone(&incarnation), around: self.around.clone() };
        let name = format!("hears {}", incarnation.group.name());
        Builder::new().name(name).spawn(move || listener.listen(inbox, &ready));
        // Once `make` has returned, or the server has crashed in it.
        if let Ok(address) = begun.recv() {
            self.connect(&incarnation, address);
        }
    }

    fn is_running(&self) -> bool {
        self.running().is_some()
    }

    fn is_paused(&self) -> bool {
        self.last().is_some_and(|last| last.seen.with(|seen| seen.paused))
    }

    fn pause(&self) {
        if let Some(running) = self.running() {
            self.around.oracle.set_paused(self.me, true);
            running.signal(Signal::STOP, true);
        }
    }

    fn resume(&self) {
        if let Some(running) = self.running() {
            self.around.oracle.set_paused(self.me, false);
            running.signal(Signal::CONT, false);
        }
    }

    fn nudge(&self) {
        if let Some(running) = self.running() {
            running.look();
        }
    }

    /// A process leaves no thread behind.
    fn stragglers(&self) -> Vec<String> {
        Vec::new()
    }

    fn threads(&self) -> Vec<String> {
        let answer = self.running().map(|running| running.ask(ToServer::AskThreads));
        match answer {
            Some(Ok(Answer::Threads(mut threads))) => {
                threads.retain(|thread| !is_of_the_harness(thread) && !carries_calls(thread));
                threads
            }
            _ => Vec::new(),
        }
    }

    fn set_clock(&self, _: Duration, _: u64) {
        panic!("only a simulated world has clocks to set: run this test with LAB_WORLD=sim");
    }

    fn set_disk_faults(&self, faults: &DiskFaults) {
        self.state.with(|state| state.disk_faults = faults.clone());
        self.order(ToServer::SetDiskFaults(faults.clone()));
    }

    fn set_service_policy(&self, policy: &ServicePolicy) {
        self.state.with(|state| state.policy = policy.clone());
        self.order(ToServer::SetPolicy(policy.clone()));
    }

    fn raft_state_size(&self) -> usize {
        self.sizes().raft_state
    }

    fn snapshot_size(&self) -> usize {
        self.sizes().snapshot
    }

    fn syncs(&self) -> u64 {
        self.state.with(|state| state.syncs) + self.sizes().syncs
    }

    fn has_failed_disk(&self) -> bool {
        self.sizes().failed
    }
}

impl Drop for ProcessServer {
    /// Its site goes with the last of the servers, and to be ended by that would be no crash.
    fn drop(&mut self) {
        self.crash();
    }
}

/// Whether a thread of a server is one of those that read its connections and answer.
fn carries_calls(thread: &str) -> bool {
    thread.contains("/tcp ") || thread.contains("/rpc-") && thread.contains("labrpc/src/tcp/")
}

/// Sends orders one after the other: the process may be stopped, and nobody is to wait for it.
fn send_in_order(outbox: Outbox) -> Sender<ToServer> {
    let (orders, given) = channel::unbounded();
    Builder::new().name("orders").spawn(move || {
        while let Ok(order) = given.recv() {
            if outbox.send(&order).is_err() {
                return;
            }
        }
    });
    orders
}

/// One incarnation as the test's process sees it.
struct Incarnation {
    me: usize,
    number: u64,
    /// No thread of the server's: those that wait for its answers.
    group: Group,
    child: Shared<Child>,
    orders: Sender<ToServer>,
    questions: Shared<Questions>,
    seen: Shared<Seen>,
}

enum Answer {
    Response(Response),
    Threads(Vec<String>),
}

/// What was asked and not answered yet.
#[derive(Default)]
struct Questions {
    closed: bool,
    last: u64,
    open: BTreeMap<u64, Sender<Answer>>,
}

#[derive(Default)]
struct Seen {
    paused: bool,
    disk: DiskSizes,
    /// Whether a look was asked for that has not come back.
    looking: bool,
    /// Whether another one is due then.
    look_again: bool,
}

impl Incarnation {
    fn order(&self, order: ToServer) {
        // A process that is gone needs no orders.
        let _ = self.orders.send(order);
    }

    /// Asks, and waits for the answer.
    fn ask(&self, question: impl FnOnce(u64) -> ToServer) -> Result<Answer, Gone> {
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

    fn answer(&self, number: u64, answer: Answer) {
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
    fn look(&self) {
        let begins = self.seen.with(|seen| {
            seen.look_again = seen.looking;
            !std::mem::replace(&mut seen.looking, true)
        });
        if begins {
            self.order(ToServer::Look);
        }
    }

    fn looked(self: &Arc<Self>) {
        let again = self.seen.with(|seen| {
            seen.looking = std::mem::take(&mut seen.look_again);
            seen.looking
        });
        if again {
            let looker = Arc::clone(self);
            timer::after(LOOK_PAUSE, move || looker.order(ToServer::Look));
        }
    }

    fn syncs(&self) -> u64 {
        self.seen.with(|seen| seen.disk.syncs)
    }

    fn signal(&self, signal: Signal, paused: bool) {
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
    fn end(&self) -> io::Result<ExitStatus> {
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

/// Hears what an incarnation tells, until its end.
struct Listener {
    incarnation: Arc<Incarnation>,
    around: Surroundings,
}

impl Listener {
    fn listen(self, mut inbox: Inbox, ready: &Sender<std::net::SocketAddr>) {
        let mut last_words = None;
        while let Some(message) = inbox.next() {
            // What an incarnation tells after its crash has no meaning any more.
            if self.incarnation.group.is_alive() {
                self.hear(message, ready, &mut last_words);
            }
        }
        self.bury(last_words);
    }

    fn hear(
        &self,
        message: FromServer,
        ready: &Sender<std::net::SocketAddr>,
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
                self.around.crashes.count(me, point);
                it.order(ToServer::GoOn);
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

    /// The process is gone. If nobody wanted that, the test has failed.
    fn bury(self, last_words: Option<LastWords>) {
        let it = &self.incarnation;
        let was_alive = it.group.is_alive();
        it.crash();
        let status = it.end();
        if !was_alive {
            return;
        }
        let (me, text) = (it.me, |why: &str| format!("S{} {why}", it.me));
        trace::record(Some(me), "test", EventKind::Note, || "ended".to_owned());
        match (last_words, status) {
            (Some(LastWords { why, is_failure: true }), _) => labrt::fail(why),
            (Some(words), _) => log::warn!(target: "disk", "{}", words.why),
            (None, Ok(status)) => {
                labrt::fail(text(&format!("is a process that ended by itself, with {status}")));
            }
            (None, Err(error)) => labrt::fail(text(&format!("is a process that is gone: {error}"))),
        }
    }
}

/// Why a server ended by itself, in its own words.
struct LastWords {
    why: String,
    is_failure: bool,
}
