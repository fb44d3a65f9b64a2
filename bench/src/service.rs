//! A cluster of ours: what `kvraft cluster` starts, and what `kvraft status` tells of it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use contract::Clerk as _;
use kvraft::KvClerk;
use labrpc::tcp::{Client, Options};
use labrt::time::Duration;
use rustix::process::Pid;

use crate::interrupt;
use crate::keep::Kept;

pub(crate) const SERVERS: usize = 3;

/// A cluster is there within this time, and a server that was killed is back.
const START_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    process: Kept,
    kvraft: OsString,
    data: PathBuf,
}

/// What a server says of itself.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) process: Pid,
    pub(crate) leads: bool,
    term: u64,
}

impl Cluster {
    /// Starts one with its data in a folder of this one, and waits until it has a leader.
    pub(crate) fn start(kvraft: &OsString, folder: &Path) -> Result<Self, String> {
        let data = folder.join("kvraft");
        let mut command = Kept::command(kvraft)?;
        command.args(["cluster", "--nodes", &SERVERS.to_string(), "--data"]).arg(&data);
        let cluster = Self { process: Kept::start(command)?, kvraft: kvraft.clone(), data };
        cluster.wait_until_whole()?;
        Ok(cluster)
    }

    /// Waits until all servers answer, and follow one of them.
    pub(crate) fn wait_until_whole(&self) -> Result<Vec<Server>, String> {
        interrupt::wait_for("all servers answer and one leads", START_MAX, || {
            let servers = self.servers();
            let is_whole = servers.len() == SERVERS
                && servers.iter().filter(|server| server.leads).count() == 1
                && servers.iter().all(|server| server.term == servers[0].term);
            is_whole.then_some(servers)
        })
    }

    /// Those that answer.
    fn servers(&self) -> Vec<Server> {
        let mut command = Command::new(&self.kvraft);
        command.args(["status", "--data"]).arg(&self.data);
        // Until there is a majority it complains.
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default().lines().filter_map(parse).collect()
    }

    /// A connection to each server, for any number of clients.
    pub(crate) fn connect(&self) -> Result<Connections, String> {
        let servers = self.wait_until_whole()?;
        let connect = |server: &Server| Client::new(server.address, &Options::default());
        let clients: Vec<Client> = servers.iter().map(connect).collect();
        match clients.iter().all(|client| client.wait_until_connected(START_MAX)) {
            true => Ok(Connections(clients)),
            false => Err("a server does not accept connections".to_owned()),
        }
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        self.process.stop();
    }
}

/// Connections to all servers.
pub(crate) struct Connections(Vec<Client>);

impl Connections {
    /// A client that has a session already, so that its next operation is like all others.
    pub(crate) fn client(&self) -> Result<KvClerk, String> {
        let mut clerk = KvClerk::make(self.0.iter().map(Client::end).collect());
        clerk.put("bench", "").map_err(|error| error.to_string())?;
        Ok(clerk)
    }
}

/// A line of `kvraft status`: `S1  127.0.0.1:37817  leader  term 2  process 8657  log ...`.
fn parse(line: &str) -> Option<Server> {
    let mut words = line.split_whitespace().skip(1);
    let address = words.next()?.parse().ok()?;
    let leads = words.next()? == "leader";
    let term = words.nth(1)?.parse().ok()?;
    let process = Pid::from_raw(words.nth(1)?.parse().ok()?)?;
    Some(Server { address, process, leads, term })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_status_is_understood_and_one_without_an_answer_is_none() {
        let line = "S1  127.0.0.1:37817        leader    term 2     process 8657    log 171 B, \
                    snapshot 0 B";
        let server = parse(line).expect("a server that answers");
        assert_eq!(server.address.port(), 37817);
        assert_eq!(server.process.as_raw_nonzero().get(), 8657);
        assert!(server.leads && server.term == 2);
        assert!(parse("S1  127.0.0.1:37817        does not answer").is_none());
        assert!(parse("").is_none());
    }
}
