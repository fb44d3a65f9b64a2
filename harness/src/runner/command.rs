//! How this program is started again, by us or by a person, and ends with whoever started it.

use std::env;
use std::path::PathBuf;
use std::process::{self, Command};
use std::time::Duration;

use labrt::settings::Settings;
use labrt::thread;
use rustix::process::getppid;

/// On Linux: the program that runs here, though another may have been built in its place since.
const ITSELF: &str = "/proc/self/exe";

/// How often it is looked whether anybody waits for what runs here.
const PARENT_LOOK_EVERY: Duration = Duration::from_millis(250);

/// Has this process end when the one that started it does: it may go on for minutes, too long for
/// nobody.
pub(super) fn end_with_parent() {
    let parent = getppid();
    thread::spawn(move || {
        while getppid() == parent {
            thread::sleep(PARENT_LOOK_EVERY);
        }
        process::exit(1);
    });
}

/// The same, if that is Cargo. A person may start a program and go.
pub(super) fn end_with_cargo() {
    if env::var_os("CARGO_PKG_NAME").is_some() {
        end_with_parent();
    }
}

/// This program, as it is to be started again.
pub(crate) fn this_program() -> Command {
    let itself = PathBuf::from(ITSELF);
    Command::new(if itself.exists() { itself } else { env::current_exe().unwrap_or(itself) })
}

/// Runs one seed of a test in a new process, for its trace or its decisions.
pub(super) fn replay_command(test: &str, settings: &Settings, seed: u64) -> Command {
    let mut command = this_program();
    command.args([test, "--exact"]).env("LAB_SEED", seed.to_string());
    super::protocol::ask_nothing(&mut command);
    if let Some(strategy) = settings.strategy {
        command.env("LAB_STRATEGY", strategy.name());
    }
    command
}

/// What a person types to have that run.
pub(super) fn command_line(package: &str, test: &str, settings: &Settings, seed: u64) -> String {
    let assignments = settings.assignments();
    format!("{assignments}LAB_SEED={seed} cargo test -p {package} {test} -- --exact")
}
