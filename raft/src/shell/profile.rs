//! Configurations by name.

use std::time::Duration;

use crate::core::Config;

/// A configuration that goes by a type's name: `make` has no place for one, so it is a part of what
/// a server *is*. Whoever needs another one writes a type of its own:
///
/// ```
/// struct LargeBatches;
///
/// impl raft::Profile for LargeBatches {
///     fn config() -> raft::Config {
///         raft::Config { max_append_bytes: 8 << 20, ..raft::Service::config() }
///     }
/// }
/// type MyRaft = raft::Raft<LargeBatches>;
/// ```
pub trait Profile: Send + Sync + 'static {
    /// The configuration.
    fn config() -> Config;
}

/// What the labs expect, and nothing beyond it.
#[derive(Debug)]
pub struct Labs;

impl Profile for Labs {
    fn config() -> Config {
        Config::default()
    }
}

/// What a service wants: soon a new leader when one is gone, the paper's time-outs with heartbeats
/// that suit them, and all that makes reads cheap and leadership orderly.
#[derive(Debug)]
pub struct Service;

impl Profile for Service {
    fn config() -> Config {
        Config {
            election_timeout: Duration::from_millis(150)..Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(30),
            no_op: true,
            read_index: true,
            check_quorum: true,
            leadership_transfer: true,
            ..Config::default()
        }
    }
}
