//! The language of the scripts: one function for each command.
//!
//! Servers are named by their number, `0` for S0; messages likewise, `7` for m7.

use std::error::Error;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use raft::core::{
    AppendEntriesArgs, CallId, Config, Entry, HardState, Index, Input, LogPosition, LogUpdate,
    PersistentState, Request, ServerId, Snapshot, Term, Update, WriteId,
};

use super::cluster::{self, Cluster};
use super::network::Filter;
use super::show::{self, View};

type Outcome = Result<(), Box<dyn Error>>;

/// A line of a script. What each does is told at the function of its name.
#[derive(goldenscript::Command)]
pub(crate) enum Command {
    Cluster {
        #[arg(key)]
        nodes: usize,
        #[arg(key)]
        pre_vote: Option<bool>,
        #[arg(key)]
        max_append_bytes: Option<usize>,
        #[arg(key, optional)]
        no_op: bool,
        #[arg(key, optional)]
        read_index: bool,
        #[arg(key, optional)]
        check_quorum: bool,
        #[arg(key, optional)]
        leadership_transfer: bool,
        #[arg(key, optional)]
        slow_disks: bool,
    },
    Disk {
        server: ServerId,
        #[arg(key, optional)]
        term: Term,
        #[arg(key)]
        vote: Option<ServerId>,
        #[arg(key, optional)]
        base: At,
        #[arg(key, optional)]
        log: Terms,
    },
    Timeout {
        server: ServerId,
        timeout: Ms,
    },
    Tick {
        time: Ms,
        #[arg(optional)]
        servers: Vec<ServerId>,
    },
    Campaign(ServerId),
    Propose {
        server: ServerId,
        count: Option<u64>,
    },
    Snapshot {
        server: ServerId,
        index: Option<Index>,
    },
    Apply(ServerId),
    Read(ServerId),
    Transfer {
        server: ServerId,
        #[arg(key)]
        to: ServerId,
    },
    Deliver {
        #[arg(optional)]
        numbers: Vec<u64>,
        #[arg(key)]
        from: Option<ServerId>,
        #[arg(key)]
        to: Option<ServerId>,
    },
    Drop {
        #[arg(optional)]
        numbers: Vec<u64>,
        #[arg(key)]
        from: Option<ServerId>,
        #[arg(key)]
        to: Option<ServerId>,
    },
    Duplicate {
        numbers: Vec<u64>,
    },
    ForgeHeartbeat {
        #[arg(key)]
        from: ServerId,
        #[arg(key)]
        to: ServerId,
        #[arg(key)]
        term: Term,
        #[arg(key, optional)]
        prev: At,
        #[arg(key, optional)]
        commit: Index,
    },
    Settle,
    Persist {
        server: ServerId,
        write: Option<u64>,
    },
    Crash(ServerId),
    Restart(ServerId),
    Partition(Vec<ServerId>),
    Heal,
    Network,
    Status,
    Logs,
    Rejections,
}

impl Command {
    /// Carries the command out.
    pub(crate) fn run(&self, cluster: &mut Cluster) -> Outcome {
        match self {
            Self::Cluster { .. } => Ok(()),
            Self::Disk { server, term, vote, base, log } => {
                disk(cluster, *server, *term, *vote, *base, log)
            }
            Self::Timeout { server, timeout } => self::timeout(cluster, *server, *timeout),
            Self::Tick { time, servers } => tick(cluster, *time, servers),
            Self::Campaign(server) => campaign(cluster, *server),
            Self::Propose { server, count } => propose(cluster, *server, count.unwrap_or(1)),
            Self::Snapshot { server, index } => snapshot(cluster, *server, *index),
            Self::Apply(server) => apply(cluster, *server),
            Self::Read(server) => read(cluster, *server),
            Self::Transfer { server, to } => transfer(cluster, *server, *to),
            Self::Deliver { numbers, from, to } => deliver(cluster, &filter(numbers, *from, *to)),
            Self::Drop { numbers, from, to } => drop(cluster, &filter(numbers, *from, *to)),
            Self::Duplicate { numbers } => duplicate(cluster, &filter(numbers, None, None)),
            Self::ForgeHeartbeat { from, to, term, prev, commit } => {
                forge_heartbeat(cluster, *from, *to, *term, *prev, *commit)
            }
            Self::Settle => settle(cluster),
            Self::Persist { server, write } => persist(cluster, *server, *write),
            Self::Crash(server) => crash(cluster, *server),
            Self::Restart(server) => restart(cluster, *server),
            Self::Partition(servers) => partition(cluster, servers),
            Self::Heal => partition(cluster, &[]),
            Self::Network => network(cluster),
            Self::Status => status(cluster),
            Self::Logs => logs(cluster),
            Self::Rejections => rejections(cluster),
        }
    }
}

