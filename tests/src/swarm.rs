//! Every fault at once, and clients that go on meanwhile.
//!
//! Which kinds of fault a run has, and how strong each is, is drawn per run: a mixture of all,
//! always, hides what only a few of them together bring about (Groce et al., *Swarm Testing*,
//! 2012).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Cluster, CrashPlan, CrashPoint, DiskFaults};
use labrpc::Faults;
use labrt::random::{RngExt, Stream};
use labrt::sync::Shared;
use labrt::thread::{self, JoinHandle, sleep};

use crate::script::{ELECTION, join_all, ms, restart_the_crashed, secs, some_of};

/// Clients that offer commands to all servers, each its own, and remember what they saw committed.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    committed: Arc<Shared<Vec<Vec<u8>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// `pause` is between two commands of a client.
    pub(crate) fn start(cluster: &Cluster, count: u64, pause: Duration) -> Self {
        let (stop, committed) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let client = |number: u64| {
            let (cluster, stop, committed) =
                (cluster.clone(), Arc::clone(&stop), Arc::clone(&committed));
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    offer_one(&cluster, &committed, ms(79 + number * 17));
                    sleep(pause);
                }
            })
        };
        let threads = (0..count).map(client).collect();
        Self { stop, committed, threads }
    }

    /// Ends the clients, and checks that all servers have applied every index, and that what the
    /// clients saw is among it.
    pub(crate) fn end_and_check(self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Release);
        join_all(self.threads);
        sleep(ELECTION);
        let last = cluster.agree(cluster.len());
        let log: BTreeSet<_> =
            (1..=last).filter_map(|index| cluster.wait(index, cluster.len(), None)).collect();
        for command in self.committed.with(std::mem::take) {
            assert!(log.contains(&command), "a client saw {command:?} committed, and it is gone");
        }
    }
}

/// Offers a command to all servers, and looks for a while whether it is committed; without a
/// leader, waits for so long.
fn offer_one(cluster: &Cluster, committed: &Shared<Vec<Vec<u8>>>, idle: Duration) {
    let command = cluster.fresh_command();
    let mut offered = None;
    for server in (0..cluster.len()).map(|number| cluster.server(number)) {
        if !server.is_paused() {
            offered = server.start(command.clone()).ok().flatten().or(offered);
        }
    }
    let Some((index, _)) = offered else { return sleep(idle) };
    for wait in [10, 20, 50, 100, 200] {
        if let Some(applied) = cluster.command_at(index) {
            if applied == command {
                committed.with(|committed| committed.push(command));
            }
            return;
        }
        sleep(ms(wait));
    }
}

/// How strong each fault is in this run, in millionths per step or message; 0 for those that it
/// does not have.
#[derive(Debug)]
struct Intensities {
    loss: u32,
    duplicate: u32,
    reorder: u32,
    delay: Duration,
    disk_delay: Duration,
    sync_failure: u32,
    disconnect: u32,
    cut: u32,
    crash: u32,
    planned_crash: u32,
    pause: u32,
    /// How far a clock's rate may be off, from a server's next start on. Only simulated ones may.
    skew: u64,
}

impl Intensities {
    fn draw(script: &mut Stream) -> Self {
        let mut up_to = |most: u64| if script.chance(500_000) { script.below(most) } else { 0 };
        Self {
            loss: up_to(300_000) as u32,
            duplicate: up_to(300_000) as u32,
            reorder: up_to(400_000) as u32,
            delay: ms(1 + up_to(150)),
            disk_delay: ms(1 + up_to(30)),
            sync_failure: up_to(30_000) as u32,
            disconnect: up_to(400_000) as u32,
            cut: up_to(400_000) as u32,
            crash: up_to(400_000) as u32,
            planned_crash: up_to(400_000) as u32,
            pause: up_to(300_000) as u32,
            skew: up_to(200_001),
        }
    }

    /// The faults that are there all the time.
    fn set_lasting(&self, cluster: &Cluster, script: &mut Stream) {
        cluster.network().set_all_faults(&Faults {
            request_loss_ppm: self.loss,
            reply_loss_ppm: self.loss,
            request_delay: Duration::ZERO..self.delay,
            reply_delay: Duration::ZERO..self.delay,
            duplicate_ppm: self.duplicate,
            reorder_ppm: self.reorder,
            ..cluster.usual_faults().clone()
        });
        for server in 0..cluster.len() {
            cluster.server(server).set_disk_faults(&DiskFaults {
                delay: Duration::from_micros(50)..self.disk_delay,
                sync_failure_ppm: self.sync_failure,
            });
            if labrt::in_simulation() {
                let rate_ppm = 1_000_000 - self.skew + script.below(2 * self.skew + 1);
                cluster.server(server).set_clock(Duration::ZERO, rate_ppm);
            }
        }
    }

    /// Thirty seconds of it, and as long as it takes until what is on its way has arrived.
    fn inflict(&self, cluster: &Cluster, script: &mut Stream) {
        self.set_lasting(cluster, script);
        for _ in 0..60 {
            self.step(cluster, script);
            sleep(script.duration(Duration::ZERO..secs(1)));
            mend_some(cluster, script);
        }
        cluster.heal();
        // What hangs fails. A sync that was under way may have failed, too, and who heard of that
        // has stopped since.
        restart_the_crashed(cluster, secs(7));
    }

    /// What may happen to one server at one step.
    fn step(&self, cluster: &Cluster, script: &mut Stream) {
        let server = script.random_range(0..cluster.len());
        if script.chance(self.disconnect) {
            cluster.disconnect(server);
        }
        if script.chance(self.cut) {
            let pair = some_of(cluster.len(), 2, script);
            cluster.cut_one_way(pair[0], pair[1], true);
        }
        if script.chance(self.pause) {
            cluster.pause(server);
        }
        if script.chance(self.crash) {
            cluster.crash(server);
        }
        if script.chance(self.planned_crash) {
            // Only a simulated world counts switch points, which are the last of them.
            let points = CrashPoint::ALL.len() - usize::from(!labrt::in_simulation());
            let point = CrashPoint::ALL[script.random_range(0..points)];
            cluster.plan_crash(CrashPlan { server, point, nth: 1 + script.below(20) });
        }
    }
}

/// What was done to a server, or to links, ends for a part of them at each step.
fn mend_some(cluster: &Cluster, script: &mut Stream) {
    for number in 0..cluster.len() {
        let server = cluster.server(number);
        if script.chance(300_000) {
            server.resume();
        }
        if script.chance(300_000) {
            cluster.connect(number);
        }
        if (!server.is_running() || server.has_failed_disk()) && script.chance(500_000) {
            cluster.restart(number);
        }
        for peer in 0..cluster.len() {
            if script.chance(300_000) {
                cluster.cut_one_way(number, peer, false);
            }
        }
    }
}

/// Thirty seconds of faults, then none: what clients saw committed is there, and more can be
/// committed.
pub(crate) fn run(cluster: &Cluster) {
    let mut script = cluster.script();
    let intensities = Intensities::draw(&mut script);
    let clients = Clients::start(cluster, 3, ms(100));
    intensities.inflict(cluster, &mut script);
    clients.end_and_check(cluster);
}

/// Thirty seconds of faults, then none.
pub(crate) fn inflict(cluster: &Cluster, script: &mut Stream) {
    Intensities::draw(script).inflict(cluster, script);
}
