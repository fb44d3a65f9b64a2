//! The graded suites on our own Raft.

tests::main!(raft::Raft);
