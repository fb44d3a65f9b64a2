//! The disk of a simulated server: it survives the server, and takes its time.
//!
//! A save or a sync takes 0.05 to 1 ms, drawn from the disk's own stream, and takes effect
//! somewhere in the middle: a crash before that leaves what was there, a crash after it the new
//! state, and nothing leaves a mixture.
//!
//! A journal is a file of framed records. What was appended and not synced is lost in a crash, or
//! kept, or kept in part, in which case the torn record is cut off when the file is read again. A
//! sync may fail if [`DiskFaults`] say so. Then a part of what it was to make durable is durable,
//! as in a crash, and the file takes nothing more until the server is started again. A compaction
//! is a sync in this respect; snapshot and journal change together, at one moment.

mod file;
mod journal;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use contract::{Disk, DiskBackend, DiskError};
use labrt::group::Group;
use labrt::random::{self, Stream};
use labrt::sync::Shared;
use labrt::thread;
use labrt::trace::{self, EventKind};

use crate::plan::{CrashPoint, Crashes};
use file::File;

/// What can go wrong with a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFaults {
    /// How long a save or a sync takes.
    pub delay: Range<Duration>,
    /// A journal's sync fails, in millionths.
    pub sync_failure_ppm: u32,
}

impl Default for DiskFaults {
    /// A disk that works.
    fn default() -> Self {
        Self { delay: Duration::from_micros(50)..Duration::from_millis(1), sync_failure_ppm: 0 }
    }
}

#[derive(Default)]
struct Contents {
    state: Vec<u8>,
    snapshot: Vec<u8>,
    journal: File,
    /// Since the last start: the journal takes nothing more.
    failed: bool,
    faults: DiskFaults,
    syncs: u64,
}

/// What one server has on its disk, for all its incarnations.
pub(crate) struct Platter {
    server: usize,
    contents: Shared<Contents>,
    delays: Shared<Stream>,
    failures: Shared<Stream>,
    /// What crashes leave of unsynced bytes.
    tears: Shared<Stream>,
}

/// One server's disk, for tests that start their servers themselves. A [`Cluster`](crate::Cluster)'s
/// servers have the same.
#[derive(Clone)]
pub struct ServerDisk(Arc<Platter>);

impl ServerDisk {
    /// An empty disk of server number `server`; its delays and faults follow from the seed and that.
    pub fn new(server: usize) -> Self {
        Self(Arc::new(Platter::new(server)))
    }

    /// The disk for an incarnation, which is the threads of `group`: what these write after their
    /// crash goes nowhere, and what the incarnation before did not sync may be gone.
    pub fn mount(&self, group: &Group) -> Disk {
        self.0.mount(group, &Arc::default())
    }

    /// What can go wrong from now on.
    pub fn set_faults(&self, faults: &DiskFaults) {
        self.0.set_faults(faults);
    }

    /// How many bytes Raft keeps here now, the snapshot aside.
    pub fn raft_state_size(&self) -> usize {
        self.0.raft_state_size()
    }

    /// The size of the service's snapshot, in bytes.
    pub fn snapshot_size(&self) -> usize {
        self.0.snapshot_size()
    }
}

/// The disk as one incarnation has it.
struct Mounted {
    platter: Arc<Platter>,
    group: Group,
    crashes: Arc<Crashes>,
}

impl Platter {
    pub(crate) fn new(server: usize) -> Self {
        let stream = |purpose| Shared::new(random::stream(purpose, server as u64));
        Self {
            server,
            contents: Shared::default(),
            delays: stream("disk"),
            failures: stream("disk failures"),
            tears: stream("disk tears"),
        }
    }

    /// The disk for an incarnation: what that writes after its crash goes nowhere, and what the
    /// one before it did not sync may be gone.
    pub(crate) fn mount(self: &Arc<Self>, group: &Group, crashes: &Arc<Crashes>) -> Disk {
        self.contents.with(|contents| {
            self.tears.with(|tears| contents.journal.crash(tears));
            contents.failed = false;
        });
        let (platter, group) = (Arc::clone(self), group.clone());
        Disk::new(Mounted { platter, group, crashes: Arc::clone(crashes) })
    }

    pub(crate) fn set_faults(&self, faults: &DiskFaults) {
        self.contents.with(|contents| contents.faults = faults.clone());
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.contents.with(|contents| contents.syncs)
    }

    pub(crate) fn raft_state_size(&self) -> usize {
        self.contents.with(|contents| contents.raft_state_size())
    }

    pub(crate) fn snapshot_size(&self) -> usize {
        self.contents.with(|contents| contents.snapshot.len())
    }

    /// Whether a sync has failed since the server was last started.
    pub(crate) fn has_failed(&self) -> bool {
        self.contents.with(|contents| contents.failed)
    }

