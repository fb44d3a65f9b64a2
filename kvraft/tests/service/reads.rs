//! Queries, on both paths.

use std::time::Duration;

use contract::Clerk;
use labrt::thread;

use super::{MS, clerk, service, spawn, timed, wait_until};
use crate::support::ReadIndex;

#[test]
fn a_read_through_the_log_shows_what_was_acknowledged() {
    labrt::check(|| {
        let (log, cluster) = service(3, 2);
        let (mut writer, mut reader) = (clerk(&cluster, 0), clerk(&cluster, 1));
        for number in 0..20 {
            writer.put("x", &number.to_string()).expect("a session lasts");
            assert_eq!(reader.get("x"), Ok(number.to_string()));
        }
        let asked = log.read_indexes();
        assert!(asked <= 3, "a server whose Raft has no ReadIndex asked more than once: {asked}");
        assert_eq!(
            log.starts(),
            41,
            "each read is an entry, and so are the writes and the session"
        );
    });
}

#[test]
fn a_read_by_read_index_shows_what_was_acknowledged_and_is_no_entry() {
    labrt::check(|| {
        let (log, cluster) = service(3, 2);
        log.set_read_index(ReadIndex::After(MS));
        let (mut writer, mut reader) = (clerk(&cluster, 0), clerk(&cluster, 1));
        for number in 0..20 {
            writer.put("x", &number.to_string()).expect("a session lasts");
            assert_eq!(reader.get("x"), Ok(number.to_string()));
        }
        assert_eq!(log.starts(), 21);
    });
}

/// The index is confirmed, but the leader's state is behind it.
#[test]
fn a_read_by_read_index_waits_until_the_state_shows_the_index() {
    labrt::check(|| {
        let (log, cluster) = service(3, 2);
        log.set_read_index(ReadIndex::After(MS));
        let (mut writer, reader) = (clerk(&cluster, 0), clerk(&cluster, 1));
        writer.put("x", "old").expect("a session lasts");
        log.limit(0, log.last_index());
        let writing = spawn(writer, |writer| writer.put("x", "new"));
        wait_until("it is committed", || log.starts() == 3);
        let reading = spawn(reader, |reader| reader.get("x"));
        thread::sleep(100 * MS);
        assert!(!reading.is_finished(), "the state is too old");
        log.limit(0, u64::MAX);
        let (read, _) = reading.join().expect("the reader ends");
        assert_eq!(read, Ok("new".to_string()));
        writing.join().expect("the writer ends").0.expect("a session lasts");
    });
}

#[test]
fn a_leader_that_is_not_ready_for_read_index_reads_through_the_log() {
    labrt::check(|| {
        let (log, cluster) = service(3, 1);
        log.set_read_index(ReadIndex::NotReady);
        let mut me = clerk(&cluster, 0);
        assert_eq!(me.get("x"), Ok(String::new()));
        assert_eq!(log.starts(), 1, "the read is an entry");
        log.set_read_index(ReadIndex::After(MS));
        assert_eq!(me.get("x"), Ok(String::new()));
        assert_eq!(log.starts(), 1, "and is none as soon as the leader is ready");
    });
}

/// A leader that was deposed and does not know has committed nothing since: it answers nobody, and
/// another server does.
#[test]
fn a_read_at_a_leader_that_nobody_follows_is_answered_by_the_next() {
    labrt::check(|| {
        let (log, cluster) = service(3, 1);
        let mut me = clerk(&cluster, 0);
        me.put("x", "1").expect("a session lasts");
        log.hold(true);
        let reading = spawn(me, |me| me.get("x"));
        thread::sleep(200 * MS);
        assert!(!reading.is_finished(), "nothing is committed");
        log.elect_without_tail(2);
        log.hold(false);
        let ((read, _), took) = timed(|| reading.join().expect("the reader ends"));
        assert_eq!(read, Ok("1".to_string()));
        assert!(took < Duration::from_secs(2), "it took {took:?}");
    });
}

/// A confirmation under way does not serve those who come later, and the next one serves all of
/// them: however many come while the first takes its time, two are enough, and a few for
/// stragglers.
#[test]
fn concurrent_reads_share_a_confirmation() {
    labrt::check(|| {
        const READERS: usize = 500;
        let (log, cluster) = service(3, READERS);
        log.set_read_index(ReadIndex::After(10 * MS));
        log.stall(true);
        let reading: Vec<_> =
            (0..READERS).map(|client| spawn(clerk(&cluster, client), |me| me.get("x"))).collect();
        // Two of three ask another server first, and are sent on to the leader.
        let calls = READERS as u64 * 5 / 3 - 1;
        wait_until("all have called", || cluster.network.counts().rpcs >= calls);
        thread::sleep(100 * MS);
        log.stall(false);
        for reading in reading {
            assert_eq!(reading.join().expect("the reader ends").0, Ok(String::new()));
        }
        let led = log.confirmations();
        assert!(led <= READERS as u64 / 50, "{led} confirmations for {READERS} reads");
    });
}
