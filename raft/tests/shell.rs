//! What only the shell claims, on servers with a network and disks.

use std::time::Duration;

use harness::Cluster;
use labrt::random::RngExt;
use labrt::thread;
use raft::Raft;

#[test]
fn smoke() {
    labrt::check(|| {
        let cluster = Cluster::new::<Raft>(3);
        let leader = cluster.check_one_leader();
        for n in 0..200u64 {
            cluster.server(leader).start(n.to_le_bytes().to_vec()).unwrap().unwrap();
        }
        thread::sleep(Duration::from_millis(200));
        assert_eq!(cluster.summary().commands, 200);
        println!("{:?}", cluster.summary());
    });
}

#[test]
fn chaos() {
    labrt::check(|| {
        let cluster = Cluster::new::<Raft>(5);
        let mut script = cluster.script();
        let mut n = 0u64;
        for round in 0..200 {
            for s in 0..5 {
                n += 1;
                let _ = cluster.server(s).start(n.to_le_bytes().to_vec());
            }
            thread::sleep(Duration::from_millis(script.below(200)));
            let s = script.below(5) as usize;
            match script.below(6) {
                0 => cluster.crash(s),
                1 => cluster.restart(s),
                2 => cluster.disconnect(s),
                3 => cluster.connect(s),
                _ => {}
            }
            if round % 20 == 0 {
                cluster.heal();
            }
        }
        cluster.heal();
        let leader = cluster.wait_for_agreed_leader(Duration::from_secs(10));
        let before = cluster.summary().commands;
        cluster.server(leader).start(vec![7]).unwrap().unwrap();
        thread::sleep(Duration::from_secs(2));
        println!("{before} {:?}", cluster.summary());
        assert!(cluster.summary().commands > before);
    });
}
