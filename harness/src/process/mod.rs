//! Servers that are processes.
//!
//! The third world: each server is a process of its own, on TCP, with its data in a folder on the
//! machine's disk. It is the test's own program, started again: so a student's crate needs no other
//! one. What tests call is the same [`ServerHandle`](crate::ServerHandle) as ever, and the code
//! under test cannot tell the difference.
//!
//! ```text
//!                       the test's process
//!   test ── handle ──────── socket, the server's standard input ────────┐
//!   oracle ◀── terms, roles, what was applied ── the same socket ───────┤
//!   network: faults, counts ◀── proxies, one per direction of a link ───┤ a server's process:
//!        └──────────────────────── TCP ────────────────────────────────▶│ node, service, disk
//!   keeper (a process): ends what is left, removes the folder           ┘
//! ```
//!
//! * **A crash** is SIGKILL, a pause SIGSTOP, at whatever moment they fall. So is a crash by a
//!   plan: at an event of the network, which the test's process sees, or at a save, where the
//!   server waits until it is told to go on, or never is. A restart is a new process on the same
//!   folder.
//! * **The fence.** After the crash the network drops the incarnation's answers; requests that had
//!   left it are on their way, as ever. What it told the oracle before its end was so, and is heard
//!   out before the next incarnation begins.
//! * **Faults of links** are those of the simulated network, in the test's process
//!   ([`labrpc::tcp::Proxy`]); a server was given addresses, and knows of none of this.
//! * **Nothing is left behind.** A server ends at the end of its socket, that is, with the test's
//!   process. On Linux it is killed with the thread that started it, too, which lives as long as
//!   the cluster does: that also ends one that is stopped. And a keeper removes the files
//!   ([`keeper`](self::keeper)).
//!
//! # Left out
//! A crash does not take the machine's page cache with it, so what a server did not sync is there
//! after it: who answers before it has synced is found out in a simulated world. Ports are the
//! system's choice, on the loopback device. A process that a server starts is its own business.

mod disk;
mod handle;
mod incarnation;
mod keeper;
mod link;
mod listener;
mod server;
mod site;

use std::env;
use std::process::{Command, ExitCode};

pub(crate) use handle::ProcessServer;
pub(crate) use server::Newborn;
pub(crate) use site::Site;

use crate::runner::this_program;
use crate::server::Role;

/// Tells this program that it is not to run tests.
const VARIABLE: &str = "LAB_ROLE";
const SERVER: &str = "server";
const KEEPER: &str = "keeper";

/// Does what this process was started for, if that is not to run tests. `serve` knows the types of
/// nodes; it gives the server back if there is none for its role.
pub(crate) fn play(serve: impl FnOnce(Role, Newborn) -> ExitCode) -> Option<ExitCode> {
    let role = env::var(VARIABLE).ok()?;
    Some(match &*role {
        KEEPER => keeper::keep(),
        SERVER => {
            end_with_parent();
            match Newborn::hear() {
                Ok(newborn) => serve(newborn.role(), newborn),
                Err(error) => refuse(&format!("the test's process cannot be heard: {error}")),
            }
        }
        _ => refuse(&format!("{VARIABLE} is for the harness's own use: unset it")),
    })
}

fn refuse(sentence: &str) -> ExitCode {
    eprintln!("error: {sentence}");
    ExitCode::from(2)
}

/// Should the test's process end before this is done, its socket tells.
fn end_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            log::warn!(target: "test", "not bound to the test's process: {error}");
        }
    }
}

/// This program in another role. People who look at a list of processes see `name`.
fn in_role(role: &str, name: &str) -> Command {
    let mut command = this_program();
    command.arg(name).env(VARIABLE, role);
    crate::runner::protocol::ask_nothing(&mut command);
    command
}
