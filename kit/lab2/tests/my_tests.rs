//! Tests of my own: each runs over several seeds, in virtual time, like the graded ones.

use std::time::Duration;

use harness::Cluster;
use labrt::thread;

/// An example. It fails until 2A is written.
#[test]
fn a_server_that_reaches_nobody_does_not_lead_and_one_of_two_does() {
    labrt::check(|| {
        let cluster = Cluster::new::<my_raft::MyRaft>(3);
        cluster.disconnect(0);
        cluster.disconnect(1);
        thread::sleep(Duration::from_secs(2));
        cluster.check_no_leader();
        cluster.connect(1);
        cluster.check_one_leader();
    });
}
