//! A test as data: what it claims, on what ground, and how it is run.

use crate::Cluster;

/// A graded test.
pub struct TestCase {
    /// The full name, with the part at its end: `initial_election_2A`.
    pub name: &'static str,
    /// What must hold, in one sentence.
    pub claim: &'static str,
    /// What the claim rests on: a section of the Raft paper or dissertation.
    pub paper: &'static str,
    /// What passing is worth.
    pub points: u32,
    /// Whether it mirrors a test of the MIT labs; if not, it is one of our own.
    pub mirrored: bool,
    /// Servers in its cluster.
    pub servers: usize,
    /// Where it makes sense.
    pub worlds: Worlds,
    /// Whether it makes sense only for servers that use their disk's journal.
    pub needs_journal: bool,
    /// The script.
    pub body: fn(&Cluster),
}

/// The worlds in which a test makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worlds {
    /// All of them.
    All,
    /// The simulated one only, and why.
    SimOnly(&'static str),
}

impl TestCase {
    /// The part it belongs to: `2A`.
    pub fn part(&self) -> &'static str {
        self.name.rsplit_once('_').map_or("", |(_, part)| part)
    }
}
