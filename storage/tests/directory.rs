//! What a store promises on a folder of the machine's.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{Disk, DiskError};
use storage::{Directory, OpenError, Store};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made for the test")
}

fn open(path: &Path) -> Result<Arc<Store<Directory>>, OpenError> {
    let stop = |error: &DiskError| panic!("a save failed: {error}");
    Ok(Arc::new(Store::open(Directory::open(path)?, stop)?))
}

/// Has `use_it` use the disk of one start.
fn start<T>(path: &Path, use_it: impl FnOnce(Disk) -> T) -> T {
    use_it(open(path).expect("the folder is whole").disk())
}

fn refused(path: &Path) -> String {
    open(path).err().expect("this must be refused").to_string()
}

fn files(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("the folder is there");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("our names are text");
    let mut names: Vec<_> = entries.map(|entry| name(entry.expect("it can be read"))).collect();
    names.sort();
    names
}

/// A folder with a snapshot and three records, each synced.
fn three_records() -> (TempDir, PathBuf) {
    let folder = folder();
    start(folder.path(), |disk| {
        let journal = disk.journal();
        journal.compact(b"snapshot".to_vec(), &[]).expect("the disk works");
        for record in [b"one".as_slice(), b"two", b"three"] {
            journal.append(record).expect("the disk works");
            journal.sync().expect("the disk works");
        }
    });
    let journal = folder.path().join("journal-1");
    (folder, journal)
}

fn records(path: &Path) -> Vec<Vec<u8>> {
    start(path, |disk| disk.journal().read().expect("it was just opened"))
}

#[test]
fn what_was_synced_is_there_when_the_server_starts_again() {
    let (folder, _) = three_records();
    assert_eq!(records(folder.path()), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    start(folder.path(), |disk| {
        assert_eq!(disk.read_snapshot(), b"snapshot");
        assert_eq!(disk.raft_state_size(), 11, "one, two, three");
    });
}

#[test]
fn the_persister_gives_back_what_was_saved_last_of_state_and_snapshot() {
    let folder = folder();
    start(folder.path(), |disk| {
        let persister = disk.persister();
        assert!(persister.read_state().is_empty() && persister.read_snapshot().is_empty());
        persister.save(b"first".to_vec(), None);
        persister.save(b"second".to_vec(), Some(b"snapshot".to_vec()));
        persister.save(b"third".to_vec(), None);
        assert_eq!((persister.read_state(), persister.raft_state_size()), (b"third".to_vec(), 5));
    });
    start(folder.path(), |disk| {
        assert_eq!(disk.persister().read_state(), b"third");
        assert_eq!(disk.persister().read_snapshot(), b"snapshot");
    });
}

#[test]
fn saves_that_are_over_do_not_fill_the_disk() {
    let folder = folder();
    start(folder.path(), |disk| {
        for number in 0..2_000_u32 {
            disk.persister().save(number.to_le_bytes().repeat(100), None);
        }
    });
    let size = |name: &String| fs::metadata(folder.path().join(name)).map_or(0, |it| it.len());
    let bytes: u64 = files(folder.path()).iter().map(size).sum();
    assert!(bytes < 100_000, "{bytes} bytes for a state of 400, of 800,000 that were saved");
    start(folder.path(), |disk| {
        assert_eq!(disk.persister().read_state(), 1_999_u32.to_le_bytes().repeat(100));
    });
}

#[test]
fn what_is_over_is_removed() {
    let folder = folder();
    start(folder.path(), |disk| {
        for number in 0..50_u8 {
            disk.journal().compact(vec![number; 10], &[vec![number]]).expect("the disk works");
        }
    });
    assert_eq!(files(folder.path()), ["LOCK", "journal-50", "snapshot-50"]);
    fs::write(folder.path().join("journal-49"), b"came back").expect("it can be written");
    fs::write(folder.path().join("snapshot-52.new"), b"half").expect("it can be written");
    fs::write(folder.path().join("notes.txt"), b"not ours").expect("it can be written");
    start(folder.path(), |disk| assert_eq!(disk.read_snapshot(), [49; 10]));
    assert_eq!(files(folder.path()), ["LOCK", "journal-51", "notes.txt", "snapshot-50"]);
}

#[test]
fn a_folder_is_one_servers_at_a_time() {
    let folder = folder();
    let first = open(folder.path()).expect("nobody has it");
    let refused = refused(folder.path());
    assert!(refused.ends_with("is in use by another server that still runs"), "{refused}");
    drop(first);
    open(folder.path()).expect("nobody has it any more");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, b"").expect("it can be written");
    let refused = refused(&file.join("server"));
    assert!(refused.contains("file/server: Not a directory"), "{refused}");
}

#[test]
fn a_torn_tail_is_cut_for_good() {
    let (folder, journal) = three_records();
    let whole = fs::read(&journal).expect("it is there");
    let mut file = OpenOptions::new().append(true).open(&journal).expect("it is there");
    // The beginning of a record, as a crash leaves it.
    file.write_all(&whole[..30]).expect("it can be written");
    file.write_all(&[0; 600]).expect("it can be written");
    assert_eq!(records(folder.path()).len(), 3);
    assert!(!journal.exists(), "the next one has begun");
    let next = fs::read(journal.with_file_name("journal-2")).expect("it has begun");
    assert_eq!(next.len(), whole.len());
}

#[test]
fn damage_in_the_middle_is_refused_and_named_by_file_and_offset() {
    let (folder, journal) = three_records();
    let mut bytes = fs::read(&journal).expect("it is there");
    let two = bytes.windows(3).position(|bytes| bytes == b"two").expect("it was appended");
    bytes[two] ^= 1;
    fs::write(&journal, &bytes).expect("it can be written");
    let refused = refused(folder.path());
    // The tag and the header come before the record's bytes.
    let offset = two - 1 - 24;
    let named = format!("{}: damage at byte {offset}: ", journal.display());
    assert!(refused.starts_with(&named), "{refused}");
    assert!(refused.contains("may be lost, so it does not start"), "{refused}");
    assert_eq!(fs::read(&journal).expect("it is there"), bytes, "nothing was touched");
}

#[test]
fn a_snapshot_that_is_changed_or_gone_is_refused() {
    let (folder, _) = three_records();
    let snapshot = folder.path().join("snapshot-1");
    fs::write(&snapshot, b"snapshoT").expect("it can be written");
    assert!(refused(folder.path()).contains("snapshot-1: damage: the snapshot does not fit"));
    fs::remove_file(&snapshot).expect("it is there");
    assert!(refused(folder.path()).contains("snapshot-1: the journal follows this file"));
}

#[test]
fn a_snapshot_whose_journal_is_gone_is_refused() {
    let (folder, journal) = three_records();
    fs::remove_file(journal).expect("it is there");
    let refused = refused(folder.path());
    assert!(refused.contains("snapshot-1: there is a snapshot, and no journal"), "{refused}");
}

#[test]
fn a_journal_that_was_cut_into_what_it_began_with_is_refused() {
    let folder = folder();
    start(folder.path(), |disk| {
        disk.journal().compact(Vec::new(), &[vec![1; 100], vec![2; 100]]).expect("the disk works");
    });
    let journal = folder.path().join("journal-1");
    let length = fs::metadata(&journal).expect("it is there").len();
    for cut in 0..length {
        let bytes = fs::read(&journal).expect("it is there");
        fs::write(&journal, &bytes[..cut as usize]).expect("it can be written");
        assert!(open(folder.path()).is_err(), "cut to {cut} bytes of {length}");
        fs::write(&journal, bytes).expect("it can be written");
    }
    assert_eq!(records(folder.path()).len(), 2);
}
