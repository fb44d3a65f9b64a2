//! The disk of a simulated server: it survives the server, and takes its time.
//!
//! It is the real store (crate `storage`) on a file system that is made up ([`files`]): a sync
//! takes 0.05 to 1 ms, drawn from the disk's own stream, and takes effect somewhere in the middle.
//! In a crash, what was not synced is lost, or kept, or kept in part. A sync may fail if
//! [`DiskFaults`] say so. Then a part of what it was to make durable is durable, and the store
//! takes nothing more until the server is started again; a server that uses the labs' persister,
//! which cannot say so, crashes.

mod files;
mod mount;
#[cfg(test)]
mod tests;
mod watched;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use contract::Disk;
use labrt::group::Group;
use labrt::random::{self, Stream};
use labrt::sync::Shared;
use serde::{Deserialize, Serialize};
use storage::OpenError;

use crate::plan::Crashes;
use files::{FileId, Files};
pub(crate) use mount::Mount;
use mount::MountedStore;
pub(crate) use watched::{Watch, watched};

/// What can go wrong with a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFaults {
    /// How long a sync takes, of a file or of the folder.
    pub delay: Range<Duration>,
    /// A sync fails, in millionths.
    pub sync_failure_ppm: u32,
}

impl Default for DiskFaults {
    /// A disk that works.
    fn default() -> Self {
        Self { delay: Duration::from_micros(50)..Duration::from_millis(1), sync_failure_ppm: 0 }
    }
}

/// What one server has on its disk, for all its incarnations.
struct Platter {
    server: usize,
    state: Shared<State>,
    delays: Shared<Stream>,
    failures: Shared<Stream>,
    /// What crashes leave of what was not synced.
    tears: Shared<Stream>,
}

#[derive(Default)]
struct State {
    files: Files,
    faults: DiskFaults,
    /// How often a journal was to be synced.
    syncs: u64,
}

/// What came of opening the store.
#[derive(Default)]
struct Last {
    /// The last one that could be opened: an earlier incarnation's, if this one's could not.
    store: Option<Arc<MountedStore>>,
    /// The last incarnation could not open its store, since a sync failed.
    failed_to_open: bool,
}

/// One server's disk, for tests that start their servers themselves. A
/// [`Cluster`](crate::Cluster)'s servers have the same.
#[derive(Clone)]
pub struct ServerDisk {
    platter: Arc<Platter>,
    /// Not with the platter: the store holds on to that, and neither would ever be freed.
    last: Arc<Shared<Last>>,
}

impl ServerDisk {
    /// An empty disk of server number `server`; its delays and faults follow from the seed and
    /// that.
    pub fn new(server: usize) -> Self {
        Self { platter: Arc::new(Platter::new(server)), last: Arc::default() }
    }

    /// The disk for an incarnation, which is the threads of `group`: what these write after their
    /// crash goes nowhere, and what the incarnation before did not sync may be gone. Takes a disk's
    /// time.
    ///
    /// # Panics
    /// If a sync fails.
    pub fn mount(&self, group: &Group) -> Disk {
        let mounted = self.open(self.mount_for(group, &Arc::default()));
        mounted.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The disk for a new incarnation, which is to open its store: the one before is over, and what
    /// it did not sync may be gone.
    pub(crate) fn mount_for(&self, group: &Group, crashes: &Arc<Crashes>) -> Mount {
        self.platter.crash();
        self.last.with(|last| last.failed_to_open = false);
        Mount::new(&self.platter, group, crashes)
    }

    /// Opens the store for that incarnation, which takes a disk's time.
    ///
    /// # Errors
    /// If a sync fails.
    ///
    /// # Panics
    /// If there is damage: a disk that only forgets leaves none, if its store does what it must.
    pub(crate) fn open(&self, mount: Mount) -> Result<Disk, OpenError> {
        let opened = mount.open_store();
        self.last.with(|last| match &opened {
            Ok(store) => last.store = Some(Arc::clone(store)),
            Err(_) => last.failed_to_open = true,
        });
        if let Err(error) = &opened {
            assert!(!error.is_damage(), "S{} cannot start: {error}", self.platter.server);
        }
        Ok(watched(&opened?.disk(), Counter(Arc::clone(&self.platter))))
    }

    /// What can go wrong from now on.
    pub fn set_faults(&self, faults: &DiskFaults) {
        self.platter.state.with(|state| state.faults = faults.clone());
    }

    /// How many bytes Raft keeps here now, the snapshot aside.
    pub fn raft_state_size(&self) -> usize {
        self.store().map_or(0, |store| store.raft_state_size())
    }

    /// The size of the service's snapshot, in bytes.
    pub fn snapshot_size(&self) -> usize {
        self.store().map_or(0, |store| store.snapshot_size())
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.platter.state.with(|state| state.syncs)
    }

    /// Whether a sync has failed since the server was last started.
    pub(crate) fn has_failed(&self) -> bool {
        self.last.with(|last| last.failed_to_open)
            || self.store().is_some_and(|store| store.has_failed())
    }

    fn store(&self) -> Option<Arc<MountedStore>> {
        self.last.with(|last| last.store.clone())
    }
}

impl Platter {
    fn new(server: usize) -> Self {
        let stream = |purpose| Shared::new(random::stream(purpose, server as u64));
        Self {
            server,
            state: Shared::default(),
            delays: stream("disk"),
            failures: stream("disk failures"),
            tears: stream("disk tears"),
        }
    }

    /// What was not synced may be gone.
    fn crash(&self) {
        self.state.with(|state| self.tears.with(|tears| state.files.crash(tears)));
    }

    fn draw_delay(&self) -> Duration {
        let range = self.state.with(|state| state.faults.delay.clone());
        self.delays.with(|delays| delays.duration(range))
    }

    /// Syncs a file, or the folder if none is given, or as much of it as a failing disk does.
    fn sync(&self, state: &mut State, file: Option<FileId>) -> io::Result<()> {
        let fails = self.failures.with(|draw| draw.chance(state.faults.sync_failure_ppm));
        let files = &mut state.files;
        if fails {
            self.tears.with(|tears| match file {
                Some(id) => files.sync_in_part(id, tears),
                None => files.sync_names_in_part(tears),
            });
            return Err(io::Error::other("input/output error"));
        }
        match file {
            Some(id) => files.sync(id),
            None => files.sync_names(),
        }
        Ok(())
    }
}

/// Counts the syncs that a server asked for.
struct Counter(Arc<Platter>);

impl Watch for Counter {
    fn note_sync(&self) {
        self.0.state.with(|state| state.syncs += 1);
    }
}
