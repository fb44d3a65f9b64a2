//! Channels, with crossbeam's shapes: [`unbounded`], [`bounded`] (a capacity of 0 is a
//! rendezvous), [`after`], [`tick`], [`never()`], and [`select!`](crate::select).
//!
//! On OS threads a channel is `crossbeam_channel`'s. In a simulated world it is a queue of our
//! own: crossbeam's rendezvous needs two OS threads to meet, and there is only one. Which kind a
//! channel is follows from where it is made, so make it in the world it is used in.

mod alarm;
mod messages;
mod queue;
mod select;

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

pub use crossbeam_channel::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};

use crate::os;
use crate::raw::{self, Mode};
use crate::thread;
use crate::time::{self, Instant};
use alarm::Alarm;
use queue::Queue;

pub use select::{Select, SelectedOperation};

type Place = &'static Location<'static>;

/// The sending side; clones share the channel.
pub struct Sender<T>(SenderFlavor<T>);

enum SenderFlavor<T> {
    Os(crossbeam_channel::Sender<T>),
    Sim(Arc<Queue<T>>),
}

/// The receiving side; clones share the channel, and each message goes to one of them.
pub struct Receiver<T>(ReceiverFlavor<T>);

enum ReceiverFlavor<T> {
    Os(crossbeam_channel::Receiver<T>),
    /// `after` and `tick` on OS threads; the function makes the message.
    OsAlarm(crossbeam_channel::Receiver<std::time::Instant>, fn(Instant) -> T),
    Sim(Arc<Queue<T>>),
    SimAlarm(Arc<Alarm>, fn(Instant) -> T),
}

/// A channel without a limit: sending never blocks.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    if raw::mode() == Mode::Sim {
        return in_sim(None);
    }
    let (tx, rx) = crossbeam_channel::unbounded();
    (Sender(SenderFlavor::Os(tx)), Receiver(ReceiverFlavor::Os(rx)))
}

/// A channel that holds up to `capacity` messages: sending into a full one blocks. With a
/// capacity of 0, sending blocks until a receiver takes the message.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    if raw::mode() == Mode::Sim {
        return in_sim(Some(capacity));
    }
    let (tx, rx) = crossbeam_channel::bounded(capacity);
    (Sender(SenderFlavor::Os(tx)), Receiver(ReceiverFlavor::Os(rx)))
}

fn in_sim<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Queue::new(capacity));
    (Sender(SenderFlavor::Sim(Arc::clone(&queue))), Receiver(ReceiverFlavor::Sim(queue)))
}

/// A channel that delivers one message, the time, after `duration`.
pub fn after(duration: Duration) -> Receiver<Instant> {
    Receiver(match raw::mode() {
        Mode::Sim => ReceiverFlavor::SimAlarm(Arc::new(Alarm::once(duration)), |at| at),
        _ => ReceiverFlavor::OsAlarm(crossbeam_channel::after(duration), |at| at),
    })
}

/// A channel that delivers a message, the time, every `duration`; ticks nobody took are dropped.
pub fn tick(duration: Duration) -> Receiver<Instant> {
    Receiver(match raw::mode() {
        Mode::Sim => ReceiverFlavor::SimAlarm(Arc::new(Alarm::every(duration)), |at| at),
        _ => ReceiverFlavor::OsAlarm(crossbeam_channel::tick(duration), |at| at),
    })
}

/// A channel that never delivers a message.
pub fn never<T>() -> Receiver<T> {
    Receiver(match raw::mode() {
        Mode::Sim => ReceiverFlavor::SimAlarm(Arc::new(Alarm::never()), |_| unreachable!("never")),
        _ => ReceiverFlavor::Os(crossbeam_channel::never()),
    })
}

/// The sentence for a channel of OS threads that a simulated thread would block on, and so block
/// the whole simulation.
fn refuse_in_sim(place: Place) {
    assert!(
        raw::mode() != Mode::Sim,
        "this channel was made outside the simulation: make it inside the world that uses it \
         ({place})"
    );
}

