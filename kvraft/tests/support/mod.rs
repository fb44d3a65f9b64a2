//! Servers and clients in one world, and a Raft that does as it is told.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

mod cluster;
mod one_log;

pub(crate) use cluster::Cluster;
pub(crate) use one_log::{OneLog, OneLogNode, ReadIndex};
