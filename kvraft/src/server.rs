//! The server: threads, Raft, and the one lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::{ApplyMsg, Disk, Index, RaftNode, Term, TransferError};
use labgob::DecodeError;
use labrpc::{ClientEnd, Responder, RpcError, Service, ServingThread, decode_args};
use labrt::channel::{self, Receiver, Sender};
use labrt::pool::Pool;
use labrt::random::{self, Rng};
use labrt::sync::{Condvar, Mutex};
use labrt::thread::Builder;

use crate::config::Config;
use crate::entry::{self, Entry, Operation};
use crate::in_flight::Offer;
use crate::machine::StateMachine;
use crate::replica::Replica;
use crate::sessions::RequestId;
use crate::state::{Next, State};
use crate::waiting::Outbox;
use crate::wire::{METHOD, REQUEST_BYTES_MAX, Request, RequestOf, SERVICE};

/// How often the watcher looks whether this server still leads, while somebody waits for that.
/// Ten looks are as long as anybody waits: several elections fit into it, and no client is kept
/// for long by a leader that nobody follows any more.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// How long an orderly stop may wait for another leader.
const HANDOVER_MAX: Duration = Duration::from_millis(500);

/// Of what it has applied since the last snapshot, Raft's state must hold such a part of its limit
/// that another one is worth it. What is not applied yet no snapshot makes smaller.
const SNAPSHOT_PART: usize = 4;

/// How many entries Raft may hand over ahead of the applier. With none in between, each entry would
/// cost a change of threads in both directions: on a busy machine most of what a command takes.
const APPLY_AHEAD: usize = 16;

/// What an entry costs a Raft beside its command, about: a term, an index, a frame.
const ENTRY_OVERHEAD_BYTES: usize = 16;

/// How many bytes of what cannot be decoded are shown.
const SHOWN_MAX: usize = 32;

/// A server that replicates the state machine `S` with the Raft `R`.
pub struct Server<R, S: StateMachine> {
    me: usize,
    servers: usize,
    raft: Arc<R>,
    disk: Disk,
    config: Config,
    state: Mutex<Guarded<S>>,
    /// The watcher waits here, for somebody to wait or for the end.
    somebody_waits: Condvar,
    /// For what gathered while a thread was busy with Raft, and for what must not hold up others.
    helpers: Pool,
    /// Wakes the applier for the end, when there may be nothing more to apply.
    alarm: Sender<ApplyMsg>,
    is_over: AtomicBool,
}

struct Guarded<S: StateMachine> {
    state: State<S>,
    watcher_sleeps: bool,
    /// The server is not needed any more.
    stopping: bool,
}

