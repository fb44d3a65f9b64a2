//! What a service may do that does not answer at once, and a caller that does not wait.

mod tcp_common;

use std::time::Duration;

use labrpc::tcp::frame::Kind;
use labrpc::tcp::{Client, Limits, Options, Server};
use labrpc::{ClientEnd, Network, Responder, RpcError, Service, ServingThread, decode_args};
use labrt::channel::{self, Receiver, Sender};
use labrt::group::Group;
use labrt::pool::Pool;
use labrt::thread;
use tcp_common::*;

/// A call that waits, with its number.
type Parked = (u64, Responder);

/// A prompt service: what it is called with, its responders go to the test.
struct Parking {
    parked: Sender<Parked>,
    /// A call that blocks goes on when the test says so.
    opened: Receiver<()>,
}

/// What the test has of it.
struct Lot {
    service: Service,
    parked: Receiver<Parked>,
    open: Sender<()>,
}

impl Lot {
    fn new() -> Self {
        let (tx, parked) = channel::unbounded();
        let (open, opened) = channel::unbounded();
        let parking = Parking { parked: tx, opened };
        let service = Service::prompt("Parking", move |method, args, responder, thread| {
            parking.handle(method, args, responder, thread);
        });
        Self { service, parked, open }
    }
}

impl Parking {
    fn handle(&self, method: &str, args: &[u8], responder: Responder, thread: &ServingThread<'_>) {
        let number: u64 = match decode_args(args) {
            Ok(number) => number,
            Err(error) => return drop(responder.refuse(error)),
        };
        match method {
            "park" => self.parked.send((number, responder)).expect("the test is there"),
            "echo" => drop(responder.reply(&number)),
            "block" => {
                thread.will_block();
                self.opened.recv().expect("the test is there");
                drop(responder.reply(&number));
            }
            unknown => drop(responder.refuse(RpcError::UnknownMethod(unknown.to_string()))),
        }
    }
}

/// The service at an address, until the test ends.
struct Served {
    server: Server,
    group: Group,
    parked: Receiver<Parked>,
    open: Sender<()>,
}

impl Served {
    fn new() -> Self {
        let (group, Lot { service, parked, open }) = (Group::new("S1", 1, 0), Lot::new());
        let server = Server::bind(any_port(), &group, vec![service], &Limits::default());
        Self { server: server.expect("a port is free"), group, parked, open }
    }

    fn client(&self, options: &Options) -> Client {
        let client = Client::new(self.server.local_addr(), options);
        assert!(client.wait_until_connected(Duration::from_secs(60)), "nobody listens");
        client
    }

