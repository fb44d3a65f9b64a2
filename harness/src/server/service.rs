//! The service that the harness puts on top of a Raft: it keeps every command, and takes snapshots.
//!
//! Its state is the sequence of all commands so far, and so is a snapshot, as in the labs: then the
//! oracle can tell for any snapshot whether it is what was applied.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use contract::{ApplyMsg, Disk, Index, RaftNode};
use labrt::channel::Receiver;
use labrt::group::Group;
use labrt::random::{self, Stream};
use labrt::sync::Shared;
use labrt::thread;
use serde::{Deserialize, Serialize};

use super::kind::Seat;
use super::witness::Witness;

/// What the harness's service does beside keeping commands: by default, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePolicy {
    /// It takes a snapshot after each so many entries; never if 0. The labs' services do at index
    /// 9, 19, 29, ...
    pub snapshot_every: Index,
    /// A snapshot is handed to Raft by a thread of its own, so much later: entries are applied
    /// meanwhile. Without a delay it is handed over by the thread that applies, which then waits.
    pub snapshot_delay: Option<Range<Duration>>,
    /// How long it takes to apply an entry.
    pub apply_delay: Range<Duration>,
}

impl ServicePolicy {
    /// A snapshot after each so many entries.
    pub fn snapshot_every(entries: Index) -> Self {
        Self { snapshot_every: entries, ..Self::default() }
    }

    fn is_snapshot_due(&self, index: Index) -> bool {
        self.snapshot_every > 0 && (index + 1).is_multiple_of(self.snapshot_every)
    }
}

/// Everything up to and including an index.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) index: Index,
    /// From the first entry on; none for an entry without a command.
    pub(crate) commands: Vec<Option<Vec<u8>>>,
}

/// What a snapshot begins with: so it is known again in a message.
pub(crate) const SNAPSHOT_MARK: &[u8] = b"<snapshot of the commands>";

impl Snapshot {
    fn encode(&self) -> Vec<u8> {
        let snapshot = labgob::encode(self).expect("commands in memory can be encoded");
        [SNAPSHOT_MARK, &snapshot].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let snapshot = bytes.strip_prefix(SNAPSHOT_MARK).ok_or("it does not begin like one")?;
        labgob::decode(snapshot).map_err(|error| error.to_string())
    }
}

/// The service of one incarnation.
pub(super) struct LogService {
    me: usize,
    group: Group,
    witness: Arc<dyn Witness>,
    policy: Arc<Shared<ServicePolicy>>,
    delays: Stream,
    state: Snapshot,
}

impl LogService {
    /// With what the snapshot on the disk says.
    pub(super) fn restore(seat: &Seat, disk: &Disk) -> Self {
        let mut service = Self {
            me: seat.me,
            group: seat.group.clone(),
            witness: Arc::clone(&seat.witness),
            policy: Arc::clone(&seat.policy),
            delays: random::stream("snapshots", seat.me as u64),
            state: Snapshot::default(),
        };
        let stored = disk.read_snapshot();
        if !stored.is_empty() {
            service.install(&stored, None);
        }
        service
    }

    pub(super) fn run<R: RaftNode>(mut self, raft: &Arc<R>, applied: &Receiver<ApplyMsg>) {
        while let Ok(message) = applied.recv_or_end() {
            let policy = self.policy.with(|policy| policy.clone());
            if !policy.apply_delay.is_empty() {
                thread::sleep(self.delays.duration(policy.apply_delay.clone()));
            }
            let entry = self.apply(message);
            if let Some(index) = entry.filter(|&index| policy.is_snapshot_due(index)) {
                self.snapshot(raft, index, policy.snapshot_delay);
            }
        }
    }

    /// The index of the entry that was applied, if it was one.
    fn apply(&mut self, message: ApplyMsg) -> Option<Index> {
        self.witness.note_applied(&message);
        let (index, command) = match message {
            ApplyMsg::Command { index, command } => (index, Some(command)),
            ApplyMsg::NoOp { index } => (index, None),
            ApplyMsg::Snapshot { index, snapshot, .. } => {
                self.install(&snapshot, Some(index));
                return None;
            }
        };
        self.state.index = index;
        self.state.commands.push(command);
        Some(index)
    }

    /// Takes a snapshot's state for its own. Raft says which index it stands for, or it is the
    /// disk's.
    fn install(&mut self, bytes: &[u8], index: Option<Index>) {
        match Snapshot::decode(bytes) {
            Ok(snapshot) => {
                let index = index.unwrap_or(snapshot.index);
                self.witness.note_installed(index, &snapshot);
                self.state = snapshot;
            }
            Err(error) => labrt::fail(format!(
                "S{} was handed {} bytes for a snapshot that no service took: {error}",
                self.me,
                bytes.len()
            )),
        }
    }

    fn snapshot<R: RaftNode>(
        &mut self,
        raft: &Arc<R>,
        index: Index,
        delay: Option<Range<Duration>>,
    ) {
        let bytes = self.state.encode();
        let Some(range) = delay else { return raft.snapshot(index, bytes) };
        let (raft, delay) = (Arc::clone(raft), self.delays.duration(range));
        self.group.spawn("snapshotter", move || {
            thread::sleep(delay);
            raft.snapshot(index, bytes);
        });
    }
}
