//! Timing and sizes, and why they may be wrong.

use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::log::LogPosition;
use super::message::{ServerId, Term};

/// How a server times its elections, how much it sends at a time, and what it does beyond the
/// paper's core. The defaults suit the labs: at most ten heartbeats a second, a leader within five
/// seconds, and nothing that moves indices or roles in ways the labs do not expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Election time-outs are drawn from this range, its end excluded. The paper's 150-300 ms
    /// assume heartbeats far more frequent than the labs allow.
    pub election_timeout: Range<Duration>,
    /// How often a leader tells that it is there. Below the shortest election time-out, well below
    /// if messages may be lost.
    pub heartbeat_interval: Duration,
    /// Whether a server asks for pre-votes before it starts an election (dissertation, 9.6).
    pub pre_vote: bool,
    /// How many bytes of entries an AppendEntries carries, one entry being carried at any rate. It
    /// bounds what a follower that was away costs at a time.
    pub max_append_bytes: usize,
    /// Whether a new leader appends an entry without a command (paper, section 8; dissertation,
    /// 6.4), so that what older terms left is committed at once, and not with the next command. Off
    /// under the labs, which count indices.
    pub no_op: bool,
    /// Whether [`read_index`](super::Node::read_index) works (dissertation, 6.4): reads that cost a
    /// round of messages, and no entry.
    pub read_index: bool,
    /// Whether a leader steps down that has not heard from a majority for the longest election
    /// time-out (dissertation, 6.2), and whoever has heard from a leader within the shortest
    /// ignores requests for votes (paper, section 6; dissertation, 4.2.3). Off under the labs: a
    /// leader that is cut off goes on to believe in itself there.
    pub check_quorum: bool,
    /// Whether [`transfer_leadership`](super::Node::transfer_leadership) works (dissertation,
    /// 3.10).
    pub leadership_transfer: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            election_timeout: Duration::from_millis(300)..Duration::from_millis(600),
            heartbeat_interval: Duration::from_millis(100),
            pre_vote: true,
            max_append_bytes: 1024 * 1024,
            no_op: false,
            read_index: false,
            check_quorum: false,
            leadership_transfer: false,
        }
    }
}

impl Config {
    /// The election time-out that lies at the fraction `jitter / 2^32` of the range.
    pub(super) fn draw_election_timeout(&self, jitter: u32) -> Duration {
        let Range { start, end } = self.election_timeout;
        let span_ns = (end - start).as_nanos();
        start + Duration::from_nanos_u128((span_ns * u128::from(jitter)) >> u32::BITS)
    }

    /// Tells whether a server can work with it.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.election_timeout.is_empty() {
            return Err(ConfigError::EmptyElectionTimeout);
        }
        if self.heartbeat_interval.is_zero() {
            return Err(ConfigError::ZeroHeartbeat);
        }
        if self.heartbeat_interval >= self.election_timeout.start {
            return Err(ConfigError::HeartbeatTooSlow);
        }
        Ok(())
    }
}

/// Why a [`Node`](super::Node) cannot be made of what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// The range of election time-outs holds no time-out.
    EmptyElectionTimeout,
    /// A leader would send heartbeats without a pause.
    ZeroHeartbeat,
    /// Followers could time out between two heartbeats.
    HeartbeatTooSlow,
    /// The id is not that of a server of the cluster.
    NotInCluster {
        /// The id.
        server: ServerId,
        /// The number of servers.
        servers: usize,
    },
    /// The stored state names a vote for a server outside the cluster.
    VoteOutsideCluster {
        /// The vote.
        voted_for: ServerId,
        /// The number of servers.
        servers: usize,
    },
    /// The stored log has an entry of a term that the stored state has not reached.
    LogAheadOfTerm {
        /// Where the log ends.
        last_log: LogPosition,
        /// The stored term.
        current_term: Term,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyElectionTimeout => write!(f, "the range of election time-outs is empty"),
            Self::ZeroHeartbeat => write!(f, "the heartbeat interval is zero"),
            Self::HeartbeatTooSlow => {
                write!(f, "the heartbeat interval is not below the shortest election time-out")
            }
            Self::NotInCluster { server, servers } => {
                write!(f, "S{server} is not in a cluster of {servers}")
            }
            Self::VoteOutsideCluster { voted_for, servers } => {
                write!(f, "the stored vote is for S{voted_for}, not in a cluster of {servers}")
            }
            Self::LogAheadOfTerm { last_log, current_term } => write!(
                f,
                "the stored log ends in term {}, but the stored term is {current_term}",
                last_log.term
            ),
        }
    }
}

impl Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn default_is_sound() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn election_timeout_covers_its_range() {
        let config = Config::default();
        assert_eq!(config.draw_election_timeout(0), 300 * MS);
        assert_eq!(config.draw_election_timeout(1 << 31), 450 * MS);
        let longest = config.draw_election_timeout(u32::MAX);
        assert!(longest < 600 * MS && longest > 599 * MS, "{longest:?}");
    }

    #[test]
    fn election_timeout_must_not_be_empty() {
        let config = Config { election_timeout: 300 * MS..300 * MS, ..Config::default() };
        assert_eq!(config.check(), Err(ConfigError::EmptyElectionTimeout));
    }

    #[test]
    fn heartbeat_must_not_be_zero() {
        let config = Config { heartbeat_interval: Duration::ZERO, ..Config::default() };
        assert_eq!(config.check(), Err(ConfigError::ZeroHeartbeat));
    }

    #[test]
    fn heartbeat_must_be_below_the_shortest_election_timeout() {
        let config = Config { heartbeat_interval: 300 * MS, ..Config::default() };
        assert_eq!(config.check(), Err(ConfigError::HeartbeatTooSlow));
    }
}
