//! What calls over TCP promise, whatever becomes of the server.

mod tcp_common;

use std::net::TcpListener;
use std::time::Duration;

use labrpc::tcp::frame::Kind;
use labrpc::tcp::{Client, Limits, Options, Server};
use labrpc::{RpcError, service};
use labrt::group::Group;
use labrt::{sim, thread};
use tcp_common::*;

service! {
    /// A service that the server does not have.
    pub trait Other, client OtherClient {
        /// Anything.
        fn echo(args: u64) -> u64;
    }
}

#[test]
fn replies_match_calls_with_many_in_flight_from_many_threads() {
    let world = World::new(&Limits::default());
    let (_client, echo) = world.client();
    let caller = |thread_number: usize| {
        let echo = echo.clone();
        thread::spawn(move || {
            for number in 0..200 {
                let length = if number % 50 == 0 { 100_000 } else { number };
                let text = format!("{thread_number} {number} {}", "x".repeat(length));
                assert_eq!(echo.echo(&text), Ok(text));
            }
        })
    };
    let callers: Vec<_> = (0..32).map(caller).collect();
    callers.into_iter().for_each(|caller| caller.join().expect("each gets its own reply"));
}

#[test]
fn one_thread_can_have_many_calls_in_flight() {
    let world = World::new(&Limits::default());
    let (client, _echo) = world.client();
    let start = |number: u64| client.end().start::<u64, u64>("Echo", "wait", &number);
    let calls: Vec<_> = (0..100).map(start).collect();
    let last = client.end().start::<str, String>("Echo", "echo", "free");
    assert_eq!(last.wait(), Ok("free".into()), "it had the others sent as well");
    (0..100).for_each(|_| assert!(world.gate.begun.recv().is_ok()));
    (0..100).for_each(|_| world.gate.open.send(()).expect("handlers wait"));
    for (number, call) in (0..).zip(calls) {
        assert_eq!(call.wait(), Ok(number));
    }
}

#[test]
fn a_call_can_be_waited_for_again_and_again_until_there_is_an_answer_or_none_will_come() {
    let world = World::new(&Limits::default());
    let (client, _echo) = world.client();
    let start = |number: u64| client.end().start::<u64, u64>("Echo", "wait", &number);
    // A second one, so that nothing is sent but by whoever waits.
    let (_first, mut second) = (start(1), start(2));
    assert_eq!(second.wait_for(Duration::from_millis(1)), None);
    (0..2).for_each(|_| assert!(world.gate.begun.recv().is_ok(), "it was sent"));
    assert_eq!(second.wait_for(Duration::from_millis(1)), None);
    (0..2).for_each(|_| world.gate.open.send(()).expect("handlers wait"));
    assert_eq!(second.wait_for(FOR_EVER), Some(Ok(2)));
    let mut third = start(3);
    world.server.close();
    assert_eq!(third.wait_for(FOR_EVER), Some(Err(RpcError::Lost)));
}

#[test]
fn a_call_is_lost_after_its_time_however_long_somebody_would_wait() {
    let world = World::new(&Limits::default());
    let options = Options { call_time: Duration::from_millis(20), ..Options::default() };
    let (client, _echo) = connected(world.server.local_addr(), &options);
    let mut call = client.end().start::<u64, u64>("Echo", "wait", &1);
    assert_eq!(call.wait_for(FOR_EVER), Some(Err(RpcError::Lost)));
    world.gate.open.send(()).expect("the handler waits");
}

#[test]
fn a_call_that_nobody_waits_for_is_sent_nevertheless() {
    // Nothing else is ever sent, that it could go with.
    let limits = Limits { idle_time: FOR_EVER, ..Limits::default() };
    let world = World::new(&limits);
    let options = Options { limits, ..patient() };
    let (client, _echo) = connected(world.server.local_addr(), &options);
    let start = |number: u64| client.end().start::<u64, u64>("Echo", "wait", &number);
    let first = start(1);
    drop(start(2));
    let begun = [world.gate.begun.recv(), world.gate.begun.recv()];
    assert!(begun.contains(&Ok(1)) && begun.contains(&Ok(2)), "{begun:?}");
    (0..2).for_each(|_| world.gate.open.send(()).expect("handlers wait"));
    assert_eq!(first.wait(), Ok(1));
}

#[test]
fn arguments_and_replies_of_megabytes_arrive_whole() {
    let world = World::new(&Limits::default());
    let (_client, echo) = world.client();
    let text = "0123456789".repeat(500_000);
    assert_eq!(echo.echo(&text), Ok(text));
    assert_eq!(echo.bytes(&10_000_000), Ok(vec![7; 10_000_000]));
}

/// A snapshot goes as a whole, and labgob by itself reads 64 MiB at most.
#[test]
fn arguments_and_replies_may_be_as_long_as_a_frame_may() {
    let limits = Limits { frame_bytes: 80 << 20, ..Limits::default() };
    let world = World::new(&limits);
    let (_client, echo) = connected(world.server.local_addr(), &Options { limits, ..patient() });
    let text = "0123456789".repeat(7_000_000);
    assert!(echo.echo(&text) == Ok(text), "what came back is not what was sent");
}

