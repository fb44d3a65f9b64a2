//! The serving end: a listener, and the connections it accepted.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use labrt::group::Group;
use labrt::pool::Pool;
use labrt::sync::{Mutex, Shared};
use labrt::thread::{self, Builder, JoinHandle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::{Connection, Reason};
use super::handlers::{Handlers, Offer};
use super::{Limits, refuse_in_simulation};
use crate::Service;
use crate::service::Handler;

/// How often the accepting thread looks whether its group has crashed.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// How long it rests when the system has no file descriptor or memory for another connection.
const REST: Duration = Duration::from_millis(50);

/// Services at an address, until it is closed or dropped.
pub struct Server {
    host: Arc<Host>,
    address: SocketAddr,
    acceptor: Mutex<Option<Acceptor>>,
}

/// The accepting thread, and what it is told to end by: the other end hangs up.
struct Acceptor {
    thread: JoinHandle<()>,
    hang_up: UnixStream,
}

struct Host {
    offer: Arc<Offer>,
    limits: Limits,
    connections: Shared<Connections>,
}

#[derive(Default)]
struct Connections {
    closed: bool,
    last: u64,
    open: BTreeMap<u64, OpenConnection>,
}

struct OpenConnection {
    connection: Arc<Connection>,
    /// What a long frame takes that is not complete.
    unfinished_bytes: usize,
}

impl Server {
    /// Serves `services` at `address`, with threads of `group`. Port 0 has the system choose one.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    ///
    /// # Panics
    /// In a simulated world, which has no sockets.
    #[track_caller]
    pub fn bind(
        address: SocketAddr,
        group: &Group,
        services: Vec<Service>,
        limits: &Limits,
    ) -> io::Result<Self> {
        Self::bind_handler(address, group, Box::new(services), limits)
    }

    /// As [`Server::bind`], for any handler.
    #[track_caller]
    pub(super) fn bind_handler(
        address: SocketAddr,
        group: &Group,
        handler: Box<dyn Handler>,
        limits: &Limits,
    ) -> io::Result<Self> {
        refuse_in_simulation(Location::caller());
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (hang_up, hung_up) = UnixStream::pair()?;
        let pool = Pool::new(group, "rpc");
        let offer = Arc::new(Offer { group: group.clone(), handler, pool });
        let connections = Shared::default();
        let host = Arc::new(Host { offer, limits: limits.clone(), connections });
        let theirs = Arc::clone(&host);
        let accept = move || theirs.accept_all(&listener, &hung_up);
        let thread = Builder::new().name("tcp acceptor").group(group).spawn(accept);
        let acceptor = Mutex::new(Some(Acceptor { thread, hang_up }));
        Ok(Self { host, address, acceptor })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.host.connections.with(|connections| connections.open.len())
    }

    /// Closes the listener and all connections; when this returns, the port is free. Handlers that
    /// run go on, but nobody hears their answers. A second time does nothing.
    pub fn close(&self) {
        let Some(Acceptor { thread, hang_up }) = self.acceptor.lock().take() else { return };
        drop(hang_up);
        // An error is its panic, which its group has told of, or its group's crash.
        let _ = thread.join();
        let open = self.host.connections.with(|connections| {
            connections.closed = true;
            std::mem::take(&mut connections.open)
        });
        for OpenConnection { connection, .. } in open.into_values() {
            connection.close(&Reason::Closed);
        }
        self.host.offer.pool.close();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}, {} connections)", self.address, self.connections())
    }
}