/// Starts a cluster. Writes complete at once, unless the disks are slow.
///
/// `cluster nodes=5 pre_vote=false slow_disks=true`, `cluster nodes=3 max_append_bytes=1`,
/// `cluster nodes=3 no_op=true read_index=true check_quorum=true leadership_transfer=true`
pub(crate) fn cluster(command: &Command) -> Result<Option<Cluster>, Box<dyn Error>> {
    let Command::Cluster {
        nodes,
        pre_vote,
        max_append_bytes,
        no_op,
        read_index,
        check_quorum,
        leadership_transfer,
        slow_disks,
    } = command
    else {
        return Ok(None);
    };
    let default = Config::default();
    let config = Config {
        pre_vote: pre_vote.unwrap_or(default.pre_vote),
        max_append_bytes: max_append_bytes.unwrap_or(default.max_append_bytes),
        no_op: *no_op,
        read_index: *read_index,
        check_quorum: *check_quorum,
        leadership_transfer: *leadership_transfer,
        ..default
    };
    Ok(Some(Cluster::new(*nodes, config, *slow_disks)?))
}

/// Starts a server again from this disk: term, vote, the last entry that its snapshot covers, and
/// the terms of the log's entries after that.
///
/// `disk 0 term=3 vote=1 log="1 1 2"`, `disk 0 term=3 base=2@1 log="2"`
fn disk(
    cluster: &mut Cluster,
    id: ServerId,
    current_term: Term,
    voted_for: Option<ServerId>,
    At(base): At,
    log: &Terms,
) -> Outcome {
    let data = format!("state at {}", base.index).into_bytes().into();
    let update = Update {
        hard_state: Some(HardState { current_term, voted_for }),
        snapshot: (base.index > 0).then_some(Snapshot { last: base, data }),
        log: Some(LogUpdate { after: base.index, entries: log.entries_after(base.index) }),
    };
    let mut durable = PersistentState::default();
    durable.apply(update)?;
    known(cluster, id)?.durable = durable;
    cluster.start(id)?;
    Ok(())
}

/// Makes the election time-outs that a server draws from now on this long.
///
/// `timeout 1 450ms`
fn timeout(cluster: &mut Cluster, id: ServerId, Ms(timeout): Ms) -> Outcome {
    let range = cluster.config().election_timeout.clone();
    if !range.contains(&timeout) {
        return Err("the time-out is out of range".into());
    }
    let (part, whole) = (timeout - range.start, range.end - range.start);
    known(cluster, id)?.jitter = cluster::jitter(part.as_nanos(), whole.as_nanos());
    Ok(())
}

/// Lets time pass, for some servers or for all that are up. A server gets a tick at each deadline
/// on the way.
///
/// `tick 300ms 0 2`
fn tick(cluster: &mut Cluster, Ms(time): Ms, servers: &[ServerId]) -> Outcome {
    for id in 0..cluster.servers.len() {
        if servers.is_empty() || servers.contains(&id) {
            let until = cluster.servers[id].clock + time;
            tick_until(cluster, id, until);
        }
    }
    Ok(())
}

fn tick_until(cluster: &mut Cluster, id: ServerId, until: Duration) {
    while let Some(node) = &cluster.servers[id].node
        && node.next_deadline() <= until
    {
        cluster.servers[id].clock = node.next_deadline();
        cluster.step(id, Input::Tick);
    }
    cluster.servers[id].clock = until;
}

/// Lets a server's time pass until its timer strikes.
///
/// `campaign 1`
fn campaign(cluster: &mut Cluster, id: ServerId) -> Outcome {
    let until = running(cluster, id)?.next_deadline();
    tick_until(cluster, id, until);
    Ok(())
}

/// Offers a server new commands, one after the other.
///
/// `propose 0`, `propose 0 3`
fn propose(cluster: &mut Cluster, id: ServerId, count: u64) -> Outcome {
    running(cluster, id)?;
    (0..count).for_each(|_| cluster.propose(id));
    Ok(())
}

