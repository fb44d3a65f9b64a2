//! The graded suites of the labs: what a Raft must do, as tests of any `contract::RaftNode`.
//!
//! One file per part. Each test is an entry in that file's table (its claim, the section of the
//! Raft paper that it rests on, its points) and a function that gets a cluster and knows nothing
//! of the implementation. No test looks at an implementation's inside: it sees the contract, the
//! network and the disk.
//!
//! | part | about | tests |
//! |---|---|---|
//! | 2A | leader election | [`raft_2a::CASES`] |
//! | 2B | log replication | [`raft_2b::CASES`] |
//! | 2C | persistence | [`raft_2c::CASES`] |
//! | 2D | snapshots | [`raft_2d::CASES`] |
//! | 3A | a key-value service | [`kv_3a::CASES`] |
//! | 3B | a key-value service with snapshots | [`kv_3b::CASES`] |
//!
//! To run them on a Raft of your own, give your crate a test target without a harness,
//!
//! ```toml
//! [[test]]
//! name = "labs"
//! harness = false
//! ```
//!
//! and in `tests/labs.rs` one line:
//!
//! ```text
//! tests::main!(my_crate::MyRaft);
//! ```
//!
//! # Limits of time
//!
//! Verdicts about safety have no tolerance. Those about progress have the labs' limits: a leader
//! within 5 s, agreement within 10 s, a test within 120 s. A limit that a correct Raft may miss is
//! wrong, so how near ours come is measured, on both of them (`cargo bench -p tests --bench tails
//! -- 100`; seconds of virtual time, the longest wait of each of 4,800 runs of all tests):
//!
//! | wait for | limit | ours: p50, p99, p99.9, most | plain: p50, p99, p99.9, most |
//! |---|---|---|---|
//! | a leader | 5 | 0.49, 1.02, 1.07, 1.09 | 0.49, 1.02, 1.19, 1.55 |
//! | agreement | 10 | 0.50, 2.42, 3.46, 5.34 | 0.51, 2.41, 2.79, 5.12 |
//!
//! The longest waits for agreement are those of `figure8_unreliable_2C`, whose network goes on to
//! lose and reorder messages.

pub mod kv_3a;
pub mod kv_3b;
mod kv_load;
mod power_loss;
pub mod raft_2a;
pub mod raft_2b;
pub mod raft_2c;
pub mod raft_2d;
mod script;
mod swarm;

use harness::runner::TestCase;

#[doc(hidden)]
pub use {harness, mimalloc};

/// All suites, in the order of the labs.
pub const SUITES: &[&[TestCase]] =
    &[raft_2a::CASES, raft_2b::CASES, raft_2c::CASES, raft_2d::CASES, kv_3a::CASES, kv_3b::CASES];

/// Makes the `main` function of a test target that runs the suites: those of Raft on the Raft
/// `$raft`, those of the key-value service on `$kv`. The
/// target's allocator is mimalloc: it cannot have one of its own.
#[macro_export]
macro_rules! main {
    ($raft:ty) => {
        $crate::main!(@ raft::<$raft>());
    };
    ($raft:ty, $kv:ty) => {
        $crate::main!(@ raft::<$raft>().kv::<$kv>());
    };
    (kv: $kv:ty) => {
        $crate::main!(@ kv::<$kv>());
    };
    (@ $($implementation:tt)+) => {
        /// Simulated servers allocate with every message: it saves a campaign a tenth of its time.
        #[global_allocator]
        static ALLOCATOR: $crate::mimalloc::MiMalloc = $crate::mimalloc::MiMalloc;

        fn main() -> std::process::ExitCode {
            let implementation = $crate::harness::runner::Implementation::new().$($implementation)+;
            let package = env!("CARGO_PKG_NAME");
            let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
            $crate::harness::runner::main(package, sources, implementation, $crate::SUITES)
        }
    };
}
