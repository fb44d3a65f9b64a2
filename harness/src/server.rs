//! The handle by which a test reaches a server, and the program that every server runs.
//!
//! A test never holds a node. It sends a request to the server's program, a request runs on a
//! thread of the server's own group, and its answer comes back; if the server is dead, or dies
//! meanwhile, the answer is [`Gone`]. Requests and answers are plain data, so a server may as
//! well be another process.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::{Index, RaftNode, Term};
use labrpc::{ClientEnd, Network};
use labrt::channel::{self, Receiver, Sender};
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread::Builder;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::disk::{DiskFaults, Platter};
use crate::oracle::Oracle;
use crate::plan::Crashes;

/// How long a crash on OS threads waits for `kill` to return.
const KILL_PATIENCE: Duration = Duration::from_millis(50);

/// The server is dead, or died before it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What a test can do with one server, whatever the server is made of.
pub trait ServerHandle: Send + Sync {
    /// Offers a command: its index and term if the server believes to be the leader.
    ///
    /// # Errors
    /// [`Gone`] if the server is not running, or crashes before it has answered.
    fn start(&self, command: Vec<u8>) -> Result<Option<(Index, Term)>, Gone>;

    /// The server's term, and whether it believes to be the leader.
    ///
    /// # Errors
    /// [`Gone`] if the server is not running, or crashes before it has answered.
    fn get_state(&self) -> Result<(Term, bool), Gone>;

    /// Asks the node to end its threads, as [`RaftNode::kill`] does.
    ///
    /// # Errors
    /// [`Gone`] if the server is not running, or crashes before it has answered.
    fn kill(&self) -> Result<(), Gone>;

    /// Ends the server at once, wherever it is. Nothing is called, nothing is saved.
    fn crash(&self);

    /// Starts the server on what is on its disk; crashes it before that if it runs.
    fn restart(&self);

    /// Whether the server runs (paused or not).
    fn is_running(&self) -> bool;

    /// Whether the server is paused: then it answers nothing until it is resumed.
    fn is_paused(&self) -> bool;

    /// Stops the server's threads, until [`ServerHandle::resume`].
    fn pause(&self);

    /// Lets a paused server go on.
    fn resume(&self);

    /// Has something observed about the server looked at again, soon.
    fn nudge(&self);

    /// Threads of crashed incarnations that are still there (on OS threads), by name and place.
    fn stragglers(&self) -> Vec<String>;

    /// The threads that the node has spawned and that have not ended, and the handlers of calls to
    /// it, by name and place.
    fn threads(&self) -> Vec<String>;

    /// Sets the server's clock, from its next start on: see [`Group::set_clock`].
    fn set_clock(&self, offset: Duration, rate_ppm: u64);

    /// Sets what may go wrong with the server's disk, from now on.
    fn set_disk_faults(&self, faults: &DiskFaults);

    /// How often the server's journal was to be synced: never, if it uses the disk's other view.
    fn syncs(&self) -> u64;

    /// Whether the disk has failed since the server was started: then the server can do no better
    /// than to stop, and be started again.
    fn has_failed_disk(&self) -> bool;
}

/// What a test asks of a server's program.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Request {
    Start(Vec<u8>),
    GetState,
    Kill,
}

/// What the program answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Response {
    Started(Option<(Index, Term)>),
    State(Term, bool),
    Killed,
}

/// A request with the way back for its answer, which closes if the server dies.
struct Call {
    request: Request,
    answer: Sender<Response>,
}

/// What a server shares with its cluster.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) network: Network,
    pub(crate) oracle: Arc<Oracle>,
    pub(crate) crashes: Arc<Crashes>,
}

/// A server made of threads of this process: coroutines or OS threads.
pub(crate) struct LocalServer<R> {
    me: usize,
    servers: usize,
    around: Surroundings,
    platter: Arc<Platter>,
    state: Shared<State>,
    node: PhantomData<fn() -> R>,
}

struct State {
    incarnations: u64,
    running: Option<Running>,
    /// On OS threads, where ending takes time.
    crashed: Vec<Group>,
    clock: Option<(Duration, u64)>,
}

/// One incarnation as the harness sees it.
#[derive(Clone)]
struct Running {
    group: Group,
    calls: Sender<Call>,
    nudges: Sender<()>,
    paused: bool,
}

/// Whether a thread, by its name and place, belongs to the server's program, or is a handler that
/// waits for its next call.
fn is_of_the_harness(thread: &str) -> bool {
    let is_idle = thread.contains("/rpc-") && thread.contains("labrt/src/pool.rs");
    is_idle || thread.contains("harness/src/server.rs")
}

