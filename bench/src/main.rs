//! What the replicated key-value service takes, in numbers that mean something on any machine.
//!
//! Each number is a ratio to something that is measured in the same run, on the same machine, in
//! the same file system, in turns with it: a disk and a loopback for one put, etcd for many clients
//! at once. (The third, how long a failed leader is missed, is a time: it follows from time-outs,
//! not from the machine.) So a burst of other load falls on both sides, and what is left of it
//! shows in the spread over the rounds, which is printed beside each median.
//!
//! The service runs as its users run it: processes started by `kvraft cluster`, TCP, data on disk,
//! no setting but the defaults.
//!
//! | file | what it does |
//! |---|---|
//! | `put.rs`, `throughput.rs`, `failover.rs` | the measurements |
//! | `service.rs`, `etcd.rs` | clusters, ours and etcd's |
//! | `load.rs` | many clients that put without a pause |
//! | `yardstick.rs`, `bare.rs` | bare: a disk, a loopback, and replication on three disks |
//! | `keep.rs`, `interrupt.rs` | what sees to it that nothing is left behind |
//! | `stats.rs` | medians, ranks, spreads |

mod bare;
#[cfg_attr(not(feature = "etcd"), path = "no_etcd.rs")]
mod etcd;
mod failover;
mod interrupt;
mod keep;
mod load;
mod place;
mod put;
mod service;
mod stats;
mod throughput;
mod yardstick;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures the replicated key-value service: three servers, a process each, with data on disk.
#[derive(Parser)]
#[command(name = "raft-labs-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// End with an error if a goal is missed
    #[arg(long, global = true)]
    check: bool,
}

#[derive(Subcommand)]
enum Command {
    Put(put::Args),
    Throughput(throughput::Args),
    Failover(failover::Args),
    #[command(hide = true)]
    Keep(keep::Args),
    #[command(hide = true)]
    Echo,
    #[command(hide = true)]
    BareFollower(bare::Args),
    #[command(hide = true)]
    BareLeader(bare::Args),
}

/// Whether the goals were met; or what went wrong, in a sentence.
type Outcome = Result<bool, String>;

fn main() -> ExitCode {
    let Arguments { command, check } = Arguments::parse();
    let outcome = match command {
        Command::Put(args) => put::run(&args),
        Command::Throughput(args) => throughput::run(&args),
        Command::Failover(args) => failover::run(&args),
        Command::Keep(args) => keep::run(&args),
        Command::Echo => yardstick::echo(),
        Command::BareFollower(args) => bare::follow(&args),
        Command::BareLeader(args) => bare::lead(&args),
    };
    match outcome {
        Ok(met) if met || !check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::from(2)
        }
    }
}
