//! What the processes of one cluster have in common: who starts them, where their files are, and
//! the addresses by which they know each other.

use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use labrpc::Network;
use labrpc::tcp::Proxy;
use labrt::channel::{self, Sender};
use labrt::group::Group;
use labrt::replay;
use labrt::thread::Builder;

use super::keeper::Keeper;
use super::{KEEPER, SERVER, in_role};

/// A command to be started, and where the process goes.
struct Start {
    command: Command,
    started: Sender<io::Result<Child>>,
}

/// A place for a cluster of processes. When it is dropped, they are ended and their files removed.
pub(crate) struct Site {
    folder: PathBuf,
    starts: Sender<Start>,
    /// By who calls, then by whom.
    proxies: Vec<Vec<Proxy>>,
    keeper: Keeper,
}

impl Site {
    /// A place for the first `servers` nodes of a network.
    ///
    /// # Errors
    /// If the system has no folder, process or port to give.
    pub(crate) fn new(network: &Network, servers: usize) -> io::Result<Self> {
        let folder = new_folder()?;
        let keeper = Keeper::start(in_role(KEEPER, "keeper"), &folder)?;
        let group = Group::new("network", servers, 0);
        let row = |from| (0..servers).map(|to| Proxy::bind(network, from, to, &group)).collect();
        let proxies = (0..servers).map(row).collect::<io::Result<_>>()?;
        Ok(Self { folder, starts: starter(), proxies, keeper })
    }

    pub(super) fn folder_of(&self, server: usize) -> PathBuf {
        self.folder.join(format!("s{server}"))
    }

    /// Where a server finds each of the others.
    pub(super) fn peers_of(&self, server: usize) -> Vec<SocketAddr> {
        self.proxies[server].iter().map(Proxy::local_addr).collect()
    }

    /// Starts a server's process, and gives our end of its socket.
    pub(super) fn start(&self, name: &str) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = in_role(SERVER, name);
        command.stdin(OwnedFd::from(theirs));
        let (started, child) = channel::bounded(1);
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.starts.send(Start { command, started }).map_err(|_| gone())?;
        let child = child.recv().map_err(|_| gone())??;
        self.keeper.note(child.id())?;
        Ok((child, ours))
    }
}

/// A thread that starts processes, for as long as somebody may want it to: the system ends them
/// with the thread that they come from.
fn starter() -> Sender<Start> {
    let (starts, orders) = channel::unbounded::<Start>();
    Builder::new().name("starter").spawn(move || {
        while let Ok(Start { mut command, started }) = orders.recv() {
            // Ours must not keep the socket's other end.
            let spawned = command.spawn();
            drop(command);
            let _ = started.send(spawned);
        }
    });
    starts
}

/// A new folder beside the build: on a disk, where the system's folder for temporary files may be
/// in memory.
fn new_folder() -> io::Result<PathBuf> {
    let beside = replay::lab_folder_of(&env::current_exe().unwrap_or_default());
    let base = if is_writable(&beside) { beside } else { env::temp_dir().join("lab") };
    let base = base.join("processes");
    fs::create_dir_all(&base)?;
    // The keeper removes it.
    Ok(tempfile::Builder::new().prefix("cluster-").tempdir_in(base)?.keep())
}

fn is_writable(folder: &Path) -> bool {
    fs::create_dir_all(folder).is_ok() && tempfile::tempfile_in(folder).is_ok()
}
