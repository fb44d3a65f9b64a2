//! The disk writer, and what it finds when the server starts again.
//!
//! The journal is a sequence of records, each a change of what the ones before it make. So it has
//! garbage in it: entries that were replaced, votes of terms gone by. A snapshot rewrites it: it
//! begins again with what there is then, and the snapshot beside it. If no snapshot comes, the
//! journal is rewritten when garbage makes up most of what the disk holds: that costs no more than
//! what was written since the last time, and keeps the disk within twice what it must hold.

use std::sync::Arc;

use contract::{DiskError, Index, Journal};
use serde::{Deserialize, Serialize};

use super::shared::Shell;
use super::state::{State, Unwritten};
use crate::core::{
    HardState, LogPosition, LogUpdate, PersistentState, ServerId, Snapshot, Update, WriteId,
};

/// So much garbage, in bytes, is not worth a rewrite.
const GARBAGE_MIN: usize = 256;

/// A rewrite writes the snapshot again; up to so many bytes that takes no longer than a sync.
const SNAPSHOT_FREE_BYTES: usize = 16 * 1024;

/// A rewritten log goes into records of about so many bytes, well below what can be decoded.
const RECORD_BYTES: usize = 1024 * 1024;

/// What is on the disk, one after the other.
#[derive(Serialize, Deserialize)]
enum Record {
    /// A change.
    Update {
        /// Takes the place of what was there.
        hard_state: Option<HardState>,
        log: Option<LogUpdate>,
    },
    /// The first record after a rewrite: the log begins after the snapshot, and the snapshot ends
    /// here.
    Base { hard_state: HardState, base: LogPosition },
}

/// What goes to the disk together.
struct Work {
    content: Content,
    /// The write that covers it.
    last: WriteId,
}

enum Content {
    /// To be appended, oldest first.
    Updates(Vec<Update>),
    /// All there is, to take the place of all there was.
    Everything(PersistentState),
}

/// Writes what the core wants written and nobody else writes, until the server is killed or the
/// disk fails.
pub(super) fn run(shell: &Arc<Shell>) {
    while let Some(work) = wait_for_work(shell) {
        work.carry_out(shell);
    }
}

/// Writes what waits to be written, if nobody else is at that.
pub(super) fn write_waiting(shell: &Arc<Shell>) {
    let size = shell.disk.raft_state_size();
    let work = next_work(&mut shell.state.lock(), size);
    work.into_iter().for_each(|work| work.carry_out(shell));
}

/// Waits for something to write; none once the server is killed.
fn wait_for_work(shell: &Shell) -> Option<Work> {
    let mut state = shell.state.lock();
    while !state.is_killed() {
        let work = next_work(&mut state, shell.disk.raft_state_size());
        if work.is_some() {
            return work;
        }
        if !shell.to_write.wait_or_end(&mut state) {
            return None;
        }
    }
    None
}

/// Takes what is to be written, while the journal has so many bytes.
fn next_work(state: &mut State, size: usize) -> Option<Work> {
    if state.is_killed() {
        return None;
    }
    let Unwritten { updates, last } = state.take_unwritten()?;
    let is_snapshot = updates.iter().any(|update| update.snapshot.is_some());
    let mut size_limit = std::mem::take(&mut state.size_limit);
    size_limit.note(&updates, state.node.log().last().index);
    let content = if is_snapshot || size_limit.is_passed(state, size) {
        // The core is ahead of what was taken by nothing: the lock is held.
        Content::Everything(state.node.persistent_state())
    } else {
        Content::Updates(updates)
    };
    state.size_limit = size_limit;
    Some(Work { content, last })
}

impl Work {
    fn carry_out(self, shell: &Arc<Shell>) {
        let Self { content, last } = self;
        if let Err(error) = content.write(&shell.journal) {
            // Nobody knows what is on the disk now, so nothing may be said any more.
            log::error!(target: "persist", "{error}: this server stops");
            return shell.kill();
        }
        log::debug!(target: "persist", "w{} is durable", last.0);
        shell.persisted(last);
    }
}

/// How large a journal may be before it is worth rewriting: what there is of live bytes is counted
/// only when the last count's limit is passed.
#[derive(Default)]
pub(super) struct SizeLimit {
    bytes: usize,
    /// Where the log ended when it was last looked at.
    last_log_index: Index,
}

impl SizeLimit {
    /// Where entries have gone, to a snapshot or for others, the last count says too much.
    fn note(&mut self, updates: &[Update], last_log_index: Index) {
        let loses_entries = |update: &Update| {
            let replaces = |log: &LogUpdate| log.after < self.last_log_index;
            update.snapshot.is_some() || update.log.as_ref().is_some_and(replaces)
        };
        if updates.iter().any(loses_entries) {
            self.bytes = 0;
        }
        self.last_log_index = last_log_index;
    }

