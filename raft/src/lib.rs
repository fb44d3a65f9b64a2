//! Raft, the consensus algorithm of Diego Ongaro and John Ousterhout.
//!
//! [`core`] is the algorithm itself: a state machine that is given everything it needs to know and
//! returns everything that is to be done. It is the place to start reading.
//!
//! "The paper" is *In Search of an Understandable Consensus Algorithm (Extended Version)*, 2014;
//! "the dissertation" is Ongaro's *Consensus: Bridging Theory and Practice*, 2014.

pub mod core;