impl<R: RaftNode> LocalServer<R> {
    pub(crate) fn new(me: usize, servers: usize, around: Surroundings) -> Self {
        let state = State { incarnations: 0, running: None, crashed: Vec::new(), clock: None };
        let platter = Arc::new(Platter::new(me));
        Self { me, servers, around, platter, state: Shared::new(state), node: PhantomData }
    }

    fn running(&self) -> Option<Running> {
        self.state.with(|state| state.running.clone()).filter(|running| running.group.is_alive())
    }

    /// Notes it with the oracle too. None if the server does not run.
    fn set_paused(&self, paused: bool) -> Option<Running> {
        let running = self.running()?;
        self.around.oracle.set_paused(self.me, paused);
        self.state.with(|state| {
            if let Some(running) = &mut state.running {
                running.paused = paused;
            }
        });
        Some(running)
    }

    fn ask(&self, request: Request) -> Result<Response, Gone> {
        let running = self.running().ok_or(Gone)?;
        let (answer, response) = channel::bounded(1);
        running.calls.send(Call { request, answer }).map_err(|_| Gone)?;
        let response = response.recv().map_err(|_| Gone)?;
        self.nudge();
        if let Response::State(term, true) = response {
            self.around.oracle.note_leader(self.me, term);
        }
        Ok(response)
    }

    /// An OS thread that never calls into the runtime cannot be ended, but may look at a flag that
    /// `kill` sets. The server is off the network by now.
    fn kill_on_os_threads(&self, running: &Running) {
        let (answer, response) = channel::bounded(1);
        if running.calls.send(Call { request: Request::Kill, answer }).is_ok() {
            let _ = response.recv_timeout(KILL_PATIENCE);
        }
    }

    /// The last incarnation is over, whoever ended it: on OS threads its threads may take time.
    fn retire(&self) {
        self.state.with(|state| {
            if let Some(running) = state.running.take().filter(|_| !labrt::in_simulation()) {
                state.crashed.push(running.group);
            }
        });
    }

    /// The next incarnation's group, on the server's clock.
    fn new_group(&self) -> (Group, u64) {
        let (incarnation, clock) = self.state.with(|state| {
            state.incarnations += 1;
            (state.incarnations, state.clock)
        });
        let name = match incarnation {
            1 => format!("S{}", self.me),
            later => format!("S{}.{later}", self.me),
        };
        let group = Group::new(&name, self.me, incarnation);
        if let Some((offset, rate_ppm)) = clock {
            group.set_clock(offset, rate_ppm);
        }
        (group, incarnation)
    }

    /// The program that the new incarnation is to run.
    fn program(
        &self,
        group: &Group,
        incarnation: u64,
        calls: Receiver<Call>,
        (look, nudges): (Sender<()>, Receiver<()>),
    ) -> Program {
        let end = |to| self.around.network.client_end(self.me, to);
        Program {
            me: self.me,
            incarnation,
            group: group.clone(),
            peers: (0..self.servers).map(end).collect(),
            disk: self.platter.mount(group, &self.around.crashes),
            around: self.around.clone(),
            calls,
            look,
            nudges,
        }
    }
}

impl<R: RaftNode> ServerHandle for LocalServer<R> {
    fn start(&self, command: Vec<u8>) -> Result<Option<(Index, Term)>, Gone> {
        match self.ask(Request::Start(command))? {
            Response::Started(started) => Ok(started),
            other => unreachable!("the program answered Start with {other:?}"),
        }
    }

    fn get_state(&self) -> Result<(Term, bool), Gone> {
        match self.ask(Request::GetState)? {
            Response::State(term, leader) => Ok((term, leader)),
            other => unreachable!("the program answered GetState with {other:?}"),
        }
    }

    fn kill(&self) -> Result<(), Gone> {
        self.ask(Request::Kill).map(|_| ())
    }

    fn crash(&self) {
        self.around.network.stop(self.me);
        if let Some(running) = self.running() {
            if !labrt::in_simulation() {
                self.kill_on_os_threads(&running);
            }
            running.group.crash();
        }
    }

    fn restart(&self) {
        self.crash();
        self.retire();
        let (group, incarnation) = self.new_group();
        let (calls_tx, calls_rx) = channel::unbounded();
        let (nudges_tx, nudges_rx) = channel::bounded(1);
        self.around.crashes.set_group(self.me, &group);
        self.around.oracle.begin_incarnation(self.me, incarnation);
        let nudges = (nudges_tx.clone(), nudges_rx);
        let program = self.program(&group, incarnation, calls_rx, nudges);
        let (ready, started) = channel::bounded(1);
        let spawned = group.spawn("main", move || program.run::<R>(&ready));
        drop(spawned);
        let running = Running { group, calls: calls_tx, nudges: nudges_tx, paused: false };
        self.state.with(|state| state.running = Some(running));
        // Once `make` has returned, or the server has crashed in it.
        let _ = started.recv();
    }

