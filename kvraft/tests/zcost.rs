//! Scratch.
mod support;
use contract::Clerk;
use kvraft::*;
use labrt::sim;
use std::sync::Arc;
use std::time::Duration;
use support::Cluster;
#[test]
fn cost() {
    let began = std::time::Instant::now();
    let out = sim::run(&sim::Config::new(1), || {
        let cluster: Arc<Cluster<raft::Raft, KvMap>> =
            Arc::new(Cluster::on_raft(5, 5, Config::default()));
        let until = labrt::time::world_time() + Duration::from_secs(15);
        let cl: Vec<_> = (0..5)
            .map(|c| {
                let mut k: KvClerk = Clerk::make(cluster.ends(c));
                labrt::thread::spawn(move || {
                    let mut n = 0u64;
                    let mut m = 0;
                    while labrt::time::world_time() < until {
                        n += 1;
                        if n % 2 == 0 {
                            k.get(&c.to_string()).unwrap();
                            m += 1;
                        } else {
                            k.append(&c.to_string(), "x 0 100 y").unwrap();
                        }
                    }
                    let _ = m;
                    n
                })
            })
            .collect();
        let ops: u64 = cl.into_iter().map(|h| h.join().unwrap()).sum();
        (ops, cluster.network.counts().rpcs)
    });
    let (ops, rpcs) = out.result.unwrap();
    let took = began.elapsed();
    println!(
        "{ops} ops {rpcs} rpcs in {took:?}; {:?} us/rpc; switches {} steps {} threads {}",
        took.as_micros() as f64 / rpcs as f64,
        out.stats.switches,
        out.stats.steps,
        out.stats.threads
    );
}
