//! The channel of a simulated world: a queue, and the two keys on which its sides wait.
//!
//! A rendezvous (capacity 0) uses the same queue. A sender puts its message there as an *offer*
//! with a ticket and waits until the ticket is gone; if it gives up first, it takes the offer
//! back. `try_send` and a select cannot wait so, and send only if a receiver waits. The message
//! wakes that receiver, which from then on waits for nothing else, and takes it.

use std::panic::Location;

use super::messages::Messages;
use super::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
use crate::raw::{self, WorldCell, WorldRef};
use crate::sim::futex::{ObjectId, WaitFor, Woken};

type Place = &'static Location<'static>;

struct State<T> {
    messages: Messages<T>,
    tickets: u64,
    senders: usize,
    receivers: usize,
}

pub(super) struct Queue<T> {
    state: WorldCell<State<T>>,
    capacity: Option<usize>,
    /// Receivers wait here.
    pub(super) arrivals: ObjectId,
    /// Senders wait here.
    pub(super) room: ObjectId,
}

/// Whether an operation could be completed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Sent,
    Full,
    Disconnected,
}

fn world_at(place: Place) -> WorldRef {
    raw::world().unwrap_or_else(|| {
        panic!("this channel belongs to a simulated world: use it inside that world only ({place})")
    })
}