impl<R: RaftNode, S: StateMachine> Server<R, S> {
    /// Starts server number `me` of `peers.len()`, with what an earlier incarnation left on `disk`;
    /// returns at once. `peers[i]` is the end from which this server calls server `i`.
    ///
    /// # Panics
    /// If the disk holds a snapshot that is not one of this service.
    pub fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, config: Config) -> Arc<Self> {
        let servers = peers.len();
        let raft_disk = disk.clone();
        Self::on(me, servers, disk, config, |apply| R::make(peers, me, raft_disk, apply))
    }

    /// As [`make`](Self::make), on a Raft of the caller's making, to which it gives the channel for
    /// what is applied.
    ///
    /// # Panics
    /// If the disk holds a snapshot that is not one of this service.
    pub fn on(
        me: usize,
        servers: usize,
        disk: Disk,
        config: Config,
        raft: impl FnOnce(Sender<ApplyMsg>) -> Arc<R>,
    ) -> Arc<Self> {
        let replica = restore(me, &disk);
        // Half of all numbers: the tags of an incarnation do not run beyond the last.
        let first_tag = random::rng().next_u64() >> 1;
        let state = State::new(me, replica, first_tag);
        let (apply, applied) = channel::bounded(APPLY_AHEAD);
        let alarm = apply.clone();
        let server = Arc::new(Self {
            me,
            servers,
            raft: raft(apply),
            disk,
            config,
            state: Mutex::new(Guarded { state, watcher_sleeps: false, stopping: false }),
            somebody_waits: Condvar::new(),
            helpers: Pool::in_current_group("helper"),
            alarm,
            is_over: AtomicBool::new(false),
        });
        server.spawn("service-applier", move |server| server.run_applier(&applied));
        server.spawn("watcher", Self::run_watcher);
        server
    }

    fn spawn(self: &Arc<Self>, name: &str, body: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let server = Arc::clone(self);
        Builder::new().name(name).spawn(move || body(&server));
    }

    /// The RPC services that peers and clients call: Raft's, and this one's.
    pub fn services(self: &Arc<Self>) -> Vec<Service> {
        let server = Arc::clone(self);
        let mut services = self.raft.services();
        services.push(Service::prompt(
            SERVICE,
            move |method, args, responder, thread| match decode::<S>(method, args) {
                Ok(request) => server.handle(request, responder, thread),
                Err(error) => drop(responder.refuse(error)),
            },
        ));
        services
    }

    /// Raft's current term, and whether this server believes to be the leader.
    pub fn get_state(&self) -> (Term, bool) {
        self.raft.get_state()
    }

    /// Takes the lock for one change, and does with it released what follows from that.
    fn step<T>(&self, change: impl FnOnce(&mut State<S>, &mut Outbox<S>) -> T) -> T {
        let mut outbox = Outbox::new();
        let mut guarded = self.state.lock();
        let result = change(&mut guarded.state, &mut outbox);
        let wake_watcher = guarded.watcher_sleeps && !guarded.state.is_idle();
        guarded.watcher_sleeps &= !wake_watcher;
        drop(guarded);
        outbox.send();
        if wake_watcher {
            self.somebody_waits.notify_one();
        }
        result
    }

    /// Sees to it that a client is answered, as soon as that can be done.
    fn handle(self: &Arc<Self>, request: RequestOf<S>, to: Responder, thread: &ServingThread<'_>) {
        let max_sessions = self.config.max_sessions;
        let next = match request {
            Request::Open => self.submit(None, &Operation::Open { max_sessions }, to),
            Request::Command { id, command } => {
                self.submit(Some(id), &Operation::Command { id, command }, to)
            }
            Request::Close(session) => self.submit(None, &Operation::Close(session), to),
            Request::Query(query) => self.step(|state, outbox| state.read(query, to, outbox)),
        };
        if matches!(next, Next::Confirm) {
            thread.will_block();
        }
        let next = self.advance(next);
        self.have_the_rest_done(next);
    }

    fn submit(
        &self,
        id: Option<RequestId>,
        operation: &Operation<S::Command>,
        to: Responder,
    ) -> Next {
        let operation = entry::encode(operation);
        self.step(|state, outbox| state.submit(&operation, id, to, outbox))
    }

    /// Does what is to be done, which leads to more if something gathered meanwhile.
    fn advance(&self, next: Next) -> Next {
        match next {
            Next::Rest => Next::Rest,
            Next::Offer(Offer { tag, entry }) => {
                let started = self.raft.start(entry);
                self.step(|state, outbox| {
                    state.offered(tag, started, outbox);
                    state.next()
                })
            }
            Next::Confirm => {
                let index = self.raft.read_index();
                self.step(|state, outbox| {
                    state.confirmed(index, outbox);
                    state.next()
                })
            }
        }
    }

    /// Who brings a request does one round. What gathered during that is left to a helper: there
    /// may be other requests to bring.
    fn have_the_rest_done(self: &Arc<Self>, next: Next) {
        if matches!(next, Next::Rest) {
            return;
        }
        let server = Arc::clone(self);
        self.helpers.run(move || {
            let mut next = next;
            while !matches!(next, Next::Rest) {
                next = server.advance(next);
            }
        });
    }

    /// Applies what Raft says is committed, until the server is killed.
    fn run_applier(&self, applied: &Receiver<ApplyMsg>) {
        let mut unsaved_bytes = 0;
        while let Some(message) = self.next_message(applied) {
            match message {
                ApplyMsg::Command { index, command } => {
                    unsaved_bytes += command.len() + ENTRY_OVERHEAD_BYTES;
                    let entry = self.decode_entry(index, &command);
                    self.step(|state, outbox| state.apply(index, entry, outbox));
                }
                ApplyMsg::NoOp { index } => {
                    unsaved_bytes += ENTRY_OVERHEAD_BYTES;
                    self.step(|state, outbox| state.skip(index, outbox));
                }
                ApplyMsg::Snapshot { index, snapshot, .. } => {
                    self.install(index, &snapshot);
                    unsaved_bytes = 0;
                }
            }
            if self.is_snapshot_due(unsaved_bytes) {
                self.take_snapshot();
                unsaved_bytes = 0;
            }
        }
    }

    /// What Raft says next; none once the server is killed.
    ///
    /// It waits at one channel, and not at another one for the end: who was woken at two has to
    /// leave the other's queue, on the way of every answer.
    fn next_message(&self, applied: &Receiver<ApplyMsg>) -> Option<ApplyMsg> {
        let message = applied.recv_or_end().ok()?;
        (!self.is_over.load(Ordering::Acquire)).then_some(message)
    }

    fn decode_entry(&self, index: Index, command: &[u8]) -> Entry<S::Command> {
        Entry::decode(command).unwrap_or_else(|error| {
            panic!(
                "S{} cannot go on: entry {index} of the log, {}",
                self.me,
                foreign(command, &error)
            )
        })
    }

    fn install(&self, index: Index, snapshot: &[u8]) {
        let replica = Replica::restore(snapshot).unwrap_or_else(|error| {
            panic!("S{} cannot go on: a leader's snapshot, {}", self.me, foreign(snapshot, &error))
        });
        let covers = replica.applied();
        assert!(covers == index, "a snapshot that covers {covers} was sent as one of {index}");
        log::debug!(target: "snapshot", "installs a snapshot up to {index}");
        self.step(|state, outbox| state.install(replica, outbox));
    }

    fn is_snapshot_due(&self, unsaved_bytes: usize) -> bool {
        self.config.max_raft_state.is_some_and(|max| {
            unsaved_bytes * SNAPSHOT_PART >= max && self.disk.raft_state_size() >= max
        })
    }

    /// The lock is held while the state is encoded, not while Raft stores that.
    fn take_snapshot(&self) {
        let (index, snapshot) = self.step(|state, _| {
            let replica = state.replica();
            (replica.applied(), replica.snapshot())
        });
        log::debug!(target: "snapshot", "takes one up to {index}, {} bytes", snapshot.len());
        self.raft.snapshot(index, snapshot);
    }

    /// Looks, while somebody waits, whether that is in vain; in the end it stops the server.
    fn run_watcher(self: &Arc<Self>) {
        while self.wait_for_next_look() {
            let (term, leads) = self.raft.get_state();
            self.step(|state, outbox| state.check(term, leads, outbox));
        }
        let (_, leads) = self.raft.get_state();
        if leads {
            self.hand_over();
        }
        self.stop();
    }

    /// False if the server is to stop.
    fn wait_for_next_look(&self) -> bool {
        let mut guarded = self.state.lock();
        while guarded.state.is_idle() && !guarded.stopping {
            guarded.watcher_sleeps = true;
            self.somebody_waits.wait(&mut guarded);
        }
        guarded.watcher_sleeps = false;
        if !guarded.stopping {
            self.somebody_waits.wait_for(&mut guarded, WATCH_INTERVAL);
        }
        !guarded.stopping
    }

    /// Has the server's threads end soon. A leader hands leadership over first, if its Raft can do
    /// that: then the others need not wait for an election time-out.
    pub fn kill(&self) {
        self.state.lock().stopping = true;
        self.somebody_waits.notify_one();
    }

    /// Has another server lead, if that can be done in time.
    fn hand_over(self: &Arc<Self>) {
        let (done, over) = channel::bounded(1);
        let server = Arc::clone(self);
        self.helpers.run(move || {
            let others = (1..server.servers).map(|offset| (server.me + offset) % server.servers);
            for to in others {
                match server.raft.transfer_leadership(to) {
                    // Perhaps another one can.
                    Err(TransferError::TimedOut | TransferError::NoSuchPeer) => {}
                    Ok(()) | Err(TransferError::Unsupported | TransferError::NotLeader) => break,
                }
            }
            // Nobody may wait for it any more.
            let _ = done.try_send(());
        });
        let _ = over.recv_timeout(HANDOVER_MAX);
    }

    fn stop(&self) {
        self.step(State::kill);
        self.is_over.store(true, Ordering::Release);
        // If there is no room, the applier has something else to wake up for.
        let _ = self.alarm.try_send(ApplyMsg::NoOp { index: 0 });
        self.raft.kill();
        self.helpers.close();
    }
}

