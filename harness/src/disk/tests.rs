//! A compaction replaces snapshot and records together: below the servers that use it, since those
//! have a service that reads their snapshots.

use std::sync::Arc;
use std::time::Duration;

use contract::{Disk, DiskError};
use labrt::group::Group;
use labrt::random;
use labrt::sync::Shared;
use labrt::thread;

use super::{DiskFaults, ServerDisk};

/// Compacts over and over: each snapshot is a number, and the records beside it are so many copies
/// of it. A zero is appended after each.
fn compact_until_it_fails(disk: &Disk, durable: &Shared<u16>) -> Result<(), DiskError> {
    let journal = disk.journal();
    let last = durable.with(|durable| *durable);
    for number in last + 1..=u16::MAX {
        let bytes = number.to_le_bytes().to_vec();
        journal.compact(bytes.clone(), &vec![bytes; number.into()])?;
        durable.with(|durable| *durable = number);
        journal.append(&[0])?;
    }
    Ok(())
}

/// Mounts the disk for a new server, and has that compact.
fn start(disk: &ServerDisk, durable: &Arc<Shared<u16>>) -> (Group, Disk) {
    let group = Group::new("S0", 0, 0);
    let disk = disk.mount(&group);
    let (theirs, durable) = (disk.clone(), Arc::clone(durable));
    group.spawn("compactor", move || compact_until_it_fails(&theirs, &durable));
    (group, disk)
}

/// Which compaction is on the disk.
fn found(disk: &Disk) -> u16 {
    let snapshot = disk.read_snapshot();
    let number = snapshot.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
    let records = disk.journal().read().expect("a disk that was just started can be read");
    let (copies, after) = records.split_at_checked(number.into()).expect("a record for each");
    assert!(
        copies.iter().all(|record| *record == snapshot)
            && after.iter().all(|record| *record == [0]),
        "snapshot {number} and {} records do not belong together",
        records.len()
    );
    number
}

#[test]
fn snapshot_and_records_are_replaced_together_or_not_at_all() {
    labrt::check(|| {
        let server_disk = ServerDisk::new(0);
        let durable = Arc::new(Shared::new(0));
        let mut draw = random::stream("script", 1);
        for _ in 0..30 {
            let (group, _) = start(&server_disk, &durable);
            thread::sleep(draw.duration(Duration::ZERO..Duration::from_millis(4)));
            group.crash();
            let disk = server_disk.mount(&Group::new("S0", 0, 0));
            let (found, known) = (found(&disk), durable.with(|durable| *durable));
            assert!(found == known || found == known + 1, "{known} was durable, and not {found}");
            durable.with(|durable| *durable = found);
        }
    });
}

#[test]
fn a_compaction_that_failed_leaves_the_old_or_the_new_and_is_the_last() {
    let kept = Arc::new(Shared::new([0, 0]));
    let counts = Arc::clone(&kept);
    labrt::check(move || {
        let server_disk = ServerDisk::new(0);
        let failing = DiskFaults { sync_failure_ppm: 50_000, ..DiskFaults::default() };
        let durable = Arc::new(Shared::new(0));
        for _ in 0..20 {
            let (group, disk) = start(&server_disk, &durable);
            server_disk.set_faults(&failing);
            while !server_disk.has_failed() {
                thread::sleep(Duration::from_millis(1));
            }
            assert!(disk.journal().sync().is_err(), "nothing is taken after that");
            group.crash();
            server_disk.set_faults(&DiskFaults::default());
            let disk = server_disk.mount(&Group::new("S0", 0, 0));
            let (found, known) = (found(&disk), durable.with(|durable| *durable));
            assert!(found == known || found == known + 1, "{known} was durable, and not {found}");
            counts.with(|counts| counts[usize::from(found - known)] += 1);
            durable.with(|durable| *durable = found);
        }
    });
    let [old, new] = kept.with(|kept| *kept);
    assert!(old > 0 && new > 0, "{old} failures left the old and {new} the new");
}
