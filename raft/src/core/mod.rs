//! The algorithm: how the servers choose a leader, and how they all come to have its log.
//!
//! # What it is for
//!
//! A handful of servers are to behave like one that does not fail. Raft has them keep the same log
//! of commands, in the same order, and carry the commands out one after the other: then they are
//! all in the same state. To agree on a log they choose one among themselves, the leader, and do
//! as it says; if it falls silent, they choose another (paper, section 5). All this among servers
//! that cannot know whether a silent one is dead, slow or merely cut off. These promises hold all
//! the same, whatever the network loses, doubles, delays or reorders, and whoever crashes when
//! (Figure 3):
//!
//! * **Election Safety**: there is at most one leader in a term.
//! * **Leader Append-Only**: a leader never overwrites or deletes entries in its own log.
//! * **Log Matching**: if two logs have an entry of the same index and term, they are the same up
//!   to there.
//! * **Leader Completeness**: an entry that is committed in a term is in the logs of the leaders of
//!   all later terms.
//! * **State Machine Safety**: if a server applies an entry at an index, nobody ever applies
//!   another one there.
//!
//! And one promise depends on time, which safety never does: **a leader emerges** and commits what
//! it is given, if a majority is up and its messages arrive within the election time-out (5.6).
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
//! # Elections
//!
//! Of Figure 2, these rules are here, and have the names they have there:
//!
//! * **Starting an election** (5.2). A follower that hears of no leader for an *election time-out*
//!   enters the next term, votes for itself and sends RequestVote to all others. The time-out is
//!   drawn anew each time it starts, from a range: that is what makes a second split vote
//!   unlikely. It starts again in few cases only: on an AppendEntries of the current term,
//!   whether the logs agree or not, or an InstallSnapshot, on *granting* a vote, on starting an
//!   election, and when a leader steps down. A request that
//!   is refused does not touch it; otherwise a server that cannot win could keep those that can
//!   from trying.
//! * **Voting** (5.2, 5.4.1). One vote per server and term, first come, first served, and only for
//!   a candidate whose log is at least as up-to-date as the voter's own: the later last term wins,
//!   then the longer log ([`LogPosition`]'s order). Any majority that elects shares a server with
//!   any majority that stored an entry, so whoever wins has all that was committed.
//! * **Winning** (5.2). More than half of the votes, the own one included. Any two majorities share
//!   a server, and a server has one vote in a term: hence Election Safety. Votes are kept as a set
//!   of voters, for the network may deliver an answer twice.
//! * **Leading** (5.2). A new leader sends a heartbeat at once and then at an interval. A candidate
//!   that gets one of its own term has lost, and follows.
//!
//! # The life of one command
//!
//! 1. **The leader appends it** to its log ([`Node::propose`]), at an index and in its term, and
//!    issues the write that makes it durable. The two numbers are its name from now on: no other
//!    entry will ever have both.
//! 2. **It sends it** to all followers that are not busy with an earlier AppendEntries, without
//!    waiting for its own disk. To the others it goes, with all that has come meanwhile, when they
//!    answer: under load commands travel in batches by themselves.
//! 3. **A follower compares**. An AppendEntries names the entry right before the new ones; if the
//!    follower does not have that, it refuses. If it has, its log agrees with the leader's up to
//!    there, and it takes over what is new: that is how Log Matching spreads, entry by entry.
//!    Entries of its own that differ go, with all that come after them. *Only those*: a late or
//!    doubled AppendEntries finds what it brings in place, and changes nothing, even if the log
//!    has grown far beyond it (`log.rs`).
//! 4. **It answers** when what it took over is on its disk.
//! 5. **The leader counts**. An entry that a majority has on disk is *committed*, if it is of the
//!    leader's own term; and with it all that come before it. Not so an older entry by itself: as
//!    Figure 8 shows, a majority may have it and the next leader still replace it (5.4.2).
//! 6. **The followers hear** how far the leader has committed with the next AppendEntries, command
//!    or heartbeat. No message of its own is spent on it.
//! 7. **Everybody applies it**: whoever drives the core takes committed entries from it whenever it
//!    likes ([`Node::next_to_apply`]).
//!
//! # Bringing a log into line
//!
//! A leader keeps two numbers for each follower (`progress.rs`): `match_index`, up to which their
//! logs are known to agree, and `next_index`, a guess at what to send next. The guess begins at the
//! end of the leader's log. If it is too high the follower refuses, and the leader goes back; one
//! entry at a time would take ages after a long separation. So a refusal tells the term of the
//! follower's entry, and the first index it has of that term ([`Conflict`]). Has the leader entries
//! of that term too, it goes on after its last one; has it none, it skips all of the follower's.
//! Each term costs one refusal at most (end of 5.3).
//!
//! A network that reorders and doubles delivers old answers. A success is never wrong, only less
//! news than one that came before: `match_index` takes the greater. A refusal may be out of date,
//! and is believed only if it is about the entry that was tried last. Both count in the term they
//! were asked in, and in no other. And a new batch leaves on the answer to the *last* AppendEntries
//! alone: otherwise each delayed answer would start another series of them.
//!
//! A lost RPC is not repeated as such. Each heartbeat carries what its receiver lacks, up to a
//! limit in bytes; it, or the next election, is the repetition. But a server that has left some
//! heartbeats without any answer is most likely down or cut off, and to send it a long tail ten
//! times a second is a waste: then heartbeats carry nothing, until something is answered. The
//! answer gets the tail.
//!
//! # Snapshots
//!
//! A log cannot grow for ever (section 7). Now and then the service writes its state down, and
//! hands it over together with the index of the last command that went into it
//! ([`Node::compact`]). The log up to there has done its duty: it goes, and the snapshot takes its
//! place. What remains of the last entry are its index and term, the log's *base*. It is needed
//! still: for the comparison when the next entry arrives, and for the vote if nothing follows.
//!
//! Each server does so by itself. All that a snapshot covers is committed, so it is the same for
//! all, whoever's it is, and there is nothing to agree on. From this one fact follows what the base
//! does to the rules above:
//!
//! * An AppendEntries that begins before the receiver's base, a late one, need not be compared up
//!   to there. It is taken up from the base on (`log.rs`).
//! * A refusal that names a term tells the first index that the follower *still* has of it. What
//!   came before agrees anyway.
//! * After a restart the commit index begins at the base, and so does the service: it restores
//!   itself from the snapshot, and the first thing it is told is what comes after
//!   ([`Node::next_to_apply`]).
//!
//! A leader may have compacted what a follower lacks. Then it sends the snapshot itself,
//! *InstallSnapshot* (Figure 13). The follower replaces its own snapshot, and its log: entries
//! beyond remain if its log has the very entry that the base names, for then they may be the
//! leader's too; otherwise its log is of no use. But if it knows by itself that all up to there is
//! committed, the snapshot is old news and changes nothing: it came late, or twice. Whichever it
//! was, the answer says the same, "I have all up to there on my disk", and that is what the leader
//! makes of it: `match_index`. So an answer to any snapshot of the term is true, be it ever so
//! late.
//!
//! The service hears of a snapshot in the place of the commands it never got. It asks for what
//! comes after the last it applied; has that been compacted, it is given the snapshot, and goes on
//! behind it. So no command is ever applied that a snapshot covered, and no snapshot goes back.
//!
//! A snapshot may be large, so it takes three precautions. It is sent in answer to an answer only:
//! the heartbeat to a follower whose next entry is gone asks for the base, and if the follower has
//! that after all, none is needed. There is one at a time to each follower. And it is repeated only
//! if a later heartbeat was answered and it was not, with more patience each time (`progress.rs`).
//!
//! # Durability
//!
//! "Updated on stable storage before responding to RPCs", says Figure 2 of the term, the vote and
//! the log. Who forgets its vote in a crash votes twice, and who forgets an entry takes part of a
//! majority back. But disks are slow and the core must not wait. So persisting is an effect that
//! completes later: a step issues [`Effect::Persist`] with what it changed, and the shell says
//! [`Input::Persisted`] when that is done. In between the server goes on with the new state, but
//! nobody hears of it: **every answer and every request for a vote that is computed while a write
//! is outstanding is held back until the latest write issued before it is durable**, in order.
//! With nothing outstanding, they leave at once.
//!
//! A leader's calls alone do not wait: while it writes, its followers write (dissertation, 10.2.1).
//! It is safe because they claim nothing about the leader's disk, and because the leader's term has
//! been durable since its election: see `durability.rs` for the argument. Nor do the answers to
//! reads wait: what is committed is on a majority of disks.
//!
//! A server counts itself by the same rule as others: a candidate its vote for itself, and a leader
//! its own copy of an entry, once it is durable. So a leader with a slow disk commits by its
//! followers' copies, and a cluster of one when its disk is done.
//!
//! A snapshot is written like anything else, and with it the log that follows it: at any moment the
//! disk has the old ones of both or the new ones of both ([`Update`]).
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
//! A *real* RequestVote is not turned away because a leader was heard, unless check-quorum is on.
//!
//! # Four switches
//!
//! What follows is off under the labs (`config.rs`), and is what a service wants.
//!
//! * **An entry without a command at the beginning of a term** (`no_op`; section 8). A leader
//!   commits entries of older terms only with one of its own. The labs expect their commands at
//!   consecutive indices, so there an old entry may wait for the next command; here it waits for
//!   nobody. The service is told of such an entry, for it has an index.
//! * **Reads that leave no trace in the log** (`read_index`; section 8, dissertation, 6.4). A read
//!   may be answered from the leader's state if the leader still is the leader, which it cannot
//!   know by itself. So it notes its commit index, and has a majority answer AppendEntries that
//!   left after the read came ([`Node::read_index`], `reads.rs`). It needs an entry of its own term
//!   committed first, or its commit index may be behind what is committed. No clock is trusted in
//!   that. A read that nobody confirms is given up after a longest election time-out: whoever waits
//!   at a leader that was cut off must hear that it had better ask elsewhere.
//! * **Leaders that step down by themselves** (`check_quorum`; dissertation, 6.2), if for a longest
//!   election time-out no majority has answered anything. Its followers may have chosen another by
//!   then, or would if they could; so its clients need not wait any longer. The other half of it is
//!   that a server which has heard from a leader within the *shortest* election time-out ignores a
//!   RequestVote, newer term and all (section 6; dissertation, 4.2.3): nobody can depose a leader
//!   that a majority hears. It says so in its own, older term. Is the candidate to be heard all the
//!   same, since it is in a newer term for good? It will be: it refuses the leader's next
//!   AppendEntries, and the refusal names the term.
//! * **Handing over** (`leadership_transfer`; dissertation, 3.10). A leader brings another server
//!   up to date, taking no commands meanwhile, and tells it *TimeoutNow*
//!   ([`Node::transfer_leadership`], `transfer.rs`). That server starts an election at once,
//!   without a pre-vote, and says in its RequestVote whose wish it is, so that nobody ignores it. A
//!   TimeoutNow that comes late, when the transfer was given up in the same term, costs an election
//!   that need not have been.
//!
//! # How it is driven
//!
//! [`Node::step`] takes a [`Moment`] and an [`Input`], and appends [`Effect`]s; so do
//! [`Node::propose`] and whatever else the service wants. There is no clock, thread, lock, socket,
//! file or random source in here: time and chance arrive with the moment. So the same code runs
//! under threads, in scripts (`raft/tests/scripts`, one for each claim above) and under random
//! schedules, which check all of Figure 3 after each step (`raft/tests/raft_safety.rs`).
//!
//! A message that no correct server can have sent, such as a heartbeat of a second leader in a
//! term, or an entry in the place of a committed one, is a broken invariant and panics: all servers
//! of a cluster run the same code, and going on would hide the bug that made it.
//!
//! # Reading order
//!
//! `message.rs`, `step.rs`, `persistent.rs` (what goes in and out), `log.rs`, `raw_node.rs` (the
//! rules for all), then `follower.rs`, `pre_candidate.rs`, `candidate.rs`, `progress.rs`,
//! `leader.rs`, `reads.rs`, `transfer.rs`; `durability.rs` and `server.rs` beside them.
//!
//! # What is left out
//!
//! * Snapshots in pieces, with `offset` and `done`: Figure 13. One is sent as a whole, as in the
//!   labs, and so cannot be larger than a message may be (64 MiB with labgob's limits).
//! * More than one AppendEntries under way to a follower: dissertation, 10.2.2.
//! * Reads without any message, by a lease that trusts the clocks: dissertation, 6.4.1; and reads
//!   at followers, which would ask the leader for its read index: 6.4.
//! * Changes of membership: paper, section 6; dissertation, chapter 4.
//! * Without check-quorum, a leader that is cut off believes in itself until it hears of a newer
//!   term. With it, so does one for a longest election time-out.
//! * A restarted server grants pre-votes at once, though it may have heard from a leader just
//!   before it crashed. At worst an election that need not have been.

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
mod reads;
mod server;
mod step;
mod transfer;
mod votes;

pub use config::{Config, ConfigError};
pub use log::{Command, Conflict, Entry, Index, Log, LogError, LogPosition, Payload};
pub use message::{
    AppendEntriesArgs, AppendEntriesReply, InstallSnapshotArgs, InstallSnapshotReply, Reply,
    Request, RequestVoteArgs, RequestVoteReply, ServerId, Term, TimeoutNowArgs, TimeoutNowReply,
};
pub use node::{Node, ToApply};
pub use persistent::{HardState, LogUpdate, PersistentState, Snapshot, SnapshotData, Update};
pub use raw_node::RoleKind;
pub use step::{CallId, Effect, Input, Moment, RequestId, WriteId};