/// Has a server's service make a snapshot of its state after an entry, or after the last one that
/// is committed, and so have the server compact its log.
///
/// `snapshot 0`, `snapshot 0 3`
fn snapshot(cluster: &mut Cluster, id: ServerId, index: Option<Index>) -> Outcome {
    let committed = running(cluster, id)?.commit_index();
    cluster.snapshot(id, index.unwrap_or(committed));
    Ok(())
}

/// Has a server's service apply what it has not applied yet.
///
/// `apply 0`
fn apply(cluster: &mut Cluster, id: ServerId) -> Outcome {
    running(cluster, id)?;
    cluster.apply(id);
    Ok(())
}

/// Asks a server up to where a read sees all.
///
/// `read 0`
fn read(cluster: &mut Cluster, id: ServerId) -> Outcome {
    running(cluster, id)?;
    cluster.read(id);
    Ok(())
}

/// Has a server hand the leadership over to another.
///
/// `transfer 0 to=1`
fn transfer(cluster: &mut Cluster, id: ServerId, to: ServerId) -> Outcome {
    running(cluster, id)?;
    cluster.transfer(id, to);
    Ok(())
}

/// Delivers the messages that are in flight, or some of them. What is sent in answer stays in
/// flight.
///
/// `deliver`, `deliver 7 3`, `deliver from=0 to=1`
fn deliver(cluster: &mut Cluster, filter: &Filter) -> Outcome {
    let messages = cluster.network.take(filter);
    if messages.is_empty() {
        return Err("no such message is in flight".into());
    }
    for message in messages {
        cluster.deliver(message);
    }
    Ok(())
}

/// Loses messages that are in flight.
///
/// `drop`, `drop 7`, `drop from=0 to=1`
fn drop(cluster: &mut Cluster, filter: &Filter) -> Outcome {
    let messages = cluster.network.take(filter);
    if messages.is_empty() {
        return Err("no such message is in flight".into());
    }
    for message in messages {
        cluster.say(format_args!("m{} is lost", message.number));
    }
    Ok(())
}

/// Puts copies of messages in flight on their way, under new numbers.
///
/// `duplicate 7`
fn duplicate(cluster: &mut Cluster, filter: &Filter) -> Outcome {
    for message in cluster.network.copies(filter) {
        cluster.send(message);
    }
    Ok(())
}

/// Delivers a heartbeat that its sender never sent: what no correct cluster does.
///
/// `forge_heartbeat from=2 to=1 term=3`, `forge_heartbeat from=2 to=1 term=3 prev=1@1 commit=3`
fn forge_heartbeat(
    cluster: &mut Cluster,
    from: ServerId,
    to: ServerId,
    term: Term,
    prev: At,
    leader_commit: Index,
) -> Outcome {
    running(cluster, to)?;
    let args = AppendEntriesArgs {
        term,
        leader_id: from,
        prev_log_index: prev.0.index,
        prev_log_term: prev.0.term,
        entries: Vec::new(),
        leader_commit,
    };
    cluster.send_request(from, to, CallId(0), Request::AppendEntries(args));
    deliver(cluster, &Filter { from: Some(from), to: Some(to), ..Filter::default() })
}

/// Delivers messages and completes writes until there are none left. No time passes.
///
/// `settle`
fn settle(cluster: &mut Cluster) -> Outcome {
    const ROUNDS: usize = 100;
    for _ in 0..ROUNDS {
        for id in 0..cluster.servers.len() {
            if let Some((write, _)) = cluster.servers[id].pending.last() {
                cluster.persist(id, *write);
            }
        }
        let messages = cluster.network.take(&Filter::default());
        if messages.is_empty() {
            return Ok(());
        }
        messages.into_iter().for_each(|message| cluster.deliver(message));
    }
    Err(format!("not settled after {ROUNDS} rounds").into())
}

/// Completes a server's writes, up to one of them or all.
///
/// `persist 1`, `persist 1 2` (up to w2)
fn persist(cluster: &mut Cluster, id: ServerId, write: Option<u64>) -> Outcome {
    running(cluster, id)?;
    let last = cluster.servers[id].pending.last().map(|(write, _)| *write);
    let write = write.map(WriteId).or(last).ok_or("no write is under way")?;
    cluster.persist(id, write);
    Ok(())
}

/// Takes a server down. What it had in memory is lost, and so are writes under way.
///
/// `crash 1`
fn crash(cluster: &mut Cluster, id: ServerId) -> Outcome {
    running(cluster, id)?;
    cluster.crash(id);
    Ok(())
}

