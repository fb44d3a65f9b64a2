//! A lock that survives its servers: how to replicate a state machine of one's own.
//!
//! ```sh
//! cargo run -p kvraft --example lock
//! ```
//!
//! Three servers keep a lock. Alice takes it, the server that leads crashes, Bob finds the lock
//! taken, Alice gives it back, and Bob gets it. All of it happens in a simulated world: some
//! seconds of virtual time, in no time, and the same at every run.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use harness::ServerDisk;
use kvraft::{Client, Config, Server, StateMachine};
use labrpc::{ClientEnd, Network};
use labrt::group::Group;
use labrt::{sim, thread, time};
use raft::Raft;
use serde::{Deserialize, Serialize};

// 1. The machine: its state, what changes it, and what only looks at it. It must be deterministic,
//    for every server applies the same commands by itself.

/// A lock, and who holds it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Lock {
    holder: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum Command {
    Acquire(String),
    Release(String),
}

impl StateMachine for Lock {
    type Command = Command;
    /// Whether it was done.
    type Response = bool;
    /// There is one question only: who holds it?
    type Query = ();
    type Answer = Option<String>;

    fn apply(&mut self, command: Command) -> bool {
        match command {
            Command::Acquire(name) if self.holder.is_none() => self.holder = Some(name),
            Command::Release(name) if self.holder == Some(name.clone()) => self.holder = None,
            Command::Acquire(_) | Command::Release(_) => return false,
        }
        true
    }

    fn query(&self, (): &()) -> Option<String> {
        self.holder.clone()
    }
}

// 2. The servers. Each is a group of threads, with ends to call its peers, and a disk.

const SERVERS: usize = 3;
/// The network's nodes: the servers, then the clients.
const ALICE: usize = SERVERS;
const BOB: usize = SERVERS + 1;

type LockServer = Server<Raft, Lock>;

/// A running server.
struct Running {
    group: Group,
    server: Arc<LockServer>,
}

fn ends(network: &Network, from: usize) -> Vec<ClientEnd> {
    (0..SERVERS).map(|to| network.client_end(from, to)).collect()
}

fn start(network: &Network, me: usize) -> Result<Running, Box<dyn Error>> {
    let group = Group::new(&format!("S{me}"), me, 0);
    let (peers, disk) = (ends(network, me), ServerDisk::new(me).mount(&group));
    // All threads of the server belong to its group: they crash together.
    let main = group.spawn("main", move || LockServer::make(peers, me, disk, Config::default()));
    let server = main.join().map_err(|_| "the server does not start")?;
    network.serve(me, &group, server.services());
    Ok(Running { group, server })
}

// 3. The clients. A call blocks until it is done, exactly once; whoever leads, and whoever crashes
//    meanwhile.

fn tell(text: &str) {
    println!("{:6.3} s  {text}", time::world_time().as_secs_f64());
}

/// Who has the lock in the end.
fn story() -> Result<Option<String>, Box<dyn Error>> {
    let network = Network::new(SERVERS + 2);
    let servers = (0..SERVERS).map(|me| start(&network, me)).collect::<Result<Vec<_>, _>>()?;
    let mut alice = Client::<Lock>::new(ends(&network, ALICE));
    let mut bob = Client::<Lock>::new(ends(&network, BOB));

    let done = alice.execute(Command::Acquire("Alice".to_string()))?;
    tell(&format!("Alice acquires the lock: {done}"));

    let leads = |running: &Running| running.server.get_state().1;
    let leader = servers.iter().position(leads).ok_or("nobody leads")?;
    network.stop(leader);
    servers[leader].group.crash();
    tell(&format!("S{leader} led, and crashes"));

    // Bob's call waits for the next leader; that one has the lock's state, for it has the log.
    let done = bob.execute(Command::Acquire("Bob".to_string()))?;
    tell(&format!("Bob acquires the lock: {done}"));
    tell(&format!("Bob asks who holds it: {:?}", bob.query(())?));

    let waiting = thread::spawn(move || {
        while !bob.execute(Command::Acquire("Bob".to_string()))? {
            thread::sleep(Duration::from_millis(100));
        }
        tell("Bob has the lock");
        bob.close();
        Ok::<(), contract::ClerkError>(())
    });
    thread::sleep(Duration::from_secs(1));
    let done = alice.execute(Command::Release("Alice".to_string()))?;
    tell(&format!("Alice releases the lock: {done}"));
    waiting.join().map_err(|_| "Bob crashed")??;
    let holder = alice.query(())?;
    tell(&format!("Alice asks who holds it: {holder:?}"));
    alice.close();
    Ok(holder)
}

fn run(seed: u64) -> Result<Option<String>, Box<dyn Error>> {
    let outcome = sim::run(&sim::Config::new(seed), || story().map_err(|error| error.to_string()));
    Ok(outcome.result.map_err(|failure| failure.to_string())??)
}

fn main() -> Result<(), Box<dyn Error>> {
    run(7).map(drop)
}

#[test]
fn the_lock_survives_the_crash_of_a_leader() -> Result<(), Box<dyn Error>> {
    assert_eq!(run(7)?, Some("Bob".to_string()));
    Ok(())
}
