//! The store: who may be at the files, and when.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use contract::{Disk, DiskBackend, DiskError};
use labrt::sync::{Condvar, Mutex, MutexGuard};

use crate::epoch::{self, Journal, SnapshotFile, Tag};
use crate::error::OpenError;
use crate::frame;
use crate::fs::{File as _, FileSystem};
use crate::names::{self, Kind};

/// A persister's journal may have so many bytes of saves that are over, and as many as the last
/// save has on top, before it is written anew.
const GARBAGE_MAX: u64 = 64 * 1024;

/// What a store does when the persister's `save`, which has no way to say so, has failed. The
/// server must answer to nobody any more.
type Stop = Box<dyn Fn(&DiskError) + Send + Sync>;

/// One server's files, as the [`contract::Disk`] of one start.
pub struct Store<F: FileSystem> {
    files: F,
    state: Mutex<State<F::File>>,
    /// Whoever was at the files is done.
    done: Condvar,
    stop: Stop,
    sizes: Sizes,
}

/// What can be asked without waiting for anybody. A part changes under the state's lock.
#[derive(Default)]
struct Sizes {
    raft_state: AtomicUsize,
    snapshot: AtomicUsize,
    failed: AtomicBool,
}

/// What is live in an epoch, the snapshot aside.
#[derive(Default)]
struct Live {
    /// Bytes of the records.
    records_size: usize,
    /// What a persister's user saved last.
    saved: Vec<u8>,
}

/// Who is at the files, which takes a disk's time and is done without the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Busy {
    Nobody,
    /// Appended frames are on their way; more may be appended meanwhile.
    Syncing,
    /// A new epoch is on its way; what is appended belongs into that.
    Replacing,
}

struct State<File> {
    epoch: u64,
    file: Arc<File>,
    snapshot: Option<SnapshotFile>,
    /// Frames that the file has not been given yet.
    unwritten: Vec<u8>,
    /// The file's length with those.
    length: u64,
    /// So much of it is durable.
    durable: u64,
    busy: Busy,
    /// Why nothing is taken any more.
    failed: Option<String>,
    live: Live,
}

impl<F: FileSystem> Store<F> {
    /// Opens the store in these files, and makes one where there is none. `stop` ends the server
    /// when a save has failed.
    ///
    /// # Errors
    /// If the files cannot be used, or are not what a server left.
    pub fn open(
        files: F,
        stop: impl Fn(&DiskError) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let state = match newest_epoch(&files)? {
            Some(epoch) => resume(&files, epoch)?,
            None => first(&files).map_err(|error| failed_to("write", &files, &error))?,
        };
        epoch::remove_others(&files, state.epoch, state.snapshot)
            .map_err(|error| failed_to("tidy up", &files, &error))?;
        let sizes = Sizes::default();
        sizes.set(&state);
        let (state, done) = (Mutex::new(state), Condvar::new());
        Ok(Self { files, state, done, stop: Box::new(stop), sizes })
    }

    /// The store as a server sees it.
    pub fn disk(self: &Arc<Self>) -> Disk {
        Disk::new(Shared(Arc::clone(self)))
    }

    /// How many bytes are live, the snapshot aside. Waits for nobody, as those below.
    pub fn raft_state_size(&self) -> usize {
        self.sizes.raft_state.load(Ordering::Relaxed)
    }

    /// How many bytes the snapshot has.
    pub fn snapshot_size(&self) -> usize {
        self.sizes.snapshot.load(Ordering::Relaxed)
    }

    /// Whether the disk has failed, so that nothing is taken any more.
    pub fn has_failed(&self) -> bool {
        self.sizes.failed.load(Ordering::Relaxed)
    }

    fn append(&self, tag: Tag, bytes: &[u8]) -> Result<(), DiskError> {
        let record = marked("append", tag, bytes)?;
        let mut state = self.state.lock();
        while state.busy == Busy::Replacing {
            self.done.wait(&mut state);
        }
        state.check("append")?;
        state.append(&record);
        match tag {
            Tag::State => state.live.saved = bytes.to_vec(),
            _ => state.live.records_size += bytes.len(),
        }
        self.sizes.set(&state);
        Ok(())
    }

