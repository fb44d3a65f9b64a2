//! The graded suites 2A to 2D, on my Raft.

tests::main!(my_raft::MyRaft);
