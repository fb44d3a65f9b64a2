//! What a test's process may use, and what it sees.
//!
//! A process cannot be limited from outside before it starts, so it starts as this program, limits
//! itself, and becomes the test. One that nobody trusts becomes the test inside a [`Sandbox`].
//! These limits are those of each process; what a test's processes take together somebody has to
//! look at ([`crate::together`]).

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, setrlimit, umask};
#[cfg(target_os = "linux")]
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::refusal::{Refusal, because};
use crate::sandbox::Sandbox;

/// Where this program is. Asked for at the start: it may be built anew while it runs, and then the
/// one in its place does as well.
static THIS_PROGRAM: LazyLock<PathBuf> =
    LazyLock::new(|| env::current_exe().unwrap_or_else(|_| "lab".into()));

/// See [`THIS_PROGRAM`].
pub(crate) fn this_program() -> &'static Path {
    &THIS_PROGRAM
}

/// Limits of a program and of what it starts.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of memory that each process may reserve.
    pub(crate) memory: u64,
    /// Bytes of memory that they may take together.
    pub(crate) together: u64,
    /// Where it is locked in, if nobody trusts it.
    pub(crate) sandbox: Option<Sandbox>,
}

/// The largest file that a test may write.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;
/// Files that a test may have open.
const OPEN_FILES_MAX: u64 = 4096;

/// What this program is called with when it is to limit itself. It is no command that a person
/// would look for, in a list or in a shell's completions.
pub(crate) const NAME: &str = "limited";

/// Run a program within limits; what `lab` starts its workers with.
#[derive(clap::Parser)]
#[command(name = "lab limited")]
pub(crate) struct Args {
    #[arg(long)]
    memory: u64,
    /// Become this user
    #[arg(long)]
    user: Option<u32>,
    /// How many processes and threads the user may have
    #[arg(long)]
    processes: Option<u64>,
    /// Neither it nor what it starts ever reaches into another process, or has memory that is
    /// nobody's
    #[arg(long)]
    locked_in: bool,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Limits {
    /// So many bytes for each process, and for all.
    pub(crate) fn of_memory(bytes: u64) -> Self {
        Self { memory: bytes, together: bytes, sandbox: None }
    }

    /// A command that becomes `program` in `folder`, within limits; arguments are still to be
    /// added. Files that it makes go to `scratch`, or, if it is locked in, to a `/tmp` that goes
    /// with it.
    ///
    /// ```text
    /// lab limited --memory M -- program
    /// ```
    ///
    /// is what it comes to; for one that is locked in, if we are root and if not,
    ///
    /// ```text
    /// lab limited --memory M --user U --processes P --locked-in -- bwrap ... program
    /// lab limited --memory M --locked-in -- bwrap ... \
    ///     lab limited --memory M --processes P -- program
    /// ```
    pub(crate) fn command(&self, program: &Path, folder: &Path, scratch: &Path) -> Command {
        let mut command = Command::new(this_program());
        command.args([NAME, "--memory", &self.memory.to_string()]);
        let Some(sandbox) = &self.sandbox else {
            command.arg("--").arg(program).current_dir(folder).env("TMPDIR", scratch);
            return command;
        };
        let processes = sandbox.processes.to_string();
        if let Some(user) = sandbox.user {
            command.args(["--user", &user.to_string(), "--processes", &processes]);
        }
        // Outside, the limit would count whatever else this user runs. Inside, a sandbox's users
        // are counted by themselves.
        let inside = sandbox.user.is_none().then(this_program);
        let mut sandbox = sandbox.clone();
        inside.iter().for_each(|lab| sandbox.show(lab));
        command.arg("--locked-in").arg("--").args(sandbox.arguments(folder));
        if let Some(lab) = inside {
            command.arg(lab).args([NAME, "--memory", &self.memory.to_string()]);
            command.args(["--processes", &processes, "--"]);
        }
        command.arg(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/tmp").env("TMPDIR", "/tmp");
        command
    }
}

/// Limits this process, and becomes the program. Comes back only if that fails.
pub(crate) fn become_limited(args: &Args) -> Refusal {
    let processes = args.processes.map(|most| (Resource::Nproc, most));
    let usual = [
        (Resource::As, args.memory),
        (Resource::Fsize, FILE_BYTES_MAX),
        (Resource::Nofile, OPEN_FILES_MAX),
        (Resource::Core, 0),
    ];
    for (resource, most) in usual.into_iter().chain(processes) {
        let both = Rlimit { current: Some(most), maximum: Some(most) };
        if let Err(error) = setrlimit(resource, both) {
            return because("the limits could not be set")(error);
        }
    }
    // What is built in a sandbox is run in another one, by another user.
    if args.locked_in {
        umask(Mode::WGRP | Mode::WOTH);
    }
    // Nobody is left to hear of a test whose lab was killed. A sandbox sees to that itself.
    #[cfg(target_os = "linux")]
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return because("the process could not be bound to its parent")(error);
    }
    #[cfg(target_os = "linux")]
    if args.locked_in
        && let Err(refusal) = crate::sandbox::refuse_calls()
    {
        return refusal;
    }
    let mut command = Command::new(&args.program);
    command.args(&args.arguments);
    if let Some(user) = args.user {
        command.uid(user).gid(user);
    }
    because(format!("{} could not be started", args.program.display()))(command.exec())
}
