//! What a call over TCP costs, as ratios to something measured in the same run.
//!
//! ```text
//! cargo bench -p labrpc --bench tcp              report
//! cargo bench -p labrpc --bench tcp -- --check   and fail if a gate is missed
//! ```
//!
//! The yardstick is a bare ping-pong of 64 bytes between two processes. On either side a thread
//! reads, and hands what it read to another thread by a channel, as whoever lets several threads
//! share a connection must. The program starts itself again for the other side.
//!
//! The sides of a ratio are measured one right after the other, in many short rounds: a burst of
//! other load falls on few of them, and the median does not see it.

use std::collections::VecDeque;
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use labrpc::tcp::{Client, Limits, Options, Server};
use labrpc::{ClientEnd, Pending, service};
use labrt::channel::{self, Receiver};
use labrt::group::Group;
use labrt::thread;
use labrt::time::Instant;

service! {
    /// Gives back what it is given.
    pub trait Echo, client EchoClient {
        /// The same text.
        fn echo(args: String) -> String;
    }
}

struct Mirror;

impl Echo for Mirror {
    fn echo(&self, text: String) -> String {
        text
    }
}

/// A call may take so many bare ping-pongs.
const CALL_GATE: f64 = 1.6;
/// So many times the calls per second are to be carried with many in flight.
const FLIGHT_GATE: f64 = 10.0;

const BYTES: usize = 64;
const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 25;
const PINGS: usize = 2_000;
const CALLS_EACH: usize = 400;
/// Has this program play the other side.
const SERVE: &str = "--serve";

fn main() -> ExitCode {
    if env::args().any(|argument| argument == SERVE) {
        serve();
        return ExitCode::SUCCESS;
    }
    let met = report();
    let check = env::args().any(|argument| argument == "--check");
    if check && !met { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Times of one round, in nanoseconds per message.
struct Round {
    bare: f64,
    call: f64,
    many: f64,
    threads: f64,
}

/// False if a gate is missed.
fn report() -> bool {
    let other = Other::start();
    let mut bare = Bare::connect(other.bare);
    let client = Client::new(other.rpc, &Options::default());
    assert!(client.wait_until_connected(Duration::from_secs(10)), "the server does not listen");
    let (end, echo) = (client.end(), EchoClient::new(client.end()));
    let measure = |_| Round {
        bare: per_message(PINGS, || (0..PINGS).for_each(|_| bare.ping())),
        call: per_message(PINGS, || (0..PINGS).for_each(|_| call(&echo))),
        many: many_in_flight(&end),
        threads: many_threads(&echo),
    };
    let rounds: Vec<Round> = (0..ROUNDS).map(measure).skip(1).collect();
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
    let (ratio, gain) = (of(|round| round.call / round.bare), of(|round| round.call / round.many));
    println!("a bare ping-pong of 64 bytes:      {:>9.2} us", of(|round| round.bare) / 1e3);
    println!("a call with 64 bytes:              {:>9.2} us", of(|round| round.call) / 1e3);
    println!("  times the ping-pong:             {ratio:>9.2}    (at most {CALL_GATE})");
    println!("calls per second, 1 in flight:     {:>9.0}", 1e9 / of(|round| round.call));
    println!("calls per second, {IN_FLIGHT} in flight:    {:>9.0}", 1e9 / of(|round| round.many));
    println!("  times as many:                   {gain:>9.2}    (at least {FLIGHT_GATE})");
    println!("the same, by as many threads:      {:>9.0}", 1e9 / of(|round| round.threads));
    ratio <= CALL_GATE && gain >= FLIGHT_GATE
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn per_message(messages: usize, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    started.elapsed().as_nanos() as f64 / messages as f64
}

fn call(echo: &EchoClient) {
    let reply = echo.echo(&"7".repeat(BYTES)).expect("the server answers");
    assert_eq!(reply.len(), BYTES);
}

/// A thread that begins a call whenever it has the reply of its oldest one.
fn many_in_flight(end: &ClientEnd) -> f64 {
    let text = "7".repeat(BYTES);
    let start = || end.start::<str, String>("Echo", "echo", &text);
    per_message(IN_FLIGHT * CALLS_EACH, || {
        let mut calls: VecDeque<Pending<String>> = (0..IN_FLIGHT).map(|_| start()).collect();
        for number in 0..IN_FLIGHT * CALLS_EACH {
            let oldest = calls.pop_front().expect("some are in flight");
            assert_eq!(oldest.wait().expect("the server answers").len(), BYTES);
            if number < IN_FLIGHT * (CALLS_EACH - 1) {
                calls.push_back(start());
            }
        }
    })
}

/// Threads that call over one connection, each in a closed loop.
fn many_threads(echo: &EchoClient) -> f64 {
    let caller = |_| {
        let echo = echo.clone();
        thread::spawn(move || (0..CALLS_EACH).for_each(|_| call(&echo)))
    };
    per_message(IN_FLIGHT * CALLS_EACH, || {
        let callers: Vec<_> = (0..IN_FLIGHT).map(caller).collect();
        callers.into_iter().for_each(|caller| caller.join().expect("its calls succeed"));
    })
}

/// The yardstick's near side.
struct Bare {
    socket: TcpStream,
    pongs: Receiver<[u8; BYTES]>,
}

impl Bare {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the other side listens");
        let pongs = read_by_a_thread(&socket);
        Self { socket, pongs }
    }

    fn ping(&mut self) {
        self.socket.write_all(&[7; BYTES]).expect("the other side reads");
        self.pongs.recv().expect("the other side answers");
    }
}

/// Messages that a thread reads and hands over.
fn read_by_a_thread(socket: &TcpStream) -> Receiver<[u8; BYTES]> {
    socket.set_nodelay(true).expect("it is a TCP socket");
    let mut socket = socket.try_clone().expect("there are descriptors left");
    let (tx, rx) = channel::bounded(16);
    thread::spawn(move || {
        let mut message = [0; BYTES];
        while socket.read_exact(&mut message).is_ok() && tx.send(message).is_ok() {}
    });
    rx
}

/// The process on the other side. It ends when its standard input does.
struct Other {
    bare: SocketAddr,
    rpc: SocketAddr,
    child: Child,
    input: Option<ChildStdin>,
}

impl Other {
    fn start() -> Self {
        let program = env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started again");
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut next = || {
            let mut line = String::new();
            output.read_line(&mut line).expect("it says where it listens");
            line.trim().parse().expect("it says an address")
        };
        Self { bare: next(), rpc: next(), child, input }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// The other side: says where it listens, and serves until its standard input ends.
fn serve() {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(any_port).expect("a port is free");
    println!("{}", listener.local_addr().expect("it listens"));
    let group = Group::new("S1", 1, 0);
    let services = vec![EchoClient::service(Arc::new(Mirror))];
    let server = Server::bind(any_port, &group, services, &Limits::default());
    let server = server.expect("a port is free");
    println!("{}", server.local_addr());
    thread::spawn(move || serve_bare(&listener));
    let _ = io::stdin().read(&mut [0]);
}

fn serve_bare(listener: &TcpListener) {
    let (mut socket, _) = listener.accept().expect("a process connects");
    for message in read_by_a_thread(&socket) {
        socket.write_all(&message).expect("the process reads");
    }
}