#[test]
fn a_call_to_a_closed_port_is_lost_at_once() {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let client = Client::new(address, &patient());
    // It would return much later if it waited for a connection.
    assert_eq!(EchoClient::new(client.end()).echo(&String::new()), Err(RpcError::Lost));
    assert!(!client.is_connected());
}

#[test]
fn calls_under_way_are_lost_when_their_server_closes() {
    let world = World::new(&Limits::default());
    let (client, echo) = world.client();
    let waiting = echo.clone();
    let caller = thread::spawn(move || waiting.wait(&1));
    assert_eq!(world.gate.begun.recv(), Ok(1));
    world.server.close();
    assert_eq!(caller.join().expect("no panic"), Err(RpcError::Lost));
    until("the client notices", || !client.is_connected());
    assert_eq!(echo.echo(&String::new()), Err(RpcError::Lost));
    world.gate.open.send(()).expect("the handler waits");
}

#[test]
fn a_peer_that_never_answers_costs_a_call_its_deadline() {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let options = Options { call_time: Duration::from_millis(50), ..Options::default() };
    let (client, echo) = connected(address, &options);
    let mut peer = Raw::accept(&listener);
    assert_eq!(echo.echo(&String::new()), Err(RpcError::Lost));
    let request = peer.read().expect("the request arrived");
    assert_eq!(request.kind, Kind::Request);
    assert!(client.is_connected(), "a slow answer is no reason to close the connection");
}

#[test]
fn an_answer_after_the_deadline_reaches_nobody() {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let options = Options { call_time: Duration::from_millis(50), ..Options::default() };
    let (client, echo) = connected(address, &options);
    let mut peer = Raw::accept(&listener);
    assert_eq!(echo.wait(&1), Err(RpcError::Lost));
    let late = peer.read().expect("the request arrived");
    peer.write(&frame(Kind::Reply, late.call, &[1]));
    // The next call is answered by the next reply, however late the first one was.
    let caller = thread::spawn(move || echo.wait(&2));
    let next = peer.read().expect("the request arrived");
    assert_ne!(next.call, late.call);
    peer.write(&frame(Kind::Reply, next.call, &[2]));
    let answer = caller.join().expect("no panic");
    assert!(matches!(answer, Ok(2) | Err(RpcError::Lost)), "{answer:?}");
    assert!(client.is_connected());
}

#[test]
fn a_server_that_closes_within_a_frame_loses_the_call() {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let (_client, echo) = connected(address, &patient());
    let mut peer = Raw::accept(&listener);
    let caller = thread::spawn(move || echo.wait(&1));
    let request = peer.read().expect("the request arrives");
    peer.write(&frame(Kind::Reply, request.call, &[1])[..20]);
    drop(peer);
    assert_eq!(caller.join().expect("no panic"), Err(RpcError::Lost));
    expect_warning(address, "the stream ended after 20 bytes of a frame");
}

#[test]
fn a_client_connects_again_when_its_server_comes_back_on_its_port() {
    let mut world = World::new(&Limits::default());
    let address = world.server.local_addr();
    let (client, echo) = world.client();
    for round in 0..3 {
        let text = format!("round {round}");
        assert_eq!(echo.echo(&text), Ok(text));
        world.server.close();
        until("the client notices", || !client.is_connected());
        assert_eq!(echo.echo(&String::new()), Err(RpcError::Lost));
        world = World::at(address, &Limits::default());
        assert!(client.wait_until_connected(Duration::from_secs(60)));
    }
    assert_eq!(echo.echo(&"last".into()), Ok("last".into()));
}

#[test]
fn mistakes_are_typed_errors_and_no_lost_calls() {
    let world = World::new(&Limits { frame_bytes: 1000, ..Limits::default() });
    let (client, echo) = world.client();
    let end = client.end();
    let unknown = OtherClient::new(end.clone()).echo(&1);
    assert_eq!(unknown, Err(RpcError::UnknownService("Other".into())));
    let method: Result<u64, RpcError> = end.call("Echo", "shout", &1u64);
    assert_eq!(method, Err(RpcError::UnknownMethod("shout".into())));
    // A length that the arguments do not have.
    let bad: Result<String, RpcError> = end.call("Echo", "echo", &200u64);
    assert!(matches!(&bad, Err(RpcError::BadArguments(_))), "{bad:?}");
    let reply: Result<(String, u64), RpcError> = end.call("Echo", "echo", "short");
    assert!(matches!(&reply, Err(RpcError::BadReply(_))), "{reply:?}");
    let long = echo.bytes(&1001);
    let why = "the frame's body has 1004 bytes, and 1000 are allowed".to_string();
    assert_eq!(long, Err(RpcError::Unencodable(why)));
    assert_eq!(echo.bytes(&10), Ok(vec![7; 10]), "the connection goes on");
}

