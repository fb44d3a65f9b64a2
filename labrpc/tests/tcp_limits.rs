//! What a peer may cost: each limit, and each bad frame, ends its own connection and no other.

mod tcp_common;

use std::io::Write as _;
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use labrpc::RpcError;
use labrpc::tcp::frame::{Kind, Refusal};
use labrpc::tcp::{Client, Limits, Options};
use labrt::thread;
use tcp_common::*;

/// Short enough to wait for. What is waited for is that it runs out, however late.
const SHORT: Duration = Duration::from_millis(50);

/// A good frame with one byte changed.
fn damaged(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = request(1, "echo", &"text");
    bytes[at] = byte;
    bytes
}

#[test]
fn a_bad_frame_closes_its_connection_with_the_reason_and_no_other() {
    let world = World::new(&Limits { frame_bytes: 1000, ..Limits::default() });
    let (_client, echo) = world.client();
    let garbage = frame(Kind::Request, 1, &[255; 5]);
    let cases: [(Vec<u8>, &str); 9] = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "they do not begin with LRPC"),
        (damaged(3, b'X'), "they do not begin with LRPC"),
        (damaged(4, 2), "the frame has version 2, and only 1 is known"),
        (damaged(5, 9), "the frame has kind 9, which is unknown"),
        (damaged(8, 1), "and 1000 are allowed"),
        (damaged(12, 7), "the frame's checksum does not match its bytes"),
        (damaged(30, 0), "the frame's checksum does not match its bytes"),
        (frame(Kind::Reply, 1, &[]), "a frame of kind Reply is not the peer's to send"),
        (garbage, "the body of a frame of kind Request is something else"),
    ];
    for (bytes, reason) in cases {
        let mut raw = world.raw();
        raw.write(&bytes);
        assert_eq!(raw.read(), None, "it was answered: {reason}");
        expect_warning(raw.address(), reason);
        assert_eq!(echo.echo(&reason.into()), Ok(reason.into()));
    }
}

#[test]
fn a_frame_that_is_cut_short_closes_its_connection_with_the_reason() {
    let world = World::new(&Limits::default());
    let whole = request(1, "echo", &"text");
    for length in [1, 10, 22, whole.len() - 1] {
        let mut raw = world.raw();
        raw.write(&whole[..length]);
        raw.socket.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(raw.read(), None);
        expect_warning(raw.address(), &format!("the stream ended after {length} bytes of a frame"));
    }
}

#[test]
fn a_client_closes_a_connection_that_brings_a_bad_frame_and_connects_again() {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let (_client, echo) = connected(address, &patient());
    let mut peer = Raw::accept(&listener);
    let caller = thread::spawn(move || (echo.wait(&1), echo));
    let asked = peer.read().expect("the request arrives");
    let mut reply = frame(Kind::Reply, asked.call, &[1]);
    reply[22] = 2;
    peer.write(&reply);
    let (answer, _echo) = caller.join().expect("no panic");
    assert_eq!(answer, Err(RpcError::Lost));
    assert_eq!(peer.read(), None);
    expect_warning(address, "the frame's checksum does not match its bytes");
    Raw::accept(&listener);
}

#[test]
fn a_frame_that_takes_too_long_costs_its_connection() {
    let world = World::new(&Limits { frame_time: SHORT, ..Limits::default() });
    let (_client, echo) = world.client();
    let mut raw = world.raw();
    raw.write(&request(1, "echo", &"whole"));
    assert_eq!(raw.read().expect("a whole frame is answered").call, 1);
    raw.write(&request(2, "echo", &"half")[..30]);
    assert_eq!(raw.read(), None);
    expect_warning(raw.address(), "a frame had not arrived 50ms after it began");
    assert_eq!(echo.echo(&"on".into()), Ok("on".into()));
}

#[test]
fn many_long_frames_that_are_not_complete_cost_the_connections_with_most_of_them() {
    let limits = Limits {
        frame_bytes: 1_000_000,
        unfinished_bytes: 2_700_000,
        frame_time: FOR_EVER,
        idle_time: FOR_EVER,
        ..Limits::default()
    };
    let world = World::new(&limits);
    let (_client, echo) = world.client();
    let text = "x".repeat(600_000);
    let long = request(1, "echo", &text);
    let mut good = world.raw();
    good.write(&long[..300_000]);
    let begun = request(1, "echo", &"x".repeat(950_000));
    let hostile: Vec<_> = (0..5)
        .map(|_| {
            let mut raw = world.raw();
            // The server may close it meanwhile.
            let _ = raw.socket.write_all(&begun[..900_000]);
            raw
        })
        .collect();
    let reason =
        "frames that are not complete take more than 2700000 bytes, and this one most of them";
    let told = || hostile.iter().filter(|raw| is_warned(raw.address(), reason)).count();
    until("three of five are closed", || world.server.connections() == 4 && told() == 3);
    good.write(&long[300_000..]);
    assert_eq!(good.read().expect("what was begun before is served").call, 1);
    assert_eq!(echo.echo(&"on".into()), Ok("on".into()));
}

