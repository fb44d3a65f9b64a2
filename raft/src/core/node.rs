//! A server in any role: what the outside sees of the core.

use std::sync::Arc;
use std::time::Duration;

use contract::{ReadIndexError, TransferError};

use super::candidate::Candidate;
use super::config::{Config, ConfigError};
use super::follower::Follower;
use super::leader::Leader;
use super::log::{Command, Index, Log, LogPosition, Payload};
use super::message::{ServerId, Term};
use super::persistent::{PersistentState, Snapshot, SnapshotData};
use super::pre_candidate::PreCandidate;
use super::raw_node::{RawNode, Role, RoleKind};
use super::server::Server;
use super::step::{Effect, Input, Moment, RequestId, WriteId};

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
    /// default at its very first start). What is committed after its snapshot it learns again.
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
        position
    }

    /// Finds out up to where all must be applied that a read is to see (dissertation, 6.4), and
    /// appends what is to be done to `effects`. Sooner or later, and in a longest election time-out
    /// and a heartbeat at most, an [`Effect::Read`] of that id says it.
    ///
    /// # Errors
    /// If the server cannot say: then no such effect follows.
    pub fn read_index(
        &mut self,
        moment: Moment,
        id: RequestId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ReadIndexError> {
        let any = self.any.as_mut().expect(MISSING);
        if !any.server().config.read_index {
            return Err(ReadIndexError::Unsupported);
        }
        let AnyNode::Leader(leader) = any else { return Err(ReadIndexError::NotLeader) };
        leader.read_index(moment, id)?;
        leader.server.flush(effects);
        Ok(())
    }

    /// Begins to hand the leadership over to `to` (dissertation, 3.10), and appends what is to be
    /// done to `effects`. In a longest election time-out and a heartbeat at most, an
    /// [`Effect::Transfer`] of that id says how it ended; until then the server takes no commands.
    ///
    /// # Errors
    /// If the server cannot do that: then no such effect follows.
    pub fn transfer_leadership(
        &mut self,
        moment: Moment,
        to: ServerId,
        id: RequestId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), TransferError> {
        let any = self.any.as_mut().expect(MISSING);
        if !any.server().config.leadership_transfer {
            return Err(TransferError::Unsupported);
        }
        let AnyNode::Leader(leader) = any else { return Err(TransferError::NotLeader) };
        leader.transfer_leadership(moment, to, id)?;
        leader.server.flush(effects);
        Ok(())
    }

    /// Forgets the entries up to `index`, of which the service has made a snapshot, and appends
    /// what is to be done to `effects`. Tells the write that makes it durable; none if nothing
    /// changes, because the server has a snapshot that is as new.
    ///
    /// # Panics
    ///
    /// If the entry at `index` is not known to be committed: nobody can have applied it.
    pub fn compact(
        &mut self,
        index: Index,
        snapshot: SnapshotData,
        effects: &mut Vec<Effect>,
    ) -> Option<WriteId> {
        let server = self.any.as_mut().expect(MISSING).server_mut();
        let write = server.compact(index, snapshot);
        server.flush(effects);
        write
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

    /// The snapshot that its log follows; perhaps not durable yet.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.any().server().snapshot()
    }

    /// What a disk has that is up to date: what the default becomes by all updates issued so far.
    #[must_use]
    pub fn persistent_state(&self) -> PersistentState {
        let server = self.any().server();
        PersistentState {
            hard_state: server.durability.hard_state(),
            log: server.log.clone(),
            snapshot: Arc::clone(&server.snapshot),
        }
    }

    /// Whether this write, and so every one before it, has been reported durable.
    #[must_use]
    pub fn is_durable(&self, write: WriteId) -> bool {
        self.any().server().durability.is_durable(write)
    }

    /// What is to be applied next by whoever has applied all up to `index`, if that is committed
    /// yet: the entry after it; or, if that has been compacted, the snapshot in its place, which is
    /// never behind.
    #[must_use]
    pub fn next_to_apply(&self, index: Index) -> Option<ToApply> {
        let Server { log, commit_index, .. } = self.any().server();
        if index < log.base().index {
            return Some(ToApply::Snapshot(self.snapshot()));
        }
        let entry = log.after(index).first().filter(|_| index < *commit_index)?;
        let index = index + 1;
        Some(match &entry.payload {
            Payload::Command(command) => ToApply::Command { index, command: Arc::clone(command) },
            Payload::NoOp => ToApply::NoOp { index },
        })
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

/// The next step of a service's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToApply {
    /// A command is to be carried out.
    Command {
        /// Its place in the log.
        index: Index,
        /// The command.
        command: Command,
    },
    /// All of the state is to be replaced.
    Snapshot(Snapshot),
    /// Nothing is to be done: there is an entry without a command.
    NoOp {
        /// Its place in the log.
        index: Index,
    },
}

impl ToApply {
    /// Up to where all is applied after that.
    #[must_use]
    pub fn last_index(&self) -> Index {
        match self {
            Self::Command { index, .. } | Self::NoOp { index } => *index,
            Self::Snapshot(snapshot) => snapshot.last.index,
        }
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
