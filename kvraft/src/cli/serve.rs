//! One server, in this process.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use contract::Disk;
use kvraft::{Config, KvMap, Server};
use labrpc::tcp::{self, Client, Limits, Options};
use labrpc::{ClientEnd, Service};
use labrt::channel::{self, Sender};
use labrt::group::Group;
use labrt::thread;
use labrt::time::Duration;
use storage::{Directory, Store};

use super::{Health, HealthClient, ServerHealth, ServiceRaft, say};
use crate::Outcome;

/// Run one server, in the foreground.
///
/// What it acknowledges is on its disk and on a majority's. Ctrl-C ends it, and so may anything
/// else, at any time: started again with the same folder, it goes on. A server whose folder was
/// lost must not be started under its number again: it would not know what it has promised.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Its number, from 0: its place in the list of peers
    #[arg(long, value_name = "N")]
    id: usize,
    /// The addresses of all servers, its own included, in the same order for each of them
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',', required = true)]
    peers: Vec<SocketAddr>,
    /// The folder for its data; made if there is none
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Take a snapshot when Raft's log on the disk has so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20)]
    max_raft_state: usize,
    /// End when standard input does, as it does with whoever holds its other end
    #[arg(long, hide = true)]
    with_stdin: bool,
}

/// What the process waits for, in the end.
enum End {
    /// Somebody wants it.
    Wanted,
    /// The disk has failed: nothing may be answered any more.
    DiskFailed,
    /// A thread has panicked, which says this. What the others still do is worth nothing.
    Broken(String),
}

/// A call to a peer is given up after this time: a follower syncs in milliseconds, and takes a
/// snapshot of megabytes in less than a second.
const CALL_TIME: Duration = Duration::from_secs(2);
/// A peer that comes back is found within this time, well below an election time-out.
const RETRY_TIME: Duration = Duration::from_millis(50);
/// A follower that lags behind is sent a snapshot as a whole, and that is all the data there is.
const FRAME_BYTES: u32 = 1 << 30;
/// How often it is looked whether the disk has failed, or a thread.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Args) -> Outcome {
    let Args { id, peers, data, .. } = args;
    let address = *peers.get(*id).ok_or_else(|| {
        format!("there is no server {id} among {} peers: the first is 0", peers.len())
    })?;
    #[cfg(target_os = "linux")]
    if args.with_stdin {
        use rustix::process::{Signal, set_parent_process_death_signal};
        let bound = set_parent_process_death_signal(Some(Signal::KILL));
        bound.map_err(|error| format!("it cannot be bound to its cluster: {error}"))?;
    }
    let (tell, ends) = channel::unbounded();
    let store = open(data, &tell)?;
    let group = Group::new(&format!("S{id}"), *id, 1);
    let services = start(args, &group, &store);
    let server = tcp::Server::bind(address, &group, services, &limits())
        .map_err(|error| format!("S{id} cannot serve on {address}: {error}"))?;
    say(&format_args!("S{id} serves on {address}, with its data in {}", data.display()));
    watch(args, &store, &tell)?;
    let end = ends.recv().map_err(|_| "nobody is left to end it".to_owned())?;
    server.close();
    match end {
        End::Wanted => Ok(()),
        End::DiskFailed => Err(format!(
            "S{id} has stopped: its disk, {}, has failed. What it acknowledged before is there; \
             start it again when the disk works",
            data.display()
        )),
        End::Broken(failure) => Err(format!(
            "S{id} has stopped, for it is not in order: {failure}. What it acknowledged is in {}; \
             if it stops again when it is started again, keep that folder",
            data.display()
        )),
    }
}

fn open(data: &Path, tell: &Sender<End>) -> Result<Arc<Store<Directory>>, String> {
    let directory = Directory::open(data).map_err(|error| error.to_string())?;
    let tell = tell.clone();
    let store = Store::open(directory, move |_| {
        let _ = tell.send(End::DiskFailed);
        // Whoever saved must not go on as if it had been done.
        loop {
            thread::sleep(LOOK_EVERY);
        }
    });
    Ok(Arc::new(store.map_err(|error| error.to_string())?))
}

/// Starts the server on a thread of its group, and gives its services.
fn start(args: &Args, group: &Group, store: &Arc<Store<Directory>>) -> Vec<Service> {
    let (id, disk) = (args.id, store.disk());
    let peers = args.peers.clone();
    let config = Config { max_raft_state: Some(args.max_raft_state), ..Config::default() };
    let sizes = Arc::clone(store);
    let started = group.spawn("main", move || services(id, peers, disk, config, sizes));
    started.join().unwrap_or_else(|_| {
        // It has said why.
        process::exit(1)
    })
}

fn services(
    id: usize,
    peers: Vec<SocketAddr>,
    disk: Disk,
    config: Config,
    store: Arc<Store<Directory>>,
) -> Vec<Service> {
    let peers = peers.into_iter().map(end_to).collect();
    let node = Server::<ServiceRaft, KvMap>::make(peers, id, disk, config);
    let mut services = node.services();
    services.push(HealthClient::service(Arc::new(Doctor { id, node, store })));
    services
}

/// An end that finds a peer again soon after it was gone.
fn end_to(peer: SocketAddr) -> ClientEnd {
    let options = Options {
        call_time: CALL_TIME,
        retry_time: RETRY_TIME,
        limits: limits(),
        ..Options::default()
    };
    Client::new(peer, &options).end()
}

fn limits() -> Limits {
    let unfinished_bytes = 2 * FRAME_BYTES as usize;
    Limits { frame_bytes: FRAME_BYTES, unfinished_bytes, ..Limits::default() }
}

/// Knows how the server is.
struct Doctor {
    id: usize,
    node: Arc<Server<ServiceRaft, KvMap>>,
    store: Arc<Store<Directory>>,
}

impl Health for Doctor {
    fn health(&self, (): ()) -> ServerHealth {
        let (term, is_leader) = self.node.get_state();
        ServerHealth {
            id: self.id,
            process: process::id(),
            term,
            is_leader,
            raft_state_size: self.store.raft_state_size(),
            snapshot_size: self.store.snapshot_size(),
        }
    }
}

/// Has whatever may end the server tell.
fn watch(args: &Args, store: &Arc<Store<Directory>>, tell: &Sender<End>) -> Outcome {
    let on_signal = tell.clone();
    let caught = ctrlc::set_handler(move || {
        let _ = on_signal.send(End::Wanted);
    });
    caught.map_err(|error| format!("Ctrl-C cannot be caught: {error}"))?;
    if args.with_stdin {
        let tell = tell.clone();
        thread::spawn(move || {
            // Nothing comes; what counts is that it ends.
            let _ = std::io::stdin().read(&mut [0]);
            let _ = tell.send(End::Wanted);
        });
    }
    let (store, tell) = (Arc::clone(store), tell.clone());
    thread::spawn(move || {
        let _ = tell.send(wait_for_failure(&store));
    });
    Ok(())
}

/// Looks until the disk has failed, or a thread of the server.
fn wait_for_failure(store: &Store<Directory>) -> End {
    loop {
        if store.has_failed() {
            return End::DiskFailed;
        }
        if let Some(failure) = labrt::take_failure() {
            return End::Broken(failure);
        }
        thread::sleep(LOOK_EVERY);
    }
}
