//! A cluster on this machine: a process for each server.

use std::env;
use std::fs::{File, TryLockError};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use labrt::channel::{self, Receiver};
use labrt::thread;
use labrt::time::{Duration, Instant};
use rustix::process::Signal;
use storage::Directory;

use super::{complain, say};
use crate::Outcome;
use crate::address_book;

/// Run a cluster on this machine, in the foreground: a process and a folder for each server.
///
/// Ctrl-C stops it; its data stays, and the next start goes on with it. A server that is killed is
/// started again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many servers
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=99))]
    nodes: u16,
    /// The cluster's folder: a folder for each server, and a file that says where they are
    #[arg(long, value_name = "DIR", default_value = address_book::FOLDER)]
    data: PathBuf,
    /// The first server's port; the others have those behind it [default: any that are free]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

/// How often it is looked whether a server has ended, and how long one stays away that has.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const AWAY: Duration = Duration::from_millis(500);
const LOOK_FOR_DATA_EVERY: Duration = Duration::from_millis(5);
/// A server that is asked to end does so within this time, unless it is stopped.
const ENDS_WITHIN: Duration = Duration::from_secs(3);

pub(crate) fn run(args: &Args) -> Outcome {
    let data = &args.data;
    let cannot = |error| format!("{} cannot be used: {error}", data.display());
    Directory::make(data).map_err(|error| error.to_string())?;
    let _lock = lock(data)?;
    check_members(data, args.nodes)?;
    let addresses = addresses(args)?;
    let (tell, stop) = channel::bounded(1);
    let caught = ctrlc::set_handler(move || {
        let _ = tell.try_send(());
    });
    caught.map_err(|error| format!("Ctrl-C cannot be caught: {error}"))?;
    let mut servers = Vec::new();
    for id in 0..addresses.len() {
        servers.push(Server::start(id, &addresses, data)?);
    }
    // Once the cluster is in the book, a server without data has lost it.
    if !wait_for_data(&mut servers, data, &stop) {
        return end(&mut servers);
    }
    address_book::write(data, &addresses).map_err(cannot)?;
    say(&format_args!(
        "{} servers, data in {}; Ctrl-C stops them",
        addresses.len(),
        data.display()
    ));
    supervise(&mut servers, &addresses, data, &stop)
}

/// The folder is this cluster's as long as the file is open. A second one would be refused by the
/// servers' folders, but only after it had put addresses of its own into the book.
fn lock(data: &Path) -> Result<File, String> {
    let shown = data.display();
    let file = File::create(data.join("lock"))
        .map_err(|error| format!("{shown} cannot be written to: {error}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "a cluster runs in {shown} already: stop it (Ctrl-C), or name another folder (--data)"
        )),
        Err(TryLockError::Error(error)) => Err(format!("{shown} cannot be locked: {error}")),
    }
}

/// Servers that were members stay members, with what they know: a cluster does not change its size
/// by being started anew.
fn check_members(data: &Path, nodes: u16) -> Outcome {
    let Some(before) = address_book::find(data)? else { return Ok(()) };
    if before.len() != usize::from(nodes) {
        return Err(format!(
            "{} is a cluster of {}: start it with --nodes {}, or name another folder (--data)",
            data.display(),
            before.len(),
            before.len()
        ));
    }
    (0..before.len()).try_for_each(|id| check_folder(data, id))
}

fn folder_of(data: &Path, id: usize) -> PathBuf {
    data.join(format!("s{id}"))
}

/// A server that has lost its disk has forgotten for whom it voted and what it acknowledged: under
/// its old number it could help to elect a leader that lacks what is committed.
fn check_folder(data: &Path, id: usize) -> Outcome {
    let folder = folder_of(data, id);
    match Directory::has_data(&folder) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "{} has no data any more: S{id} does not know what it has promised, and must not come \
             back under its number. Bring the folder back, or begin a new cluster in another one \
             (--data)",
            folder.display()
        )),
        Err(error) => Err(format!("{} cannot be used: {error}", folder.display())),
    }
}

