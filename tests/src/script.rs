//! What the tests' scripts share: durations, draws, and moves that several of them make.

use std::panic::resume_unwind;
use std::time::Duration;

use harness::{Cluster, CrashPlan, CrashPoint, LEADER_WITHIN};
use labrt::random::{RngExt, Stream};
use labrt::thread::{JoinHandle, sleep};
use labrt::time::Instant;

/// The time in which the labs allow for an election.
pub(crate) const ELECTION: Duration = secs(1);

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `count` different servers of `servers`.
pub(crate) fn some_of(servers: usize, count: usize, script: &mut Stream) -> Vec<usize> {
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let server = script.random_range(0..servers);
        if !chosen.contains(&server) {
            chosen.push(server);
        }
    }
    chosen
}

/// The servers after `server`, in a circle: all the others.
///
/// # Panics
/// If those are not `N`.
pub(crate) fn others<const N: usize>(cluster: &Cluster, server: usize) -> [usize; N] {
    let all: Vec<usize> = (1..cluster.len()).map(|step| (server + step) % cluster.len()).collect();
    all.try_into().expect("a test knows how many servers it has")
}

pub(crate) fn disconnect(cluster: &Cluster, servers: &[usize]) {
    servers.iter().for_each(|&server| cluster.disconnect(server));
}

pub(crate) fn connect(cluster: &Cluster, servers: &[usize]) {
    servers.iter().for_each(|&server| cluster.connect(server));
}

pub(crate) fn crash(cluster: &Cluster, servers: &[usize]) {
    servers.iter().for_each(|&server| cluster.crash(server));
}

/// Starts servers on what is on their disks, and connects them.
pub(crate) fn revive(cluster: &Cluster, servers: &[usize]) {
    for &server in servers {
        cluster.restart(server);
        cluster.connect(server);
    }
}

/// Whether a server runs, and believes to lead.
pub(crate) fn leads(cluster: &Cluster, server: usize) -> bool {
    cluster.server(server).get_state().is_ok_and(|(_, is_leader)| is_leader)
}

/// Offers so many commands to one server, whatever becomes of them.
pub(crate) fn start_many(cluster: &Cluster, server: usize, count: usize) {
    for _ in 0..count {
        cluster.start(server);
    }
}

/// Offers a command to every server that runs: those that took one, for they believe to lead.
pub(crate) fn start_everywhere(cluster: &Cluster) -> Vec<usize> {
    (0..cluster.len()).filter(|&server| cluster.start(server).is_some()).collect()
}

/// Waits for threads of the test; what one of them panicked with is the test's panic.
pub(crate) fn join_all<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    let join = |thread: JoinHandle<T>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
    threads.into_iter().map(join).collect()
}

/// The one leader of a cluster without faults.
pub(crate) fn leader_of(cluster: &Cluster) -> usize {
    cluster.wait_for_agreed_leader(LEADER_WITHIN)
}

/// Of three servers, one that led has been cut off, and another comes back: it and the third must
/// agree, and then all, when the old leader comes back too.
pub(crate) fn agree_without(cluster: &Cluster, leader: usize, back: usize) {
    cluster.connect(back);
    cluster.agree(2);
    cluster.connect(leader);
    cluster.agree(3);
}

/// Waits until it is so, for at most `limit`; whether it was.
pub(crate) fn is_so_within(limit: Duration, is_so: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !is_so() && started.elapsed() < limit {
        sleep(ms(10));
    }
    is_so()
}

/// Has a server elected whose log allows it, and whose requests alone arrive.
pub(crate) fn must_elect(cluster: &Cluster, server: usize) {
    const LIMIT: Duration = secs(10);
    assert!(
        cluster.elect(server, LIMIT),
        "S{server}'s log is complete, and its requests alone arrive, but it does not lead within \
         {LIMIT:?}"
    );
}

/// That a server that was killed a second ago has no thread left, but for those in a call, which
/// returns when it returns.
pub(crate) fn check_no_threads(cluster: &Cluster, killed: usize) {
    let in_a_call = |thread: &String| thread.contains("labrpc/src/");
    let mut left = cluster.server(killed).threads();
    left.retain(|thread| !in_a_call(thread));
    assert!(
        left.is_empty(),
        "S{killed} still has threads 1 s after kill():\n  {}",
        left.join("\n  ")
    );
}

/// For so long, has every server that crashed, or whose disk has failed, back within 20 ms.
pub(crate) fn restart_the_crashed(cluster: &Cluster, duration: Duration) {
    for _ in 0..duration.as_millis() / 20 {
        sleep(ms(20));
        for number in 0..cluster.len() {
            let server = cluster.server(number);
            if !server.is_running() || server.has_failed_disk() {
                cluster.restart(number);
            }
        }
    }
}

/// A crash soon, at one of these points.
pub(crate) fn draw_plan(server: usize, points: &[CrashPoint], script: &mut Stream) -> CrashPlan {
    let point = points[script.random_range(0..points.len())];
    CrashPlan { server, point, nth: 1 + script.below(4) }
}

/// Crashes all servers and starts them at one moment, each on the clock that `clock_of` says.
pub(crate) fn restart_all(cluster: &Cluster, mut clock_of: impl FnMut(usize) -> (Duration, u64)) {
    (0..cluster.len()).for_each(|server| cluster.crash(server));
    for server in 0..cluster.len() {
        let (offset, rate_ppm) = clock_of(server);
        cluster.server(server).set_clock(offset, rate_ppm);
        cluster.restart(server);
    }
}
