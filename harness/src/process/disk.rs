//! The folder of a server that is a process: the machine's file system, and what a test wants of
//! it.
//!
//! A sync takes as long as the machine's disk takes, and longer if [`DiskFaults`] ask for more than
//! is usual. It fails if they say so. What a crash leaves is up to the machine: it has not gone
//! down, so all that was written is there. (What a disk may forget is tried in a simulated world.)

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use labrt::channel::{self, Receiver, Sender};
use labrt::random::{self, Stream};
use labrt::sync::{Mutex, Shared};
use labrt::thread;
use storage::{Directory, FileSystem};

use super::link::{FromServer, Outbox};
use crate::disk::DiskFaults;
use crate::plan::CrashPoint;

/// What a test has said of a disk.
pub(super) struct Trouble {
    faults: Shared<DiskFaults>,
    delays: Shared<Stream>,
    failures: Shared<Stream>,
    saves_are_watched: AtomicBool,
    outbox: Arc<Outbox>,
    /// A save may go on: said, and heard by one save at a time, for it has no number.
    go_on: Sender<()>,
    gone_on: Mutex<Receiver<()>>,
}

impl Trouble {
    pub(super) fn new(
        (server, incarnation): (usize, u64),
        faults: DiskFaults,
        watched: bool,
        to: &Arc<Outbox>,
    ) -> Self {
        // Each incarnation has draws of its own: else what failed once would fail at each start.
        let id = incarnation << 32 | server as u64;
        let stream = |purpose| Shared::new(random::stream(purpose, id));
        let (go_on, gone_on) = channel::unbounded();
        Self {
            faults: Shared::new(faults),
            delays: stream("disk"),
            failures: stream("disk failures"),
            saves_are_watched: watched.into(),
            outbox: Arc::clone(to),
            go_on,
            gone_on: Mutex::new(gone_on),
        }
    }

    pub(super) fn set_faults(&self, faults: DiskFaults) {
        self.faults.with(|current| *current = faults);
    }

    pub(super) fn watch_saves(&self, watched: bool) {
        self.saves_are_watched.store(watched, Ordering::Relaxed);
    }

    pub(super) fn go_on(&self) {
        let _ = self.go_on.send(());
    }

    /// A save is at this point. If it is to be the server's last, it ends here.
    fn note(&self, point: CrashPoint) {
        if self.saves_are_watched.load(Ordering::Relaxed) {
            let gone_on = self.gone_on.lock();
            super::server::tell(&self.outbox, &FromServer::At(point));
            let _ = gone_on.recv();
        }
    }

    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let faults = self.faults.with(|faults| faults.clone());
        self.note(CrashPoint::SaveBegun);
        if faults.delay.end > DiskFaults::default().delay.end {
            thread::sleep(self.delays.with(|delays| delays.duration(faults.delay)));
        }
        let fails = self.failures.with(|draw| draw.chance(faults.sync_failure_ppm));
        let synced = if fails { Err(io::Error::other("input/output error")) } else { sync() };
        self.note(CrashPoint::SaveDone);
        synced
    }
}

/// A folder of the machine's.
pub(super) struct Folder {
    pub(super) directory: Directory,
    pub(super) trouble: Arc<Trouble>,
}

/// A file of it.
pub(super) struct OpenFile {
    file: File,
    trouble: Arc<Trouble>,
}

impl Folder {
    fn with_trouble(&self, file: File) -> OpenFile {
        OpenFile { file, trouble: Arc::clone(&self.trouble) }
    }
}

impl FileSystem for Folder {
    type File = OpenFile;

    fn create(&self, name: &str) -> io::Result<OpenFile> {
        self.directory.create(name).map(|file| self.with_trouble(file))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.directory.read(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.directory.list()
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.trouble.sync(|| self.directory.sync_folder())
    }

    fn path_of(&self, name: &str) -> String {
        self.directory.path_of(name)
    }
}

impl storage::File for OpenFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.trouble.sync(|| self.file.sync())
    }
}
