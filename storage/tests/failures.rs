//! A file system that fails, and one that is watched.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::{Disk, DiskError};
use labrt::channel::{self, Receiver};
use labrt::thread;
use storage::{Directory, File, FileSystem, Store};
use tempfile::TempDir;

/// Lets so many writes, syncs and changes of names through; the one after that fails, and all
/// after it.
struct Failing {
    directory: Directory,
    left: Arc<AtomicU64>,
}

struct FailingFile(std::fs::File, Arc<AtomicU64>);

fn let_through(left: &AtomicU64) -> io::Result<()> {
    let one_less = |left: u64| left.checked_sub(1);
    let passed = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    passed.map(|_| ()).map_err(|_| io::ErrorKind::StorageFull.into())
}

impl Failing {
    fn file(&self, file: io::Result<std::fs::File>) -> io::Result<FailingFile> {
        Ok(FailingFile(file?, Arc::clone(&self.left)))
    }
}

impl FileSystem for Failing {
    type File = FailingFile;

    fn create(&self, name: &str) -> io::Result<FailingFile> {
        let_through(&self.left)?;
        self.file(self.directory.create(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.directory.read(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let_through(&self.left)?;
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let_through(&self.left)?;
        self.directory.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.directory.list()
    }

    fn sync_folder(&self) -> io::Result<()> {
        let_through(&self.left)?;
        self.directory.sync_folder()
    }

    fn path_of(&self, name: &str) -> String {
        self.directory.path_of(name)
    }
}

impl File for FailingFile {
    /// A full disk may take a part.
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if let Err(full) = let_through(&self.1) {
            self.0.append(&bytes[..bytes.len() / 2])?;
            return Err(full);
        }
        self.0.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let_through(&self.1)?;
        self.0.sync()
    }
}

/// A disk in the folder whose file system lets so many through, from the opening on.
fn open(folder: &TempDir, left: u64) -> (Arc<Store<Failing>>, Arc<AtomicU64>) {
    let allowed = Arc::new(AtomicU64::new(u64::MAX));
    let directory = Directory::open(folder.path()).expect("nobody else has it");
    let files = Failing { directory, left: Arc::clone(&allowed) };
    let store = Store::open(files, |_| {}).expect("nothing fails yet");
    allowed.store(left, Ordering::Relaxed);
    (Arc::new(store), allowed)
}

type Found = (Vec<u8>, Vec<u8>, Vec<Vec<u8>>);

fn found(disk: &Disk) -> Found {
    let records = disk.journal().read().expect("it was just opened");
    (disk.read_snapshot(), disk.persister().read_state(), records)
}

/// Has each step of `change` fail in turn, and looks at what is found afterwards.
fn fail_each_step(
    prepare: impl Fn(&Disk),
    change: impl Fn(&Disk) -> Result<(), DiskError>,
    mut look: impl FnMut(u64, Found),
) {
    for step in 0.. {
        let folder = tempfile::tempdir().expect("a folder can be made for the test");
        prepare(&open(&folder, u64::MAX).0.disk());
        let (store, left) = open(&folder, step);
        let changed = change(&store.disk());
        if !store.has_failed() {
            assert!(step > 0, "there is something that can fail");
            return changed.expect("nothing has failed");
        }
        left.store(u64::MAX, Ordering::Relaxed);
        let after = store.disk().journal();
        after.append(b"late").expect_err("a disk that has failed takes nothing more");
        after.sync().expect_err("though it would work again");
        drop((store, after));
        look(step, found(&open(&folder, u64::MAX).0.disk()));
    }
}

#[test]
fn a_compaction_that_fails_at_any_step_leaves_the_old_or_the_new() {
    let old = (b"old".to_vec(), vec![], vec![b"1".to_vec()]);
    let new = (b"new".to_vec(), vec![], vec![b"2".to_vec(), b"3".to_vec()]);
    let compact = |disk: &Disk, (snapshot, _, records): &Found| {
        disk.journal().compact(snapshot.clone(), records)
    };
    let mut steps = [0, 0];
    fail_each_step(
        |disk| compact(disk, &old).expect("nothing fails yet"),
        |disk| compact(disk, &new),
        |step, found| {
            assert!(found == old || found == new, "step {step} left {found:?}");
            steps[usize::from(found == new)] += 1;
        },
    );
    assert!(steps[0] >= 8 && steps[1] >= 1, "failures left the old and the new {steps:?} times");
}

#[test]
fn a_save_with_a_snapshot_that_fails_at_any_step_leaves_the_old_or_the_new_of_both() {
    let (old, new) = ((b"old".to_vec(), b"1".to_vec()), (b"new".to_vec(), b"2".to_vec()));
    let save = |disk: &Disk, (snapshot, state): &(Vec<u8>, Vec<u8>)| {
        disk.persister().save(state.clone(), Some(snapshot.clone()));
    };
    fail_each_step(
        |disk| save(disk, &old),
        |disk| {
            save(disk, &new);
            Ok(())
        },
        |step, (snapshot, state, _)| {
            let found = (snapshot, state);
            assert!(found == old || found == new, "step {step} left {found:?}");
        },
    );
}

#[test]
fn records_whose_sync_failed_are_there_as_a_whole_or_not_at_all() {
    let written = |disk: &Disk, record: &[u8]| {
        disk.journal().append(record)?;
        disk.journal().sync()
    };
    fail_each_step(
        |disk| written(disk, b"durable").expect("nothing fails yet"),
        |disk| written(disk, &[7; 300]),
        |step, (_, _, records)| {
            let first_is_there = records.first().is_some_and(|record| record == b"durable");
            assert!(first_is_there && records.len() <= 2, "step {step} left {records:?}");
            assert!(records.iter().skip(1).all(|record| *record == [7; 300]), "step {step}");
        },
    );
}

#[test]
fn a_save_that_fails_stops_the_server() {
    let folder = tempfile::tempdir().expect("a folder can be made for the test");
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let directory = Directory::open(folder.path()).expect("nobody else has it");
    let (stopped, stops) = channel::unbounded();
    let files = Failing { directory, left: Arc::clone(&left) };
    let store = Store::open(files, move |error| {
        let _ = stopped.send(error.to_string());
    });
    let disk = Arc::new(store.expect("nothing fails yet")).disk();
    disk.persister().save(b"state".to_vec(), None);
    left.store(1, Ordering::Relaxed);
    disk.persister().save(b"more".to_vec(), None);
    let told = stops.try_recv().expect("it was told to stop");
    assert_eq!(told, "the disk failed to sync: no storage space");
}

/// Tells of each sync, and waits until it may.
struct Watched(Directory, Receiver<()>, Arc<AtomicU64>);

struct WatchedFile(std::fs::File, Receiver<()>, Arc<AtomicU64>);

impl FileSystem for Watched {
    type File = WatchedFile;

    fn create(&self, name: &str) -> io::Result<WatchedFile> {
        Ok(WatchedFile(self.0.create(name)?, self.1.clone(), Arc::clone(&self.2)))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.read(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.0.sync_folder()
    }

    fn path_of(&self, name: &str) -> String {
        self.0.path_of(name)
    }
}

impl File for WatchedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.2.fetch_add(1, Ordering::Relaxed);
        self.1.recv().expect("the test still runs");
        self.0.sync()
    }
}

#[test]
fn all_who_wait_while_the_disk_is_busy_share_its_next_sync() {
    let folder = tempfile::tempdir().expect("a folder can be made for the test");
    let directory = Directory::open(folder.path()).expect("nobody else has it");
    let (allow, allowed) = channel::unbounded();
    let syncs = Arc::new(AtomicU64::new(0));
    allow.send(()).expect("the first start's");
    let store = Store::open(Watched(directory, allowed, Arc::clone(&syncs)), |_| {});
    let disk = Arc::new(store.expect("the folder is empty")).disk();
    let (appended, appends) = channel::unbounded();
    let writer = |number: u8| {
        let (journal, appended) = (disk.journal(), appended.clone());
        thread::spawn(move || {
            journal.append(&[number]).expect("the disk works");
            appended.send(()).expect("the test still runs");
            journal.sync().expect("the disk works");
        })
    };
    let first = writer(0);
    while syncs.load(Ordering::Relaxed) < 2 {
        thread::yield_now();
    }
    let others: Vec<_> = (1..50).map(writer).collect();
    (0..50).for_each(|_| appends.recv().expect("each appends"));
    (0..2).for_each(|_| allow.send(()).expect("somebody waits"));
    for writer in std::iter::once(first).chain(others) {
        writer.join().expect("no writer fails");
    }
    assert_eq!(syncs.load(Ordering::Relaxed), 3, "at the start, for the first, for 49 others");
    assert_eq!(disk.journal().read().expect("the disk works").len(), 50);
}
