//! A test as data: what it claims, on what ground, and how it is run.

use crate::Cluster;

/// A graded test. A table of them is written as
///
/// ```
/// # use harness::{Cluster, runner::TestCase};
/// # fn basic_agree(_: &Cluster) {}
/// const CASES: &[TestCase] = &[
///     TestCase::mirrored("basic_agree_2B", 3, basic_agree)
///         .claims("commands are applied everywhere, in order", "Raft §5.3")
///         .worth(5),
/// ];
/// assert_eq!(CASES[0].part(), "2B");
/// ```
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
    /// A test that mirrors one of the MIT labs.
    pub const fn mirrored(name: &'static str, servers: usize, body: fn(&Cluster)) -> Self {
        Self { mirrored: true, ..Self::ours(name, servers, body) }
    }

    /// A test of our own.
    pub const fn ours(name: &'static str, servers: usize, body: fn(&Cluster)) -> Self {
        Self {
            name,
            claim: "",
            paper: "",
            points: 0,
            mirrored: false,
            servers,
            worlds: Worlds::All,
            needs_journal: false,
            body,
        }
    }

    /// What must hold, in one sentence, and what that rests on.
    #[must_use]
    pub const fn claims(self, claim: &'static str, paper: &'static str) -> Self {
        Self { claim, paper, ..self }
    }

    /// What passing is worth.
    #[must_use]
    pub const fn worth(self, points: u32) -> Self {
        Self { points, ..self }
    }

    /// It makes sense in a simulated world only, and why.
    #[must_use]
    pub const fn only_in_sim(self, reason: &'static str) -> Self {
        Self { worlds: Worlds::SimOnly(reason), ..self }
    }

    /// It makes sense only for servers that use their disk's journal.
    #[must_use]
    pub const fn needs_journal(self) -> Self {
        Self { needs_journal: true, ..self }
    }

    /// The part it belongs to: `2A`.
    pub fn part(&self) -> &'static str {
        self.name.rsplit_once('_').map_or("", |(_, part)| part)
    }

    /// Whether nothing was forgotten that a person is told.
    pub(super) fn is_complete(&self) -> bool {
        !self.claim.is_empty() && !self.paper.is_empty() && self.points > 0
    }
}
