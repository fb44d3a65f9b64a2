//! What servers have in memory depends on keys, values and clients, and not on how many operations
//! there were. (That the same holds of their disks is shown by `bounded_memory_3B`, for any
//! service: from outside, one sees the disk alone.)
//!
//! All allocations of the process are counted, so this one test has it to itself.

mod support;

use std::sync::Arc;

use contract::Clerk;
use kvraft::{Config, KvClerk, KvMap};
use labrt::sim::{self, run};
use labrt::thread;
use labrt::time::Duration;
use peak_alloc::PeakAlloc;
use raft::Raft;

use support::Cluster;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const CLIENTS: usize = 5;
/// Of each client.
const PUTS: usize = 400;
/// What a value has: three servers that forgot none of a load would keep three megabytes of it.
const VALUE_BYTES: usize = 500;

/// Clients come, put one value after the other, each to a key of its own, and go.
fn load(cluster: &Arc<Cluster<Raft, KvMap>>) {
    let client = |number: usize| {
        let mut clerk: KvClerk = Clerk::make(cluster.ends(number));
        thread::spawn(move || {
            for _ in 0..PUTS {
                let value = "x".repeat(VALUE_BYTES);
                clerk.put(&number.to_string(), &value).expect("a session lasts");
            }
            Clerk::close(clerk);
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(client).collect();
    clients.into_iter().for_each(|client| client.join().expect("the client ends"));
    // The last snapshots are taken, and what was on its way has arrived.
    thread::sleep(Duration::from_secs(1));
}

/// Live bytes after one load, and after five.
fn live_bytes() -> (usize, usize) {
    let config = Config { max_raft_state: Some(20_000), ..Config::default() };
    let cluster = Arc::new(Cluster::on_raft(3, CLIENTS, config));
    load(&cluster);
    let once = ALLOCATED.current_usage();
    (0..4).for_each(|_| load(&cluster));
    (once, ALLOCATED.current_usage())
}

#[test]
fn memory_does_not_grow_with_the_operations() {
    for seed in 0..5 {
        let outcome = run(&sim::Config::new(seed), live_bytes);
        let (once, five_times) = outcome.result.expect("the world ends well");
        println!("seed {seed}: {once} bytes live after one load, {five_times} after five");
        let grown = five_times.saturating_sub(once);
        let written = 4 * CLIENTS * PUTS * VALUE_BYTES;
        assert!(grown < written / 20, "seed {seed}: {grown} bytes more for {written} written");
    }
}