fn decode<S: StateMachine>(method: &str, args: &[u8]) -> Result<RequestOf<S>, RpcError> {
    match method {
        METHOD if args.len() > REQUEST_BYTES_MAX => Err(RpcError::BadArguments(format!(
            "a request of {} bytes; {REQUEST_BYTES_MAX} are the most",
            args.len()
        ))),
        METHOD => decode_args(args),
        unknown => Err(RpcError::UnknownMethod(unknown.to_string())),
    }
}

/// The state that an earlier incarnation left. A server that cannot read it must not begin with
/// another one: it would answer as if nothing had ever happened.
fn restore<S: StateMachine>(me: usize, disk: &Disk) -> Replica<S> {
    let snapshot = disk.read_snapshot();
    if snapshot.is_empty() {
        return Replica::new();
    }
    Replica::restore(&snapshot).unwrap_or_else(|error| {
        panic!("S{me} cannot start: the snapshot on its disk, {}", foreign(&snapshot, &error))
    })
}

/// What is wrong with bytes that no server of this service wrote.
fn foreign(bytes: &[u8], error: &DecodeError) -> String {
    format!(
        "{} bytes, is not what a server of this service wrote: {error}. It begins with {:02x?}",
        bytes.len(),
        &bytes[..bytes.len().min(SHOWN_MAX)],
    )
}

