//! What the tests over TCP share: a service, peers that misbehave, and what was logged.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fmt::{self, Display};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use labrpc::service;
use labrpc::tcp::frame::{Frame, Kind, Request, Splitter};
use labrpc::tcp::{Client, Limits, Options, Server};
use labrt::channel::{self, Receiver, Sender};
use labrt::group::Group;
use labrt::sync::Mutex;
use labrt::thread;
use labrt::time::Instant;

service! {
    /// What the tests call.
    pub(crate) trait Echo, client EchoClient {
        /// Gives the text back.
        fn echo(args: String) -> String;
        /// Answers when the test opens the gate.
        fn wait(args: u64) -> u64;
        /// So many bytes.
        fn bytes(args: u64) -> Vec<u8>;
        /// Does not get that far.
        fn panic(args: ()) -> ();
    }
}

/// A handler that waits says so, and goes on when the test lets it.
pub(crate) struct Gate {
    begun_tx: Sender<u64>,
    pub(crate) begun: Receiver<u64>,
    pub(crate) open: Sender<()>,
    opened: Receiver<()>,
}

impl Default for Gate {
    fn default() -> Self {
        let (begun_tx, begun) = channel::unbounded();
        let (open, opened) = channel::unbounded();
        Self { begun_tx, begun, open, opened }
    }
}

impl Echo for Gate {
    fn echo(&self, text: String) -> String {
        text
    }

    fn wait(&self, number: u64) -> u64 {
        let _ = self.begun_tx.send(number);
        let _ = self.opened.recv();
        number
    }

    fn bytes(&self, count: u64) -> Vec<u8> {
        vec![7; usize::try_from(count).expect("the tests ask for few")]
    }

    fn panic(&self, (): ()) {
        panic!("the handler of a test");
    }
}

/// No test waits for this long: it is how long a thing that does not end would take.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(1000);

/// A server with a gate. Its threads are ended with the test.
pub(crate) struct World {
    pub(crate) group: Group,
    pub(crate) gate: Arc<Gate>,
    pub(crate) server: Server,
}

impl World {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::at(any_port(), limits)
    }

    pub(crate) fn at(address: SocketAddr, limits: &Limits) -> Self {
        keep_log();
        let (group, gate) = (Group::new("S1", 1, 0), Arc::new(Gate::default()));
        let services = vec![EchoClient::service(Arc::clone(&gate))];
        let server = Server::bind(address, &group, services, limits).expect("the port is free");
        Self { group, gate, server }
    }

    /// A client that is connected, whose calls have no deadline to speak of.
    pub(crate) fn client(&self) -> (Client, EchoClient) {
        connected(self.server.local_addr(), &patient())
    }

    /// A bare connection to the server.
    pub(crate) fn raw(&self) -> Raw {
        Raw::new(TcpStream::connect(self.server.local_addr()).expect("the server listens"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.close();
        self.group.crash();
    }
}

pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Options with which only facts end a call.
pub(crate) fn patient() -> Options {
    Options { call_time: FOR_EVER, ..Options::default() }
}

pub(crate) fn connected(address: SocketAddr, options: &Options) -> (Client, EchoClient) {
    keep_log();
    let client = Client::new(address, options);
    assert!(client.wait_until_connected(Duration::from_secs(60)), "nobody listens");
    let echo = EchoClient::new(client.end());
    (client, echo)
}

/// Waits until `reached`, for a generous while.
pub(crate) fn until(what: impl Display, reached: impl Fn() -> bool) {
    let started = Instant::now();
    while !reached() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A connection whose bytes the test writes and reads itself.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    splitter: Splitter,
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) kind: Kind,
    pub(crate) call: u64,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("it is a socket");
        Self { socket, splitter: Splitter::new(u32::MAX) }
    }

    /// The client's connection to a listener of the test.
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        Self::new(listener.accept().expect("a client connects").0)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is a socket")
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the peer is there");
    }

    /// The next frame; none if the peer has closed the connection.
    pub(crate) fn read(&mut self) -> Option<Got> {
        loop {
            if let Some(frame) = self.splitter.next_frame().expect("the peer sends frames") {
                let Frame { kind, call, body } = frame;
                return Some(Got { kind, call, body: body.to_vec() });
            }
            match self.socket.read(self.splitter.room()) {
                Ok(0) => return None,
                Ok(count) => self.splitter.filled(count),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the peer says nothing: {error}"),
            }
        }
    }
}

pub(crate) fn frame(kind: Kind, call: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame { kind, call, body }.encode(u32::MAX, &mut bytes).expect("it is short enough");
    bytes
}

/// A request to the tests' service.
pub(crate) fn request<T: serde::Serialize>(call: u64, method: &str, args: &T) -> Vec<u8> {
    request_to("Echo", call, method, args)
}

pub(crate) fn request_to<T: serde::Serialize>(
    service: &str,
    call: u64,
    method: &str,
    args: &T,
) -> Vec<u8> {
    let args = labgob::encode(args).expect("plain values can be encoded");
    let request = Request { service, method, args: &args };
    frame(Kind::Request, call, &request.encode().expect("bytes can be encoded"))
}

static LINES: LazyLock<Mutex<Vec<String>>> = LazyLock::new(Mutex::default);

struct Keep;

impl log::Log for Keep {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {} {}", record.level(), record.target(), record.args());
        LINES.lock().push(line);
    }

    fn flush(&self) {}
}

/// Has what is logged kept from now on.
pub(crate) fn keep_log() {
    if log::set_logger(&Keep).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// The reasons that were given when connections with `address` were closed. There may be several:
/// another test's connection, to another server, may have had the same port at this end.
fn warnings(address: SocketAddr) -> Vec<String> {
    let start = format!("WARN rpc closed the connection with {address}: ");
    LINES.lock().iter().filter_map(|line| line.strip_prefix(&start).map(String::from)).collect()
}

/// Whether a connection with `address` has been closed for that reason by now.
pub(crate) fn is_warned(address: SocketAddr, reason: &str) -> bool {
    warnings(address).iter().any(|found| found.contains(reason))
}

/// Waits for a warning about the peer at `address`, and wants it to give that reason.
pub(crate) fn expect_warning(address: SocketAddr, reason: &str) {
    let what = fmt::from_fn(|f| {
        write!(f, "a warning about {address}: {reason}; there are {:?}", warnings(address))
    });
    until(what, || is_warned(address, reason));
}

/// How many of its calls were complained of.
pub(crate) fn complaints_about(address: SocketAddr) -> usize {
    let start = format!("ERROR rpc a call from {address}: ");
    LINES.lock().iter().filter(|line| line.starts_with(&start)).count()
}

/// What was logged when the connection with `address` ended, which is waited for; it is told once.
pub(crate) fn end_of_connection(address: SocketAddr) -> String {
    let starts = [
        format!("WARN rpc closed the connection with {address}: "),
        format!("DEBUG rpc the connection with {address} has ended: "),
    ];
    let take = || {
        let mut lines = LINES.lock();
        let is_end = |line: &String| starts.iter().any(|start| line.starts_with(start));
        lines.iter().position(is_end).map(|at| lines.remove(at))
    };
    let found = Mutex::new(None);
    until(format!("the end of the connection with {address}"), || {
        *found.lock() = take();
        found.lock().is_some()
    });
    found.into_inner().unwrap_or_default()
}

/// A connection begins whose address an earlier one may have had.
pub(crate) fn forget_log_of(address: SocketAddr) {
    let names_it = format!(" {address}");
    LINES.lock().retain(|line| {
        let after = line.split(&names_it).nth(1);
        after.is_none_or(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
    });
}
