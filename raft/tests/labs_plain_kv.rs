//! The graded suites 3A and 3B on the plain service, on our Raft.

use plain_raft::PlainKv;
use raft::Raft;

tests::main!(kv: PlainKv<Raft>);