    /// Blocks until all that has been appended is durable. Whoever comes while a sync is under way
    /// waits for that one, and then one of them syncs for all.
    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let (epoch, wanted) = (state.epoch, state.length);
        loop {
            state.check("sync")?;
            if state.epoch > epoch || state.durable >= wanted {
                return Ok(());
            }
            match state.busy {
                Busy::Nobody => state = self.sync_now(state),
                _ => self.done.wait(&mut state),
            }
        }
    }

    fn sync_now<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<F::File>>,
    ) -> MutexGuard<'a, State<F::File>> {
        let (unwritten, length) = (mem::take(&mut state.unwritten), state.length);
        let file = Arc::clone(&state.file);
        state.busy = Busy::Syncing;
        drop(state);
        let written = file.append(&unwritten).and_then(|()| file.sync());
        let mut state = self.free();
        match written {
            Ok(()) => state.durable = length,
            Err(error) => state.fail(&error),
        }
        self.sizes.set(&state);
        state
    }

    /// Whoever was at the files is done with them.
    fn free(&self) -> MutexGuard<'_, State<F::File>> {
        let mut state = self.state.lock();
        state.busy = Busy::Nobody;
        self.done.notify_all();
        state
    }

    /// Begins a new epoch with these records, and this snapshot if there is a new one.
    fn replace(
        &self,
        operation: &'static str,
        snapshot: Option<&[u8]>,
        records: &[Vec<u8>],
        live: Live,
    ) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        while state.busy != Busy::Nobody {
            self.done.wait(&mut state);
        }
        state.check(operation)?;
        let (epoch, before) = (state.epoch + 1, state.snapshot);
        state.busy = Busy::Replacing;
        drop(state);
        let begun = self.begin(epoch, snapshot, before, records);
        let mut state = self.free();
        match begun {
            Ok((file, length, snapshot)) => {
                *state = State::new(epoch, snapshot, file, length, live);
            }
            Err(error) => state.fail(&error),
        }
        self.sizes.set(&state);
        state.check(operation)
    }

    fn begin(
        &self,
        epoch: u64,
        snapshot: Option<&[u8]>,
        before: Option<SnapshotFile>,
        records: &[Vec<u8>],
    ) -> io::Result<(F::File, u64, Option<SnapshotFile>)> {
        let snapshot = match snapshot {
            Some(bytes) => epoch::write_snapshot(&self.files, epoch, bytes)?,
            None => before,
        };
        let (file, length) = epoch::begin(&self.files, epoch, snapshot, records)?;
        epoch::remove_others(&self.files, epoch, snapshot)?;
        Ok((file, length, snapshot))
    }

    fn compact(&self, snapshot: &[u8], records: &[Vec<u8>]) -> Result<(), DiskError> {
        let marked: Result<Vec<_>, _> =
            records.iter().map(|record| marked("compact", Tag::Record, record)).collect();
        let records_size = records.iter().map(Vec::len).sum();
        let live = Live { records_size, saved: Vec::new() };
        self.replace("compact", Some(snapshot), &marked?, live)
    }

    fn save(&self, saved: Vec<u8>, snapshot: Option<&[u8]>) -> Result<(), DiskError> {
        if snapshot.is_none() && !self.state.lock().is_mostly_garbage() {
            self.append(Tag::State, &saved)?;
            return self.sync();
        }
        let record = marked("save", Tag::State, &saved)?;
        self.replace("save", snapshot, &[record], Live { records_size: 0, saved })
    }

    fn journal(&self) -> Result<Vec<Vec<u8>>, DiskError> {
        let state = self.state.lock();
        state.check("read")?;
        let read = epoch::read(&self.files, state.epoch);
        let records = read.map_err(|error| DiskError::new("read", error.to_string()))?.records;
        Ok(records.into_iter().filter(|(tag, _)| *tag == Tag::Record).map(|it| it.1).collect())
    }

    fn snapshot(&self) -> Result<Vec<u8>, DiskError> {
        // The lock is held: the file must not be replaced meanwhile.
        let state = self.state.lock();
        let read = state.snapshot.map(|snapshot| snapshot.read(&self.files)).transpose();
        read.map(Option::unwrap_or_default)
            .map_err(|error| DiskError::new("read", error.to_string()))
    }
}

/// A record with its tag, if it is not too long.
fn marked(operation: &'static str, tag: Tag, bytes: &[u8]) -> Result<Vec<u8>, DiskError> {
    let (length, most) = (bytes.len() + 1, frame::RECORD_BYTES_MAX);
    if length > most {
        let reason = format!("a record of {length} bytes is too long: {most} are the most");
        return Err(DiskError::new(operation, reason));
    }
    Ok(tag.mark(bytes))
}

fn failed_to(tried: &'static str, files: &impl FileSystem, error: &io::Error) -> OpenError {
    OpenError::io(tried, &files.path_of(""), error)
}

/// The epoch that counts; none in a folder without any.
fn newest_epoch(files: &impl FileSystem) -> Result<Option<u64>, OpenError> {
    let names = names::list(files).map_err(|error| failed_to("list", files, &error))?;
    let epochs = names.iter().filter_map(|(_, kind)| match kind {
        Kind::Journal(epoch) => Some(*epoch),
        _ => None,
    });
    let newest = epochs.max();
    let snapshot = names.iter().find(|(_, kind)| matches!(kind, Kind::Snapshot(_)));
    match (newest, snapshot) {
        (None, Some((name, _))) => {
            let how = "there is a snapshot, and no journal that says what it is";
            Err(OpenError::damaged(files.path_of(name), how))
        }
        (newest, _) => Ok(newest),
    }
}

