//! A server made of threads of this process.

use std::sync::Arc;
use std::time::Duration;

use contract::{Index, Term};
use labrt::channel::{self, Sender};
use labrt::group::Group;
use labrt::sync::Shared;

use super::witness::Present;
use super::{
    Call, Gone, Kind, Program, Request, Response, Seat, ServerHandle, ServicePolicy, Surroundings,
    is_of_the_harness, name_of,
};
use crate::disk::{DiskFaults, Mount, ServerDisk};

/// How long a crash on OS threads waits for `kill` to return.
const KILL_PATIENCE: Duration = Duration::from_millis(50);

/// A server made of threads of this process: coroutines or OS threads.
pub(crate) struct LocalServer<K> {
    me: usize,
    servers: usize,
    around: Surroundings,
    disk: ServerDisk,
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

impl State {
    /// The incarnation that runs, if one does.
    fn running(&self) -> Option<&Running> {
        self.running.as_ref().filter(|running| running.group.is_alive())
    }
}

impl<K: Kind> LocalServer<K> {
    pub(crate) fn new(me: usize, servers: usize, around: Surroundings, kind: K) -> Self {
        let state = State { incarnations: 0, running: None, crashed: Vec::new(), clock: None };
        Self {
            me,
            servers,
            around,
            disk: ServerDisk::new(me),
            state: Shared::new(state),
            kind,
            policy: Arc::default(),
        }
    }

    fn running(&self) -> Option<Running> {
        self.state.with(|state| state.running().cloned())
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
        let (answer, response) = channel::bounded(1);
        let call = Call { number: 0, request, answer };
        self.state.with(|state| {
            let running = state.running().ok_or(Gone)?;
            running.calls.try_send(call).map_err(|_| Gone)
        })?;
        let (_, response) = response.recv().map_err(|_| Gone)?;
        if let Some(term) = response.term_led() {
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
    fn seat(&self, group: &Group, incarnation: u64) -> Seat {
        let end = |to| self.around.network.client_end(self.me, to);
        let oracle = Arc::clone(&self.around.oracle);
        Seat {
            me: self.me,
            group: group.clone(),
            peers: (0..self.servers).map(end).collect(),
            witness: Arc::new(Present { oracle, server: self.me, incarnation }),
            policy: Arc::clone(&self.policy),
        }
    }
}

impl<K: Kind> LocalServer<K> {
    /// Runs an incarnation on threads of its group. `ready` hears that it has begun, or closes.
    fn spawn_program(&self, group: &Group, program: Program, mount: Mount, ready: Sender<()>) {
        let (me, kind, its) = (self.me, self.kind.clone(), group.clone());
        let (network, disk) = (self.around.network.clone(), self.disk.clone());
        group.spawn("main", move || {
            let Ok(disk) = disk.open(mount) else { return its.crash() };
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
        let seat = self.seat(&group, incarnation);
        let mount = self.disk.mount_for(&group, &self.around.crashes);
        let program = Program { seat, calls: calls_rx, looks: nudges_rx };
        let (ready, started) = channel::bounded(1);
        self.spawn_program(&group, program, mount, ready);
        let running = Running { group, calls: calls_tx, nudges: nudges_tx, paused: false };
        self.state.with(|state| state.running = Some(running));
        // Once `make` has returned, or the server has crashed in it.
        let _ = started.recv();
    }

    fn is_running(&self) -> bool {
        self.state.with(|state| state.running().is_some())
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
        self.disk.set_faults(faults);
    }

    fn set_service_policy(&self, policy: &ServicePolicy) {
        self.policy.with(|current| *current = policy.clone());
    }

    fn raft_state_size(&self) -> usize {
        self.disk.raft_state_size()
    }

    fn snapshot_size(&self) -> usize {
        self.disk.snapshot_size()
    }

    fn syncs(&self) -> u64 {
        self.disk.syncs()
    }

    fn has_failed_disk(&self) -> bool {
        self.disk.has_failed()
    }
}
