//! The handle of a server that is a process.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use contract::{Index, Term};
use labrpc::tcp::{Client, Options};
use labrt::channel;
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread::Builder;
use labrt::time::Instant;
use labrt::{random, thread, time};
use rustix::process::Signal;

use super::Site;
use super::incarnation::{Answer, Incarnation, send_in_order};
use super::link::{self, Assignment, DiskSizes, Inbox, ToServer};
use super::listener::Listener;
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
/// How often somebody who waits looks whether there is still something to wait for.
const LOOK_EVERY: Duration = Duration::from_millis(1);
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
        if let Some(term) = response.term_led() {
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
    fn connect(&self, incarnation: &Incarnation, address: SocketAddr) {
        let options = Options { call_time: CALL_TIME, ..Options::default() };
        let (client, started) = (Client::new(address, &options), Instant::now());
        while incarnation.group.is_alive() {
            if client.wait_until_connected(LOOK_EVERY) {
                return self.around.network.serve_at(self.me, &incarnation.group, &client);
            }
            if started.elapsed() > CONNECTED_WITHIN {
                return labrt::fail(format!("S{} cannot be connected to at {address}", self.me));
            }
        }
    }

    /// Waits for the end of the last incarnation, and until all is heard that it has told: what it
    /// did before its end was done, and the next one stands upon it.
    fn bury_last(&self) {
        let Some(last) = self.last() else { return };
        // Its folder is locked as long as it is there. (If it cannot be waited for, the next one
        // says so.)
        let _ = last.end();
        while !last.seen.with(|seen| seen.heard_out) {
            thread::sleep(LOOK_EVERY);
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
        self.bury_last();
        let (incarnation, inbox) = self
            .start_process()
            .unwrap_or_else(|error| panic!("S{} cannot be started: {error}", self.me));
        self.around.oracle.begin_incarnation(self.me, incarnation.number);
        self.around.crashes.set_victim(self.me, Arc::clone(&incarnation) as Arc<dyn Victim>);
        // Somebody may have planned a crash meanwhile.
        incarnation.order(ToServer::WatchSaves(self.around.crashes.watches_saves(self.me)));
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

    /// A process leaves no thread behind, but it may take a moment until it is heard out.
    fn stragglers(&self) -> Vec<String> {
        let last = self.last().filter(|last| !last.seen.with(|seen| seen.heard_out));
        last.map(|last| format!("{}'s process", last.group.name())).into_iter().collect()
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