    fn raw(&self) -> Raw {
        let address = self.server.local_addr();
        Raw::new(std::net::TcpStream::connect(address).expect("the server listens"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.close();
        self.group.crash();
    }
}

/// Calls `park`, and gives where the reply arrives, with the number that was sent.
fn park_then(end: &ClientEnd, number: u64) -> Receiver<(u64, Result<u64, RpcError>)> {
    let (tx, rx) = channel::bounded(1);
    let pool = Pool::in_current_group("waiter");
    end.call_then("Parking", "park", number, &pool, move |args, reply| {
        // A test that has ended needs no reply.
        let _ = tx.send((args, reply));
    });
    rx
}

fn parking_request(call: u64, method: &str, number: u64) -> Vec<u8> {
    request_to("Parking", call, method, &number)
}

#[test]
fn calls_are_answered_in_any_order_by_whoever_has_their_responders() {
    let served = Served::new();
    let client = served.client(&patient());
    let waiting: Vec<_> = (0..100).map(|number| park_then(&client.end(), number)).collect();
    let mut parked: Vec<_> = (0..100).map(|_| served.parked.recv().expect("it arrives")).collect();
    while let Some((number, responder)) = parked.pop() {
        drop(responder.reply(&(number + 1_000)));
    }
    for (number, reply) in (0..).zip(waiting) {
        assert_eq!(reply.recv(), Ok((number, Ok(number + 1_000))));
    }
}

/// A server of a thread per call would have as many.
#[test]
fn calls_that_wait_for_their_answers_take_no_threads() {
    let served = Served::new();
    let client = served.client(&patient());
    let _waiting: Vec<_> = (0..200).map(|number| park_then(&client.end(), number)).collect();
    let _parked: Vec<_> = (0..200).map(|_| served.parked.recv().expect("it arrives")).collect();
    let threads = served.group.members();
    assert!(threads.len() < 10, "{} threads: {threads:?}", threads.len());
}

#[test]
fn a_responder_that_is_dropped_says_that_no_answer_will_come() {
    let served = Served::new();
    let client = served.client(&patient());
    let reply = park_then(&client.end(), 7);
    drop(served.parked.recv().expect("it arrives"));
    assert_eq!(reply.recv(), Ok((7, Err(RpcError::Lost))));
}

#[test]
fn what_is_no_call_of_a_prompt_service_is_refused() {
    let served = Served::new();
    let end = served.client(&patient()).end();
    let unknown = end.call::<u64, u64>("Parking", "drive", &1);
    assert_eq!(unknown, Err(RpcError::UnknownMethod("drive".to_string())));
    let bad = end.call::<str, u64>("Parking", "echo", "three");
    assert!(matches!(bad, Err(RpcError::BadArguments(_))), "{bad:?}");
}

#[test]
fn a_connection_is_complained_of_once_however_many_calls_are_refused() {
    keep_log();
    let served = Served::new();
    let mut raw = served.raw();
    for call in 1..=100 {
        raw.write(&parking_request(call, "drive", 1));
        assert_eq!(raw.read().map(|got| (got.kind, got.call)), Some((Kind::Error, call)));
    }
    assert_eq!(complaints_about(raw.address()), 1);
}

/// Who connects, calls and goes, again and again, would else use up all the files of the process.
#[cfg(target_os = "linux")]
#[test]
fn calls_that_wait_keep_no_connection_that_has_ended() {
    let files = || std::fs::read_dir("/proc/self/fd").expect("it can be listed").count();
    let served = Served::new();
    let parked: Vec<Parked> = (0..300)
        .map(|number| {
            let mut raw = served.raw();
            raw.write(&parking_request(1, "park", number));
            served.parked.recv().expect("it arrives")
        })
        .collect();
    until("the server has closed them", || files() < 150);
    assert_eq!(parked.len(), 300, "they still wait");
}

#[test]
fn a_prompt_call_that_says_that_it_blocks_holds_nobody_up() {
    let served = Served::new();
    let mut raw = served.raw();
    for _ in 0..200 {
        // In one read, and in the next one.
        raw.write(&[parking_request(1, "block", 1), parking_request(2, "echo", 2)].concat());
        assert_eq!(raw.read().expect("it is answered").call, 2);
        raw.write(&parking_request(3, "echo", 3));
        assert_eq!(raw.read().expect("it is answered").call, 3);
        served.open.send(()).expect("the call waits");
        let last = raw.read().expect("it goes on");
        assert_eq!((last.kind, last.call), (Kind::Reply, 1));
    }
}

/// Answers in as many ways as there are, some of them late: 0 at once, 1 from another thread, 2
/// after it has blocked, 3 from another thread after it has blocked, 4 never.
fn any_way() -> Service {
    let pool = Pool::in_current_group("answerer");
    Service::prompt("AnyWay", move |_, args, responder, thread| {
        let number: u64 = decode_args(args).expect("the test sends numbers");
        if matches!(number % 5, 2 | 3) {
            thread.will_block();
            thread::sleep(Duration::from_micros(number % 300));
        }
        match number % 5 {
            1 | 3 => pool.run(move || drop(responder.reply(&number))),
            4 => {}
            _ => drop(responder.reply(&number)),
        }
    })
}

fn slow() -> Service {
    Service::new("Slow", |_, args| {
        thread::sleep(Duration::from_micros(100));
        Ok(args.to_vec())
    })
}

/// Whoever reads, blocks, answers and writes: nobody leaves anything to somebody who does not come.
#[test]
fn calls_of_all_kinds_at_once_are_all_answered() {
    let group = Group::new("S1", 1, 0);
    let server = Server::bind(any_port(), &group, vec![any_way(), slow()], &Limits::default());
    let server = server.expect("a port is free");
    let client = Client::new(server.local_addr(), &patient());
    assert!(client.wait_until_connected(Duration::from_secs(60)), "nobody listens");
    let call = |client: &Client, number: u64| {
        let expected = if number % 5 == 4 { Err(RpcError::Lost) } else { Ok(number) };
        match number % 7 {
            6 => (client.end().start("Slow", "", &number), Ok(number)),
            _ => (client.end().start("AnyWay", "", &number), expected),
        }
    };
    let callers = (0..16).map(|caller: u64| {
        let client = client.clone();
        thread::spawn(move || {
            for round in 0..100 {
                // One at a time, or many together.
                let together = 1 + (caller + round) % 8;
                let first = 1_000 * caller + 8 * round;
                let pending: Vec<_> =
                    (first..first + together).map(|number| call(&client, number)).collect();
                for (mut pending, expected) in pending {
                    let reply = pending.wait_for(Duration::from_secs(60));
                    assert_eq!(reply, Some(expected), "no answer came");
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    callers.into_iter().for_each(|caller| caller.join().expect("all are answered"));
    server.close();
    group.crash();
}

#[test]
fn who_does_not_wait_is_told_when_the_time_of_a_call_is_over() {
    let served = Served::new();
    let options = Options { call_time: Duration::from_millis(20), ..Options::default() };
    let client = served.client(&options);
    let reply = park_then(&client.end(), 7);
    let parked = served.parked.recv().expect("it arrives");
    assert_eq!(reply.recv(), Ok((7, Err(RpcError::Lost))));
    // Its answer finds nobody, and does no harm.
    drop(parked.1.reply(&7u64));
    assert!(client.is_connected());
}

#[test]
fn who_does_not_wait_is_told_when_the_server_goes() {
    let served = Served::new();
    let client = served.client(&patient());
    let reply = park_then(&client.end(), 7);
    let _parked = served.parked.recv().expect("it arrives");
    served.server.close();
    assert_eq!(reply.recv(), Ok((7, Err(RpcError::Lost))));
    until("the client notices", || !client.is_connected());
    assert_eq!(park_then(&client.end(), 8).recv(), Ok((8, Err(RpcError::Lost))), "at once");
}

/// On the network, a thread of the server waits for what the responder brings.
#[test]
fn a_simulated_call_is_answered_by_whoever_has_its_responder() {
    labrt::check(|| {
        let network = Network::new(2);
        let (group, Lot { service, parked, .. }) = (Group::new("S1", 1, 0), Lot::new());
        network.serve(1, &group, vec![service]);
        let end = network.client_end(0, 1);
        let first = park_then(&end, 7);
        let second = thread::spawn(move || end.call::<u64, u64>("Parking", "park", &8));
        for _ in 0..2 {
            let (number, responder) = parked.recv().expect("it arrives");
            drop(responder.reply(&(number + 1_000)));
        }
        assert_eq!(first.recv(), Ok((7, Ok(1_007))));
        assert_eq!(second.join().expect("it ends"), Ok(1_008));
    });
}

#[test]
fn a_simulated_server_that_crashes_answers_no_call_that_waits() {
    labrt::check(|| {
        let network = Network::new(2);
        let (group, Lot { service, parked, .. }) = (Group::new("S1", 1, 0), Lot::new());
        network.serve(1, &group, vec![service]);
        let reply = park_then(&network.client_end(0, 1), 7);
        let (_, responder) = parked.recv().expect("it arrives");
        group.crash();
        drop(responder.reply(&7u64));
        assert_eq!(reply.recv(), Ok((7, Err(RpcError::Lost))));
    });
}
