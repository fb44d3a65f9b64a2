//! All servers lose power in the same instant, over and over, while clients go on.
//!
//! A crash of one server is made up for by the others. Here nothing is left but what each disk has
//! synced, and one of the servers, often the one that led, stays away until the others have agreed
//! on something. So what was committed must be on a majority of the disks, and not just in a
//! majority of the servers' memories.

use std::time::Duration;

use harness::{Cluster, DiskFaults};
use labrt::random::{RngExt, Stream};
use labrt::thread::sleep;

use crate::script::{crash, leads, ms};
use crate::swarm::Clients;

/// Twelve failures of the power. A sync takes up to `slowest`, on those disks that are slow just
/// then.
pub(crate) fn run(cluster: &Cluster, slowest: Duration) {
    let mut script = cluster.script();
    cluster.agree(cluster.len());
    let clients = Clients::start(cluster, 4, ms(5));
    for _ in 0..12 {
        draw_disks(cluster, slowest, &mut script);
        sleep(script.duration(ms(20)..ms(250)));
        lose_power(cluster, &mut script);
    }
    cluster.heal();
    clients.end_and_check(cluster);
}

/// Some disks are slower than others: what a majority has synced, the rest has not yet.
fn draw_disks(cluster: &Cluster, slowest: Duration, script: &mut Stream) {
    for server in 0..cluster.len() {
        let slow = DiskFaults { delay: slowest / 2..slowest, ..DiskFaults::default() };
        let disk = if script.chance(700_000) { slow } else { DiskFaults::default() };
        cluster.server(server).set_disk_faults(&disk);
    }
}

/// All servers but one come back, and have to agree without it.
fn lose_power(cluster: &Cluster, script: &mut Stream) {
    let all: Vec<usize> = (0..cluster.len()).collect();
    let leader = all.iter().copied().find(|&server| leads(cluster, server));
    let leader = leader.filter(|_| script.chance(500_000));
    crash(cluster, &all);
    let late = leader.unwrap_or_else(|| script.random_range(0..cluster.len()));
    all.into_iter().filter(|&server| server != late).for_each(|server| cluster.restart(server));
    cluster.agree(cluster.len() - 1);
    cluster.restart(late);
}
