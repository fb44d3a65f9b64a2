//! What a test's process may use.
//!
//! A process cannot be limited from outside before it starts, so it starts as this program, limits
//! itself, and becomes the test.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::refusal::{Refusal, because};

/// Limits of one process.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// It is ended when it has told nothing for so long.
    pub(crate) silence: Duration,
    /// Bytes of memory that it may reserve.
    pub(crate) memory: u64,
}

/// The largest file that a test may write.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// Run a program within limits; what `lab` starts its workers with.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    memory: u64,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Limits {
    /// A command that becomes `program`, within limits; arguments are still to be added.
    pub(crate) fn command(&self, program: &Path) -> io::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["limited", "--memory", &self.memory.to_string()]).arg(program).arg("--");
        Ok(command)
    }
}

/// Limits this process, and becomes the program. Comes back only if that fails.
pub(crate) fn become_limited(args: &Args) -> Refusal {
    let both = |most| Rlimit { current: Some(most), maximum: Some(most) };
    for (resource, most) in
        [(Resource::As, args.memory), (Resource::Fsize, FILE_BYTES_MAX), (Resource::Core, 0)]
    {
        if let Err(error) = setrlimit(resource, both(most)) {
            return because("the limits could not be set")(error);
        }
    }
    let error = Command::new(&args.program).args(&args.arguments).exec();
    because(format!("{} could not be started", args.program.display()))(error)
}
