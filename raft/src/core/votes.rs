//! Counting votes.

use std::collections::BTreeSet;

use super::message::ServerId;

/// The servers that granted a vote: a set, so that an answer that the network delivers twice
/// counts once.
#[derive(Debug, Clone, Default)]
pub(super) struct Votes(BTreeSet<ServerId>);

impl Votes {
    /// Counts a vote, and tells whether those counted so far are enough.
    pub(super) fn count(&mut self, voter: ServerId, quorum: usize) -> bool {
        self.0.insert(voter);
        self.0.len() >= quorum
    }
}