/// A call begins: others may run first. False if the thread is being ended and so may do no more
/// than see its channels disconnected.
fn begin(world: WorldRef, place: Place) -> bool {
    world.point(place);
    !world.is_ending()
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: Option<usize>) -> Self {
        let messages = Messages::default();
        let state = State { messages, tickets: 0, senders: 1, receivers: 1 };
        let (arrivals, room) = (ObjectId::new(), ObjectId::new());
        Self { state: WorldCell::new(state), capacity, arrivals, room }
    }

    fn with_state<R>(&self, section: impl FnOnce(&mut State<T>) -> R) -> R {
        let result = self.state.with(section);
        result.expect("this channel belongs to a simulated world: use it inside that world only")
    }

    pub(super) fn send(
        &self,
        message: T,
        deadline: Option<u64>,
        place: Place,
    ) -> Result<(), SendTimeoutError<T>> {
        let world = world_at(place);
        if !begin(world, place) {
            return Err(SendTimeoutError::Disconnected(message));
        }
        match self.capacity {
            Some(0) => self.offer_and_wait(world, message, deadline, place),
            _ => self.wait_for_room(world, message, deadline, place),
        }
    }

    fn wait_for_room(
        &self,
        world: WorldRef,
        message: T,
        deadline: Option<u64>,
        place: Place,
    ) -> Result<(), SendTimeoutError<T>> {
        let mut message = Some(message);
        loop {
            match self.push(&mut message, false) {
                Offer::Sent => break Ok(()),
                Offer::Disconnected => break Err(SendTimeoutError::Disconnected(taken(message))),
                Offer::Full => {}
            }
            let key = self.room.key(&world);
            match world.wait(&[key], deadline, WaitFor::Room, place, || true) {
                Woken::TimedOut => break Err(SendTimeoutError::Timeout(taken(message))),
                Woken::Dying => {
                    world.raise_if_dying(world.me("send"));
                    break Err(SendTimeoutError::Disconnected(taken(message)));
                }
                Woken::Ready | Woken::ByKey(_) => {}
            }
        }
    }

    fn offer_and_wait(
        &self,
        world: WorldRef,
        message: T,
        deadline: Option<u64>,
        place: Place,
    ) -> Result<(), SendTimeoutError<T>> {
        let mut message = Some(message);
        if self.push(&mut message, true) == Offer::Disconnected {
            return Err(SendTimeoutError::Disconnected(taken(message)));
        }
        let ticket = self.with_state(|state| state.tickets);
        loop {
            if !self.holds(ticket) {
                return Ok(());
            }
            if self.with_state(|state| state.receivers) == 0 {
                return self.withdraw(ticket, SendTimeoutError::Disconnected);
            }
            let key = self.room.key(&world);
            match world.wait(&[key], deadline, WaitFor::Room, place, || true) {
                Woken::TimedOut => return self.withdraw(ticket, SendTimeoutError::Timeout),
                Woken::Dying => {
                    let withdrawn = self.withdraw(ticket, SendTimeoutError::Disconnected);
                    world.raise_if_dying(world.me("send"));
                    return withdrawn;
                }
                Woken::Ready | Woken::ByKey(_) => {}
            }
        }
    }

    fn holds(&self, ticket: u64) -> bool {
        self.with_state(|state| state.messages.position(ticket).is_some())
    }

    /// Takes an offer back; it may have been accepted in the meantime.
    fn withdraw(
        &self,
        ticket: u64,
        error: fn(T) -> SendTimeoutError<T>,
    ) -> Result<(), SendTimeoutError<T>> {
        let withdrawn = self.with_state(|state| {
            let index = state.messages.position(ticket);
            index.and_then(|index| state.messages.remove(index))
        });
        match withdrawn {
            Some(message) => Err(error(message)),
            None => Ok(()),
        }
    }

    /// Puts the message into the queue if there is room, or if `beyond` says to do so anyway.
    pub(super) fn push(&self, message: &mut Option<T>, beyond: bool) -> Offer {
        let offer = self.with_state(|state| {
            if state.receivers == 0 {
                return Offer::Disconnected;
            }
            if !beyond && !self.has_room(state) {
                return Offer::Full;
            }
            state.tickets += 1;
            let ticket = state.tickets;
            if let Some(message) = message.take() {
                state.messages.push(ticket, message);
            }
            Offer::Sent
        });
        if offer == Offer::Sent {
            wake(&self.arrivals, 1);
        }
        offer
    }

    fn has_room(&self, state: &State<T>) -> bool {
        match self.capacity {
            None => true,
            Some(0) => raw::world().is_some_and(|world| self.arrivals.waiters(&world) > 0),
            Some(capacity) => state.messages.len() < capacity,
        }
    }

    pub(super) fn try_send(&self, message: T, place: Place) -> Result<(), TrySendError<T>> {
        if !begin(world_at(place), place) {
            return Err(TrySendError::Disconnected(message));
        }
        let mut message = Some(message);
        match self.push(&mut message, false) {
            Offer::Sent => Ok(()),
            Offer::Full => Err(TrySendError::Full(taken(message))),
            Offer::Disconnected => Err(TrySendError::Disconnected(taken(message))),
        }
    }

    /// Takes the first message, if there is one.
    pub(super) fn take(&self) -> Result<T, TryRecvError> {
        let message = self.with_state(|state| {
            let empty =
                if state.senders > 0 { TryRecvError::Empty } else { TryRecvError::Disconnected };
            state.messages.remove(0).ok_or(empty)
        })?;
        // A rendezvous' sender waits for its own ticket: all of them look.
        let senders = if self.capacity == Some(0) { usize::MAX } else { 1 };
        if self.capacity.is_some() {
            wake(&self.room, senders);
        }
        Ok(message)
    }

    pub(super) fn try_recv(&self, place: Place) -> Result<T, TryRecvError> {
        if !begin(world_at(place), place) {
            return Err(TryRecvError::Disconnected);
        }
        self.take()
    }

    pub(super) fn recv(&self, deadline: Option<u64>, place: Place) -> Result<T, RecvTimeoutError> {
        let received = self.recv_or_end(deadline, place);
        if received.is_err() {
            let world = world_at(place);
            world.raise_if_dying(world.me("recv"));
        }
        received
    }

    /// As [`Queue::recv`], but a thread whose server crashes meanwhile is told that the channel is
    /// disconnected.
    pub(super) fn recv_or_end(
        &self,
        deadline: Option<u64>,
        place: Place,
    ) -> Result<T, RecvTimeoutError> {
        let world = world_at(place);
        if !begin(world, place) {
            return Err(RecvTimeoutError::Disconnected);
        }
        let mut woken = Woken::Ready;
        loop {
            match self.take() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if woken == Woken::TimedOut => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(TryRecvError::Empty) => {}
            }
            let key = self.arrivals.key(&world);
            self.begin_receiving();
            woken = world.wait(&[key], deadline, WaitFor::Message, place, || true);
            if woken == Woken::Dying {
                return Err(RecvTimeoutError::Disconnected);
            }
        }
    }

    /// A receiver is about to wait: that is room for those who want to send by a select.
    pub(super) fn begin_receiving(&self) {
        if self.capacity == Some(0) {
            wake(&self.room, usize::MAX);
        }
    }

    /// Whether receiving would not block.
    pub(super) fn can_receive(&self) -> bool {
        self.with_state(|state| !state.messages.is_empty() || state.senders == 0)
    }

    /// Whether sending would not block.
    pub(super) fn can_send(&self) -> bool {
        self.with_state(|state| state.receivers == 0 || self.has_room(state))
    }

    /// A rendezvous holds nothing: its offers are still their senders'.
    pub(super) fn len(&self) -> usize {
        if self.capacity == Some(0) { 0 } else { self.with_state(|state| state.messages.len()) }
    }

    pub(super) fn add_sender(&self) {
        self.with_state(|state| state.senders += 1);
    }

    pub(super) fn add_receiver(&self) {
        self.with_state(|state| state.receivers += 1);
    }

    /// Drops are never refused: where the state cannot be reached, nobody is there to be told.
    pub(super) fn drop_sender(&self) {
        let left = self.state.with(|state| {
            state.senders -= 1;
            state.senders
        });
        if left == Some(0) {
            wake(&self.arrivals, usize::MAX);
        }
    }

    pub(super) fn drop_receiver(&self) {
        let unread = self.state.with(|state| {
            state.receivers -= 1;
            if state.receivers > 0 {
                return None;
            }
            match self.capacity {
                // A rendezvous' senders take their offers back.
                Some(0) => Some(Messages::default()),
                _ => Some(std::mem::take(&mut state.messages)),
            }
        });
        if let Some(unread) = unread.flatten() {
            // Nobody can take them any more. They may own senders of this very channel, so they
            // are dropped outside the section.
            drop(unread);
            wake(&self.room, usize::MAX);
        }
    }
}

fn wake(id: &ObjectId, count: usize) {
    if let Some(world) = raw::world() {
        id.wake(&world, count);
    }
}

fn taken<T>(message: Option<T>) -> T {
    message.expect("a message that was not sent is still here")
}
