//! A simulated disk as one incarnation of its server has it.

use std::io;
use std::sync::Arc;

use labrt::group::Group;
use labrt::thread;
use labrt::trace::{self, EventKind};
use storage::{File, FileSystem, OpenError, Store};

use super::files::FileId;
use super::{Platter, State};
use crate::plan::{CrashPoint, Crashes};

pub(super) type MountedStore = Store<Mount>;

/// The file system as one incarnation has it: what that writes after its crash goes nowhere.
#[derive(Clone)]
pub(crate) struct Mount {
    platter: Arc<Platter>,
    group: Group,
    crashes: Arc<Crashes>,
}

/// A file that this incarnation has opened.
pub(crate) struct OpenFile {
    id: FileId,
    name: String,
    mount: Mount,
}

impl Mount {
    pub(super) fn new(platter: &Arc<Platter>, group: &Group, crashes: &Arc<Crashes>) -> Self {
        let (platter, crashes) = (Arc::clone(platter), Arc::clone(crashes));
        Self { platter, group: group.clone(), crashes }
    }

    pub(super) fn open_store(self) -> Result<Arc<MountedStore>, OpenError> {
        let group = self.group.clone();
        // The persister's user cannot be told, and must not go on.
        Store::open(self, move |_| group.crash()).map(Arc::new)
    }

    /// What an incarnation does to its disk, if it still is the one that runs. Looked at in the
    /// same section: the next incarnation's first write must not be overwritten.
    fn change<T: Default>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        self.platter.state.with(|state| match self.group.is_alive() {
            true => change(state),
            false => T::default(),
        })
    }

    fn changed(&self, change: impl FnOnce(&mut State)) -> io::Result<()> {
        self.change(change);
        Ok(())
    }

    /// Takes a disk's time, and takes effect in the middle of it.
    fn sync(&self, file: Option<FileId>, what: &str) -> io::Result<()> {
        let server = self.platter.server;
        let delay = self.platter.draw_delay();
        self.crashes.note(server, CrashPoint::SaveBegun);
        thread::sleep(delay / 2);
        let synced = self.change(|state| Some(self.platter.sync(state, file)));
        let synced = synced.unwrap_or(Ok(()));
        trace::record(Some(server), "persist", EventKind::Note, || match &synced {
            // Which journal or snapshot it is matters to nobody who reads a trace.
            Ok(()) => {
                format!("synced {}", what.trim_end_matches(|sign| matches!(sign, '-' | '0'..='9')))
            }
            Err(error) => format!("{what} is not synced: {error}"),
        });
        thread::sleep(delay - delay / 2);
        self.crashes.note(server, CrashPoint::SaveDone);
        synced
    }

    fn open_file(&self, id: FileId, name: &str) -> OpenFile {
        // What is written aside is told under the name that it will have.
        let name = name.trim_end_matches(".new").to_owned();
        OpenFile { id, name, mount: self.clone() }
    }
}

impl FileSystem for Mount {
    type File = OpenFile;

    fn create(&self, name: &str) -> io::Result<OpenFile> {
        let id = self.change(|state| state.files.create(name));
        Ok(self.open_file(id, name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.platter.state.with(|state| Ok(state.files.read(state.files.id(name)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.changed(|state| state.files.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.changed(|state| state.files.remove(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.platter.state.with(|state| state.files.names()))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.sync(None, "the folder")
    }

    fn path_of(&self, name: &str) -> String {
        format!("S{}/{name}", self.platter.server)
    }
}

impl File for OpenFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.mount.changed(|state| state.files.append(self.id, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.mount.sync(Some(self.id), &self.name)
    }
}
