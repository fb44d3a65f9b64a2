//! A server's process: it is told what it is, and runs the program that every server runs.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{ApplyMsg, Disk, Index, Term};
use labrpc::tcp::{Client, Limits, Options, Server};
use labrpc::{ClientEnd, Service};
use labrt::channel::{self, Receiver, Sender};
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread::Builder;
use labrt::{logger, random, thread, time};
use storage::{Directory, OpenError, Store};

use super::disk::{Folder, Trouble};
use super::link::{self, Assignment, DiskSizes, FromServer, GAVE_UP, Inbox, Outbox, ToServer};
use crate::disk::{Watch, watched};
use crate::server::{
    Call, Kind, Program, Response, Role, Seat, ServicePolicy, Snapshot, Witness, name_of,
};

/// A proxy is always there, and soon found.
const RETRY_TIME: Duration = Duration::from_millis(20);
/// Longer than the network lets a caller wait for a server that is gone.
const CALL_TIME: Duration = Duration::from_secs(15);
/// How often it is looked whether a thread has failed.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A server's process before it knows the type of its node.
pub(crate) struct Newborn {
    assignment: Assignment,
    outbox: Arc<Outbox>,
    inbox: Inbox,
}

impl Newborn {
    /// Takes the socket that is our standard input, leaves nothing in its place, and listens.
    ///
    /// # Errors
    /// If standard input is no such socket, or nobody is there.
    pub(super) fn hear() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        let (outbox, mut inbox) = link::ends(UnixStream::from(socket))?;
        let assignment = inbox.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self { assignment, outbox: Arc::new(outbox), inbox })
    }

    pub(super) fn role(&self) -> Role {
        self.assignment.role
    }

    /// Runs a server of this kind until the test's process does not want it any more.
    pub(crate) fn serve<K: Kind>(self, kind: &K) -> ExitCode {
        let Self { assignment, outbox, inbox } = self;
        logger::init();
        random::set_os_seed(assignment.seed);
        time::join_world(assignment.world_time);
        let life = Arc::new(Life::new(assignment, outbox));
        let (calls, calls_rx) = channel::unbounded();
        let (look, looks) = channel::bounded(1);
        let (its, kind) = (Arc::clone(&life), kind.clone());
        life.group.spawn("main", move || its.run(&kind, calls_rx, looks));
        life.report_failures();
        life.obey(inbox, &calls, &look);
        ExitCode::SUCCESS
    }
}

/// Tells the test's process something. Without it, there is nothing to go on for.
pub(super) fn tell(outbox: &Outbox, message: &FromServer) {
    if outbox.send(message).is_err() {
        exit(GAVE_UP);
    }
}

/// What the threads of a server's process share.
struct Life {
    assignment: Assignment,
    outbox: Arc<Outbox>,
    group: Group,
    trouble: Arc<Trouble>,
    policy: Arc<Shared<ServicePolicy>>,
}

impl Life {
    fn new(assignment: Assignment, outbox: Arc<Outbox>) -> Self {
        let Assignment { me, incarnation, .. } = assignment;
        let faults = assignment.disk_faults.clone();
        let trouble = Trouble::new((me, incarnation), faults, assignment.watches_saves, &outbox);
        Self {
            group: Group::new(&name_of(me, incarnation), me, incarnation),
            trouble: Arc::new(trouble),
            policy: Arc::new(Shared::new(assignment.policy.clone())),
            assignment,
            outbox,
        }
    }

    fn tell(&self, message: &FromServer) {
        tell(&self.outbox, message);
    }

    /// The server's main thread.
    fn run<K: Kind>(self: Arc<Self>, kind: &K, calls: Receiver<Call>, looks: Receiver<()>) {
        let disk = self.open_disk().unwrap_or_else(|error| {
            self.tell(&FromServer::Refused(error.to_string(), error.is_damage()));
            exit(GAVE_UP);
        });
        let seat = Seat {
            me: self.assignment.me,
            group: self.group.clone(),
            peers: self.peers(),
            witness: Arc::new(Distant(Arc::clone(&self.outbox))),
            policy: Arc::clone(&self.policy),
        };
        let serve = |services| self.bind(services);
        let begun = |server: &Server| self.tell(&FromServer::Ready(server.local_addr()));
        Program { seat, calls, looks }.run(kind, disk, serve, begun);
    }