/// A server's first start.
fn first<F: FileSystem>(files: &F) -> io::Result<State<F::File>> {
    let (file, length) = epoch::begin(files, 0, None, &[])?;
    Ok(State::new(0, None, file, length, Live::default()))
}

/// Goes on with what there is, in a new epoch. What was read may be in the system's cache alone, of
/// a file whose sync has failed: syncing that once more may succeed and say nothing. Whoever read
/// it may answer for it, so it is written again.
fn resume<F: FileSystem>(files: &F, epoch: u64) -> Result<State<F::File>, OpenError> {
    let journal = epoch::read(files, epoch)?;
    let Journal { snapshot, end, length, .. } = journal;
    snapshot.map(|snapshot| snapshot.read(files)).transpose()?;
    if end < length {
        let (place, lost) = (files.path_of(&names::journal(epoch)), length - end);
        log::warn!(target: "persist", "{place}: left {lost} bytes that a crash left at the end");
    }
    let (live, records) = live(journal.records);
    let epoch = epoch + 1;
    let (file, length) = epoch::begin(files, epoch, snapshot, &records)
        .map_err(|error| OpenError::io("write", &files.path_of(&names::journal(epoch)), &error))?;
    Ok(State::new(epoch, snapshot, file, length, live))
}

/// What counts of a journal, and as records of the next one.
fn live(records: Vec<(Tag, Vec<u8>)>) -> (Live, Vec<Vec<u8>>) {
    let (mut live, mut kept) = (Live::default(), Vec::new());
    for (tag, bytes) in records {
        match tag {
            Tag::State => live.saved = bytes,
            _ => {
                live.records_size += bytes.len();
                kept.push(tag.mark(&bytes));
            }
        }
    }
    if !live.saved.is_empty() {
        kept.push(Tag::State.mark(&live.saved));
    }
    (live, kept)
}

impl<File> State<File> {
    /// With all of the file durable.
    fn new(
        epoch: u64,
        snapshot: Option<SnapshotFile>,
        file: File,
        length: u64,
        live: Live,
    ) -> Self {
        Self {
            epoch,
            file: Arc::new(file),
            snapshot,
            unwritten: Vec::new(),
            length,
            durable: length,
            busy: Busy::Nobody,
            failed: None,
            live,
        }
    }

    fn append(&mut self, record: &[u8]) {
        frame::append(&mut self.unwritten, self.epoch, self.length, self.durable, record);
        self.length += (frame::HEADER_BYTES + record.len()) as u64;
    }

    fn is_mostly_garbage(&self) -> bool {
        self.length > GARBAGE_MAX + 2 * self.live.saved.len() as u64
    }

    fn fail(&mut self, error: &io::Error) {
        log::error!(target: "persist", "the disk has failed: {error}");
        self.failed = Some(error.to_string());
    }

    fn check(&self, operation: &'static str) -> Result<(), DiskError> {
        self.failed.as_ref().map_or(Ok(()), |reason| Err(DiskError::new(operation, reason.clone())))
    }
}

impl Sizes {
    fn set<File>(&self, state: &State<File>) {
        let Live { records_size, saved } = &state.live;
        self.raft_state.store(records_size + saved.len(), Ordering::Relaxed);
        let snapshot = state.snapshot.map_or(0, |snapshot| snapshot.length);
        self.snapshot.store(usize::try_from(snapshot).unwrap_or(usize::MAX), Ordering::Relaxed);
        self.failed.store(state.failed.is_some(), Ordering::Relaxed);
    }
}

/// The store for the [`Disk`]'s calls.
struct Shared<F: FileSystem>(Arc<Store<F>>);

impl<F: FileSystem> Shared<F> {
    /// For calls that cannot say that the disk has failed.
    fn or_stop<T: Default>(&self, result: Result<T, DiskError>) -> T {
        result.unwrap_or_else(|error| {
            (self.0.stop)(&error);
            T::default()
        })
    }
}

impl<F: FileSystem> DiskBackend for Shared<F> {
    fn save(&self, state: Vec<u8>, snapshot: Option<Vec<u8>>) {
        self.or_stop(self.0.save(state, snapshot.as_deref()));
    }

    fn read_state(&self) -> Vec<u8> {
        self.0.state.lock().live.saved.clone()
    }

    fn read_snapshot(&self) -> Vec<u8> {
        self.or_stop(self.0.snapshot())
    }

    fn raft_state_size(&self) -> usize {
        self.0.raft_state_size()
    }

    fn read_journal(&self) -> Result<Vec<Vec<u8>>, DiskError> {
        self.0.journal()
    }

    fn append_to_journal(&self, record: &[u8]) -> Result<(), DiskError> {
        self.0.append(Tag::Record, record)
    }

    fn sync_journal(&self) -> Result<(), DiskError> {
        self.0.sync()
    }

    fn compact_journal(&self, snapshot: Vec<u8>, records: &[Vec<u8>]) -> Result<(), DiskError> {
        self.0.compact(&snapshot, records)
    }
}