/// Starts a crashed server from its disk.
///
/// `restart 1`
fn restart(cluster: &mut Cluster, id: ServerId) -> Outcome {
    if known(cluster, id)?.node.is_some() {
        return Err(format!("S{id} is up").into());
    }
    Ok(cluster.start(id)?)
}

/// Cuts the network between these servers and the others. `heal` mends it.
///
/// `partition 0 1`
fn partition(cluster: &mut Cluster, servers: &[ServerId]) -> Outcome {
    cluster.network.side = servers.iter().copied().collect();
    Ok(())
}

/// Shows the messages in flight.
///
/// `network`
fn network(cluster: &mut Cluster) -> Outcome {
    for message in cluster.network.copies(&Filter::default()) {
        let (number, from, to) = (message.number, message.from, message.to);
        cluster.say(format_args!("m{number} from S{from} to S{to}: {message}"));
    }
    Ok(())
}

/// Shows all servers.
///
/// `status`
fn status(cluster: &mut Cluster) -> Outcome {
    for id in 0..cluster.servers.len() {
        let server = &cluster.servers[id];
        let now = server.node.as_ref().map_or("down".to_owned(), |node| {
            format!("{}, timer due at {}", View::of(node), show::ms(node.next_deadline()))
        });
        let disk = show::persistent(&server.durable);
        cluster.say(format_args!("S{id} {now}; on its disk: {disk}"));
    }
    Ok(())
}

/// Shows the logs of all servers that are up, and how much of each is known to be committed.
///
/// `logs`
fn logs(cluster: &mut Cluster) -> Outcome {
    for id in 0..cluster.servers.len() {
        if let Some(node) = &cluster.servers[id].node {
            let (log, commit) = (show::log(node.log()), node.commit_index());
            cluster.say(format_args!("S{id} {log}, committed up to {commit}"));
        }
    }
    Ok(())
}

/// Shows how many AppendEntries each server has rejected since the last time.
///
/// `rejections`
fn rejections(cluster: &mut Cluster) -> Outcome {
    for id in 0..cluster.servers.len() {
        let count = std::mem::take(&mut cluster.servers[id].rejections);
        cluster.say(format_args!("S{id} rejected {count}"));
    }
    Ok(())
}

fn filter(numbers: &[u64], from: Option<ServerId>, to: Option<ServerId>) -> Filter {
    Filter { numbers: numbers.iter().copied().collect(), from, to }
}

fn known(cluster: &mut Cluster, id: ServerId) -> Result<&mut cluster::Server, Box<dyn Error>> {
    cluster.servers.get_mut(id).ok_or_else(|| format!("there is no S{id}").into())
}

fn running(cluster: &mut Cluster, id: ServerId) -> Result<&raft::core::Node, Box<dyn Error>> {
    known(cluster, id)?.node.as_ref().ok_or_else(|| format!("S{id} is down").into())
}

/// A time such as `300ms`.
#[derive(Clone, Copy)]
pub(crate) struct Ms(Duration);

impl FromStr for Ms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("ms").ok_or("a time ends in ms")?;
        let number = number.parse().map_err(|error: ParseIntError| error.to_string())?;
        Ok(Self(Duration::from_millis(number)))
    }
}

/// A place in a log, such as `5@2`: index 5, term 2.
#[derive(Clone, Copy, Default)]
pub(crate) struct At(LogPosition);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (index, term) = text.split_once('@').ok_or("a place in a log is INDEX@TERM")?;
        let number = |text: &str| text.parse().map_err(|error: ParseIntError| error.to_string());
        Ok(Self(LogPosition { term: number(term)?, index: number(index)? }))
    }
}

/// A log as the paper draws it, such as `1 1 4`: the terms of its entries. The commands do not show
/// here; an entry's command follows from its place and its term, as in any run of Raft.
#[derive(Clone, Default)]
pub(crate) struct Terms(Vec<Term>);

impl FromStr for Terms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let term = |text: &str| text.parse().map_err(|error: ParseIntError| error.to_string());
        Ok(Self(text.split_whitespace().map(term).collect::<Result<_, _>>()?))
    }
}

impl Terms {
    fn entries_after(&self, index: Index) -> Vec<Entry> {
        let entry = |(index, term): (Index, &Term)| {
            Entry::command(*term, format!("{index}@{term}").into_bytes().into())
        };
        (index + 1..).zip(&self.0).map(entry).collect()
    }
}
