//! Blocking channel calls of a server's threads: they also wait for the server's crash.

use std::convert::Infallible;
use std::panic::Location;
use std::time::{Duration, Instant};

use crossbeam_channel::{
    Receiver, RecvError, RecvTimeoutError, Select, SendError, SendTimeoutError, Sender,
    TryRecvError, TrySendError,
};

use super::group;

type Place = &'static Location<'static>;

fn death() -> Receiver<Infallible> {
    group::death().unwrap_or_else(crossbeam_channel::never)
}

pub(crate) fn recv<T>(rx: &Receiver<T>, place: Place) -> Result<T, RecvError> {
    loop {
        match recv_slice(rx, group::LOOK_EVERY, place) {
            Err(RecvTimeoutError::Timeout) => {}
            received => return received.map_err(|_| RecvError),
        }
    }
}

pub(crate) fn recv_timeout<T>(
    rx: &Receiver<T>,
    timeout: Duration,
    place: Place,
) -> Result<T, RecvTimeoutError> {
    let begun = Instant::now();
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        match recv_slice(rx, left.min(group::LOOK_EVERY), place) {
            Err(RecvTimeoutError::Timeout) if left > group::LOOK_EVERY => {}
            received => return received,
        }
    }
}

/// Waits for so long at most, and not at the group's death at the same time: who was woken at two
/// channels has to leave the other's queue, and its lock may still be held by whoever woke it.
fn recv_slice<T>(rx: &Receiver<T>, slice: Duration, place: Place) -> Result<T, RecvTimeoutError> {
    let is_dead = group::checkpoint(place);
    match rx.try_recv() {
        Ok(message) => return Ok(message),
        Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
        // A destructor of a thread that is being ended: nothing is waited for any more.
        Err(TryRecvError::Empty) if is_dead => return Err(RecvTimeoutError::Disconnected),
        Err(TryRecvError::Empty) => {}
    }
    let received = rx.recv_timeout(slice);
    group::checkpoint(place);
    received
}

pub(crate) fn send<T>(tx: &Sender<T>, message: T, place: Place) -> Result<(), SendError<T>> {
    let sent = send_within(tx, message, None, place);
    sent.map_err(|error| SendError(error.into_inner()))
}

pub(crate) fn send_timeout<T>(
    tx: &Sender<T>,
    message: T,
    timeout: Duration,
    place: Place,
) -> Result<(), SendTimeoutError<T>> {
    send_within(tx, message, Some(timeout), place)
}

fn send_within<T>(
    tx: &Sender<T>,
    message: T,
    timeout: Option<Duration>,
    place: Place,
) -> Result<(), SendTimeoutError<T>> {
    if group::checkpoint(place) {
        // A destructor of a thread that is being ended: the outside hears nothing of it.
        return Err(SendTimeoutError::Disconnected(message));
    }
    let message = match tx.try_send(message) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Disconnected(message)) => {
            return Err(SendTimeoutError::Disconnected(message));
        }
        Err(TrySendError::Full(message)) => message,
    };
    let sent = send_or_die(tx, message, timeout);
    group::checkpoint(place);
    sent
}

fn send_or_die<T>(
    tx: &Sender<T>,
    message: T,
    timeout: Option<Duration>,
) -> Result<(), SendTimeoutError<T>> {
    let death = death();
    let mut select = Select::new();
    let send_index = select.send(tx);
    select.recv(&death);
    let selected = match timeout {
        None => select.select(),
        Some(timeout) => match select.select_timeout(timeout) {
            Ok(selected) => selected,
            Err(_) => return Err(SendTimeoutError::Timeout(message)),
        },
    };
    if selected.index() == send_index {
        let sent = selected.send(tx, message);
        return sent.map_err(|SendError(message)| SendTimeoutError::Disconnected(message));
    }
    let _ = selected.recv(&death);
    Err(SendTimeoutError::Disconnected(message))
}
