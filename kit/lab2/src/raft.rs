//! The server: what it knows, what it remembers through a crash, and what is asked of it.

mod election;
mod replication;
mod rpc;

use std::sync::Arc;

use contract::{ApplyMsg, Disk, Index, Persister, RaftNode, Term};
use labrpc::{ClientEnd, Service};
use labrt::channel::Sender;
use labrt::sync::Mutex;

use crate::not_yet::not_yet;
use rpc::RaftRpcClient;

/// A Raft server.
pub struct MyRaft {
    /// This server's number.
    me: usize,
    /// Where to call the others; `peers[me]` is not used.
    peers: Vec<RaftRpcClient>,
    /// What is saved here is there after a crash, and nothing else is.
    persister: Persister,
    /// All that changes.
    state: Mutex<State>,
}

/// What a server knows.
#[derive(Debug, Default)]
struct State {
    // your code here (2A): what Figure 2 lists under "State", but for the log; and more, as whether
    // this server follows, stands for election, or leads.
    //
    // your code here (2B): the log, and the rest of Figure 2. A type of its own pays for itself in
    // 2D, when a log does not begin at its first entry any more.
    /// This server is not needed any more.
    killed: bool,
}

impl RaftNode for MyRaft {
    fn make(peers: Vec<ClientEnd>, me: usize, disk: Disk, apply: Sender<ApplyMsg>) -> Arc<Self> {
        let raft = Arc::new(Self {
            me,
            peers: peers.into_iter().map(RaftRpcClient::new).collect(),
            persister: disk.persister(),
            state: Mutex::new(State::default()),
        });
        raft.restore();
        raft.start_election_timer();
        raft.start_applier(apply);
        raft
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        vec![RaftRpcClient::service(Arc::clone(self))]
    }

    fn get_state(&self) -> (Term, bool) {
        // your code here (2A)
        not_yet("2A", "say the current term, and whether this server leads it", "Raft Figure 2")
    }

    fn start(&self, command: Vec<u8>) -> Option<(Index, Term)> {
        // your code here (2B)
        not_yet("2B", "take a command into the leader's log", "Raft §5.3")
    }

    fn snapshot(&self, index: Index, snapshot: Vec<u8>) {
        // your code here (2D)
        not_yet("2D", "let a snapshot take the place of the log up to its index", "Raft §7")
    }

    fn kill(&self) {
        self.state.lock().killed = true;
        // your code here (2C): threads of yours that wait for something must see this and end.
    }
}

impl MyRaft {
    /// Whether your threads should end.
    fn is_killed(&self) -> bool {
        self.state.lock().killed
    }

    /// Saves what Figure 2 calls persistent state, and a snapshot if there is a new one. It takes a
    /// disk's time. Call it whenever that state has changed, before anybody is told of the change.
    fn persist(&self, state: &State, snapshot: Option<Vec<u8>>) {
        // your code here (2A): term and vote. A server that forgets whom it voted for votes again.
        // your code here (2C): the log.
        // your code here (2D): what the snapshot covers.
        not_yet("2A", "encode term and vote, and save them", "Raft Figure 2, persistent state")
    }

    /// Brings back what was saved before a crash. It is empty at a server's first start.
    fn restore(&self) {
        let saved = self.persister.read_state();
        // your code here (2A): term and vote.
        // your code here (2C): the log.
        // your code here (2D): what the snapshot covers: the service has it already.
    }
}