#[test]
fn a_frame_that_trickles_in_is_no_better() {
    let world = World::new(&Limits { frame_time: SHORT, ..Limits::default() });
    let raw = world.raw();
    let mut socket = raw.socket.try_clone().expect("there are descriptors left");
    let address = raw.address();
    let trickle = thread::spawn(move || {
        use std::io::Write;
        // It says something all the time, and would go on for a long while.
        let bytes = request(1, "echo", &"x".repeat(60_000));
        bytes.iter().all(|byte| {
            thread::sleep(Duration::from_millis(1));
            socket.write_all(&[*byte]).is_ok()
        })
    });
    expect_warning(address, "a frame had not arrived 50ms after it began");
    assert!(!trickle.join().expect("no panic"), "all of it was taken");
}

#[test]
fn a_silent_connection_is_closed() {
    let world = World::new(&Limits { idle_time: SHORT, ..Limits::default() });
    let mut raw = world.raw();
    assert_eq!(raw.read(), None);
    expect_warning(raw.address(), "nothing was heard for 50ms");
}

#[test]
fn a_client_asks_a_silent_server_for_a_sign_of_life_and_leaves_it_in_the_end() {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let limits = Limits { idle_time: SHORT, ..Limits::default() };
    let (_client, _echo) = connected(address, &Options { limits, ..patient() });
    let mut peer = Raw::accept(&listener);
    let asked = std::iter::from_fn(|| peer.read()).map(|frame| frame.kind).collect::<Vec<_>>();
    assert!(!asked.is_empty() && asked.iter().all(|&kind| kind == Kind::Ping), "{asked:?}");
    expect_warning(address, "nothing was heard for 50ms");
}

#[test]
fn a_server_gives_a_sign_of_life_when_it_is_asked() {
    let world = World::new(&Limits::default());
    let mut raw = world.raw();
    raw.write(&frame(Kind::Ping, 0, &[]));
    assert_eq!(raw.read(), Some(Got { kind: Kind::Pong, call: 0, body: Vec::new() }));
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let world = World::new(&Limits { connections: 2, ..Limits::default() });
    let (_client, echo) = world.client();
    assert_eq!(echo.echo(&"first".into()), Ok("first".into()));
    let mut second = world.raw();
    second.write(&request(1, "echo", &"second"));
    assert_eq!(second.read().expect("it is served").call, 1);
    let mut third = world.raw();
    assert_eq!(third.read(), None);
    expect_warning(third.address(), "2 connections are open, and no more may be");
    assert_eq!(echo.echo(&"on".into()), Ok("on".into()));
    drop(second);
    until("there is room", || world.server.connections() == 1);
    let mut fourth = world.raw();
    fourth.write(&request(1, "echo", &"in"));
    assert_eq!(fourth.read().expect("it is served").call, 1);
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let world = World::new(&Limits { connections: 3, ..Limits::default() });
    let (_client, echo) = world.client();
    assert_eq!(echo.echo(&"first".into()), Ok("first".into()));
    let silent: Vec<Raw> = (0..20).map(|_| world.raw()).collect();
    let mut new = world.raw();
    new.write(&request(1, "echo", &"in"));
    assert_eq!(new.read().expect("it is served").call, 1);
    assert_eq!(echo.echo(&"on".into()), Ok("on".into()));
    expect_warning(silent[0].address(), "3 connections are open, and no more may be");
    assert_eq!(world.server.connections(), 3);
}

#[test]
fn connections_that_ask_for_nothing_but_signs_of_life_keep_nobody_out() {
    let world = World::new(&Limits { connections: 2, ..Limits::default() });
    let (_client, echo) = world.client();
    assert_eq!(echo.echo(&"first".into()), Ok("first".into()));
    let mut pings = world.raw();
    pings.write(&frame(Kind::Ping, 0, &[]));
    assert_eq!(pings.read().expect("it is served").kind, Kind::Pong);
    let mut new = world.raw();
    new.write(&request(1, "echo", &"in"));
    assert_eq!(new.read().expect("it is served").call, 1);
    assert_eq!(pings.read(), None, "its place is another's");
    assert_eq!(echo.echo(&"on".into()), Ok("on".into()));
}