    fn draw_delay(&self) -> Duration {
        let range = self.contents.with(|contents| contents.faults.delay.clone());
        self.delays.with(|delays| delays.duration(range))
    }

    /// Makes the journal durable, or as much of it as a failing disk does.
    fn sync(&self, contents: &mut Contents) -> Result<(), DiskError> {
        if self.is_to_fail(contents) {
            self.tears.with(|tears| contents.journal.crash(tears));
            contents.failed = true;
        } else {
            contents.journal.sync();
        }
        contents.check("sync")
    }

    /// Replaces snapshot and journal, durably; a failing disk has the old or the new.
    fn compact(
        &self,
        contents: &mut Contents,
        snapshot: Vec<u8>,
        journal: File,
    ) -> Result<(), DiskError> {
        contents.check("compact")?;
        contents.failed = self.is_to_fail(contents);
        if !contents.failed || self.tears.with(|tears| tears.chance(500_000)) {
            contents.snapshot = snapshot;
            contents.journal = journal;
        }
        contents.check("compact")
    }

    /// Whether what begins now, a sync or as good as one, is to fail.
    fn is_to_fail(&self, contents: &mut Contents) -> bool {
        contents.syncs += 1;
        self.failures.with(|failures| failures.chance(contents.faults.sync_failure_ppm))
    }
}

impl Contents {
    fn raft_state_size(&self) -> usize {
        self.state.len() + self.journal.read().len()
    }

    fn check(&self, operation: &'static str) -> Result<(), DiskError> {
        match self.failed {
            true => Err(DiskError::new(operation, "input/output error")),
            false => Ok(()),
        }
    }
}

impl Mounted {
    /// What an incarnation does to its disk, if it still is the one that runs. Looked at in the
    /// same section: the next incarnation's first write must not be overwritten.
    fn change<T: Default>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        self.platter.contents.with(|contents| match self.group.is_alive() {
            true => change(contents),
            false => T::default(),
        })
    }

    /// Takes a disk's time, and has `effect` in the middle of it.
    fn write<T>(&self, effect: impl FnOnce() -> T) -> T {
        let server = self.platter.server;
        let delay = self.platter.draw_delay();
        self.crashes.note(server, CrashPoint::SaveBegun);
        thread::sleep(delay / 2);
        let result = effect();
        thread::sleep(delay - delay / 2);
        self.crashes.note(server, CrashPoint::SaveDone);
        result
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        trace::record(Some(self.platter.server), "persist", EventKind::Note, text);
    }
}

impl DiskBackend for Mounted {
    fn save(&self, state: Vec<u8>, snapshot: Option<Vec<u8>>) {
        let size = state.len();
        self.write(|| {
            self.change(|contents| {
                contents.state = state;
                let old = std::mem::take(&mut contents.snapshot);
                contents.snapshot = snapshot.unwrap_or(old);
            });
            self.tell(|| format!("saved {size} B"));
        });
    }

    fn read_state(&self) -> Vec<u8> {
        self.platter.contents.with(|contents| contents.state.clone())
    }

    fn read_snapshot(&self) -> Vec<u8> {
        self.platter.contents.with(|contents| contents.snapshot.clone())
    }

    fn raft_state_size(&self) -> usize {
        self.platter.raft_state_size()
    }

    fn read_journal(&self) -> Result<Vec<Vec<u8>>, DiskError> {
        self.platter.contents.with(|contents| {
            contents.check("read")?;
            let (records, length) = journal::read(contents.journal.read());
            contents.journal.truncate(length);
            Ok(records)
        })
    }

    fn append_to_journal(&self, record: &[u8]) -> Result<(), DiskError> {
        thread::checkpoint();
        let appended = self.change(|contents| {
            let checked = contents.check("append");
            if checked.is_ok() {
                contents.journal.append(&journal::frame(record));
            }
            Some(checked)
        });
        appended.unwrap_or(Ok(()))
    }

    fn sync_journal(&self) -> Result<(), DiskError> {
        self.write(|| {
            let synced = self.change(|contents| Some(self.platter.sync(contents)));
            self.tell(|| match &synced {
                Some(Err(error)) => error.to_string(),
                _ => "synced".to_string(),
            });
            synced.unwrap_or(Ok(()))
        })
    }

    fn compact_journal(&self, snapshot: Vec<u8>, records: &[Vec<u8>]) -> Result<(), DiskError> {
        let frames: Vec<u8> = records.iter().flat_map(|record| journal::frame(record)).collect();
        let (size, snapshot_size) = (frames.len(), snapshot.len());
        self.write(|| {
            let journal = File::durable(frames);
            let compacted =
                self.change(|contents| Some(self.platter.compact(contents, snapshot, journal)));
            self.tell(|| match &compacted {
                Some(Err(error)) => error.to_string(),
                _ => format!("compacted to {size} B, snapshot {snapshot_size} B"),
            });
            compacted.unwrap_or(Ok(()))
        })
    }
}
