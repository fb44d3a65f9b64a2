//! Clients: one operation each.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use contract::{Clerk as _, ClerkError};
use kvraft::KvClerk;
use labrpc::tcp::{Client, Options};
use labrt::channel::{self, Receiver, RecvTimeoutError};
use labrt::thread::{self, JoinHandle};
use labrt::time::{Duration, Instant};

use super::{HealthClient, ServerHealth, complain, say};
use crate::Outcome;
use crate::address_book;

/// Where the servers are, and how long to try.
#[derive(clap::Args)]
struct Servers {
    /// The cluster's folder, which says where its servers are
    #[arg(long, value_name = "DIR", default_value = address_book::FOLDER)]
    data: PathBuf,
    /// The servers, instead of those that the folder names
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',', conflicts_with = "data")]
    servers: Vec<SocketAddr>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

/// Give a key a value.
#[derive(clap::Args)]
pub(crate) struct Put {
    key: String,
    value: String,
    #[command(flatten)]
    servers: Servers,
}

/// Add to the end of a key's value.
#[derive(clap::Args)]
pub(crate) struct Append {
    key: String,
    value: String,
    #[command(flatten)]
    servers: Servers,
}

/// Print a key's value, the last that was acknowledged; an empty line if it has none.
#[derive(clap::Args)]
pub(crate) struct Get {
    key: String,
    #[command(flatten)]
    servers: Servers,
}

/// Say how each server is.
#[derive(clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    servers: Servers,
}

/// A person who has waited for so long is told for what.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// What is said of a write that was not answered.
const WRITE_IN_DOUBT: &str = ". Whether the operation takes effect is unknown";

/// To end the session takes a round trip and a sync.
const CLOSE_TIME: Duration = Duration::from_millis(500);

/// A server is asked how it is, and not for longer than this.
const STATUS_TIME: Duration = Duration::from_secs(1);

impl Servers {
    fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        match self.servers.is_empty() {
            true => address_book::read(&self.data),
            false => Ok(self.servers.clone()),
        }
    }

    /// Carries out one operation. A clerk goes on until it is answered; a person does not, and is
    /// told what is then `in_doubt`.
    fn once<T: Send + 'static>(
        &self,
        in_doubt: &str,
        operation: impl FnOnce(&mut KvClerk) -> Result<T, ClerkError> + Send + 'static,
    ) -> Result<T, String> {
        let addresses = self.addresses()?;
        let clients: Vec<Client> =
            addresses.iter().map(|&address| Client::new(address, &Options::default())).collect();
        let mut clerk = KvClerk::make(clients.iter().map(Client::end).collect());
        let (tell, answers) = channel::bounded(1);
        let closes = thread::spawn(move || {
            let _ = tell.send(operation(&mut clerk));
            clerk.close();
        });
        let reached = || {
            let reached = clients.iter().filter(|client| client.is_connected()).count();
            format!(
                "{reached} of {} servers can be reached, and a majority must agree",
                addresses.len()
            )
        };
        let limit = Duration::from_secs(self.timeout);
        let answer = wait_for(&answers, limit, reached)
            .map_err(|_| format!("no answer within {} s; {}{in_doubt}", self.timeout, reached()))?;
        wait_a_little(&closes);
        answer.map_err(|error| error.to_string())
    }
}

/// Waits for the answer; if it takes long, a person is told for what.
fn wait_for<T>(
    answers: &Receiver<T>,
    limit: Duration,
    reached: impl Fn() -> String,
) -> Result<T, RecvTimeoutError> {
    answers.recv_timeout(SILENCE_MAX.min(limit)).or_else(|timeout| {
        let rest = limit.checked_sub(SILENCE_MAX).filter(|rest| !rest.is_zero());
        let rest = rest.ok_or(timeout)?;
        complain(&format_args!("no answer yet: {}; {} s more", reached(), rest.as_secs()));
        answers.recv_timeout(rest)
    })
}

/// A clerk that leaves says so, and its session is over. If nobody hears it now, it is forgotten
/// when there are many: the operation has been answered either way.
fn wait_a_little(closes: &JoinHandle<()>) {
    let begun = Instant::now();
    while !closes.is_finished() && begun.elapsed() < CLOSE_TIME {
        thread::sleep(Duration::from_millis(1));
    }
}

impl Put {
    pub(crate) fn run(self) -> Outcome {
        let Self { key, value, servers } = self;
        servers.once(WRITE_IN_DOUBT, move |clerk| clerk.put(&key, &value))
    }
}

impl Append {
    pub(crate) fn run(self) -> Outcome {
        let Self { key, value, servers } = self;
        servers.once(WRITE_IN_DOUBT, move |clerk| clerk.append(&key, &value))
    }
}

impl Get {
    pub(crate) fn run(self) -> Outcome {
        let Self { key, servers } = self;
        let value = servers.once("", move |clerk| clerk.get(&key))?;
        writeln!(io::stdout(), "{value}").map_err(|error| format!("it cannot be printed: {error}"))
    }
}

impl Status {
    pub(crate) fn run(self) -> Outcome {
        let addresses = self.servers.addresses()?;
        let mut answered = 0;
        for (number, address) in addresses.iter().enumerate() {
            match health(*address) {
                Some(health) => {
                    answered += 1;
                    say(&line(*address, &health));
                }
                None => say(&format_args!("S{number}  {address:<21}  does not answer")),
            }
        }
        match 2 * answered > addresses.len() {
            true => Ok(()),
            false => Err(format!("{answered} of {} servers answer: no majority", addresses.len())),
        }
    }
}

fn health(address: SocketAddr) -> Option<ServerHealth> {
    let options = Options { call_time: STATUS_TIME, ..Options::default() };
    let client = Client::new(address, &options);
    client.wait_until_connected(STATUS_TIME);
    HealthClient::new(client.end()).health(&()).ok()
}

fn line(address: SocketAddr, health: &ServerHealth) -> String {
    let ServerHealth { id, process, term, is_leader, raft_state_size, snapshot_size } = health;
    let role = if *is_leader { "leader" } else { "follower" };
    format!(
        "S{id}  {address:<21}  {role:<8}  term {term:<4}  process {process:<7}  log \
         {raft_state_size} B, snapshot {snapshot_size} B"
    )
}
