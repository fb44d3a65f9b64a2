//! Who cleans up: a process that outlives the test's, however that ends.
//!
//! A test's process may be killed, and takes its servers with it on Linux, where the system ends
//! them with the thread that has started them. But nobody would remove their files then; elsewhere,
//! a server that is stopped would stay; and one that has just been started may not have been bound
//! to that thread yet. So there is a keeper for each cluster, in a process group of its own, that
//! no Ctrl-C reaches. It was told which folder is to go, reads from a pipe which processes are to,
//! and when it has read to the end, it does that.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use labrt::sync::Shared;
use labrt::thread;

/// How long processes that were killed may take to be gone: the system has to free their memory.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A cluster's keeper, as the test's process has it. When it is dropped, all is cleaned up.
pub(super) struct Keeper {
    child: Child,
    pipe: Shared<Option<ChildStdin>>,
}

impl Keeper {
    /// Starts `command`, which is to run [`keep`], for this folder.
    ///
    /// # Errors
    /// If it cannot be started or told.
    pub(super) fn start(mut command: Command, folder: &Path) -> io::Result<Self> {
        command.arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, pipe: Shared::new(Some(pipe)) })
    }

    /// A process that is not to outlive the test's.
    ///
    /// # Errors
    /// If the keeper is gone.
    pub(super) fn note(&self, process: u32) -> io::Result<()> {
        self.pipe.with(|pipe| match pipe {
            Some(pipe) => writeln!(pipe, "{process}"),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.pipe.with(Option::take));
        // It says itself what it could not do.
        let _ = self.child.wait();
    }
}

/// The keeper's process.
pub(super) fn keep() -> ExitCode {
    let Some(folder) = env::args_os().next_back().map(PathBuf::from) else {
        return ExitCode::FAILURE;
    };
    let mut kept: Vec<Process> = Vec::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        // Those that have ended since need no keeping.
        kept.retain(Process::is_there);
        kept.extend(line.parse().ok().and_then(Process::of));
    }
    kept.iter().for_each(Process::kill);
    wait_until_gone(&kept);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            eprintln!("{} cannot be removed: {error}", folder.display());
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn wait_until_gone(processes: &[Process]) {
    const LOOK_EVERY: Duration = Duration::from_millis(2);
    let mut left = GONE_WITHIN;
    while processes.iter().any(Process::is_there) && !left.is_zero() {
        thread::sleep(LOOK_EVERY);
        left = left.saturating_sub(LOOK_EVERY);
    }
}

pub(super) use system::Process;

/// On Linux a process can be held fast: its number, once it has ended, may be another's.
#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::OwnedFd;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    pub(in super::super) struct Process(OwnedFd);

    impl Process {
        pub(super) fn of(number: i32) -> Option<Self> {
            pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok().map(Self)
        }

        pub(super) fn kill(&self) {
            // It may have ended.
            let _ = pidfd_send_signal(&self.0, Signal::KILL);
        }

        pub(super) fn is_there(&self) -> bool {
            let mut ended = [PollFd::new(&self.0, PollFlags::IN)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut ended, Some(&at_once)).is_ok_and(|count| count == 0)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use rustix::process::{Pid, Signal, kill_process, test_kill_process};

    pub(in super::super) struct Process(Pid);

    impl Process {
        pub(super) fn of(number: i32) -> Option<Self> {
            Pid::from_raw(number).map(Self)
        }

        pub(super) fn kill(&self) {
            // It may have ended.
            let _ = kill_process(self.0, Signal::KILL);
        }

        pub(super) fn is_there(&self) -> bool {
            test_kill_process(self.0).is_ok()
        }
    }
}