/// Waits until each server that runs has data to lose; false if somebody wants an end before.
fn wait_for_data(servers: &mut [Server], data: &Path, stop: &Receiver<()>) -> bool {
    servers.iter_mut().enumerate().all(|(id, server)| {
        let folder = folder_of(data, id);
        let has_data = || Directory::has_data(&folder).unwrap_or(false);
        while !has_data() && server.ended().is_none() {
            if stop.recv_timeout(LOOK_FOR_DATA_EVERY).is_ok() {
                return false;
            }
        }
        true
    })
}

/// Free ones, or those that were asked for.
fn addresses(args: &Args) -> Result<Vec<SocketAddr>, String> {
    let port = |number: u16| match args.port {
        None => Some(0),
        Some(first) => first.checked_add(number),
    };
    // All are held until all are found: else one could be found twice.
    let mut found = Vec::new();
    for number in 0..args.nodes {
        let port = port(number).ok_or("there are no ports above 65535")?;
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
            format!("port {port} is not free: {error}. Choose another (--port), or none at all")
        })?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        found.push((listener, address));
    }
    Ok(found.into_iter().map(|(_, address)| address).collect())
}

/// A server's process.
struct Server(Child);

impl Server {
    fn start(id: usize, addresses: &[SocketAddr], data: &Path) -> Result<Self, String> {
        let cannot = |error| format!("S{id} cannot be started: {error}");
        let peers: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let mut command = Command::new(env::current_exe().map_err(cannot)?);
        command.args(["serve", "--with-stdin", "--id", &id.to_string()]);
        command.args(["--peers", &peers.join(","), "--data"]).arg(folder_of(data, id));
        // It ends when this pipe does: with us, however we end. A Ctrl-C is for us alone, who tell
        // it.
        command.stdin(Stdio::piped());
        command.process_group(0).spawn().map(Self).map_err(cannot)
    }

    /// How it has ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Ends it as Ctrl-C would; or, if it does not hear of that, as nothing can be prevented from.
    fn stop(mut self) {
        drop(self.0.stdin.take());
        let asked = Instant::now();
        while self.ended().is_none() && asked.elapsed() < ENDS_WITHIN {
            thread::sleep(LOOK_EVERY);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts again what was killed, until somebody wants an end. A server that refuses to start, or
/// stops with a reason, is not started again.
fn supervise(
    servers: &mut Vec<Server>,
    addresses: &[SocketAddr],
    data: &Path,
    stop: &Receiver<()>,
) -> Outcome {
    let mut failed = Vec::new();
    while stop.recv_timeout(LOOK_EVERY).is_err() {
        for id in 0..servers.len() {
            let Some(status) = servers[id].ended().filter(|_| !failed.contains(&id)) else {
                continue;
            };
            if let Err(sentence) = check_may_come_back(data, id, status) {
                complain(&sentence);
                failed.push(id);
                continue;
            }
            say(&format_args!("S{id} was killed ({status}); it comes back"));
            if stop.recv_timeout(AWAY).is_ok() {
                return end(servers);
            }
            servers[id] = Server::start(id, addresses, data)?;
        }
        if failed.len() == servers.len() {
            return Err("no server is left; they have said why".to_owned());
        }
    }
    end(servers)
}

/// The signals that a process gets for what it does itself.
const FAULTS: [Signal; 5] = [Signal::ABORT, Signal::SEGV, Signal::BUS, Signal::ILL, Signal::FPE];

/// A server that ended by itself has had a reason, and one that was killed may have lost its data.
fn check_may_come_back(data: &Path, id: usize, status: ExitStatus) -> Outcome {
    let is_fault = |signal| FAULTS.iter().any(|fault| fault.as_raw() == signal);
    match status.signal().filter(|&signal| !is_fault(signal)) {
        None => Err(format!("S{id} has ended ({status}) and stays away")),
        Some(_) => check_folder(data, id),
    }
}

fn end(servers: &mut Vec<Server>) -> Outcome {
    servers.drain(..).for_each(Server::stop);
    say(&"stopped");
    Ok(())
}
