//! The graded suites 3A and 3B on our service, on the plain Raft: through the log, and on a Raft
//! that saves its whole state each time.

use kvraft::KvServer;
use plain_raft::PlainRaft;

tests::main!(kv: KvServer<PlainRaft>);
