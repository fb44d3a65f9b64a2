//! Log lines with the world's time, the server, its role (where more than errors is asked for), and
//! a topic.
//!
//! Code logs through the `log` crate, with the topic as its target:
//! `log::debug!(target: "election", "no leader for {timeout:?}")`. Lines go to standard error as
//! `RUST_LOG` says (`RUST_LOG=election=debug`), and into the trace whenever that records.
//!
//! ```text
//!    0.312416300 S1    candidate 3       election  2 of 3 votes
//! ```

use std::io::Write as _;
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};

use crate::trace::{self, EventKind};
use crate::{thread, time};

struct Logger {
    printer: env_logger::Logger,
}

/// Installs the logger; a second call does nothing, and neither does one after another logger.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut builder = env_logger::Builder::from_env(env_logger::Env::new().filter("RUST_LOG"));
        let printer = builder.format(|out, record| writeln!(out, "{}", line(record))).build();
        if log::set_boxed_logger(Box::new(Logger { printer })).is_ok() {
            set_recording(false);
        }
    });
}

/// Lets lines through that only a trace wants, or keeps them from being made at all.
pub fn set_recording(recording: bool) {
    let wanted = if recording { LevelFilter::Debug } else { LevelFilter::Off };
    let printed = env_logger::Builder::from_env(env_logger::Env::new().filter("RUST_LOG")).build();
    log::set_max_level(printed.filter().max(wanted));
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        trace::enabled() || self.printer.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.printer.matches(record) {
            self.printer.log(record);
        }
        let text = || record.args().to_string();
        trace::record(server(), topic_of(record), EventKind::Note, text);
    }

    fn flush(&self) {
        self.printer.flush();
    }
}

/// The topics, as a trace keeps them; any other target is `log`.
const TOPICS: [&str; 10] = [
    "election",
    "replicate",
    "commit",
    "persist",
    "snapshot",
    "rpc",
    "client",
    "test",
    "oracle",
    "disk",
];

fn topic_of(record: &Record<'_>) -> &'static str {
    TOPICS.into_iter().find(|&topic| topic == record.target()).unwrap_or("log")
}

/// The current thread's server, from its name `S<number>/...`.
fn server() -> Option<usize> {
    let name = thread::current_name();
    name.strip_prefix('S')?.split(['/', '.']).next()?.parse().ok()
}

fn line(record: &Record<'_>) -> String {
    let seconds = time::world_time().as_secs_f64();
    let server = server();
    let name = server.map_or("test".to_string(), |server| format!("S{server}"));
    let role = server.map(trace::role_of).unwrap_or_default();
    let (topic, text) = (topic_of(record), record.args());
    format!("{seconds:>14.9} {name:<5} {role:<17} {topic:<9} {text}")
}