impl<T> Sender<T> {
    /// Sends, waiting for room if the channel is bounded.
    ///
    /// # Errors
    /// Gives the message back if no receiver is left.
    #[inline]
    #[track_caller]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match &self.0 {
            SenderFlavor::Os(tx) if raw::mode() == Mode::Plain => tx.send(message),
            _ => self.send_watched(message, Location::caller()),
        }
    }

    /// Kept out of [`Sender::send`], so that the path of a plain OS thread stays small.
    #[inline(never)]
    fn send_watched(&self, message: T, place: Place) -> Result<(), SendError<T>> {
        match &self.0 {
            SenderFlavor::Sim(queue) => {
                let sent = queue.send(message, None, place);
                sent.map_err(|error| SendError(error.into_inner()))
            }
            SenderFlavor::Os(tx) => {
                refuse_in_sim(place);
                os::channel::send(tx, message, place)
            }
        }
    }

    /// As [`Sender::send`], for at most `timeout`.
    ///
    /// # Errors
    /// Gives the message back, and says whether the time ran out or no receiver is left.
    #[track_caller]
    pub fn send_timeout(&self, message: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        match &self.0 {
            SenderFlavor::Sim(queue) => {
                queue.send(message, time::sim_deadline(timeout), Location::caller())
            }
            SenderFlavor::Os(tx) => {
                refuse_in_sim(Location::caller());
                os::channel::send_timeout(tx, message, timeout, Location::caller())
            }
        }
    }

    /// Sends if that is possible without waiting.
    ///
    /// # Errors
    /// Gives the message back, and says whether the channel is full or no receiver is left.
    #[track_caller]
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match &self.0 {
            SenderFlavor::Sim(queue) => queue.try_send(message, Location::caller()),
            SenderFlavor::Os(tx) => {
                os::group::checkpoint(Location::caller());
                tx.try_send(message)
            }
        }
    }

    /// The number of messages in the channel.
    #[track_caller]
    pub fn len(&self) -> usize {
        thread::checkpoint();
        match &self.0 {
            SenderFlavor::Sim(queue) => queue.len(),
            SenderFlavor::Os(tx) => tx.len(),
        }
    }

    /// Whether the channel holds no message.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Receiver<T> {
    /// Waits for a message.
    ///
    /// # Errors
    /// If the channel is empty and no sender is left.
    #[inline]
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        match &self.0 {
            ReceiverFlavor::Os(rx) if raw::mode() == Mode::Plain => rx.recv(),
            _ => self.recv_watched(Location::caller()),
        }
    }

    /// Kept out of [`Receiver::recv`], so that the path of a plain OS thread stays small.
    #[inline(never)]
    fn recv_watched(&self, place: Place) -> Result<T, RecvError> {
        match &self.0 {
            ReceiverFlavor::Sim(queue) => queue.recv(None, place).map_err(|_| RecvError),
            ReceiverFlavor::SimAlarm(alarm, message) => {
                alarm.recv(None, place).map(message).map_err(|_| RecvError)
            }
            ReceiverFlavor::Os(rx) => {
                refuse_in_sim(place);
                os::channel::recv(rx, place)
            }
            ReceiverFlavor::OsAlarm(rx, message) => {
                refuse_in_sim(place);
                os::channel::recv(rx, place).map(|_| message(os_now()))
            }
        }
    }

    /// As [`Receiver::recv`], for the outermost loop of a thread: if the thread's server crashes
    /// while it waits, it is told so by an error and must return, instead of being unwound. That
    /// is the same for whoever looks on, and costs a simulated world far less.
    ///
    /// # Errors
    /// If the channel is empty and no sender is left, or the thread is to end.
    #[track_caller]
    pub fn recv_or_end(&self) -> Result<T, RecvError> {
        match &self.0 {
            ReceiverFlavor::Sim(queue) => {
                queue.recv_or_end(None, Location::caller()).map_err(|_| RecvError)
            }
            _ => self.recv(),
        }
    }

    /// Waits for a message for at most `timeout`.
    ///
    /// # Errors
    /// Says whether the time ran out or no sender is left.
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let place = Location::caller();
        match &self.0 {
            ReceiverFlavor::Sim(queue) => queue.recv(time::sim_deadline(timeout), place),
            ReceiverFlavor::SimAlarm(alarm, message) => {
                alarm.recv(time::sim_deadline(timeout), place).map(message)
            }
            ReceiverFlavor::Os(rx) => {
                refuse_in_sim(place);
                os::channel::recv_timeout(rx, timeout, place)
            }
            ReceiverFlavor::OsAlarm(rx, message) => {
                refuse_in_sim(place);
                os::channel::recv_timeout(rx, timeout, place).map(|_| message(os_now()))
            }
        }
    }

    /// As [`Receiver::recv_timeout`], until `deadline`.
    ///
    /// # Errors
    /// Says whether the time ran out or no sender is left.
    #[track_caller]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_timeout(deadline.duration_since(Instant::now()))
    }

    /// Takes a message if there is one.
    ///
    /// # Errors
    /// Says whether the channel is empty only, or no sender is left either.
    #[track_caller]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let place = Location::caller();
        match &self.0 {
            ReceiverFlavor::Sim(queue) => queue.try_recv(place),
            ReceiverFlavor::SimAlarm(alarm, message) => alarm.try_recv(place).map(message),
            ReceiverFlavor::Os(rx) => {
                os::group::checkpoint(place);
                rx.try_recv()
            }
            ReceiverFlavor::OsAlarm(rx, message) => {
                os::group::checkpoint(place);
                rx.try_recv().map(|_| message(os_now()))
            }
        }
    }

    /// The number of messages in the channel.
    #[track_caller]
    pub fn len(&self) -> usize {
        thread::checkpoint();
        match &self.0 {
            ReceiverFlavor::Sim(queue) => queue.len(),
            ReceiverFlavor::SimAlarm(alarm, _) => usize::from(alarm.is_due()),
            ReceiverFlavor::Os(rx) => rx.len(),
            ReceiverFlavor::OsAlarm(rx, _) => rx.len(),
        }
    }

    /// Whether the channel holds no message.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages as they come, until no sender is left.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// The messages that are there.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

fn os_now() -> Instant {
    Instant::from_nanos(time::os_nanos())
}

/// See [`Receiver::iter`].
pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// See [`Receiver::try_iter`].
pub struct TryIter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

/// Messages as they come; owns the receiver.
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            SenderFlavor::Os(tx) => SenderFlavor::Os(tx.clone()),
            SenderFlavor::Sim(queue) => {
                queue.add_sender();
                SenderFlavor::Sim(Arc::clone(queue))
            }
        })
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            ReceiverFlavor::Os(rx) => ReceiverFlavor::Os(rx.clone()),
            ReceiverFlavor::OsAlarm(rx, message) => ReceiverFlavor::OsAlarm(rx.clone(), *message),
            ReceiverFlavor::SimAlarm(alarm, message) => {
                ReceiverFlavor::SimAlarm(Arc::clone(alarm), *message)
            }
            ReceiverFlavor::Sim(queue) => {
                queue.add_receiver();
                ReceiverFlavor::Sim(Arc::clone(queue))
            }
        })
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let SenderFlavor::Sim(queue) = &self.0 {
            queue.drop_sender();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let ReceiverFlavor::Sim(queue) = &self.0 {
            queue.drop_receiver();
        }
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender { .. }")
    }
}

impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver { .. }")
    }
}
