//! A cluster that serves a key-value store, and clients whose every operation is taken down.

use std::sync::Arc;
use std::time::Duration;

use contract::{Clerk, ClerkError, KvNode};
use labrpc::{ClientEnd, Faults};
use labrt::random::{self, SliceRandom};
use labrt::thread;
use labrt::time::{self, Instant};
use linearizability::{KvInput, KvOperation, Recorder, Verdict};

use crate::cluster::MadeOf;
use crate::server::KvKind;
use crate::{Cluster, Summary};

/// What a test of the key-value service wants of its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvSetup {
    /// Clients that it may have at a time.
    pub clients: usize,
    /// What the servers are given as `max_raft_state`.
    pub max_raft_state: Option<usize>,
}

/// A server whose Raft's state is too large has so long to make it smaller, be it by little: one
/// that has just started may have much to apply, and machines differ in how fast that goes.
const SHRINKS_WITHIN: Duration = Duration::from_secs(1);
/// How often somebody who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

type History = Recorder<KvInput, Option<String>>;

/// A cluster of key-value servers. Clones are the same cluster.
///
/// Its network takes 1 to 10 ms for a message in a simulated world: more than that of the tests of
/// Raft alone, for each client calls in a closed loop.
#[derive(Clone)]
pub struct KvCluster {
    /// The servers: to be crashed, cut off, paused and looked at.
    pub servers: Cluster,
    setup: KvSetup,
    make_clerk: fn(Vec<ClientEnd>) -> Box<dyn AnyClerk>,
    history: Arc<History>,
}

/// A client's messages to servers, and servers' among themselves, where nothing is wrong.
fn usual_faults() -> Faults {
    let reliable = Faults::reliable();
    if !labrt::in_simulation() {
        return reliable;
    }
    let delay = Duration::from_millis(1)..Duration::from_millis(10);
    Faults { request_delay: delay.clone(), reply_delay: delay, ..reliable }
}

impl KvCluster {
    /// Starts `servers` servers, of threads of this process.
    pub fn new<K: KvNode>(servers: usize, setup: KvSetup) -> Self {
        Self::of_kv::<K>(servers, setup, MadeOf::Threads)
    }

    pub(crate) fn of_kv<K: KvNode>(servers: usize, setup: KvSetup, made_of: MadeOf) -> Self {
        let kind = KvKind::<K>::new(setup.max_raft_state);
        let nodes = (servers, setup.clients);
        Self {
            servers: Cluster::start_servers(nodes, usual_faults(), &kind, made_of),
            setup,
            make_clerk: |ends| Box::new(K::Clerk::make(ends)),
            history: Arc::default(),
        }
    }

    /// How many clients there may be at a time.
    pub fn clients(&self) -> usize {
        self.setup.clients
    }

    /// A new client, at the place that has this number. It knows the servers in an order of its
    /// own.
    pub fn client(&self, number: usize) -> KvClient {
        assert!(number < self.clients(), "there are {} clients, not {number}", self.clients());
        let network = self.servers.network();
        let node = self.servers.len() + number;
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.shuffle(&mut random::stream("client", number as u64));
        let ends = order.into_iter().map(|server| network.client_end(node, server)).collect();
        let history = Arc::clone(&self.history);
        KvClient { number, clerk: (self.make_clerk)(ends), history }
    }

    /// Has a client reach these servers alone, until [`Cluster::heal`].
    pub fn confine(&self, client: usize, servers: &[usize]) {
        let node = self.servers.len() + client;
        for server in 0..self.servers.len() {
            self.servers.network().set_cut(node, server, !servers.contains(&server));
            self.servers.network().set_cut(server, node, !servers.contains(&server));
        }
    }