    fn is_running(&self) -> bool {
        self.running().is_some()
    }

    fn is_paused(&self) -> bool {
        self.state.with(|state| state.running.as_ref().is_some_and(|running| running.paused))
    }

    fn pause(&self) {
        if let Some(running) = self.set_paused(true) {
            running.group.pause();
        }
    }

    fn resume(&self) {
        if let Some(running) = self.set_paused(false) {
            running.group.resume();
        }
    }

    fn nudge(&self) {
        self.state.with(|state| {
            if let Some(running) = &state.running {
                // Full: a look is due anyway. Disconnected: there is nobody to look at.
                let _ = running.nudges.try_send(());
            }
        });
    }

    fn threads(&self) -> Vec<String> {
        let members = self.running().map(|running| running.group.members());
        members.into_iter().flatten().filter(|thread| !is_of_the_harness(thread)).collect()
    }

    fn stragglers(&self) -> Vec<String> {
        self.state.with(|state| {
            let last = state.running.iter().map(|running| &running.group);
            let dead = last.filter(|group| !group.is_alive());
            state.crashed.iter().chain(dead).flat_map(Group::members).collect()
        })
    }

    fn set_clock(&self, offset: Duration, rate_ppm: u64) {
        self.state.with(|state| state.clock = Some((offset, rate_ppm)));
    }

    fn set_disk_faults(&self, faults: &DiskFaults) {
        self.platter.set_faults(faults);
    }

    fn syncs(&self) -> u64 {
        self.platter.syncs()
    }

    fn has_failed_disk(&self) -> bool {
        self.platter.has_failed()
    }
}

/// What runs in a server's group: the node, who applies, who answers the test, who observes.
struct Program {
    me: usize,
    incarnation: u64,
    group: Group,
    peers: Vec<ClientEnd>,
    disk: contract::Disk,
    around: Surroundings,
    calls: Receiver<Call>,
    /// Has the oracle look, and tells its thread that it is to.
    look: Sender<()>,
    nudges: Receiver<()>,
}

impl Program {
    fn run<R: RaftNode>(self, ready: &Sender<()>) {
        let (apply, applied) = channel::bounded(0);
        let node = R::make(self.peers, self.me, self.disk, apply);
        self.around.network.serve(self.me, &self.group, node.services());
        let (me, incarnation) = (self.me, self.incarnation);
        let (oracle, look) = (Arc::clone(&self.around.oracle), self.look);
        self.group.spawn("applier", move || {
            while let Ok(message) = applied.recv_or_end() {
                oracle.note_applied(me, incarnation, &message);
                let _ = look.try_send(());
            }
        });
        let (observed, oracle) = (Arc::clone(&node), self.around.oracle);
        let nudges = self.nudges;
        Builder::new().name("oracle").group(&self.group).observer().spawn(move || {
            while nudges.recv_or_end().is_ok() {
                let reading = oracle.begin_read(me, incarnation);
                let (term, leader) = observed.get_state();
                drop(reading);
                oracle.note_state(me, incarnation, term, leader);
            }
        });
        let _ = ready.send(());
        let control = Control { node, calls: self.calls, group: self.group, waiting: 1.into() };
        Arc::new(control).serve();
    }
}

/// The server's program as the test calls it.
struct Control<R> {
    node: Arc<R>,
    calls: Receiver<Call>,
    group: Group,
    /// Threads that wait for a call.
    waiting: AtomicUsize,
}

impl<R: RaftNode> Control<R> {
    /// Answers one call after the other. A call may block for long, so whoever takes one sees to it
    /// that another thread waits for the next.
    fn serve(self: Arc<Self>) {
        while let Ok(call) = self.calls.recv_or_end() {
            if self.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let control = Arc::clone(&self);
                self.group.spawn("control", move || control.serve());
            }
            let _ = call.answer.send(answer(&*self.node, call.request));
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn answer<R: RaftNode>(node: &R, request: Request) -> Response {
    match request {
        Request::Start(command) => Response::Started(node.start(command)),
        Request::GetState => {
            let (term, leader) = node.get_state();
            Response::State(term, leader)
        }
        Request::Kill => {
            node.kill();
            Response::Killed
        }
    }
}
