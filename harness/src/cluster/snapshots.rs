//! Which snapshots arrive at a server late, or again.
//!
//! How a Raft sends a snapshot is its own affair. But what it sends is the service's, whose
//! snapshots begin with a mark; so a request that has the mark in it carries a snapshot, or the
//! first part of one.

use std::collections::BTreeMap;

use labrpc::{Message, NodeId, Stage};

use crate::server::SNAPSHOT_MARK;

/// Snapshots that arrived out of turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutOfTurn {
    /// After a request that the same server sent later.
    pub late: u64,
    /// A second time.
    pub repeated: u64,
}

/// What arrived at servers so far.
#[derive(Default)]
pub(super) struct Snapshots {
    out_of_turn: OutOfTurn,
    /// By sender and receiver.
    links: BTreeMap<(NodeId, NodeId), Link>,
}

#[derive(Default)]
struct Link {
    /// The latest request that arrived.
    request: u64,
    /// All requests with snapshots that did.
    snapshots: Vec<u64>,
}

impl Snapshots {
    pub(super) fn note(&mut self, message: &Message<'_>) {
        if message.stage != Stage::Delivered {
            return;
        }
        let link = self.links.entry((message.from, message.to)).or_default();
        if message.bytes.windows(SNAPSHOT_MARK.len()).any(|bytes| bytes == SNAPSHOT_MARK) {
            if link.snapshots.contains(&message.call) {
                self.out_of_turn.repeated += 1;
            } else {
                link.snapshots.push(message.call);
            }
            self.out_of_turn.late += u64::from(message.call < link.request);
        }
        link.request = link.request.max(message.call);
    }

    pub(super) fn out_of_turn(&self) -> OutOfTurn {
        self.out_of_turn
    }
}
