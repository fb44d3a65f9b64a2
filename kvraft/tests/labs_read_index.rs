//! The graded suites 3A and 3B on our service, on our Raft as a service has it: reads by ReadIndex,
//! no-ops, check-quorum, leadership transfer, and faster elections.

use kvraft::KvServer;
use raft::{Raft, Service};

tests::main!(kv: KvServer<Raft<Service>>);
