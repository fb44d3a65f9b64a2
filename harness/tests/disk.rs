//! What a simulated disk promises: what was synced is there after a crash, and nothing is ever
//! there in part.

use std::sync::Arc;
use std::time::Duration;

use contract::{ApplyMsg, Disk, DiskError, RaftNode};
use harness::{Cluster, DiskFaults};
use labrpc::{ClientEnd, Service};
use labrt::channel::Sender;
use labrt::sync::Shared;
use labrt::thread;

/// Appends records 0, 1, 2, ... to its journal and syncs after every third; its "term" is how many
/// records are known to be durable. Not a Raft, but a server with a disk.
struct Writer {
    durable: Arc<Shared<u64>>,
    found: u64,
}

impl RaftNode for Writer {
    fn make(_: Vec<ClientEnd>, _: usize, disk: Disk, _: Sender<ApplyMsg>) -> Arc<Self> {
        let journal = disk.journal();
        let records = journal.read().expect("a disk that was just started can be read");
        for (number, record) in (0_u64..).zip(&records) {
            assert_eq!(*record, long_record(number), "record {number} is not what was appended");
        }
        let found = records.len() as u64;
        let durable = Arc::new(Shared::new(0));
        let told = Arc::clone(&durable);
        thread::spawn(move || -> Result<(), DiskError> {
            for number in found.. {
                journal.append(&long_record(number))?;
                if number % 3 == 2 {
                    journal.sync()?;
                    told.with(|durable| *durable = number + 1);
                }
            }
            Ok(())
        });
        Arc::new(Self { durable, found })
    }

    fn services(self: &Arc<Self>) -> Vec<Service> {
        Vec::new()
    }

    fn start(&self, _: Vec<u8>) -> Option<(u64, u64)> {
        Some((self.found, self.durable.with(|durable| *durable)))
    }

    fn get_state(&self) -> (u64, bool) {
        (0, false)
    }

    fn kill(&self) {}
}

/// Of differing length, so that a torn one can be torn in many places.
fn long_record(number: u64) -> Vec<u8> {
    vec![number as u8; 1 + (number as usize * 37) % 300]
}

/// What the server found when it started, and what it knows to be durable.
fn ask(cluster: &Cluster) -> (u64, u64) {
    cluster.server(0).start(Vec::new()).expect("it runs").expect("it answers")
}

#[test]
fn what_was_synced_is_there_after_a_crash_and_the_rest_may_be() {
    let (lost, kept) = (Arc::new(Shared::new(0)), Arc::new(Shared::new(0)));
    let (lost_count, kept_count) = (Arc::clone(&lost), Arc::clone(&kept));
    labrt::check(move || {
        let cluster = Cluster::new::<Writer>(1);
        let mut script = cluster.script();
        for _ in 0..50 {
            thread::sleep(script.duration(Duration::ZERO..Duration::from_millis(20)));
            let (_, durable) = ask(&cluster);
            cluster.crash(0);
            cluster.restart(0);
            let (found, _) = ask(&cluster);
            assert!(found >= durable, "{durable} records were synced, {found} are left");
            lost_count.with(|lost| *lost += u64::from(found % 3 == 0));
            kept_count.with(|kept| *kept += u64::from(found % 3 != 0));
        }
    });
    let (lost, kept) = (lost.with(|lost| *lost), kept.with(|kept| *kept));
    assert!(lost > 0 && kept > 0, "crashes tear at any record: {lost} at a sync, {kept} between");
}

#[test]
fn a_sync_that_failed_is_the_last_until_the_server_starts_again() {
    labrt::check(|| {
        let cluster = Cluster::new::<Writer>(1);
        for _ in 0..10 {
            cluster.server(0).set_disk_faults(&DiskFaults {
                sync_failure_ppm: 200_000,
                ..DiskFaults::default()
            });
            while !cluster.server(0).has_failed_disk() {
                thread::sleep(Duration::from_millis(5));
            }
            let (_, durable) = ask(&cluster);
            thread::sleep(Duration::from_millis(50));
            assert_eq!(ask(&cluster).1, durable, "the disk has failed, and takes no more");
            cluster.heal();
            assert!(!cluster.server(0).has_failed_disk());
            let (found, _) = ask(&cluster);
            assert!(found >= durable, "{durable} records were synced, {found} are left");
        }
    });
}