impl<R: RaftNode, S: StateMachine> fmt::Debug for Server<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (term, leads) = self.get_state();
        write!(f, "Server(S{}, term {term}{})", self.me, if leads { ", leader" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use harness::ServerDisk;
    use labrt::group::Group;

    use super::*;
    use crate::kv::KvMap;

    fn restored(snapshot: Vec<u8>) -> Replica<KvMap> {
        let disk = ServerDisk::new(1).mount(&Group::new("S1", 1, 0));
        disk.persister().save(Vec::new(), Some(snapshot));
        restore(1, &disk)
    }

    #[test]
    fn an_empty_disk_is_the_first_start() {
        assert_eq!(restored(Vec::new()).applied(), 0);
    }

    #[test]
    fn a_server_goes_on_from_where_its_snapshot_was_taken() {
        let mut replica = Replica::<KvMap>::new();
        (1..8).for_each(|index| replica.advance(index));
        assert_eq!(restored(replica.snapshot()).applied(), 7);
    }

    #[test]
    #[should_panic(expected = "S1 cannot start: the snapshot on its disk, 3 bytes, is not what a")]
    fn a_server_that_cannot_read_its_snapshot_refuses_to_start() {
        restored(vec![1, 2, 3]);
    }

    #[test]
    #[should_panic(expected = "S1 cannot start: the snapshot on its disk, 6 bytes, is not what a")]
    fn a_snapshot_with_something_behind_it_is_refused() {
        let mut snapshot = Replica::<KvMap>::new().snapshot();
        snapshot.resize(6, 0);
        restored(snapshot);
    }
}