#[test]
fn calls_beyond_the_servers_limit_are_lost_at_once_and_the_others_answered() {
    let world = World::new(&Limits { calls_in_flight: 2, ..Limits::default() });
    let mut raw = world.raw();
    for number in 1..=3u64 {
        raw.write(&request(number, "wait", &number));
    }
    let lost = raw.read().expect("one is answered");
    assert_eq!((lost.kind, lost.call), (Kind::Error, 3));
    assert_eq!(Refusal::decode(&lost.body), Ok(Refusal::Lost));
    world.gate.open.send(()).expect("handlers wait");
    assert_eq!(raw.read().expect("an answer").kind, Kind::Reply);
    // There is room again.
    raw.write(&request(4, "echo", &"in"));
    let answer = raw.read().expect("an answer");
    assert_eq!((answer.kind, answer.call), (Kind::Reply, 4));
    world.gate.open.send(()).expect("a handler waits");
    assert_eq!(raw.read().expect("an answer").kind, Kind::Reply);
}

#[test]
fn calls_beyond_the_clients_limit_are_lost_at_once() {
    let world = World::new(&Limits::default());
    let limits = Limits { calls_in_flight: 1, ..Limits::default() };
    let options = Options { limits, ..patient() };
    let (_client, echo) = connected(world.server.local_addr(), &options);
    let waiting = echo.clone();
    let caller = thread::spawn(move || waiting.wait(&1));
    assert_eq!(world.gate.begun.recv(), Ok(1));
    assert_eq!(echo.echo(&"second".into()), Err(RpcError::Lost));
    world.gate.open.send(()).expect("the handler waits");
    assert_eq!(caller.join().expect("no panic"), Ok(1));
    assert_eq!(echo.echo(&"third".into()), Ok("third".into()));
}

#[test]
fn a_peer_that_does_not_read_blocks_no_caller_beyond_its_deadline() {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let limits = Limits { write_time: FOR_EVER, ..Limits::default() };
    let options = Options { call_time: SHORT, limits, ..Options::default() };
    let (client, echo) = connected(address, &options);
    let _deaf = Raw::accept(&listener);
    // More than any socket buffers: the first call's frame is never written whole.
    let text = "x".repeat(12_000_000);
    let call = |_| {
        let (echo, text) = (echo.clone(), text.clone());
        thread::spawn(move || echo.echo(&text))
    };
    let callers: Vec<_> = (0..4).map(call).collect();
    for caller in callers {
        assert_eq!(caller.join().expect("no panic"), Err(RpcError::Lost));
    }
    // The buffer is full: others do not even wait for their deadline, and take no memory.
    assert_eq!(echo.echo(&text), Err(RpcError::Lost));
    assert!(client.is_connected(), "it may read later");
}

#[test]
fn a_peer_that_does_not_read_costs_a_client_its_connection_in_the_end() {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let limits = Limits { write_time: SHORT, ..Limits::default() };
    let (_client, echo) = connected(address, &Options { limits, ..patient() });
    let _deaf = Raw::accept(&listener);
    assert_eq!(echo.echo(&"x".repeat(12_000_000)), Err(RpcError::Lost));
    expect_warning(address, "the peer did not read for 50ms");
}

#[test]
fn a_client_that_does_not_read_its_answers_loses_its_connection_and_no_other_does() {
    let limits = Limits { buffered_bytes: 100_000, write_time: FOR_EVER, ..Limits::default() };
    let world = World::new(&limits);
    let (_client, echo) = world.client();
    let mut deaf = world.raw();
    // Each answer is a megabyte: a few fill the sockets, and the next ones would have to wait.
    let requests: Vec<u8> =
        (1..=40).flat_map(|number| request(number, "bytes", &1_000_000u64)).collect();
    deaf.write(&requests);
    expect_warning(deaf.address(), "the peer does not read, and more than 100000 bytes");
    assert_eq!(echo.echo(&"on".into()), Ok("on".into()));
}

#[test]
fn an_address_that_swallows_everything_is_given_up_after_a_while() {
    // No host has this address (RFC 5737): nobody answers, or the system says so at once.
    let nowhere = "192.0.2.1:9".parse().expect("it is an address");
    let client = Client::new(nowhere, &Options { connect_time: SHORT, ..patient() });
    let call = EchoClient::new(client.end()).echo(&String::new());
    assert_eq!(call, Err(RpcError::Lost));
}