    /// That the persisted state of Raft is no larger than the labs allow, eight times
    /// `max_raft_state`, or gets there without standing still for a second; and that there is no
    /// snapshot, if there is no `max_raft_state`.
    ///
    /// # Panics
    /// If it is.
    pub fn check_sizes(&self) {
        let Some(max) = self.setup.max_raft_state.map(|max| 8 * max) else {
            let size = self.servers.largest_snapshot();
            assert!(size == 0, "a server took a snapshot, of {size} bytes, though it must not");
            return;
        };
        let (mut least, mut since) = (usize::MAX, Instant::now());
        loop {
            let size = self.servers.largest_raft_state();
            if size <= max {
                return;
            }
            if size < least {
                (least, since) = (size, Instant::now());
            }
            assert!(
                since.elapsed() < SHRINKS_WITHIN,
                "a server keeps {size} bytes of Raft's state, no less for {SHRINKS_WITHIN:?}; \
                 {max} are allowed, which is 8 times max_raft_state",
            );
            thread::sleep(LOOK_EVERY);
        }
    }

    /// That what all clients were told is what one server could have told them.
    ///
    /// # Panics
    /// If it is not: says which operations clash.
    pub fn check_history(&self) {
        match linearizability::check(&self.history()) {
            Verdict::Linearizable => {}
            Verdict::NotLinearizable(clash) => panic!("not linearizable: {clash}"),
            Verdict::Undecided(reason) => panic!("whether it is linearizable is open: {reason}"),
        }
    }

    /// All operations of all clients so far.
    pub fn history(&self) -> Vec<KvOperation> {
        self.history.history()
    }

    /// What the test took so far.
    pub fn summary(&self) -> Summary {
        let returned = |operation: &&KvOperation| operation.outcome.is_some();
        let commands = self.history().iter().filter(returned).count() as u64;
        Summary { commands, ..self.servers.summary() }
    }
}

/// A client: a clerk, and somebody who takes down what it does.
pub struct KvClient {
    number: usize,
    clerk: Box<dyn AnyClerk>,
    history: Arc<History>,
}

impl KvClient {
    /// The key's value.
    ///
    /// # Panics
    /// If the clerk has an error for it, as all of these.
    pub fn get(&mut self, key: &str) -> String {
        let id = self.call(KvInput::get(key));
        let value = self.succeed(|clerk| clerk.get(key));
        self.history.ret(id, now_ns(), Some(value.clone()));
        value
    }

    /// Replaces the key's value. The history is checked fastest if no value is written twice.
    pub fn put(&mut self, key: &str, value: &str) {
        let id = self.call(KvInput::put(key, value));
        self.succeed(|clerk| clerk.put(key, value));
        self.history.ret(id, now_ns(), None);
    }

    /// Adds to the end of the key's value.
    pub fn append(&mut self, key: &str, value: &str) {
        let id = self.call(KvInput::append(key, value));
        self.succeed(|clerk| clerk.append(key, value));
        self.history.ret(id, now_ns(), None);
    }

    /// The client goes.
    pub fn close(self) {
        self.clerk.close();
    }

    fn call(&self, input: KvInput) -> linearizability::OpId {
        self.history.call(self.number as u64, input, now_ns())
    }

    fn succeed<T>(
        &mut self,
        operation: impl FnOnce(&mut dyn AnyClerk) -> Result<T, ClerkError>,
    ) -> T {
        let number = self.number;
        operation(&mut *self.clerk).unwrap_or_else(|error| panic!("client {number}: {error}"))
    }
}

/// The clock that all clients share.
fn now_ns() -> u64 {
    u64::try_from(time::world_time().as_nanos()).unwrap_or(u64::MAX)
}

/// A clerk of any type.
trait AnyClerk: Send {
    fn get(&mut self, key: &str) -> Result<String, ClerkError>;
    fn put(&mut self, key: &str, value: &str) -> Result<(), ClerkError>;
    fn append(&mut self, key: &str, value: &str) -> Result<(), ClerkError>;
    fn close(self: Box<Self>);
}

impl<C: Clerk> AnyClerk for C {
    fn get(&mut self, key: &str) -> Result<String, ClerkError> {
        Clerk::get(self, key)
    }

    fn put(&mut self, key: &str, value: &str) -> Result<(), ClerkError> {
        Clerk::put(self, key, value)
    }

    fn append(&mut self, key: &str, value: &str) -> Result<(), ClerkError> {
        Clerk::append(self, key, value)
    }

    fn close(self: Box<Self>) {
        Clerk::close(*self);
    }
}
