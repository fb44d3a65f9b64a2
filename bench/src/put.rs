//! One client, one put at a time: how long until it is on a majority of disks, and acknowledged.
//!
//! It cannot be faster than this: the client asks the leader and hears its answer, the leader asks
//! a follower and hears its answer, and the follower (the leader too, at the same time) waits for
//! its disk. That is two round trips and one sync, and that is the yardstick.
//!
//! Where three servers share a machine, nothing gets near that: they share its disk and its cores.
//! So the barest replication there is is measured too, for orientation (`bare.rs`).

use contract::Clerk as _;
use kvraft::KvClerk;
use labrt::time::Instant;
use tempfile::TempDir;

use crate::bare::Bare;
use crate::place::Place;
use crate::service::Cluster;
use crate::stats::{Sorted, millis};
use crate::yardstick::{Disk, Echo};
use crate::{Outcome, interrupt};

/// How long one put takes, against a write to the disk and two round trips.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often all are measured in turns
    #[arg(long, value_name = "N", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// How many puts, writes and round trips make a round
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    each: u32,
    #[command(flatten)]
    place: Place,
}

/// So many times the yardstick a put may take.
const GOAL: f64 = 2.5;

/// So many times as long as in a quick round (5 of 100 are quicker) a sync may take in a slow one
/// (5 of 100 are slower). Where others want the processor, whoever has just used it much gets it
/// late, and that is the yardstick: it would seem slow, and the put quick.
const QUIET: f64 = 4.0;

const KEY: &str = "sixteen bytes id";
const VALUE_BYTES: usize = 256;

/// The medians of one round, in milliseconds.
struct Round {
    put: f64,
    sync: f64,
    trip: f64,
    bare: f64,
}

impl Round {
    fn yardstick(&self) -> f64 {
        self.sync + 2.0 * self.trip
    }
}

struct Bench {
    clerk: KvClerk,
    disk: Disk,
    echo: Echo,
    bare: Bare,
    value: String,
    each: u32,
}

pub(crate) fn run(args: &Args) -> Outcome {
    interrupt::watch()?;
    let kvraft = args.place.kvraft()?;
    let folder: TempDir = args.place.folder()?;
    let cluster = Cluster::start(&kvraft, folder.path())?;
    let connections = cluster.connect()?;
    let mut bench = Bench {
        clerk: connections.client()?,
        disk: Disk::in_folder(folder.path())?,
        echo: Echo::start()?,
        bare: Bare::in_folder(folder.path())?,
        value: "v".repeat(VALUE_BYTES),
        each: args.each,
    };
    // The first round has to find the way: to the leader, into caches.
    bench.round()?;
    let rounds: Result<Vec<Round>, String> = (0..args.rounds).map(|_| bench.round()).collect();
    cluster.stop();
    Ok(report(&rounds?, args.each))
}

impl Bench {
    fn round(&mut self) -> Result<Round, String> {
        let Self { clerk, disk, echo, bare, value, each } = self;
        let put = || clerk.put(KEY, value).map_err(|error| error.to_string());
        Ok(Round {
            put: median(*each, put)?,
            sync: median(*each, || disk.append_and_sync())?,
            trip: median(*each, || echo.round_trip())?,
            bare: median(*each, || bare.put())?,
        })
    }
}

fn median(times: u32, mut act: impl FnMut() -> Result<(), String>) -> Result<f64, String> {
    let mut took = Vec::new();
    for _ in 0..times {
        interrupt::check()?;
        let began = Instant::now();
        act()?;
        took.push(millis(began.elapsed()));
    }
    Ok(Sorted::new(took).median())
}

/// How often the yardsticks of all rounds are in their puts. Of sums, not the median of the rounds'
/// ratios: a round trip has two speeds, and a median would be that of the one or the other, by
/// luck. A hiccup of the machine is in none of the sums, as each round gives its median.
fn ratio_of_sums(rounds: &[Round]) -> f64 {
    let sum = |number: fn(&Round) -> f64| rounds.iter().map(number).sum::<f64>();
    sum(|round| round.put) / sum(Round::yardstick)
}

/// Whether the goal is met.
fn report(rounds: &[Round], each: u32) -> bool {
    let of = |number: fn(&Round) -> f64| Sorted::of(rounds.iter().map(number));
    let ratio = ratio_of_sums(rounds);
    let sync = of(|round| round.sync);
    let (is_quiet, met) = (sync.percentile(95) <= QUIET * sync.percentile(5), ratio <= GOAL);
    println!(
        "one client, one put of {VALUE_BYTES} B at a time, 3 servers; medians of {each}, \
         in {} rounds (least to most)",
        rounds.len()
    );
    println!("  put, ms                          {:.3}", of(|round| round.put));
    println!("  append 256 B and fdatasync, ms   {:.3}", of(|round| round.sync));
    println!("  loopback round trip, ms          {:.3}", of(|round| round.trip));
    println!("  put / (fdatasync + 2 trips)      {:.2}", of(|round| round.put / round.yardstick()));
    println!("  the barest replication, ms       {:.3}", of(|round| round.bare));
    println!("  put / the barest replication     {:.2}", of(|round| round.put / round.bare));
    println!(
        "  that one / (fdatasync + 2 trips) {:.2}",
        of(|round| round.bare / round.yardstick())
    );
    let verdict = match (is_quiet, met) {
        (false, _) => "NOT DECIDED: the machine did too much else, as fdatasync's spread shows",
        (true, true) => "met",
        (true, false) => "MISSED",
    };
    println!(
        "  all rounds' puts / all rounds' yardsticks: {ratio:.2}; goal: at most {GOAL}: {verdict}"
    );
    is_quiet && met
}
