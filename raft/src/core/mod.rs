//! Leader election: who may speak for the cluster, and how everybody comes to agree on it.
//!
//! # What it is for
//!
//! A handful of servers are to behave like one that does not fail. Raft has them choose one among
//! themselves, the leader, and do as it says; if it falls silent, they choose another (paper,
//! section 5). The choice is the heart of the matter, for it is made by servers that cannot know
//! whether a silent one is dead, slow or merely cut off. Two promises hold all the same:
//!
//! * **Election safety** (Figure 3): there is at most one leader in a term. Always, whatever the
//!   network loses, doubles, delays or reorders, and whoever crashes when.
//! * **A leader emerges** if a majority is up and its messages arrive within the election time-out
//!   (section 5.6). This one depends on time; safety never does.
//!
//! # Terms and roles
//!
//! Time is cut into *terms*, numbered 1, 2, 3 and so on; each begins with an election (5.1). The
//! term is on every message. Whoever sees a newer one enters it as a follower; whoever gets a
//! request of an older one refuses it and names its own. So the cluster forgets deposed leaders
//! without ever having to find them.
//!
//! ```text
//!              time-out                a majority would            a majority votes
//!   Follower ───────────▶ PreCandidate ────────────────▶ Candidate ────────────────▶ Leader
//!      ▲                       │   ▲                      │  │                         │
//!      │                       │   └──── time-out ────────┘  │                         │
//!      └───────────────────────┴─────────────────────────────┴─────────────────────────┘
//!         all three: a newer term; the first two also: the leader of the term was heard;
//!         and the first: its vote was given to another
//! ```
//!
//! The roles are types here. What a server is allowed to become is written as methods that consume
//! it in the old role and return it in the new one, in one file (`raw_node.rs`), so that no leader
//! can start an election and no follower can win one: it would not compile.
//!
//! # The rules
//!
//! Of Figure 2, these are here, and have the names they have there:
//!
//! * **Starting an election** (5.2). A follower that hears of no leader for an *election time-out*
//!   enters the next term, votes for itself and sends RequestVote to all others. The time-out is
//!   drawn anew each time it starts, from a range: that is what makes a second split vote
//!   unlikely. It starts again in three cases only: on a valid AppendEntries of the current term,
//!   on *granting* a vote, on starting an election. A request that is refused does not touch it;
//!   otherwise a server that cannot win could keep those that can from trying.
//! * **Voting** (5.2, 5.4.1). One vote per server and term, first come, first served, and only for
//!   a candidate whose log is at least as up-to-date as the voter's own: the later last term wins,
//!   then the longer log ([`LogPosition`]'s order). Any majority that elects shares a server with
//!   any majority that stored an entry, so whoever wins has all that was committed.
//! * **Winning** (5.2). More than half of the votes, the own one included. Any two majorities share
//!   a server, and a server has one vote in a term: hence election safety. Votes are kept as a set
//!   of voters, for the network may deliver an answer twice.
//! * **Leading** (5.2). A new leader sends a heartbeat, an AppendEntries without entries, at once
//!   and then at an interval. A candidate that gets one of its own term has lost, and follows.
//!
//! A lost RPC is not repeated as such: the next heartbeat or the next election is the repetition.
//!
//! # Durability
//!
//! "Updated on stable storage before responding to RPCs", says Figure 2 of `current_term` and
//! `voted_for`. Who forgets its vote in a crash votes twice, and then a term can have two leaders.
//! But disks are slow and the core must not wait. So persisting is an effect that completes later:
//! a step issues [`Effect::Persist`], and the shell says [`Input::Persisted`] when it is done. In
//! between the server goes on with the new state, but nobody hears of it: **every message that is
//! computed while a write is outstanding is held back until the latest write issued before it is
//! durable**, in order. With nothing outstanding, messages leave at once.
//!
//! A candidate's vote for itself is a vote like any other, and counts once it is durable. So a
//! server that says it leads has its term and its vote on the disk, in a cluster of one, too.
//!
//! # PreVote
//!
//! A server that was cut off times out again and again. If each time it entered a new term, its
//! first message on coming back would depose a leader that everybody else was content with. So it
//! asks first: *would you vote for me in the next term?* (dissertation, 9.6). Only a majority of
//! yeses makes it a candidate. A server says yes if that term is newer than its own, the asker's
//! log is up-to-date, and it has not heard from a leader of its term within the shortest election
//! time-out (dissertation, 4.2.3); a leader always says no. The question changes nothing at the
//! one asked: no term, no vote, no timer. If the asker is behind, the answer's term tells it so,
//! and it enters that term: this is how a server that was away for long catches up.
//!
//! Rounds of pre-votes in one term put the same question and are not told apart. A late yes may
//! thus help a later round: at worst it costs one election that need not have been.
//!
//! A *real* RequestVote is never turned away because a leader was heard. Dissertation 4.2.3 does
//! so against servers that were removed from the cluster; membership is fixed here, PreVote keeps
//! a correct server from disturbing, and a server that does so all the same, with its pre-vote
//! switched off, must be heard, or nobody would ever learn of the term it is in.
//!
//! # How it is driven
//!
//! [`Node::step`] takes a [`Moment`] and an [`Input`], and appends [`Effect`]s. There is no clock,
//! thread, lock, socket, file or random source in here: time and chance arrive with the moment. So
//! the same code runs under threads, in scripts (`raft/tests/scripts`, one for each claim above)
//! and under random schedules (`raft/tests/raft_safety.rs`).
//!
//! A message that no correct server can have sent, such as a heartbeat of a second leader in a
//! term, is a broken invariant and panics: all servers of a cluster run the same code, and going
//! on would hide the bug that made it.
//!
//! # Reading order
//!
//! `message.rs`, `step.rs` (what goes in and out), `raw_node.rs` (the rules), then `follower.rs`,
//! `pre_candidate.rs`, `candidate.rs`, `leader.rs`; `durability.rs` and `server.rs` beside them.
//!
//! # What is left out
//!
//! * Log replication and commitment: paper, 5.3 and 5.4. So heartbeats carry no entries, `success`
//!   says no more than that the term is the receiver's, `leader_commit` is 0, and the log is the
//!   place where it ends.
//! * Log compaction: paper, section 7.
//! * Changes of membership: paper, section 6; dissertation, chapter 4.
//! * Check-quorum, a leader that steps down when it no longer reaches a majority: dissertation,
//!   6.2. A leader that is cut off here believes in itself until it hears of a newer term.
//! * Leadership transfer: dissertation, 3.10.
//! * A restarted server grants pre-votes at once, though it may have heard from a leader just
//!   before it crashed. At worst, again, an election that need not have been.

mod candidate;
mod config;
mod durability;
mod follower;
mod leader;
mod log;
mod message;
mod node;
mod persistent;
mod pre_candidate;
mod progress;
mod raw_node;
mod server;
mod step;
mod votes;

pub use config::{Config, ConfigError};
pub use log::{Command, Conflict, Entry, Index, Log, LogError, LogPosition};
pub use message::{
    AppendEntriesArgs, AppendEntriesReply, Reply, Request, RequestVoteArgs, RequestVoteReply,
    ServerId, Term,
};
pub use node::Node;
pub use persistent::{HardState, LogUpdate, PersistentState, Update};
pub use raw_node::RoleKind;
pub use step::{CallId, Effect, Input, Moment, RequestId, WriteId};