impl Host {
    /// Accepts until the other end of `hung_up` hangs up.
    fn accept_all(self: Arc<Self>, listener: &TcpListener, hung_up: &UnixStream) {
        loop {
            thread::checkpoint();
            let mut wanted =
                [PollFd::new(hung_up, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
            // An interrupted wait looks around earlier, and that is all.
            let _ = poll(&mut wanted, Some(&LOOK_EVERY));
            if !wanted[0].revents().is_empty() {
                return;
            }
            if let Err(error) = self.accept(listener) {
                log::warn!(target: "rpc", "no connection could be accepted: {error}");
                thread::sleep(REST);
            }
        }
    }

    /// Accepts a connection, if one is there.
    fn accept(self: &Arc<Self>, listener: &TcpListener) -> io::Result<()> {
        match listener.accept() {
            Ok((socket, peer)) => {
                self.open(socket, peer);
                Ok(())
            }
            // It went before we came.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => Ok(()),
            Err(error) if super::connection::is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn open(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let connection = match Connection::new(socket, peer, &self.limits, &self.offer.pool) {
            Ok(connection) => connection,
            Err(error) => {
                log::debug!(target: "rpc", "the connection with {peer} has ended: {error}");
                return;
            }
        };
        match self.register(&connection) {
            Some(registered) => {
                let offer = Arc::clone(&self.offer);
                self.offer.pool.run(move || Handlers::serve(&offer, &connection, registered));
            }
            None => connection.close(&Reason::TooMany(self.limits.connections)),
        }
    }

    /// Enters a connection among the open ones, unless there are too many.
    fn register(self: &Arc<Self>, connection: &Arc<Connection>) -> Option<Registered> {
        let limit = self.limits.connections;
        let (number, gone) = self.connections.with(|connections| {
            let gone = connections.make_room(&self.limits);
            (connections.enter(connection, limit), gone)
        });
        if let Some(gone) = gone {
            gone.close(&Reason::TooMany(limit));
        }
        number.map(|number| Registered { host: Arc::clone(self), number, unfinished_bytes: 0 })
    }
}

impl Connections {
    /// If there are too many, takes out one that asks for nothing: who connects many times over and
    /// is silent, or just gives signs of life, must not keep out those who have something to ask.
    fn make_room(&mut self, limits: &Limits) -> Option<Arc<Connection>> {
        if self.open.len() < limits.connections {
            return None;
        }
        let idle = self.open.iter().map(|(number, open)| (*number, open.connection.idle_for()));
        let number = gives_way(idle, limits.idle_time)?;
        self.take_out(number)
    }

    /// Notes what a connection's frame takes that is not complete. If all such take too much, takes
    /// the one out whose takes most.
    fn note_unfinished(
        &mut self,
        number: u64,
        bytes: usize,
        limit: usize,
    ) -> Option<Arc<Connection>> {
        self.open.get_mut(&number)?.unfinished_bytes = bytes;
        let total: usize = self.open.values().map(|open| open.unfinished_bytes).sum();
        if total <= limit {
            return None;
        }
        let most = self.open.iter().max_by_key(|(_, open)| open.unfinished_bytes);
        let number = *most?.0;
        self.take_out(number)
    }

    fn take_out(&mut self, number: u64) -> Option<Arc<Connection>> {
        self.open.remove(&number).map(|open| open.connection)
    }

    fn enter(&mut self, connection: &Arc<Connection>, limit: usize) -> Option<u64> {
        if self.closed || self.open.len() >= limit {
            return None;
        }
        self.last += 1;
        let connection = Arc::clone(connection);
        self.open.insert(self.last, OpenConnection { connection, unfinished_bytes: 0 });
        Some(self.last)
    }
}

/// Of connections by number and for how long each has asked for nothing: the one for which that is
/// the longest, and `at_least` so long; the oldest of those that have never asked.
fn gives_way(idle: impl Iterator<Item = (u64, Duration)>, at_least: Duration) -> Option<u64> {
    let longest = idle.max_by_key(|&(number, idle_for)| (idle_for, Reverse(number)));
    longest.filter(|(_, idle_for)| *idle_for >= at_least).map(|(number, _)| number)
}

/// A connection among the open ones. When nobody reads it any more, it is closed and taken out.
pub(super) struct Registered {
    host: Arc<Host>,
    number: u64,
    /// As the host knows it.
    unfinished_bytes: usize,
}

impl Registered {
    /// A long frame that is not complete takes so many bytes now.
    pub(super) fn note_unfinished(&mut self, bytes: usize) {
        if bytes == self.unfinished_bytes {
            return;
        }
        self.unfinished_bytes = bytes;
        let limit = self.host.limits.unfinished_bytes();
        let connections = &self.host.connections;
        let gone =
            connections.with(|connections| connections.note_unfinished(self.number, bytes, limit));
        if let Some(gone) = gone {
            gone.close(&Reason::TooMuchUnfinished(limit));
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let connections = &self.host.connections;
        let connection = connections.with(|connections| connections.take_out(self.number));
        if let Some(connection) = connection {
            connection.close(&Reason::Abandoned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_asked_for_nothing_for_the_longest_gives_way_if_that_is_long() {
        let (second, never) = (Duration::from_secs(1), Duration::MAX);
        let choose = |idle: &[(u64, Duration)]| gives_way(idle.iter().copied(), second * 30);
        assert_eq!(choose(&[(1, second), (2, second * 29)]), None);
        assert_eq!(choose(&[(1, second * 31), (2, second * 30), (3, second)]), Some(1));
        assert_eq!(choose(&[(1, second * 99), (2, never), (3, never)]), Some(2));
    }
}
