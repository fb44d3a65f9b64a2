//! Servers under test, and everything around them.
//!
//! A [`Cluster`] is what a test works with: servers that can be started, cut off, crashed,
//! paused and restarted, on a network whose faults can be set. It knows nothing of how a server
//! is implemented: it reaches each through a [`ServerHandle`] alone. Meanwhile the [`Oracle`]
//! watches every server after every message, and ends the run at the first thing that must never
//! happen. The [`runner`] runs a table of such tests over worlds and seeds, each in a process of
//! its own, and tells how it went.
//!
//! ```
//! use harness::Cluster;
//! # use std::sync::Arc;
//! # use contract::{ApplyMsg, Disk, RaftNode};
//! # struct Leaderless;
//! # impl RaftNode for Leaderless {
//! #     fn make(
//! #         _: Vec<labrpc::ClientEnd>, _: usize, _: Disk, _: labrt::channel::Sender<ApplyMsg>,
//! #     ) -> Arc<Self> { Arc::new(Self) }
//! #     fn services(self: &Arc<Self>) -> Vec<labrpc::Service> { Vec::new() }
//! #     fn start(&self, _: Vec<u8>) -> Option<(u64, u64)> { None }
//! #     fn get_state(&self) -> (u64, bool) { (0, false) }
//! #     fn kill(&self) {}
//! # }
//! # type MyRaft = Leaderless;
//! // A test of one's own, over several seeds in virtual time:
//! labrt::check(|| {
//!     let cluster = Cluster::new::<MyRaft>(3);
//!     cluster.disconnect(0);
//!     cluster.disconnect(1);
//!     labrt::thread::sleep(std::time::Duration::from_secs(2));
//!     cluster.check_no_leader();
//! });
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `cluster` | what tests call |
//! | `kv` | what tests of a key-value service call: the same, and clients |
//! | `server` | the handle, and the program that every server runs |
//! | `disk` | what survives a crash |
//! | `oracle` | what must never happen, watched all the time |
//! | `process` | servers that are processes of their own |
//! | `plan` | crashes that fall at the n-th event of a kind |
//! | [`runner`] | running a table of tests |

mod cluster;
mod disk;
mod kv;
mod oracle;
mod plan;
mod process;
pub mod runner;
mod server;

pub use cluster::{AGREED_WITHIN, Cluster, LEADER_WITHIN, OutOfTurn, Summary, Waits};
pub use disk::{DiskFaults, ServerDisk};
pub use kv::{KvClient, KvCluster, KvSetup};
pub use oracle::Oracle;
pub use plan::{CrashPlan, CrashPoint, Planned};
pub use server::{Gone, ServerHandle, ServicePolicy};