    /// Whether a journal of this size is mostly garbage.
    fn is_passed(&mut self, state: &State, size: usize) -> bool {
        if size > self.bytes {
            let live = state.node.log().size_bytes();
            let snapshot = state.node.snapshot().data.len();
            self.bytes = 2 * live + snapshot.saturating_sub(SNAPSHOT_FREE_BYTES) + GARBAGE_MIN;
        }
        size > self.bytes
    }
}

impl Content {
    fn write(self, journal: &Journal) -> Result<(), DiskError> {
        match self {
            Self::Updates(updates) => append(journal, updates),
            Self::Everything(state) => rewrite(journal, &state),
        }
    }
}

/// However many updates have come together, the disk takes its time but once (group commit).
fn append(journal: &Journal, updates: Vec<Update>) -> Result<(), DiskError> {
    for Update { hard_state, snapshot, log } in updates {
        assert!(snapshot.is_none(), "a snapshot is never appended: it begins the journal again");
        journal.append(&encode(&Record::Update { hard_state, log }))?;
    }
    journal.sync()
}

fn rewrite(journal: &Journal, state: &PersistentState) -> Result<(), DiskError> {
    let records: Vec<_> = records_of(state).iter().map(encode).collect();
    journal.compact(state.snapshot.to_vec(), &records)
}

/// The shortest journal that makes this state.
fn records_of(state: &PersistentState) -> Vec<Record> {
    let PersistentState { hard_state, log, .. } = state;
    let mut records = vec![Record::Base { hard_state: *hard_state, base: log.base() }];
    let mut after = log.base().index;
    while after < log.last().index {
        let entries = log.batch_after(after, RECORD_BYTES).to_vec();
        let next = after + entries.len() as u64;
        let log = Some(LogUpdate { after, entries });
        records.push(Record::Update { hard_state: None, log });
        after = next;
    }
    records
}

fn encode(record: &Record) -> Vec<u8> {
    labgob::encode(record).expect("numbers and bytes can be encoded")
}

/// What earlier incarnations wrote, or the very first state if there was none.
///
/// # Panics
///
/// If there is anything that no server wrote.
pub(super) fn restore(me: ServerId, journal: &Journal) -> PersistentState {
    let records = journal.read();
    let records = records.unwrap_or_else(|error| panic!("S{me} cannot start: {error}"));
    let snapshot = journal.read_snapshot();
    let mut state = PersistentState { snapshot: snapshot.into(), ..PersistentState::default() };
    for (number, record) in records.iter().enumerate() {
        if let Err(why) = replay(&mut state, number, record) {
            panic!(
                "S{me} cannot start: record {number} of its journal, {} bytes, is not what a Raft \
                 server wrote: {why}. It begins with {:02x?}",
                record.len(),
                &record[..record.len().min(SHOWN_MAX)],
            )
        }
    }
    assert!(
        state.snapshot.is_empty() || state.log.base().index > 0,
        "S{me} cannot start: its disk has a snapshot, but no log that follows it"
    );
    state
}

fn replay(state: &mut PersistentState, number: usize, record: &[u8]) -> Result<(), String> {
    let record = labgob::decode(record).map_err(|error| error.to_string())?;
    let update = match record {
        Record::Update { hard_state, log } => Update { hard_state, snapshot: None, log },
        Record::Base { .. } if number > 0 => return Err("a journal begins but once".to_owned()),
        Record::Base { hard_state, base: last } => {
            let snapshot = Snapshot { last, data: Arc::clone(&state.snapshot) };
            Update { hard_state: Some(hard_state), snapshot: Some(snapshot), log: None }
        }
    };
    state.apply(update).map_err(|error| error.to_string())
}

