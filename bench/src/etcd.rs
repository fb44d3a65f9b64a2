//! A cluster of etcd, as its makers set it up: three members on the loopback, their data in the
//! same file system as ours, all else as it is by default. It syncs before it answers, as ours
//! does.
//!
//! It is driven over gRPC, by the client that Rust programs use for it. All clients talk to the
//! leader, as ours do: through a follower each put would take one hop more.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use etcd_client::{Client, KvClient};
use labrt::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::interrupt;
use crate::keep::Kept;
use crate::load::{ANSWER_MAX, Load, Measured, Phase, Puts, VALUE_BYTES};
use crate::service::SERVERS;

/// A cluster has a leader within this time, and answers a question.
const START_MAX: Duration = Duration::from_secs(30);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// The program, and what is needed to drive it.
pub(crate) struct Etcd {
    program: OsString,
    pub(crate) version: String,
    runtime: Runtime,
}

struct Cluster {
    _members: Vec<Kept>,
    endpoints: Vec<String>,
}

impl Etcd {
    /// The one that the shell would find.
    pub(crate) fn find() -> Result<Self, String> {
        let program = OsString::from("etcd");
        let output = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|error| {
            format!("etcd is not there ({error}): Debian has it as etcd-server")
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or("etcd of an unknown version").to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no threads can be started: {error}"))?;
        Ok(Self { program, version, runtime })
    }

    /// Starts a cluster with its data in a folder of this one, and puts the load on it.
    pub(crate) fn measure(
        &self,
        folder: &Path,
        load: &Load,
        clients: u32,
    ) -> Result<Measured, String> {
        let cluster = Cluster::start(&self.program, folder)?;
        let leader = self.leader(&cluster)?;
        self.put_on(&leader, load, clients)
    }

    /// The endpoint of the member that leads, once one does.
    fn leader(&self, cluster: &Cluster) -> Result<String, String> {
        interrupt::wait_for("etcd has a leader", START_MAX, || {
            let leads = |endpoint: &&String| {
                let asked = async { timeout(LOOK_MAX, leads(endpoint)).await };
                self.runtime.block_on(asked).is_ok_and(|answer| answer.unwrap_or(false))
            };
            cluster.endpoints.iter().find(leads).cloned()
        })
    }

    fn put_on(&self, leader: &str, load: &Load, clients: u32) -> Result<Measured, String> {
        let phase = Phase::default();
        let connections: Result<Vec<KvClient>, _> = self.runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..load.connections(clients) {
                connections.push(Client::connect([leader], None).await?.kv_client());
            }
            Ok(connections)
        });
        let connections = connections.map_err(|error: etcd_client::Error| error.to_string())?;
        let mut tasks = JoinSet::new();
        for number in 0..clients as usize {
            let client = connections[number % connections.len()].clone();
            let task = put_until_over(client, load.puts(&phase));
            tasks.spawn_on(task, self.runtime.handle());
        }
        let seconds = load.pass(&phase)?;
        let ended = self.runtime.block_on(async { timeout(ANSWER_MAX, tasks.join_all()).await });
        let times = ended.map_err(|_| format!("a put was not acknowledged for {ANSWER_MAX:?}"))?;
        Measured::new(times.into_iter().collect::<Result<Vec<_>, String>>()?, seconds)
    }
}

async fn leads(endpoint: &str) -> Result<bool, etcd_client::Error> {
    let status = Client::connect([endpoint], None).await?.status().await?;
    let member = status.header().map(etcd_client::ResponseHeader::member_id);
    Ok(status.leader() != 0 && member == Some(status.leader()))
}

async fn put_until_over(mut client: KvClient, mut puts: Puts) -> Result<Vec<f64>, String> {
    let value = "v".repeat(VALUE_BYTES);
    while let Some(key) = puts.next_key() {
        let began = Instant::now();
        let put = client.put(key, value.as_bytes(), None).await;
        put.map_err(|error| error.to_string())?;
        puts.acknowledged(began);
    }
    Ok(puts.into_times())
}

impl Cluster {
    fn start(program: &OsString, folder: &Path) -> Result<Self, String> {
        let ports = free_ports(2 * SERVERS)?;
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        let (endpoints, peers): (Vec<_>, Vec<_>) =
            ports.chunks(2).map(|pair| (url(&pair[0]), url(&pair[1]))).unzip();
        let all: Vec<String> =
            peers.iter().enumerate().map(|(id, peer)| format!("etcd{id}={peer}")).collect();
        let mut members = Vec::new();
        for (id, (endpoint, peer)) in endpoints.iter().zip(&peers).enumerate() {
            let mut command = Kept::command(program)?;
            command.args(["--name", &format!("etcd{id}"), "--data-dir"]);
            command.arg(folder.join(format!("etcd{id}")));
            command.args(["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint]);
            command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
            command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
            command.args(["--logger", "zap", "--log-outputs", "/dev/null"]);
            command.stderr(Stdio::null());
            members.push(Kept::start(command)?);
        }
        Ok(Self { _members: members, endpoints })
    }
}

/// Ports that nobody has, as far as can be known.
fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let none = |error| format!("no port is free: {error}");
    // All are held until all are found: else one could be found twice.
    let held: Result<Vec<_>, _> = (0..count).map(bind).collect();
    let port = |listener: &TcpListener| Ok(listener.local_addr().map_err(none)?.port());
    held.map_err(none)?.iter().map(port).collect()
}
