//! The service: a server between clients and its Raft, and the clerk that clients call it with.

use std::sync::Arc;

use contract::{ApplyMsg, Clerk, ClerkError, Disk, Index, KvNode, RaftNode, Term};
use labrpc::{ClientEnd, Service};
use labrt::channel::{self, Receiver};
use labrt::sync::Mutex;
use serde::{Deserialize, Serialize};

use crate::not_yet::not_yet;

/// What a clerk sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OperationArgs {
    // your code here (3A): the operation; and by what a server knows it when it comes again.
}

/// What a server answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OperationReply {
    // your code here (3A): the outcome; or that this is not the server to ask.
}

// Makes the trait, which the server implements below, and `KvRpcClient`, which calls it from a
// clerk: `self.servers[server].operate(&args)` blocks, and gives the reply, or an error if none
// came.
labrpc::service! {
    /// The service's RPC.
    pub(crate) trait KvRpc, client KvRpcClient {
        /// Has an operation carried out.
        fn operate(args: OperationArgs) -> OperationReply;
    }
}

/// A server of the service, on a Raft of any make.
pub struct MyKv<R> {
    raft: Arc<R>,
    disk: Disk,
    /// Raft is to keep no more bytes than about so many on the disk, if this is given.
    max_raft_state: Option<usize>,
    /// All that changes.
    state: Mutex<State>,
}

/// What a server knows. On every server it must be the same after the same entries.
#[derive(Debug, Default)]
struct State {
    // your code here (3A): keys and values, and what else one entry leaves for those after it.
    /// This server is not needed any more.
    killed: bool,
}

impl State {
    /// What a server begins with: the snapshot on its disk, which is empty if there is none.
    fn restore(snapshot: &[u8]) -> Self {
        if snapshot.is_empty() {
            return Self::default();
        }
        // your code here (3B)
        not_yet("3B", "restore the state from the disk's snapshot", "Raft §7")
    }
}

impl<R: RaftNode> KvNode for MyKv<R> {
    type Clerk = MyClerk;

    fn make(
        peers: Vec<ClientEnd>,
        me: usize,
        disk: Disk,
        max_raft_state: Option<usize>,
    ) -> Arc<Self> {
        // Before Raft runs, which may be sent a newer one.
        let state = Mutex::new(State::restore(&disk.read_snapshot()));
        let (apply, applied) = channel::bounded(0);
        let raft = R::make(peers, me, disk.clone(), apply);
        let kv = Arc::new(Self { raft, disk, max_raft_state, state });
        kv.start_applier(applied);
        kv
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        let mut services = self.raft.services();
        services.push(KvRpcClient::service(Arc::clone(self)));
        services
    }

    fn get_state(&self) -> (Term, bool) {
        self.raft.get_state()
    }

    fn kill(&self) {
        self.state.lock().killed = true;
        self.raft.kill();
        // your code here (3A): clients' calls that wait for something must see this and end.
    }
}

impl<R: RaftNode> MyKv<R> {
    /// Starts the thread that carries out what is committed, as Raft tells it. It ends when Raft
    /// does: then `applied.recv()` gives an error.
    fn start_applier(self: &Arc<Self>, applied: Receiver<ApplyMsg>) {
        // your code here (3A): commands. After each, `self.limit_raft_state(index)`.
        // your code here (3B): snapshots.
        not_yet("3A", "start the thread that applies what is committed", "Raft §8")
    }

    /// Takes a snapshot of everything up to and including `index`, if Raft keeps too much.
    fn limit_raft_state(&self, index: Index) {
        let Some(max) = self.max_raft_state else { return };
        // your code here (3B)
        not_yet("3B", "take a snapshot before Raft's state is too large", "Raft §7")
    }
}

/// Each call runs on a thread of its own, and may block.
impl<R: RaftNode> KvRpc for MyKv<R> {
    fn operate(&self, args: OperationArgs) -> OperationReply {
        // your code here (3A)
        not_yet("3A", "have an operation go through the log, once, and answer it", "Raft §8")
    }
}

/// A client of the service.
pub struct MyClerk {
    servers: Vec<KvRpcClient>,
    // your code here (3A): who led when last heard of; what makes each operation known again.
}

impl Clerk for MyClerk {
    fn make(servers: Vec<ClientEnd>) -> Self {
        Self { servers: servers.into_iter().map(KvRpcClient::new).collect() }
    }

    fn get(&mut self, key: &str) -> Result<String, ClerkError> {
        // your code here (3A)
        not_yet("3A", "ask servers until one has answered", "Raft §8")
    }

    fn put(&mut self, key: &str, value: &str) -> Result<(), ClerkError> {
        // your code here (3A)
        not_yet("3A", "ask servers until one has carried it out", "Raft §8")
    }

    fn append(&mut self, key: &str, value: &str) -> Result<(), ClerkError> {
        // your code here (3A)
        not_yet("3A", "ask servers until one has carried it out", "Raft §8")
    }
}
