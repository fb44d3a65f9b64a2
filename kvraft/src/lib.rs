//! A replicated state machine on any Raft, its clients, and the key-value service of the labs.
//!
//! # What a replicated state machine is
//!
//! Raft makes servers agree on a log. Nobody wants a log; what one wants is a service that goes on
//! when servers do not. The way from the one to the other is short (paper, section 2): let the
//! service be a *deterministic state machine*, let the log hold its commands, and let each server
//! apply them in the order of the log. Servers that start alike and apply the same stay alike. So
//! any of them could answer; and if each answer is given only after its command is committed, the
//! clients cannot tell the service from a single server that never fails. That is what
//! linearizable means.
//!
//! [`StateMachine`] is the machine. [`Server`] replicates any of them on any
//! [`RaftNode`](contract::RaftNode), and [`Client`] is its client. The labs' service is one
//! instance: a map from strings to strings ([`KvMap`], [`KvServer`], [`KvClerk`]). The example
//! `lock.rs` has another.
//!
//! ```text
//!   client                      server that leads                         the others
//!   ──────                      ─────────────────                         ──────────
//!   execute(command)
//!     └─ ask ─────────────────▶ request: known already? ── answer
//!                                 │ no
//!                               gather with others ── Raft::start ─────▶ their logs
//!                                 │ wait                  │
//!                                 │                   committed ───────▶ committed
//!                                 │                       │                 │
//!     ┌─ response ◀───────────── told ◀──────────── applier applies      applier applies
//! ```
//!
//! # How a command travels
//!
//! **The client** (`client.rs`) asks the server that answered it last, and if that one does not,
//! the others (`search.rs`). A server that does not lead says so, and names the one it takes for
//! the leader. A server that hangs is left after a time that adapts to what answers usually take
//! (`patience.rs`); its call goes on by itself, on a thread of its own (`calls.rs`), and if it is
//! answered after all, the answer is as good as any other. The client goes on until there is one.
//!
//! **The server** (`server.rs`) leaves the command with those that gather (`in_flight.rs`). If no
//! thread is at it, the one that brought the command offers the batch to Raft itself, at once. What
//! comes to other threads while it is in `start` goes together, as one entry, when it is over. So a
//! command that comes alone waits for nothing, and a thousand that come together are a few entries.
//! Then the thread is free for other requests: nobody waits but the client.
//!
//! **The applier** takes what Raft says is committed, applies it to this server's copy of the state
//! (`replica.rs`), and sends the answers. None leaves earlier.
//!
//! **The wrong client must not be told.** That a server's entry was put at index 7 does not mean
//! that the entry applied there is the same: if this server was deposed meanwhile, another leader's
//! may be. An entry carries a tag that tells it from any other proposal of any server, and a
//! request is answered with the outcome of the entry with its tag and no other. If another entry is
//! applied at its index, its own is lost, and the client is to ask elsewhere.
//!
//! **Nobody waits for ever.** A deposed leader may never hear what became of its entry. While
//! somebody waits, a watcher looks 20 times a second whether the term has moved or the leadership
//! is lost, and releases those whose entry is of a term that is over. And a leader may be cut off
//! and not know: whoever has waited for half a second is released at any rate. The client then
//! looks for a leader whom somebody follows. Should it come back to the same server, its command is
//! under way there, and is not proposed again.
//!
//! # Exactly once
//!
//! A client that is not answered cannot know whether its command was carried out, and has to ask
//! again. Without more ado an append would happen twice. So each client has a *session*, each
//! command a number in it, and the replicated state a table with each session's last number and
//! response. `sessions.rs` tells how, why the table is in the snapshots, and how it is bounded: a
//! session ends when its client closes it, or when there are more than
//! [`max_sessions`](Config::max_sessions) and it was not used for the longest time. A client whose
//! session was ended is told so ([`SessionEnded`](contract::ClerkError::SessionEnded)), for then
//! nobody knows any more whether its command was carried out.
//!
//! A client opens its session with its first command, through the log, so all servers agree on its
//! id. The limit travels in that entry, and so all agree on who has to go.
//!
//! A copy of a command that was applied is answered from the table by any server that has applied
//! it, at once and without another entry.
//!
//! # Two ways to read
//!
//! A query changes nothing and needs no session, but it must not be answered from the state that
//! happens to be there: a leader that was deposed and does not know it would show old values. It
//! has to be certain that this server still led *after* the query came.
//!
//! * **ReadIndex** (dissertation, 6.4), if Raft has it: Raft exchanges a round of heartbeats with a
//!   majority and gives an index; when the state shows that index, the query is answered from it.
//!   Nothing is written. While one round is under way, the queries that come gather for the next,
//!   so any number of readers take one round at a time (`reads.rs`).
//! * **Through the log**, if Raft has no ReadIndex, or not yet: the query waits for an entry that
//!   was proposed after it came. If that is applied, the state shows all that was committed before.
//!   The entry says nothing about the query; it may be a batch of commands, or empty.
//!
//! # Snapshots
//!
//! When Raft's state on the disk reaches [`max_raft_state`](Config::max_raft_state), the applier
//! takes a snapshot: index, sessions and machine, in that order, as labgob encodes them. A part of
//! Raft's log is not applied yet, and no snapshot makes it smaller; so there is none before a
//! quarter of the limit has been applied since the last. A server starts from the snapshot on its
//! disk, and refuses to start if it cannot read it. A leader's snapshot takes the place of the
//! state unless it is older.
//!
//! # Locks and threads
//!
//! One lock protects all that a server knows (`state.rs`), and nothing that can block happens under
//! it: no call of Raft, no sending, no waiting. This is more than tidiness. Raft hands committed
//! entries over a channel that is soon full; if the applier waited for a lock that is held by
//! somebody who waits for Raft, the server would stand still.
//!
//! | thread | what it does |
//! |---|---|
//! | service-applier | applies entries, tells those who wait, takes snapshots |
//! | watcher | looks, while somebody waits, whether that is in vain; stops the server in the end |
//! | the network's, for a request | leaves it; may offer a batch, or ask for a read's index |
//! | helper | offers what gathered while another thread was at it |
//!
//! # Reading order
//!
//! `machine.rs`, `kv.rs` (what is replicated); `sessions.rs`, `replica.rs`, `entry.rs` (the
//! replicated state); `in_flight.rs`, `reads.rs`, `state.rs` (who waits for what), `server.rs`;
//! then `search.rs`, `patience.rs`, `calls.rs`, `client.rs`.
//!
//! # What is left out
//!
//! * Several requests of one client at a time: dissertation, 6.3, keeps a response for each, until
//!   the client says that it has it. Here a client that wants two things at once is two clients.
//! * Sessions that end by time: dissertation, 6.3. A leader would put its clock into the log. Here
//!   only the room counts.
//! * Leases (dissertation, 6.4.1): reads without a message, if clocks can be trusted. They cannot.
//! * Reads at followers (dissertation, 6.4): a follower could ask the leader for the index.
//! * Snapshots while the machine goes on (paper, section 7; dissertation, 5.1): here the applier
//!   encodes the whole state under the lock, and requests wait that long.
//! * Changes of membership: paper, section 6. A client's servers are those it was made with.
//! * Large requests and states: a request may have 1 MiB. A snapshot travels as one message, so a
//!   state beyond labgob's limit, 64 MiB, cannot be sent to a server that was away.

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