    fn open_disk(&self) -> Result<Disk, OpenError> {
        let directory = Directory::open(&self.assignment.folder)?;
        let folder = Folder { directory, trouble: Arc::clone(&self.trouble) };
        let outbox = Arc::clone(&self.outbox);
        // The persister's user cannot be told, and must not go on.
        let store = Store::open(folder, move |_| {
            tell(&outbox, &FromServer::Disk(DiskSizes { failed: true, ..DiskSizes::default() }));
            exit(GAVE_UP);
        })?;
        let store = Arc::new(store);
        let teller = Teller {
            store: Arc::clone(&store),
            outbox: Arc::clone(&self.outbox),
            syncs: AtomicU64::new(0),
        };
        teller.note_changed();
        Ok(watched(&store.disk(), teller))
    }

    /// An end for each peer. The threads behind it are not the node's.
    fn peers(&self) -> Vec<ClientEnd> {
        let Assignment { me, incarnation, peers, .. } = &self.assignment;
        let addresses = peers.clone();
        let wires = Group::new(&format!("{} wires", name_of(*me, *incarnation)), *me, 0);
        let made = wires.spawn("clients", move || {
            let options =
                Options { call_time: CALL_TIME, retry_time: RETRY_TIME, ..Options::DEFAULT };
            addresses.iter().map(|&address| Client::new(address, &options).end()).collect()
        });
        made.join().unwrap_or_default()
    }

    fn bind(&self, services: Vec<Service>) -> Server {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = Server::bind(anywhere, &self.group, services, &Limits::DEFAULT);
        bound.unwrap_or_else(|error| {
            let me = self.assignment.me;
            self.tell(&FromServer::Failed(format!("S{me} cannot listen on any port: {error}")));
            exit(GAVE_UP)
        })
    }

    /// Has somebody look for panics in the server's threads, which are the test's failure.
    fn report_failures(self: &Arc<Self>) {
        let life = Arc::clone(self);
        Builder::new().name("failures").spawn(move || {
            loop {
                thread::sleep(LOOK_EVERY);
                if let Some(failure) = labrt::take_failure() {
                    life.tell(&FromServer::Failed(failure));
                    exit(GAVE_UP);
                }
            }
        });
    }

    /// Does what the test wants, until nobody is there to want anything.
    fn obey(&self, mut inbox: Inbox, calls: &Sender<Call>, look: &Sender<()>) {
        let answer = self.answers();
        while let Some(message) = inbox.next() {
            match message {
                ToServer::Ask(number, request) => {
                    let answer = answer.clone();
                    let _ = calls.send(Call { number, request, answer });
                }
                ToServer::AskThreads(number) => {
                    let threads = self.group.members();
                    self.tell(&FromServer::Threads(number, threads));
                }
                ToServer::Look => {
                    // Full: a look is due anyway.
                    let _ = look.try_send(());
                }
                ToServer::SetPolicy(policy) => self.policy.with(|current| *current = policy),
                ToServer::SetDiskFaults(faults) => self.trouble.set_faults(faults),
                ToServer::WatchSaves(watched) => self.trouble.watch_saves(watched),
                ToServer::GoOn => self.trouble.go_on(),
            }
        }
    }

    /// Where the program leaves its answers, to be told.
    fn answers(&self) -> Sender<(u64, Response)> {
        let (answer, answers) = channel::unbounded();
        let outbox = Arc::clone(&self.outbox);
        Builder::new().name("answers").spawn(move || {
            while let Ok((number, response)) = answers.recv() {
                tell(&outbox, &FromServer::Answer(number, response));
            }
        });
        answer
    }
}

/// The oracle, in another process.
struct Distant(Arc<Outbox>);

impl Witness for Distant {
    fn look(&self, get_state: &dyn Fn() -> (Term, bool)) {
        let (term, leader) = get_state();
        tell(&self.0, &FromServer::State(term, leader));
    }

    fn note_applied(&self, message: &ApplyMsg) {
        tell(&self.0, &FromServer::Applied(message.clone()));
    }

    fn note_installed(&self, index: Index, snapshot: &Snapshot) {
        tell(&self.0, &FromServer::Installed(index, snapshot.clone()));
    }
}

/// Tells of a disk's changes.
struct Teller {
    store: Arc<Store<Folder>>,
    outbox: Arc<Outbox>,
    syncs: AtomicU64,
}

impl Watch for Teller {
    fn note_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    fn note_changed(&self) {
        let sizes = DiskSizes {
            raft_state: self.store.raft_state_size(),
            snapshot: self.store.snapshot_size(),
            syncs: self.syncs.load(Ordering::Relaxed),
            failed: self.store.has_failed(),
        };
        tell(&self.outbox, &FromServer::Disk(sizes));
    }
}
