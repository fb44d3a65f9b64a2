//! What can be chosen.

/// What a server is told when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server takes a snapshot when Raft's state on the disk comes to so many bytes; never, if
    /// there is no limit.
    pub max_raft_state: Option<usize>,
    /// How many sessions there may be; when one more is opened, the least recently used ends. A
    /// session takes some 100 bytes of memory and about 10 of a snapshot, and the size of one
    /// response.
    ///
    /// It should exceed the number of clients that are active at the same time by far: with fewer,
    /// clients end each other's sessions in turn, and hear of nothing but that.
    pub max_sessions: u32,
}

impl Default for Config {
    /// No snapshots, and 4,096 sessions: four times as many as the clients that the service is
    /// measured with, in less than a megabyte.
    fn default() -> Self {
        Self { max_raft_state: None, max_sessions: 4_096 }
    }
}