#[test]
fn arguments_beyond_the_limit_are_refused_before_they_are_sent() {
    let world = World::new(&Limits::default());
    let limits = Limits { frame_bytes: 1000, ..Limits::default() };
    let options = Options { limits, ..patient() };
    let (_client, echo) = connected(world.server.local_addr(), &options);
    let refused = echo.echo(&"x".repeat(1001));
    assert!(matches!(&refused, Err(RpcError::Unencodable(_))), "{refused:?}");
    assert_eq!(echo.echo(&"x".repeat(900)), Ok("x".repeat(900)), "the connection goes on");
}

#[test]
fn handlers_that_block_hold_nobody_up() {
    let world = World::new(&Limits::default());
    let mut raw = world.raw();
    let waiting: Vec<u8> = (1..=8).flat_map(|number| request(number, "wait", &number)).collect();
    let last = request(9, "echo", &"free");
    raw.write(&[waiting, last].concat());
    // All of them were in one read; none has ended when the ninth is answered.
    let free = raw.read().expect("it is answered");
    assert_eq!((free.kind, free.call), (Kind::Reply, 9));
    let mut begun: Vec<u64> = (0..8).map(|_| world.gate.begun.recv().expect("it runs")).collect();
    begun.sort_unstable();
    assert_eq!(begun, [1, 2, 3, 4, 5, 6, 7, 8]);
    (0..8).for_each(|_| world.gate.open.send(()).expect("handlers wait"));
    let mut answered: Vec<u64> = (0..8).map(|_| raw.read().expect("an answer").call).collect();
    answered.sort_unstable();
    assert_eq!(answered, begun);
}

#[test]
fn an_answer_does_not_wait_for_a_handler_behind_it() {
    let world = World::new(&Limits::default());
    let mut raw = world.raw();
    for _ in 0..500 {
        raw.write(&[request(1, "echo", &"first"), request(2, "wait", &2u64)].concat());
        let first = raw.read().expect("it is answered while the second one runs");
        assert_eq!(first.call, 1);
        world.gate.open.send(()).expect("the handler waits");
        assert_eq!(raw.read().expect("an answer").call, 2);
    }
}

#[test]
fn a_handler_that_panics_loses_its_call_at_once_and_no_other() {
    let world = World::new(&Limits::default());
    let (_client, echo) = world.client();
    assert_eq!(echo.panic(&()), Err(RpcError::Lost));
    assert_eq!(echo.echo(&"on".into()), Ok("on".into()));
    // Its thread tells of the panic when it has ended.
    let told = |failure: String| failure.contains("the handler of a test");
    until("the panic fails the run", || labrt::take_failure().is_some_and(told));
}

#[test]
fn a_server_that_crashed_answers_nobody() {
    let world = World::new(&Limits::default());
    let (client, echo) = world.client();
    let waiting = echo.clone();
    let caller = thread::spawn(move || waiting.wait(&1));
    assert_eq!(world.gate.begun.recv(), Ok(1));
    world.group.crash();
    assert_eq!(caller.join().expect("no panic"), Err(RpcError::Lost));
    until("the client notices", || !client.is_connected());
    until("all threads end", || world.group.members().is_empty());
}

#[test]
fn a_connection_ends_with_the_last_end_of_its_client() {
    let world = World::new(&Limits::default());
    let (client, echo) = world.client();
    until("the server knows of it", || world.server.connections() == 1);
    drop(client);
    assert_eq!(echo.echo(&"still".into()), Ok("still".into()));
    drop(echo);
    until("the server notices", || world.server.connections() == 0);
}

#[test]
fn a_client_that_crashed_holds_no_connection() {
    let world = World::new(&Limits::default());
    let (address, caller) = (world.server.local_addr(), Group::new("S2", 2, 0));
    let body = move || {
        let (_client, echo) = connected(address, &patient());
        echo.wait(&1)
    };
    caller.spawn("caller", body);
    assert_eq!(world.gate.begun.recv(), Ok(1));
    caller.crash();
    until("the server notices", || world.server.connections() == 0);
    until("all threads end", || caller.members().is_empty());
    world.gate.open.send(()).expect("the handler waits");
}

#[test]
fn a_simulated_world_refuses_sockets_and_names_the_network() {
    let told = |wrong: fn()| {
        let outcome = sim::run(&sim::Config::new(1), wrong);
        outcome.result.expect_err("it is refused").to_string()
    };
    let expected = "a simulated world has no sockets: use labrpc::Network in it";
    let text = told(|| drop(Client::new(any_port(), &Options::default())));
    assert!(text.contains(expected) && text.contains("tests/tcp.rs"), "{text}");
    let text = told(|| {
        let group = Group::new("S1", 1, 0);
        let _ = Server::bind(any_port(), &group, Vec::new(), &Limits::default());
    });
    assert!(text.contains(expected), "{text}");
}
