//! The key-value service as processes: TCP between them, their data on disk.
//!
//! It is the service that the suites test, on our Raft, over `labrpc`'s sockets and on `storage`'s
//! files. What is here reads arguments, starts, stops and prints.

mod address_book;
mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A replicated key-value service: a local cluster of it, its servers, its clients.
#[derive(Parser)]
#[command(name = "kvraft", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Cluster(cli::cluster::Args),
    Serve(cli::serve::Args),
    Put(cli::client::Put),
    Append(cli::client::Append),
    Get(cli::client::Get),
    Status(cli::client::Status),
}

/// A command that could not be carried out: what was wrong, and what to do.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let outcome = match Arguments::parse().command {
        Command::Cluster(args) => cli::cluster::run(&args),
        Command::Serve(args) => cli::serve::run(&args),
        Command::Put(args) => args.run(),
        Command::Append(args) => args.run(),
        Command::Get(args) => args.run(),
        Command::Status(args) => args.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            cli::complain(&format_args!("error: {sentence}"));
            ExitCode::FAILURE
        }
    }
}
