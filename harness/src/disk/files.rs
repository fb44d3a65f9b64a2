//! What a simulated file system holds, and what a crash leaves of it.
//!
//! What POSIX promises, and nothing beyond: bytes are durable once their file is synced, names once
//! their folder is. Of the rest a crash leaves what it likes: changes of names up to some moment,
//! for a file system keeps their order; of bytes all, none, those up to some byte, or all but one
//! sector, which reads as zeros.

use std::collections::BTreeMap;
use std::io;

use labrt::random::Stream;

/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

pub(super) type FileId = u64;

type Names = BTreeMap<String, FileId>;

/// A folder and its files.
#[derive(Default)]
pub(super) struct Files {
    names: Names,
    durable_names: Names,
    /// What happened to names since those were durable.
    changes: Vec<Change>,
    contents: BTreeMap<FileId, Contents>,
    created: FileId,
}

enum Change {
    Create(String, FileId),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// An append-only file's bytes.
#[derive(Default)]
struct Contents {
    bytes: Vec<u8>,
    /// So many of them, from the start, are durable.
    synced: usize,
}

impl Files {
    pub(super) fn create(&mut self, name: &str) -> FileId {
        self.created += 1;
        self.contents.insert(self.created, Contents::default());
        self.change(Change::Create(name.to_owned(), self.created));
        self.created
    }

    pub(super) fn id(&self, name: &str) -> io::Result<FileId> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.change(Change::Remove(name.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn read(&self, id: FileId) -> Vec<u8> {
        self.contents.get(&id).map(|file| file.bytes.clone()).unwrap_or_default()
    }

    pub(super) fn append(&mut self, id: FileId, bytes: &[u8]) {
        self.with(id, |file| file.bytes.extend_from_slice(bytes));
    }

    pub(super) fn sync(&mut self, id: FileId) {
        self.with(id, |file| file.synced = file.bytes.len());
    }

    /// A sync that failed: some of what it was to make durable is.
    pub(super) fn sync_in_part(&mut self, id: FileId, draw: &mut Stream) {
        self.with(id, |file| file.crash(draw));
    }

    pub(super) fn sync_names(&mut self) {
        let changes = self.changes.len();
        self.settle(changes);
    }

    /// A sync of the folder that failed: it got up to some change.
    pub(super) fn sync_names_in_part(&mut self, draw: &mut Stream) {
        let changes = draw.below(self.changes.len() as u64 + 1);
        self.settle(changes as usize);
    }

    /// The first so many changes are durable.
    fn settle(&mut self, changes: usize) {
        for change in self.changes.drain(..changes) {
            change.apply(&mut self.durable_names);
        }
        let (names, durable) = (&self.names, &self.durable_names);
        if self.changes.is_empty() {
            self.contents
                .retain(|id, _| names.values().chain(durable.values()).any(|named| named == id));
        }
    }

    /// The machine goes down: what was not synced is there in part.
    pub(super) fn crash(&mut self, draw: &mut Stream) {
        self.sync_names_in_part(draw);
        self.changes.clear();
        self.names = self.durable_names.clone();
        self.settle(0);
        self.contents.values_mut().for_each(|file| file.crash(draw));
    }

    fn with(&mut self, id: FileId, change: impl FnOnce(&mut Contents)) {
        if let Some(file) = self.contents.get_mut(&id) {
            change(file);
        }
    }
}

impl Contents {
    fn crash(&mut self, draw: &mut Stream) {
        let unsynced = self.bytes.len() - self.synced;
        if unsynced > 0 {
            match draw.below(4) {
                0 => self.bytes.truncate(self.synced),
                1 => {}
                2 => {
                    let kept = draw.below(unsynced as u64 + 1) as usize;
                    self.bytes.truncate(self.synced + kept);
                }
                _ => self.lose_sector(draw.below(unsynced as u64) as usize),
            }
        }
        self.synced = self.bytes.len();
    }

    /// The sector with this one of the unsynced bytes was not written.
    fn lose_sector(&mut self, unsynced: usize) {
        let start = (self.synced + unsynced) / SECTOR_BYTES * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.bytes.len());
        self.bytes[start.max(self.synced)..end].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use labrt::random;

    use super::*;

    /// Looks at what many crashes leave of what `prepare` has done.
    fn crashes(prepare: impl Fn(&mut Files) + Send + Sync + 'static) -> Vec<Files> {
        let left = std::sync::Arc::new(labrt::sync::Shared::new(Vec::new()));
        let found = std::sync::Arc::clone(&left);
        labrt::check(move || {
            let mut draw = random::stream("crashes", 1);
            for _ in 0..100 {
                let mut files = Files::default();
                prepare(&mut files);
                files.crash(&mut draw);
                found.with(|found| found.push(files));
            }
        });
        left.with(std::mem::take)
    }

    fn bytes(files: &Files, name: &str) -> Option<Vec<u8>> {
        files.id(name).ok().map(|id| files.read(id))
    }

    #[test]
    fn synced_bytes_under_a_synced_name_survive() {
        let left = crashes(|files| {
            let id = files.create("a");
            files.append(id, &[1; 700]);
            files.sync(id);
            files.sync_names();
            files.append(id, &[2; 700]);
        });
        let found = |files: &Files| bytes(files, "a").expect("its name was synced");
        assert!(left.iter().all(|files| found(files).starts_with(&[1; 700])));
        for lost in [vec![], vec![2; 700], [vec![0; 324], vec![2; 376]].concat()] {
            let whole = [vec![1; 700], lost].concat();
            assert!(left.iter().any(|files| found(files) == whole), "none has {whole:?}");
        }
        assert!(left.iter().any(|files| (701..1400).contains(&found(files).len())));
    }

    #[test]
    fn a_file_without_a_synced_name_may_be_gone_though_its_bytes_were_synced() {
        let left = crashes(|files| {
            let id = files.create("a");
            files.append(id, b"bytes");
            files.sync(id);
        });
        assert!(left.iter().any(|files| bytes(files, "a").is_none()));
        assert!(left.iter().any(|files| bytes(files, "a").as_deref() == Some(b"bytes")));
    }

    #[test]
    fn a_name_may_be_there_before_the_bytes() {
        let left = crashes(|files| {
            let id = files.create("new");
            files.append(id, b"bytes");
            files.rename("new", "a");
        });
        assert!(left.iter().any(|files| bytes(files, "a").as_deref() == Some(b"")));
    }

    #[test]
    fn a_name_is_the_old_or_the_new_and_neither_is_lost() {
        let left = crashes(|files| {
            for (name, content) in [("a", b"old"), ("new", b"new")] {
                let id = files.create(name);
                files.append(id, content);
                files.sync(id);
            }
            files.sync_names();
            files.rename("new", "a");
        });
        let found = |files: &Files| bytes(files, "a").expect("it was there all the time");
        assert!(left.iter().any(|files| found(files) == b"old" && files.id("new").is_ok()));
        assert!(left.iter().any(|files| found(files) == b"new" && files.id("new").is_err()));
    }
}
