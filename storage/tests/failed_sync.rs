//! A file system as Linux has it: the sync that fails drops what it could not write, which stays
//! readable from the cache; to sync again succeeds, and writes nothing of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use labrt::sync::Mutex;
use storage::{File, FileSystem, Store};

#[derive(Clone, Default)]
struct Cached(Arc<Mutex<Machine>>);

#[derive(Default)]
struct Machine {
    files: Vec<CachedBytes>,
    names: BTreeMap<String, usize>,
    next_sync_fails: bool,
}

#[derive(Default)]
struct CachedBytes {
    read: Vec<u8>,
    /// What is on the disk: a byte that was not written is 0 there.
    durable: Vec<u8>,
    /// From here on nothing was handed to the disk yet.
    dirty_from: usize,
}

impl CachedBytes {
    fn sync(&mut self, works: bool) {
        let dirty = &self.read[self.dirty_from..];
        let written = if works { dirty.to_vec() } else { vec![0; dirty.len()] };
        self.durable.extend(written);
        self.dirty_from = self.read.len();
    }
}

impl Cached {
    /// The machine starts anew, with what is on the disk.
    fn lose_power(&self) {
        for file in &mut self.0.lock().files {
            file.read.clone_from(&file.durable);
            file.dirty_from = file.read.len();
        }
    }

    fn open(&self) -> Arc<Store<Self>> {
        Arc::new(Store::open(self.clone(), |_| {}).expect("what is there can be read"))
    }

    fn records(&self) -> Vec<Vec<u8>> {
        self.open().disk().journal().read().expect("it was just opened")
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FileSystem for Cached {
    type File = CachedFile;

    fn create(&self, name: &str) -> io::Result<CachedFile> {
        let mut machine = self.0.lock();
        machine.files.push(CachedBytes::default());
        let number = machine.files.len() - 1;
        machine.names.insert(name.to_owned(), number);
        Ok(CachedFile(self.clone(), number))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let machine = self.0.lock();
        let number = machine.names.get(name).ok_or_else(not_found)?;
        Ok(machine.files[*number].read.clone())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut machine = self.0.lock();
        let number = machine.names.remove(from).ok_or_else(not_found)?;
        machine.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().names.remove(name).map(|_| ()).ok_or_else(not_found)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn sync_folder(&self) -> io::Result<()> {
        Ok(())
    }

    fn path_of(&self, name: &str) -> String {
        name.to_owned()
    }
}

struct CachedFile(Cached, usize);

impl File for CachedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.0.lock().files[self.1].read.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = self.0.0.lock();
        let fails = std::mem::take(&mut machine.next_sync_fails);
        machine.files[self.1].sync(!fails);
        if fails { Err(io::Error::other("the disk did not take it")) } else { Ok(()) }
    }
}

#[test]
fn what_a_start_reads_after_a_sync_has_failed_is_there_after_a_power_loss_too() {
    let machine = Cached::default();
    let store = machine.open();
    let journal = store.disk().journal();
    journal.append(b"one").and_then(|()| journal.sync()).expect("the disk works");
    machine.0.lock().next_sync_fails = true;
    journal.append(b"two").and_then(|()| journal.sync()).expect_err("the disk fails");
    drop((journal, store));
    // The server is started again and answers for what it reads, if only that it has a log so long.
    assert_eq!(machine.records(), [b"one", b"two"]);
    machine.lose_power();
    assert_eq!(machine.records(), [b"one", b"two"]);
}
