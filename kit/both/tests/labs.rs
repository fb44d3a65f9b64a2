//! The graded suites, on my Raft and on my service with it.

tests::main!(my_raft::MyRaft, my_raft::MyKv<my_raft::MyRaft>);