/// How many bytes of what cannot be decoded are shown.
const SHOWN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use contract::Disk;
    use harness::{DiskFaults, ServerDisk};
    use labrt::group::Group;

    use super::*;
    use crate::core::{Entry, Index, Term};

    /// A disk with these records, behind this snapshot if that is not empty.
    fn disk(records: &[Vec<u8>], snapshot: &[u8]) -> Disk {
        let disk = ServerDisk::new(1).mount(&Group::new("S1", 1, 0));
        disk.journal().compact(snapshot.to_vec(), records).expect("the disk works");
        disk
    }

    fn restored(records: &[Vec<u8>]) -> PersistentState {
        restore(1, &disk(records, &[]).journal())
    }

    fn restored_with_snapshot(records: &[Record], snapshot: &[u8]) -> PersistentState {
        let records: Vec<Vec<u8>> = records.iter().map(encode).collect();
        restore(1, &disk(&records, snapshot).journal())
    }

    fn entries(term: Term, count: usize, bytes: usize) -> Vec<Entry> {
        vec![Entry::command(term, vec![7; bytes].into()); count]
    }

    /// One entry that takes the place of all after an index.
    fn entry_after(after: Index) -> Record {
        Record::Update {
            hard_state: None,
            log: Some(LogUpdate { after, entries: entries(3, 1, 2) }),
        }
    }

    fn hard_state() -> HardState {
        HardState { current_term: 300, voted_for: Some(2) }
    }

    fn base(term: Term, index: Index) -> Record {
        Record::Base { hard_state: hard_state(), base: LogPosition { term, index } }
    }

    #[test]
    fn what_is_live_is_counted_anew_once_entries_have_gone() {
        let after = |after| {
            let log = Some(LogUpdate { after, entries: entries(3, 1, 1) });
            Update { hard_state: None, snapshot: None, log }
        };
        let snapshot = Snapshot { last: LogPosition { term: 3, index: 9 }, data: [1].into() };
        let compacted = Update { hard_state: None, snapshot: Some(snapshot), log: None };
        let mut limit = SizeLimit { bytes: 1_000, last_log_index: 8 };
        limit.note(&[after(8), after(9)], 10);
        assert_eq!(limit.bytes, 1_000, "the log has only grown");
        limit.note(&[after(10), after(9)], 10);
        assert_eq!(limit.bytes, 0, "an entry has given way to another");
        limit.bytes = 1_000;
        limit.note(&[compacted], 10);
        assert_eq!(limit.bytes, 0, "entries are in a snapshot now");
    }

    #[test]
    fn an_empty_disk_is_the_first_start() {
        assert_eq!(restored(&[]), PersistentState::default());
    }

    #[test]
    fn written_updates_are_restored_in_order() {
        let vote = Record::Update { hard_state: Some(hard_state()), log: None };
        let updates = [vote, entry_after(0), entry_after(1), entry_after(1)];
        let state = restored(&updates.iter().map(encode).collect::<Vec<_>>());
        assert_eq!(state.hard_state, hard_state());
        assert_eq!(state.log.last().index, 2);
    }

    #[test]
    fn a_log_goes_on_after_the_snapshot_beside_it() {
        let state = restored_with_snapshot(&[base(2, 9), entry_after(9)], b"nine");
        assert_eq!(state.hard_state, hard_state());
        assert_eq!(state.log.base(), LogPosition { term: 2, index: 9 });
        assert_eq!(state.log.last(), LogPosition { term: 3, index: 10 });
        assert_eq!(&*state.snapshot, b"nine");
    }

    #[test]
    fn what_is_rewritten_is_restored_in_records_that_can_be_read() {
        let mut state = restored_with_snapshot(&[base(2, 9)], b"nine");
        let log = Some(LogUpdate { after: 9, entries: entries(4, 25, 100_000) });
        state.apply(Update { log, ..Update::default() }).expect("the entries follow the base");
        let records = records_of(&state);
        assert_eq!(records.len(), 4, "2.5 MB of entries go into three records");
        assert_eq!(restored_with_snapshot(&records, b"nine"), state);
    }

    #[test]
    #[should_panic(
        expected = "record 1 of its journal, 8 bytes, is not what a Raft server wrote: a \
                               journal begins but once"
    )]
    fn a_base_in_the_middle_is_refused() {
        restored_with_snapshot(&[base(2, 9), base(2, 10)], b"ten");
    }

    #[test]
    #[should_panic(
        expected = "S1 cannot start: its disk has a snapshot, but no log that follows it"
    )]
    fn a_snapshot_without_a_base_is_refused() {
        restored_with_snapshot(&[entry_after(0)], b"one");
    }

    #[test]
    #[should_panic(expected = "S1 cannot start: record 1 of its journal, 1 bytes, is not what")]
    fn half_a_record_is_refused() {
        restored(&[encode(&entry_after(0)), encode(&entry_after(1))[..1].to_vec()]);
    }

    #[test]
    #[should_panic(expected = "a log that ends at 1 cannot go on after 7")]
    fn a_log_with_a_gap_is_refused() {
        restored(&[encode(&entry_after(0)), encode(&entry_after(7))]);
    }

    #[test]
    #[should_panic(expected = "S1 cannot start: the disk failed to read: input/output error")]
    fn a_disk_that_cannot_be_read_is_refused() {
        let server_disk = ServerDisk::new(1);
        let journal = server_disk.mount(&Group::new("S1", 1, 0)).journal();
        server_disk
            .set_faults(&DiskFaults { sync_failure_ppm: 1_000_000, ..DiskFaults::default() });
        journal.append(&[0]).expect("nothing is written before the sync");
        journal.sync().expect_err("the disk was told to fail");
        restore(1, &journal);
    }
}
