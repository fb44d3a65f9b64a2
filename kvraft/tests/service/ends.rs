//! Servers that stop, in one way or another.

use std::time::Duration;

use contract::Clerk;
use kvraft::KvClerk;
use labrpc::Faults;
use labrt::thread;

use super::{KvCluster, MS, clerk, service, spawn, timed, wait_until};
use crate::support::OneLog;

/// A call to a paused server does not return.
#[test]
fn a_paused_leader_does_not_stop_a_client() {
    labrt::check(|| {
        let (log, cluster) = service(3, 1);
        let mut me = clerk(&cluster, 0);
        me.put("x", "1").expect("a session lasts");
        cluster.group(0).pause();
        log.elect(Some(1));
        let (written, took) = timed(|| me.append("x", "2"));
        assert_eq!(written, Ok(()));
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        let (_, took) = timed(|| (0..10).for_each(|_| me.append("x", "3").expect("it lasts")));
        assert!(took < 200 * MS, "it has found the other one, and yet 10 took {took:?}");
        cluster.group(0).resume();
        assert_eq!(me.get("x"), Ok("123333333333".to_string()));
    });
}

/// The answers of the server that leads are half a second late. So the client asks it again and
/// again, and most answers come when it has long gone on to something else.
#[test]
fn late_answers_are_not_taken_for_those_to_later_requests() {
    labrt::check(|| {
        let (log, cluster) = service(2, 1);
        let mut me = clerk(&cluster, 0);
        me.put("x", "old").expect("a session lasts");
        let late = Faults { reply_delay: 500 * MS..501 * MS, ..Faults::reliable() };
        cluster.network.set_faults(0, cluster.servers, &late);
        let before = cluster.network.counts_at(0).rpcs;
        let (read, took) = timed(|| me.get("x"));
        assert_eq!(read, Ok("old".to_string()));
        assert!((500 * MS..700 * MS).contains(&took), "the first answer does, after {took:?}");
        let asked = cluster.network.counts_at(0).rpcs - before;
        assert!(asked > 3, "it was asked {asked} times");
        cluster.network.set_faults(0, cluster.servers, &Faults::reliable());
        log.elect(Some(1));
        me.put("x", "new").expect("a session lasts");
        for _ in 0..300 {
            assert_eq!(me.get("x"), Ok("new".to_string()));
        }
    });
}

/// A call to the dead server takes up to seven seconds to fail.
#[test]
fn the_next_leader_is_found_soon_though_the_last_one_is_dead() {
    labrt::check(|| {
        let (log, cluster) = service(3, 1);
        cluster.network.set_all_faults(&Faults::reliable().with_long_delays());
        let mut me = clerk(&cluster, 0);
        me.put("x", "1").expect("a session lasts");
        cluster.crash(0);
        log.elect(None);
        let appending = spawn(me, |me| me.append("x", "2"));
        thread::sleep(600 * MS);
        log.elect(Some(2));
        let ((appended, _), took) = timed(|| appending.join().expect("the client ends"));
        assert_eq!(appended, Ok(()));
        // A pause is up to 250 ms at the most.
        assert!(took < 350 * MS, "it took {took:?}");
    });
}

/// Has server 0 do what takes threads beside those that it starts with.
fn keep_busy(log: &OneLog, cluster: &KvCluster) {
    log.set_start_takes(10 * MS);
    let put = |me: &mut KvClerk| me.put("y", "1").expect("a session lasts");
    let clients: Vec<_> = (1..6).map(|client| spawn(clerk(cluster, client), put)).collect();
    clients.into_iter().for_each(|client| drop(client.join().expect("the client ends")));
    log.set_start_takes(Duration::ZERO);
    let has_helper = cluster.group(0).members().iter().any(|thread| thread.contains("/helper-"));
    assert!(has_helper, "five clients at a time are more than one handler offers");
}

#[test]
fn whoever_waits_at_a_server_that_is_killed_is_sent_elsewhere() {
    labrt::check(|| {
        let (log, cluster) = service(3, 6);
        let mut me = clerk(&cluster, 0);
        me.put("x", "1").expect("a session lasts");
        keep_busy(&log, &cluster);
        log.hold(true);
        let proposed = log.last_index() + 1;
        let appending = spawn(me, |me| me.append("x", "2"));
        wait_until("the leader has it", || log.last_index() == proposed);
        log.elect(None);
        cluster.kill(0);
        wait_until("its threads end", || {
            cluster.group(0).members().iter().all(|thread| thread.contains("/rpc-"))
        });
        log.elect(Some(1));
        log.hold(false);
        let (appended, mut me) = appending.join().expect("the client ends");
        assert_eq!((appended, me.get("x")), (Ok(()), Ok("12".to_string())));
    });
}

#[test]
fn a_leader_that_is_killed_hands_over_first() {
    labrt::check(|| {
        let (log, cluster) = service(3, 1);
        let mut me = clerk(&cluster, 0);
        me.put("x", "1").expect("a session lasts");
        cluster.kill(0);
        wait_until("another one leads", || cluster.leader() == Some(1));
        cluster.kill(2);
        thread::sleep(100 * MS);
        assert_eq!(log.transfers(), [(0, 1)], "a follower has nothing to hand over");
        assert_eq!(me.get("x"), Ok("1".to_string()));
    });
}

/// Nobody hears a leader that is cut off from the others; a client that reaches it must not be kept
/// there, nor fill its log.
#[test]
fn a_leader_that_commits_nothing_keeps_nobody_and_takes_each_command_once() {
    labrt::check(|| {
        let (log, cluster) = service(1, 1);
        let mut me = clerk(&cluster, 0);
        me.put("x", "1").expect("a session lasts");
        log.hold(true);
        let before = log.last_index();
        let appending = spawn(me, |me| me.append("x", "2"));
        thread::sleep(Duration::from_secs(5));
        assert_eq!(log.last_index() - before, 1, "copies of it are not proposed");
        log.hold(false);
        let ((appended, mut me), took) = timed(|| appending.join().expect("the client ends"));
        assert_eq!((appended, me.get("x")), (Ok(()), Ok("12".to_string())));
        assert!(took < Duration::from_secs(2), "it took {took:?}");
    });
}
