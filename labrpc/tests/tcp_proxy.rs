//! A proxy puts the network, with all its faults, between a client and a server that know nothing
//! of it.

mod tcp_common;

use std::time::Duration;

use labrpc::tcp::{Client, Limits, Proxy};
use labrpc::{Counts, Faults, Network, RpcError};
use labrt::group::Group;
use labrt::sync::Shared;
use labrt::thread;
use labrt::time::Instant;
use std::sync::Arc;
use tcp_common::*;

/// A server as node 1 of a network, and a client that was told the proxy's address.
struct Linked {
    world: World,
    network: Network,
    /// Of those threads that wait for the server.
    group: Group,
    proxy: Proxy,
    _client: Client,
    echo: EchoClient,
}

fn linked() -> Linked {
    let world = World::new(&Limits::default());
    let network = Network::new(2);
    let group = Group::new("S1", 1, 1);
    let (inner, _) = world.client();
    network.serve_at(1, &group, &inner);
    let proxies = Group::new("network", 2, 0);
    let proxy = Proxy::bind(&network, 0, 1, &proxies).expect("a port is free");
    let (client, echo) = connected(proxy.local_addr(), &patient());
    Linked { world, network, group, proxy, _client: client, echo }
}

impl Linked {
    fn echo(&self) -> Result<String, RpcError> {
        self.echo.echo(&"text".into())
    }

    fn set(&self, from: usize, to: usize, faults: &Faults) {
        self.network.set_faults(from, to, faults);
    }
}

#[test]
fn what_passes_a_proxy_passes_the_network_and_is_counted_there() {
    let linked = linked();
    assert_eq!(linked.echo(), Ok("text".into()));
    let one_call = linked.network.counts();
    assert_eq!((one_call.rpcs, one_call.bytes > 0), (1, true));
    assert_eq!(linked.echo(), Ok("text".into()));
    let Counts { rpcs, bytes } = linked.network.counts_at(1);
    assert_eq!((rpcs, bytes), (2, 2 * one_call.bytes));
}

#[test]
fn what_the_network_loses_is_lost_at_once() {
    let linked = linked();
    // A second would be waited for if the server were taken for dead.
    let slow = Faults { unreachable_delay: FOR_EVER..FOR_EVER, ..Faults::reliable() };
    linked.set(0, 1, &Faults { request_loss_ppm: 1_000_000, ..slow.clone() });
    assert_eq!(linked.echo(), Err(RpcError::Lost));
    linked.set(0, 1, &slow);
    linked.set(1, 0, &Faults { reply_loss_ppm: 1_000_000, ..Faults::reliable() });
    assert_eq!(linked.echo(), Err(RpcError::Lost));
    linked.set(1, 0, &Faults::reliable());
    assert_eq!(linked.echo(), Ok("text".into()));
}

#[test]
fn a_link_that_is_cut_answers_when_its_delay_is_over() {
    let linked = linked();
    let delay = Duration::from_millis(200);
    linked.set(0, 1, &Faults { unreachable_delay: delay..delay, ..Faults::reliable() });
    linked.network.set_cut(0, 1, true);
    let started = Instant::now();
    assert_eq!(linked.echo(), Err(RpcError::Lost));
    assert!(started.elapsed() >= delay, "after {:?}", started.elapsed());
    linked.network.set_cut(0, 1, false);
    assert_eq!(linked.echo(), Ok("text".into()));
}

#[test]
fn a_repeated_request_is_handled_twice_and_answered_once() {
    let linked = linked();
    linked.set(0, 1, &Faults { duplicate_ppm: 1_000_000, ..Faults::reliable() });
    let other = linked.echo.clone();
    let caller = thread::spawn(move || other.wait(&7));
    let begun = &linked.world.gate.begun;
    assert_eq!((begun.recv(), begun.recv()), (Ok(7), Ok(7)), "both arrive");
    (0..2).for_each(|_| linked.world.gate.open.send(()).expect("the handlers wait"));
    assert_eq!(caller.join().expect("it does not panic"), Ok(7));
    assert_eq!(linked.network.counts().rpcs, 1);
}

#[test]
fn a_server_that_dies_during_a_call_and_one_that_is_gone_are_lost() {
    let linked = linked();
    let other = linked.echo.clone();
    let caller = thread::spawn(move || other.wait(&1));
    assert_eq!(linked.world.gate.begun.recv(), Ok(1));
    linked.world.server.close();
    assert_eq!(caller.join().expect("it does not panic"), Err(RpcError::Lost));
    assert_eq!(linked.echo(), Err(RpcError::Lost), "nothing queues for it");
}

#[test]
fn an_answer_of_a_server_whose_group_has_crashed_does_not_arrive() {
    let linked = linked();
    let seen: Arc<Shared<Vec<String>>> = Arc::default();
    let told = Arc::clone(&seen);
    linked.network.set_hook(move |message| {
        told.with(|told| told.push(format!("{:?} {}", message.stage, message.method)));
    });
    let other = linked.echo.clone();
    let caller = thread::spawn(move || other.wait(&1));
    assert_eq!(linked.world.gate.begun.recv(), Ok(1));
    linked.group.crash();
    linked.world.gate.open.send(()).expect("the handler waits");
    assert_eq!(caller.join().expect("it does not panic"), Err(RpcError::Lost));
    let seen = seen.with(|seen| seen.clone());
    assert!(!seen.iter().any(|stage| stage.starts_with("Replied")), "{seen:?}");
}

#[test]
fn what_the_server_does_not_know_is_told_to_the_client() {
    labrpc::service! {
        /// Nobody offers it.
        trait Unknown, client UnknownClient {
            /// Nothing.
            fn nothing(args: ()) -> ();
        }
    }
    let linked = linked();
    let end = Client::new(linked.proxy.local_addr(), &patient());
    assert!(end.wait_until_connected(Duration::from_secs(60)));
    let unknown = UnknownClient::new(end.end());
    assert_eq!(unknown.nothing(&()), Err(RpcError::UnknownService("Unknown".into())));
}
