//! The key-value service of the labs: a map, replicated.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{Clerk, ClerkError, Disk, KvNode, RaftNode, Term};
use labrpc::{ClientEnd, Service};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::config::Config;
use crate::machine::StateMachine;
use crate::server::Server;

/// The map from keys to values. It is ordered, so that equal maps have equal snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvMap(BTreeMap<String, String>);

/// What changes the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCommand {
    /// Replaces a key's value.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Adds to the end of a key's value.
    Append {
        /// The key.
        key: String,
        /// What is added.
        value: String,
    },
}

impl StateMachine for KvMap {
    type Command = KvCommand;
    type Response = ();
    /// A key.
    type Query = String;
    /// Its value; empty if nobody wrote any.
    type Answer = String;

    fn apply(&mut self, command: KvCommand) {
        match command {
            KvCommand::Put { key, value } => {
                self.0.insert(key, value);
            }
            KvCommand::Append { key, value } => match self.0.get_mut(&key) {
                Some(present) => present.push_str(&value),
                None => {
                    self.0.insert(key, value);
                }
            },
        }
    }

    fn query(&self, key: &String) -> String {
        self.0.get(key).cloned().unwrap_or_default()
    }
}

/// A server of the key-value service on the Raft `R`.
pub type KvServer<R> = Server<R, KvMap>;

/// A client of the key-value service.
pub type KvClerk = Client<KvMap>;

impl<R: RaftNode> KvNode for KvServer<R> {
    type Clerk = KvClerk;

    fn make(
        peers: Vec<ClientEnd>,
        me: usize,
        disk: Disk,
        max_raft_state: Option<usize>,
    ) -> Arc<Self> {
        Self::make(peers, me, disk, Config { max_raft_state, ..Config::default() })
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        self.services()
    }

    fn get_state(&self) -> (Term, bool) {
        self.get_state()
    }

    fn kill(&self) {
        self.kill();
    }
}

impl Clerk for KvClerk {
    fn make(servers: Vec<ClientEnd>) -> Self {
        Self::new(servers)
    }

    fn get(&mut self, key: &str) -> Result<String, ClerkError> {
        self.query(key.to_string())
    }

    fn put(&mut self, key: &str, value: &str) -> Result<(), ClerkError> {
        self.execute(KvCommand::Put { key: key.to_string(), value: value.to_string() })
    }

    fn append(&mut self, key: &str, value: &str) -> Result<(), ClerkError> {
        self.execute(KvCommand::Append { key: key.to_string(), value: value.to_string() })
    }

    fn close(self) {
        self.close();
    }
}
