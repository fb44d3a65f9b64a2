//! A server in any role: what the outside sees of the core.

use std::time::Duration;

use super::candidate::Candidate;
use super::config::{Config, ConfigError};
use super::follower::Follower;
use super::leader::Leader;
use super::log::{Command, Entry, Index, Log, LogPosition};
use super::message::{ServerId, Term};
use super::persistent::PersistentState;
use super::pre_candidate::PreCandidate;
use super::raw_node::{RawNode, Role, RoleKind};
use super::server::Server;
use super::step::{Effect, Input, Moment};

/// One incarnation of a server.
#[derive(Debug, Clone)]
pub struct Node {
    /// Taken out for the length of a step, since a change of role consumes it. Missing afterwards
    /// only if the step panicked: such a node must not go on.
    any: Option<AnyNode>,
}

impl Node {
    /// Starts server `me` of the cluster `0..servers` as a follower, from what it finds on its
    /// disk: all updates of its earlier incarnations that became durable, applied in order (the
    /// default at its very first start). What is committed it learns again.
    ///
    /// # Errors
    /// If no server of that cluster can have left that state, or the configuration is unsound.
    pub fn new(
        me: ServerId,
        servers: usize,
        config: Config,
        persistent: PersistentState,
        moment: Moment,
    ) -> Result<Self, ConfigError> {
        let server = Server::new(me, servers, config, persistent, moment)?;
        Ok(Self { any: Some(RawNode::new(server).wrap()) })
    }

    /// Handles one input, and appends what is to be done to `effects`.
    ///
    /// # Panics
    ///
    /// If an invariant is broken: by a bug here, in the shell, or by a message that no correct
    /// server of this cluster sends. No network can do that, whatever it loses, doubles or delays.
    pub fn step(&mut self, moment: Moment, input: Input, effects: &mut Vec<Effect>) {
        let any = self.any.take().expect(MISSING);
        any.server().check_sender(&input);
        let mut any = any.step(moment, input);
        any.server_mut().flush(effects);
        self.any = Some(any);
    }

    /// Appends a command to the log, if this server leads, and appends what is to be done to
    /// `effects`. Tells where the entry is: if an entry of that term is ever committed at that
    /// index, it is this one.
    pub fn propose(&mut self, command: Command, effects: &mut Vec<Effect>) -> Option<LogPosition> {
        let any = self.any.as_mut().expect(MISSING);
        let AnyNode::Leader(leader) = any else { return None };
        let position = leader.propose(command);
        leader.server.flush(effects);
        Some(position)
    }

    /// This server.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.any().server().me
    }

    /// The latest term it has seen; perhaps not durable yet.
    #[must_use]
    pub fn current_term(&self) -> Term {
        self.any().server().current_term()
    }

    /// Its vote in the current term; perhaps not durable yet.
    #[must_use]
    pub fn voted_for(&self) -> Option<ServerId> {
        self.any().server().voted_for()
    }

    /// What it is just now.
    #[must_use]
    pub fn role(&self) -> RoleKind {
        self.any().role()
    }

    /// Whether it leads its current term. If so, that term and its vote are durable.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role() == RoleKind::Leader
    }

    /// The leader of the current term, where it has heard from it. It may be the server itself.
    #[must_use]
    pub fn leader(&self) -> Option<ServerId> {
        self.any().leader()
    }

    /// Where its log ends; perhaps not durable yet.
    #[must_use]
    pub fn last_log(&self) -> LogPosition {
        self.any().server().log.last()
    }

    /// The last entry that it knows to be committed.
    #[must_use]
    pub fn commit_index(&self) -> Index {
        self.any().server().commit_index
    }

    /// Its log; perhaps not durable yet, and most of it not committed.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.any().server().log
    }

    /// The committed entries after `index`, at most `limit` of them: what is to be applied next by
    /// whoever has applied all up to there.
    #[must_use]
    pub fn committed_after(&self, index: Index, limit: usize) -> &[Entry] {
        let server = self.any().server();
        let count = server.commit_index.saturating_sub(index);
        let count = usize::try_from(count).map_or(limit, |count| count.min(limit));
        &server.log.after(index)[..count]
    }

    /// When the next [`Input::Tick`] is due, on the clock of [`Moment::now`]. Any step may move it.
    #[must_use]
    pub fn next_deadline(&self) -> Duration {
        self.any().server().deadline
    }

    fn any(&self) -> &AnyNode {
        self.any.as_ref().expect(MISSING)
    }
}

const MISSING: &str = "a node whose step panicked must not be used any more";

/// A server in one of the four roles.
#[derive(Debug, Clone)]
pub(super) enum AnyNode {
    Follower(RawNode<Follower>),
    PreCandidate(RawNode<PreCandidate>),
    Candidate(RawNode<Candidate>),
    Leader(RawNode<Leader>),
}

/// The same for each role.
macro_rules! each_role {
    ($any:expr, $node:ident => $result:expr) => {
        match $any {
            AnyNode::Follower($node) => $result,
            AnyNode::PreCandidate($node) => $result,
            AnyNode::Candidate($node) => $result,
            AnyNode::Leader($node) => $result,
        }
    };
}

impl AnyNode {
    fn step(self, moment: Moment, input: Input) -> Self {
        each_role!(self, node => node.step(moment, input))
    }

    fn server(&self) -> &Server {
        each_role!(self, node => &node.server)
    }

    fn server_mut(&mut self) -> &mut Server {
        each_role!(self, node => &mut node.server)
    }

    fn role(&self) -> RoleKind {
        each_role!(self, node => node.kind())
    }

    fn leader(&self) -> Option<ServerId> {
        each_role!(self, node => node.role.leader(&node.server))
    }
}
