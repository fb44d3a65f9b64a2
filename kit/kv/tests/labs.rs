//! The graded suites 3A and 3B on my service, with the labs' own Raft beneath it.

tests::main!(kv: my_raft::MyKv<raft::Raft>);
