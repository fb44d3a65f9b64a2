//! Many clients at once: how many puts are acknowledged in a second, beside etcd.
//!
//! Each round starts a cluster on an empty folder, puts the load on it, and ends it; ours and
//! etcd's in turns, so that neither has the machine's better hours. The ratio is taken within each
//! round.

use std::ffi::OsString;

use crate::etcd::Etcd;
use crate::load::{Load, Measured, VALUE_BYTES};
use crate::place::Place;
use crate::service::Cluster;
use crate::stats::Sorted;
use crate::{Outcome, interrupt};

/// How many puts a second, from many clients at once, beside etcd.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many clients put at the same time; several numbers are measured one after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [100])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    clients: Vec<u32>,
    /// How often both are measured in turns
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Ours alone
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    place: Place,
}

/// Each of ours is a thread of this program.
const CLIENTS_MAX: i64 = 2_000;

/// With so many clients there is a goal: to be at least as fast as etcd.
const GOAL_CLIENTS: u32 = 100;
const GOAL: f64 = 1.0;

struct Round {
    ours: Measured,
    etcd: Option<Measured>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    interrupt::watch()?;
    let kvraft = args.place.kvraft()?;
    let etcd = if args.alone { None } else { find_etcd() };
    println!(
        "puts of 16 + {VALUE_BYTES} B, 3 servers, fsync; {} rounds (least to most)",
        args.rounds
    );
    let mut met = true;
    for &clients in &args.clients {
        let round = |_| round(args, &kvraft, etcd.as_ref(), clients);
        let rounds: Result<Vec<Round>, String> = (0..args.rounds).map(round).collect();
        met &= report(clients, &rounds?);
    }
    Ok(met)
}

fn find_etcd() -> Option<Etcd> {
    let found = Etcd::find();
    match &found {
        Ok(etcd) => println!("beside {}", etcd.version),
        Err(why) => println!("NOT COMPARED, ours alone: {why}"),
    }
    found.ok()
}

fn round(
    args: &Args,
    kvraft: &OsString,
    etcd: Option<&Etcd>,
    clients: u32,
) -> Result<Round, String> {
    let ours = measure_ours(args, kvraft, clients)?;
    let folder = args.place.folder()?;
    let measure = |etcd: &Etcd| etcd.measure(folder.path(), &args.load, clients);
    Ok(Round { ours, etcd: etcd.map(measure).transpose()? })
}

fn measure_ours(args: &Args, kvraft: &OsString, clients: u32) -> Result<Measured, String> {
    let folder = args.place.folder()?;
    let cluster = Cluster::start(kvraft, folder.path())?;
    let measured = args.load.put_on(&cluster, clients);
    cluster.stop();
    measured
}

/// Whether the goal is met, if there is one.
fn report(clients: u32, rounds: &[Round]) -> bool {
    println!("{clients} clients");
    line("ours", &rounds.iter().map(|round| &round.ours).collect::<Vec<_>>());
    let etcd: Vec<&Measured> = rounds.iter().filter_map(|round| round.etcd.as_ref()).collect();
    if etcd.is_empty() {
        return true;
    }
    line("etcd", &etcd);
    let ratios =
        rounds.iter().zip(&etcd).map(|(round, etcd)| round.ours.per_second / etcd.per_second);
    let each: Vec<String> = ratios.clone().map(|ratio| format!("{ratio:.2}")).collect();
    let ratio = Sorted::of(ratios);
    println!("  ours / etcd   {ratio:.2}; by round: {}", each.join(" "));
    if clients != GOAL_CLIENTS {
        return true;
    }
    let met = ratio.median() >= GOAL;
    println!(
        "  goal: at least {GOAL:.1}, median over the rounds: {}",
        if met { "met" } else { "MISSED" }
    );
    met
}

fn line(name: &str, rounds: &[&Measured]) {
    let of = |number: fn(&Measured) -> f64| Sorted::of(rounds.iter().map(|round| number(round)));
    let (p50, p99) = (of(|round| round.p50), of(|round| round.p99));
    let (p50, p99) = (p50.median(), p99.median());
    println!(
        "  {name} puts/s {:.0}; p50 {p50:.2} ms, p99 {p99:.2} ms",
        of(|round| round.per_second)
    );
}
