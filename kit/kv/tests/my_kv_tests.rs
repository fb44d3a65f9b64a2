//! Tests of my own: each runs over several seeds, in virtual time, like the graded ones.

use harness::{KvCluster, KvSetup};

/// A server of three.
type Server = my_raft::MyKv<raft::Raft>;

/// An example. It fails until 3A is written.
#[test]
fn one_client_reads_what_another_wrote() {
    labrt::check(|| {
        let setup = KvSetup { clients: 2, max_raft_state: None };
        let cluster = KvCluster::new::<Server>(3, setup);
        let (mut writer, mut reader) = (cluster.client(0), cluster.client(1));
        writer.put("colour", "blue");
        writer.append("colour", "ish");
        assert_eq!(reader.get("colour"), "blueish");
        // Was all that clients were told what a single server could have told them?
        cluster.check_history();
    });
}
