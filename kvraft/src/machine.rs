//! What is replicated: a state machine.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A deterministic state machine (paper, section 2): servers that start alike and apply the same
/// commands in the same order stay alike.
///
/// So [`apply`](Self::apply) depends on the state and the command and on nothing else: no clock,
/// no random number, no order of a `HashMap`, no file. What has to be drawn or looked up is drawn
/// or looked up by the client, and is part of the command.
///
/// Its default is the state before the first command. Its encoding is what a snapshot holds of it,
/// so all of the state is encoded.
pub trait StateMachine: Default + Serialize + DeserializeOwned + Send + 'static {
    /// What changes the state.
    type Command: Message;
    /// What a command gives back. The last one of every session is kept, in memory and in
    /// snapshots.
    type Response: Message + Clone;
    /// What only looks at the state.
    type Query: Message;
    /// What a query gives back.
    type Answer: Message;

    /// Carries out a command. Every server does so, once.
    fn apply(&mut self, command: Self::Command) -> Self::Response;

    /// Answers a query. Only the server that was asked does so.
    fn query(&self, query: &Self::Query) -> Self::Answer;
}

/// What goes over the network, or into a log: anything that labgob encodes.
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Message for T {}
