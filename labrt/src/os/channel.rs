//! Blocking channel calls of a server's threads: they also wait for the server's crash.

use std::convert::Infallible;
use std::panic::Location;
use std::time::Duration;

use crossbeam_channel::{
    Receiver, RecvError, RecvTimeoutError, Select, SendError, Sender, TryRecvError, TrySendError,
    select,
};

use super::group;

type Place = &'static Location<'static>;

fn death() -> Receiver<Infallible> {
    group::death().unwrap_or_else(crossbeam_channel::never)
}

pub(crate) fn recv<T>(rx: &Receiver<T>, place: Place) -> Result<T, RecvError> {
    group::checkpoint(place);
    match rx.try_recv() {
        Ok(message) => return Ok(message),
        Err(TryRecvError::Disconnected) => return Err(RecvError),
        Err(TryRecvError::Empty) => {}
    }
    let received = select! {
        recv(rx) -> message => message,
        recv(death()) -> _ => Err(RecvError),
    };
    group::checkpoint(place);
    received
}

pub(crate) fn recv_timeout<T>(
    rx: &Receiver<T>,
    timeout: Duration,
    place: Place,
) -> Result<T, RecvTimeoutError> {
    group::checkpoint(place);
    let received = select! {
        recv(rx) -> message => message.map_err(|_| RecvTimeoutError::Disconnected),
        recv(death()) -> _ => Err(RecvTimeoutError::Disconnected),
        default(timeout) => Err(RecvTimeoutError::Timeout),
    };
    group::checkpoint(place);
    received
}

pub(crate) fn send<T>(tx: &Sender<T>, message: T, place: Place) -> Result<(), SendError<T>> {
    group::checkpoint(place);
    if group::is_dead() {
        // A destructor of a thread that is being ended: the outside hears nothing of it.
        return Err(SendError(message));
    }
    let message = match tx.try_send(message) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Disconnected(message)) => return Err(SendError(message)),
        Err(TrySendError::Full(message)) => message,
    };
    let death = death();
    let mut select = Select::new();
    let send_index = select.send(tx);
    select.recv(&death);
    let selected = select.select();
    let sent = if selected.index() == send_index {
        selected.send(tx, message)
    } else {
        let _ = selected.recv(&death);
        Err(SendError(message))
    };
    group::checkpoint(place);
    sent
}

/// Waits until one of the operations is ready, the group crashes, or the time is over.
pub(crate) fn wait_ready(select: Select<'_>, timeout: Option<Duration>) {
    let death = death();
    // A new binding: its lifetime may be the shorter one of `death`.
    let mut select = select;
    select.recv(&death);
    match timeout {
        None => drop(select.ready()),
        // Whether it was in time is seen by trying.
        Some(timeout) => drop(select.ready_timeout(timeout)),
    }
}
