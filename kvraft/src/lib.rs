//! A replicated state machine on any Raft, its clients, and the key-value service of the labs.

mod calls;
mod client;
mod config;
mod entry;
mod in_flight;
mod kv;
mod machine;
mod patience;
mod reads;
mod replica;
mod search;
mod server;
mod sessions;
mod state;
mod waiting;
mod wire;

pub use client::Client;
pub use config::Config;
pub use kv::{KvClerk, KvCommand, KvMap, KvServer};
pub use machine::{Message, StateMachine};
pub use server::Server;
