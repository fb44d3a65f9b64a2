//! Processes that end when this one does, however that ends.
//!
//! A process cannot be told so from outside; it has to ask for it itself. So this program starts
//! itself, asks the system for a SIGKILL when its parent ends, and then becomes the program that
//! was meant.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use labrt::time::Duration;
use rustix::process::{Pid, Signal, kill_process};

use crate::{Outcome, interrupt};

/// Become another program, which ends when the one that started it does.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The process that started it
    #[arg(long)]
    parent: u32,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// How long an orderly end may take.
const END_MAX: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &Args) -> Outcome {
    become_it(args).map(|never| match never {})
}

fn become_it(Args { parent, command }: &Args) -> Result<Infallible, String> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("it cannot be bound to its parent: {error}"))?;
    // It may have ended before the system was asked.
    if std::os::unix::process::parent_id() != *parent {
        return Err("its parent has ended".to_owned());
    }
    let program = command[0].display();
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    Err(format!("{program} cannot be started: {error}"))
}

/// A process that ends with this one.
pub(crate) struct Kept(Child);

impl Kept {
    /// A command that becomes `program`; arguments are to be added to it.
    pub(crate) fn command(program: &OsString) -> Result<Command, String> {
        let this = env::current_exe().map_err(|error| format!("this program is gone: {error}"))?;
        let mut command = Command::new(this);
        command.args(["keep", "--parent", &std::process::id().to_string(), "--"]).arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // A Ctrl-C is for us alone.
        command.process_group(0);
        Ok(command)
    }

    /// To be called by the main thread: to the system, a parent ends when the thread ends that
    /// started the process.
    pub(crate) fn start(mut command: Command) -> Result<Self, String> {
        command.spawn().map(Self).map_err(|error| format!("no process can be started: {error}"))
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        if self.runs() {
            let process = Pid::from_raw(self.0.id().cast_signed());
            let _ = process.map(|process| kill_process(process, Signal::TERM));
        }
        let gone = || (!self.runs()).then_some(());
        if interrupt::wait_regardless(END_MAX, gone).is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop();
    }
}
