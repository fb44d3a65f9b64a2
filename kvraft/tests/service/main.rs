//! What the service promises on any Raft, on one that does as the test says.

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod ends;
mod exactly_once;
mod reads;
mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use contract::Clerk;
use kvraft::{Config, KvClerk, KvMap};
use labrt::thread::{self, JoinHandle};
use labrt::time::Instant;

use support::{Cluster, OneLog, OneLogNode};

const MS: Duration = Duration::from_millis(1);

type KvCluster = Cluster<OneLogNode, KvMap>;

/// So many servers of the key-value service on a log, of which server 0 leads, and ends for so many
/// clients.
fn service(servers: usize, clients: usize) -> (OneLog, Arc<KvCluster>) {
    service_with(servers, clients, Config::default())
}

fn service_with(servers: usize, clients: usize, config: Config) -> (OneLog, Arc<KvCluster>) {
    let log = OneLog::new(servers);
    let cluster = Cluster::on_one_log(&log, servers, clients, config);
    (log, Arc::new(cluster))
}

fn clerk(cluster: &KvCluster, client: usize) -> KvClerk {
    Clerk::make(cluster.ends(client))
}

/// Has a clerk do something on a thread of its own.
fn spawn<T: Send + 'static>(
    mut clerk: KvClerk,
    body: impl FnOnce(&mut KvClerk) -> T + Send + 'static,
) -> JoinHandle<(T, KvClerk)> {
    thread::spawn(move || (body(&mut clerk), clerk))
}

fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = body();
    (result, began.elapsed())
}

/// Waits until `condition` holds, looking every millisecond, for at most ten seconds.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: not in ten seconds");
        thread::sleep(MS);
    }
}

#[test]
fn what_is_written_is_read_whoever_asks() {
    labrt::check(|| {
        let (_log, cluster) = service(3, 2);
        let (mut a, mut b) = (clerk(&cluster, 0), clerk(&cluster, 1));
        assert_eq!(a.get("x"), Ok(String::new()), "nobody has written it");
        a.put("x", "one").expect("a session lasts");
        b.append("x", " two").expect("a session lasts");
        b.append("y", "three").expect("a session lasts");
        assert_eq!(a.get("x"), Ok("one two".to_string()));
        assert_eq!(a.get("y"), Ok("three".to_string()));
    });
}
