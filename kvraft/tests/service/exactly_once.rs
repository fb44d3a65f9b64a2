//! Every command takes effect once, and its client is told of that one.

use std::sync::Arc;

use contract::{Clerk, ClerkError};
use kvraft::Config;
use labrpc::Faults;
use labrt::thread;

use super::{KvCluster, MS, clerk, service, service_with, spawn, wait_until};

/// The answers of all servers to a client are lost, until this is taken back.
fn lose_replies(cluster: &KvCluster, client: usize, lose: bool) {
    let node = cluster.servers + client;
    let faults = Faults { reply_loss_ppm: if lose { 1_000_000 } else { 0 }, ..Faults::reliable() };
    (0..cluster.servers).for_each(|server| cluster.network.set_faults(server, node, &faults));
}

#[test]
fn a_command_that_is_sent_again_to_the_next_leader_is_carried_out_once() {
    labrt::check(|| {
        let (log, cluster) = service(3, 1);
        let mut me = clerk(&cluster, 0);
        me.put("x", "begin ").expect("a session lasts");
        log.hold(true);
        let proposed = log.last_index() + 1;
        let appending = spawn(me, |me| me.append("x", "once"));
        wait_until("the old leader has it", || log.last_index() == proposed);
        log.elect(Some(1));
        wait_until("the new leader has a copy", || log.last_index() > proposed);
        log.hold(false);
        let (appended, mut me) = appending.join().expect("the client ends");
        assert_eq!(appended, Ok(()));
        assert_eq!(me.get("x"), Ok("begin once".to_string()));
    });
}

#[test]
fn a_command_whose_answers_are_lost_is_carried_out_once() {
    labrt::check(|| {
        let (log, cluster) = service(3, 1);
        let mut me = clerk(&cluster, 0);
        me.put("x", "begin ").expect("a session lasts");
        lose_replies(&cluster, 0, true);
        let appending = spawn(me, |me| me.append("x", "once"));
        let proposed = log.last_index() + 1;
        wait_until("it is proposed", || log.last_index() >= proposed);
        thread::sleep(500 * MS);
        lose_replies(&cluster, 0, false);
        let (appended, mut me) = appending.join().expect("the client ends");
        assert_eq!(appended, Ok(()));
        let copies = log.last_index() - proposed;
        assert_eq!(copies, 0, "what the table answers is not proposed again");
        assert_eq!(me.get("x"), Ok("begin once".to_string()));
    });
}

/// At the index where A's command was to be, B's is applied. A's server must not take that for A's.
#[test]
fn whoever_waits_where_another_entry_is_applied_is_not_answered_for_it() {
    labrt::check(|| {
        let (log, cluster) = service(3, 2);
        let (mut a, mut b) = (clerk(&cluster, 0), clerk(&cluster, 1));
        a.put("a", "").expect("a session lasts");
        b.put("b", "").expect("a session lasts");
        log.hold(true);
        let proposed = log.last_index() + 1;
        let writing = spawn(a, |a| {
            let written = a.put("a", "written");
            (written, a.get("a"))
        });
        wait_until("A's leader has it", || log.last_index() == proposed);
        // The next leader does not have it, and puts B's there: A is cut off from it until then.
        cluster.network.set_cut(cluster.servers, 1, true);
        log.elect_without_tail(1);
        let other = spawn(b, |b| b.put("b", "written"));
        wait_until("B's is where A's was", || log.last_index() == proposed);
        cluster.network.set_cut(cluster.servers, 1, false);
        log.hold(false);
        let ((written, read), _) = writing.join().expect("A ends");
        assert_eq!((written, read), (Ok(()), Ok("written".to_string())));
        let (written, mut b) = other.join().expect("B ends");
        assert_eq!((written, b.get("b")), (Ok(()), Ok("written".to_string())));
    });
}

#[test]
fn a_client_whose_session_was_ended_is_told_and_begins_anew() {
    labrt::check(|| {
        let config = Config { max_sessions: 2, ..Config::default() };
        let (_log, cluster) = service_with(3, 3, config);
        let [mut a, mut b, mut c] = [0, 1, 2].map(|client| clerk(&cluster, client));
        a.append("x", "a1 ").expect("there is room");
        b.append("x", "b1 ").expect("there is room");
        a.append("x", "a2 ").expect("it has a session");
        c.append("x", "c1 ").expect("the least recently used goes, and that is B's");
        assert_eq!(b.append("x", "lost "), Err(ClerkError::SessionEnded));
        a.append("x", "a3 ").expect("it was used, and is still there");
        b.append("x", "b2 ").expect("it begins anew");
        assert_eq!(b.get("x"), Ok("a1 b1 a2 c1 a3 b2 ".to_string()));
        assert_eq!(
            c.append("x", "lost "),
            Err(ClerkError::SessionEnded),
            "to make room for B's second"
        );
    });
}

#[test]
fn a_client_that_reads_needs_no_session() {
    labrt::check(|| {
        let config = Config { max_sessions: 1, ..Config::default() };
        let (_log, cluster) = service_with(3, 3, config);
        let mut writer = clerk(&cluster, 0);
        writer.put("x", "1").expect("there is room");
        for client in [1, 2] {
            assert_eq!(clerk(&cluster, client).get("x"), Ok("1".to_string()));
        }
        writer.put("x", "2").expect("its session is the only one that was ever needed");
    });
}

#[test]
fn a_session_that_its_client_closes_makes_room() {
    labrt::check(|| {
        let config = Config { max_sessions: 2, ..Config::default() };
        let (_log, cluster) = service_with(3, 10, config);
        let mut staying = clerk(&cluster, 0);
        staying.put("x", "1").expect("there is room");
        for client in 1..10 {
            let mut passing = clerk(&cluster, client);
            passing.put("y", "1").expect("there is room");
            passing.close();
        }
        staying.put("x", "2").expect("none of the others took its place");
    });
}

/// The command is applied and not answered; then all servers stop, and go on from snapshots.
#[test]
fn a_copy_that_comes_after_a_snapshot_and_a_restart_is_answered_from_the_table() {
    labrt::check(|| {
        let config = Config { max_raft_state: Some(1), ..Config::default() };
        let (log, cluster) = service_with(3, 1, config);
        let mut me = clerk(&cluster, 0);
        me.put("x", "begin ").expect("a session lasts");
        lose_replies(&cluster, 0, true);
        let proposed = log.last_index() + 1;
        let appending = spawn(me, |me| me.append("x", "once"));
        wait_until("it is proposed", || log.last_index() == proposed);
        wait_until("all have it in a snapshot", || {
            (0..3).all(|server| log.covered(server) == proposed)
        });
        restart_all(&cluster);
        lose_replies(&cluster, 0, false);
        let (appended, mut me) = appending.join().expect("the client ends");
        assert_eq!(appended, Ok(()));
        assert_eq!(log.last_index(), proposed, "it is not proposed again");
        assert_eq!(me.get("x"), Ok("begin once".to_string()));
    });
}

fn restart_all(cluster: &Arc<KvCluster>) {
    (0..cluster.servers).for_each(|server| cluster.crash(server));
    thread::sleep(100 * MS);
    (0..cluster.servers).for_each(|server| cluster.start(server));
}
