//! Raft, the consensus algorithm of Diego Ongaro and John Ousterhout.
//!
//! It comes in two parts, and each has its chapter:
//!
//! * [`core`] is the algorithm: a state machine that is given everything it needs to know and
//!   returns everything that is to be done. It has no clock, no thread, no disk and no network.
//! * [`shell`] is what has them: threads that carry the world's events to the core, and the core's
//!   wishes to the world. [`Raft`] is the two together, as the labs want it
//!   ([`contract::RaftNode`]).
//!
//! ```text
//!     peers' requests    the clock    own calls' replies    finished writes    commands
//!            │               │                │                   │               │
//!   ┌────────▼───────────────▼────────────────▼───────────────────▼───────────────▼────┐
//!   │ shell      one lock, and under it  core::Node::step(moment, input), or propose   │
//!   └────────┬───────────────┬────────────────┬───────────────────┬───────────────┬────┘
//!            │               │                │                   │               │
//!         answers     the next deadline     calls         updates to write   entries to apply
//! ```
//!
//! What is hard about Raft is in the core, where scripts and random schedules test it without a
//! single thread. What is hard about threads is in the shell, and knows nothing of votes and terms.
//!
//! Start reading at [`core`], then [`shell`].
//!
//! "The paper" is *In Search of an Understandable Consensus Algorithm (Extended Version)*, 2014;
//! "the dissertation" is Ongaro's *Consensus: Bridging Theory and Practice*, 2014.

pub mod core;
pub mod shell;

pub use crate::core::Config;
pub use shell::{Labs, Profile, Raft, Service};
