//! The commands that run a test again: one for us, and one for a person.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use labrt::settings::Settings;

/// On Linux: the program that runs here, though another may have been built in its place since.
const ITSELF: &str = "/proc/self/exe";

/// This program, as it is to be started again.
pub(crate) fn this_program() -> Command {
    let itself = PathBuf::from(ITSELF);
    Command::new(if itself.exists() { itself } else { env::current_exe().unwrap_or(itself) })
}

/// Runs one seed of a test in a new process, for its trace or its decisions.
pub(super) fn replay_command(test: &str, settings: &Settings, seed: u64) -> Command {
    let mut command = this_program();
    command.args([test, "--exact"]).env("LAB_SEED", seed.to_string());
    command.env_remove(super::protocol::VARIABLE);
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
