//! The graded suites on our own Raft, and on our key-value service with it.

use kvraft::KvServer;
use raft::Raft;

tests::main!(Raft, KvServer<Raft>);
