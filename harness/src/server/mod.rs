//! The handle by which a test reaches a server, and the program that every server runs.
//!
//! A test never holds a node. It sends a request to the server's program, a request runs on a
//! thread of the server's own group, and its answer comes back; if the server is dead, or dies
//! meanwhile, the answer is [`Gone`]. Requests and answers are plain data, so a server may as
//! well be another process.

mod kind;
mod program;
mod service;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use contract::{Index, Term};
use labrpc::Network;
use labrt::channel::{self, Sender};
use labrt::group::Group;
use labrt::sync::Shared;

use crate::disk::{DiskFaults, Mount, Platter};
use crate::oracle::Oracle;
use crate::plan::Crashes;
pub(crate) use kind::{Kind, KvKind, RaftKind, Role, Seat};
pub(crate) use program::{Call, Program, Request, Response};
pub use service::ServicePolicy;
pub(crate) use service::Snapshot;
use witness::Present;
pub(crate) use witness::Witness;

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

    /// Asks the node to end its threads, as [`RaftNode::kill`](contract::RaftNode::kill) does.
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

    /// Says what the service on top of a Raft does, from now on. A key-value service decides for
    /// itself.
    fn set_service_policy(&self, policy: &ServicePolicy);

    /// How many bytes Raft has on the server's disk, the snapshot aside.
    fn raft_state_size(&self) -> usize;

    /// How many bytes the snapshot on the server's disk has.
    fn snapshot_size(&self) -> usize;

    /// How often the server's journal was to be synced: never, if it uses the disk's other view.
    fn syncs(&self) -> u64;

    /// Whether the disk has failed since the server was started: then the server can do no better
    /// than to stop, and be started again.
    fn has_failed_disk(&self) -> bool;
}

/// What a server shares with its cluster.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) network: Network,
    pub(crate) oracle: Arc<Oracle>,
    pub(crate) crashes: Arc<Crashes>,
}

/// A server made of threads of this process: coroutines or OS threads.
pub(crate) struct LocalServer<K> {
    me: usize,
    servers: usize,
    around: Surroundings,
    platter: Arc<Platter>,
    state: Shared<State>,
    kind: K,
    policy: Arc<Shared<ServicePolicy>>,
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

/// An incarnation's name in reports.
pub(crate) fn name_of(server: usize, incarnation: u64) -> String {
    match incarnation {
        1 => format!("S{server}"),
        later => format!("S{server}.{later}"),
    }
}

/// Whether a thread, by its name and place, belongs to the server's program, or is a handler that
/// waits for its next call.
pub(crate) fn is_of_the_harness(thread: &str) -> bool {
    let is_idle = thread.contains("/rpc-") && thread.contains("labrt/src/pool.rs");
    is_idle || thread.contains("harness/src/server/")
}

impl<K: Kind> LocalServer<K> {
    pub(crate) fn new(me: usize, servers: usize, around: Surroundings, kind: K) -> Self {
        let state = State { incarnations: 0, running: None, crashed: Vec::new(), clock: None };
        Self {
            me,
            servers,
            around,
            platter: Arc::new(Platter::new(me)),
            state: Shared::new(state),
            kind,
            policy: Arc::default(),
        }
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
        running.calls.send(Call { number: 0, request, answer }).map_err(|_| Gone)?;
        let (_, response) = response.recv().map_err(|_| Gone)?;
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
        if running.calls.send(Call { number: 0, request: Request::Kill, answer }).is_ok() {
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
        let group = Group::new(&name_of(self.me, incarnation), self.me, incarnation);
        if let Some((offset, rate_ppm)) = clock {
            group.set_clock(offset, rate_ppm);
        }
        (group, incarnation)
    }

    /// What the node of the new incarnation is given.
    fn seat(&self, group: &Group, incarnation: u64, look: Sender<()>) -> Seat {
        let end = |to| self.around.network.client_end(self.me, to);
        let oracle = Arc::clone(&self.around.oracle);
        Seat {
            me: self.me,
            group: group.clone(),
            peers: (0..self.servers).map(end).collect(),
            witness: Arc::new(Present { oracle, server: self.me, incarnation }),
            look,
            policy: Arc::clone(&self.policy),
        }
    }
}

impl<K: Kind> LocalServer<K> {
    /// Runs an incarnation on threads of its group. `ready` hears that it has begun, or closes.
    fn spawn_program(&self, group: &Group, program: Program, mount: Mount, ready: Sender<()>) {
        let (me, kind, its) = (self.me, self.kind.clone(), group.clone());
        let network = self.around.network.clone();
        group.spawn("main", move || {
            let Ok(disk) = mount.disk() else { return its.crash() };
            let serve = |services| network.serve(me, &its, services);
            let begun = |(): &()| {
                let _ = ready.send(());
            };
            program.run(&kind, disk, serve, begun);
        });
    }
}

impl<K: Kind> ServerHandle for LocalServer<K> {
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
        self.around.crashes.set_victim(self.me, Arc::new(group.clone()));
        self.around.oracle.begin_incarnation(self.me, incarnation);
        let seat = self.seat(&group, incarnation, nudges_tx.clone());
        let mount = self.platter.mount(&group, &self.around.crashes);
        let program = Program { seat, calls: calls_rx, looks: nudges_rx };
        let (ready, started) = channel::bounded(1);
        self.spawn_program(&group, program, mount, ready);
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

    fn set_service_policy(&self, policy: &ServicePolicy) {
        self.policy.with(|current| *current = policy.clone());
    }

    fn raft_state_size(&self) -> usize {
        self.platter.raft_state_size()
    }

    fn snapshot_size(&self) -> usize {
        self.platter.snapshot_size()
    }

    fn syncs(&self) -> u64 {
        self.platter.syncs()
    }

    fn has_failed_disk(&self) -> bool {
        self.platter.has_failed()
    }
}
