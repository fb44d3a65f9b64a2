//! kill -9 of the leader: how long until a write is acknowledged again.
//!
//! A client puts without a pause. The leader's process is killed; what counts is the time from then
//! to the first acknowledgement of a put that was begun after it. (The put that was under way is no
//! proof: it may have been acknowledged by the dead.) The cluster starts the server again by
//! itself, and when it is back, the next leader is killed.

use contract::Clerk as _;
use kvraft::KvClerk;
use labrt::channel::{self, Receiver, Sender};
use labrt::random::{self, RngExt as _};
use labrt::thread;
use labrt::time::{Duration, Instant};
use rustix::process::{Signal, kill_process};

use crate::place::Place;
use crate::service::Cluster;
use crate::stats::{Sorted, millis};
use crate::{Outcome, interrupt};

/// How long after the leader was killed a write is acknowledged again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many leaders are killed
    #[arg(long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    kills: u32,
    #[command(flatten)]
    place: Place,
}

/// The 99th percentile may be so long.
const GOAL_MS: f64 = 600.0;

/// Nothing that takes so long will ever come.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Between the return of a server and the next kill: at least so long, and up to twice that, so
/// that the kill falls anywhere between two heartbeats.
const REST: Duration = Duration::from_millis(300);

/// A put that was acknowledged.
struct Put {
    began: Instant,
    ended: Instant,
}

pub(crate) fn run(args: &Args) -> Outcome {
    interrupt::watch()?;
    let kvraft = args.place.kvraft()?;
    let folder = args.place.folder()?;
    let cluster = Cluster::start(&kvraft, folder.path())?;
    let connections = cluster.connect()?;
    let (clerk, (tell, puts)) = (connections.client()?, channel::unbounded());
    // It ends when nobody listens any more, or with the process if it is never answered.
    thread::spawn(move || put_without_pause(clerk, &tell));
    let times: Result<Vec<f64>, String> =
        (0..args.kills).map(|_| Ok(millis(kill_a_leader(&cluster, &puts)?))).collect();
    cluster.stop();
    Ok(report(&Sorted::new(times?)))
}

fn put_without_pause(mut clerk: KvClerk, tell: &Sender<Result<Put, String>>) {
    for number in 0_u64.. {
        let began = Instant::now();
        let answer = clerk.put("failover", &number.to_string());
        let put = answer.map(|()| Put { began, ended: Instant::now() });
        if tell.send(put.map_err(|error| error.to_string())).is_err() {
            return;
        }
    }
}

/// Gives the time without a leader, as the client sees it.
fn kill_a_leader(
    cluster: &Cluster,
    puts: &Receiver<Result<Put, String>>,
) -> Result<Duration, String> {
    cluster.wait_until_whole()?;
    rest(puts)?;
    let servers = cluster.wait_until_whole()?;
    let leader = servers.iter().find(|server| server.leads);
    let leader = leader.ok_or("a cluster that is whole has a leader")?;
    let killed = Instant::now();
    kill_process(leader.process, Signal::KILL)
        .map_err(|error| format!("the leader cannot be killed: {error}"))?;
    loop {
        interrupt::check()?;
        let put = puts.recv_timeout(ANSWER_MAX);
        let put = put.map_err(|_| format!("no put was acknowledged for {ANSWER_MAX:?}"))??;
        if put.began >= killed {
            return Ok(put.ended.duration_since(killed));
        }
    }
}

/// Waits a moment, for anything between two heartbeats to be as likely as anything else.
fn rest(puts: &Receiver<Result<Put, String>>) -> Result<(), String> {
    interrupt::sleep(REST + REST.mul_f64(random::rng().random_range(0.0..1.0)))?;
    // Those that were acknowledged meanwhile are of no interest.
    puts.try_iter().try_for_each(|put| put.map(drop))
}

/// Whether the goal is met.
fn report(times: &Sorted) -> bool {
    let met = times.percentile(99) < GOAL_MS;
    println!(
        "kill -9 of the leader, {} times; ms until a put begun after that is acknowledged",
        times.len()
    );
    for percent in [50, 90, 99] {
        let (time, rank) = (times.percentile(percent), times.rank(percent));
        println!("  p{percent} (number {rank} from the fastest)  {time:>7.0}");
    }
    println!("  least and most                {:>7.0} {:>7.0}", times.least(), times.most());
    println!("  goal: p99 below {GOAL_MS:.0} ms: {}", if met { "met" } else { "MISSED" });
    met
}
