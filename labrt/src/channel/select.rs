//! Waiting for one of several channel operations.

use std::convert::Infallible;
use std::panic::Location;
use std::time::Duration;

use super::queue::Offer;
use super::{Receiver, ReceiverFlavor, RecvError, SendError, Sender, SenderFlavor};
use crate::os;
use crate::raw::{self, WorldRef};
use crate::sim::futex::{Key, WaitFor, Woken};
use crate::time;

/// One operation of a select, whatever its channel carries.
trait Operation {
    /// Whether it can be completed without waiting.
    fn is_ready(&self) -> bool;
    /// What to wait on for that.
    fn key(&self, world: &WorldRef) -> Option<Key>;
    /// When it becomes ready by itself.
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn begin_waiting(&self) {}
    /// Adds itself to crossbeam's select.
    fn register<'a>(&'a self, select: &mut crossbeam_channel::Select<'a>);
}

struct Receive<'a, T>(&'a Receiver<T>);

struct Send<'a, T>(&'a Sender<T>);

impl<T> Operation for Receive<'_, T> {
    fn is_ready(&self) -> bool {
        match &self.0.0 {
            ReceiverFlavor::Sim(queue) => queue.can_receive(),
            ReceiverFlavor::SimAlarm(alarm, _) => alarm.is_due(),
            ReceiverFlavor::Os(_) | ReceiverFlavor::OsAlarm(..) => refuse_mixture(),
        }
    }

    fn key(&self, world: &WorldRef) -> Option<Key> {
        match &self.0.0 {
            ReceiverFlavor::Sim(queue) => Some(queue.arrivals.key(world)),
            _ => None,
        }
    }

    fn deadline(&self) -> Option<u64> {
        match &self.0.0 {
            ReceiverFlavor::SimAlarm(alarm, _) => alarm.deadline(),
            _ => None,
        }
    }

    fn begin_waiting(&self) {
        if let ReceiverFlavor::Sim(queue) = &self.0.0 {
            queue.begin_receiving();
        }
    }

    fn register<'a>(&'a self, select: &mut crossbeam_channel::Select<'a>) {
        match &self.0.0 {
            ReceiverFlavor::Os(rx) => select.recv(rx),
            ReceiverFlavor::OsAlarm(rx, _) => select.recv(rx),
            ReceiverFlavor::Sim(_) | ReceiverFlavor::SimAlarm(..) => refuse_mixture(),
        };
    }
}

impl<T> Operation for Send<'_, T> {
    fn is_ready(&self) -> bool {
        match &self.0.0 {
            SenderFlavor::Sim(queue) => queue.can_send(),
            SenderFlavor::Os(_) => refuse_mixture(),
        }
    }

    fn key(&self, world: &WorldRef) -> Option<Key> {
        match &self.0.0 {
            SenderFlavor::Sim(queue) => Some(queue.room.key(world)),
            SenderFlavor::Os(_) => None,
        }
    }

    fn register<'a>(&'a self, select: &mut crossbeam_channel::Select<'a>) {
        match &self.0.0 {
            SenderFlavor::Os(tx) => select.send(tx),
            SenderFlavor::Sim(_) => refuse_mixture(),
        };
    }
}

fn refuse_mixture() -> ! {
    panic!("a select over channels of two worlds: make each channel inside the world that uses it")
}

/// Channel operations of which one is to be completed. [`select!`](crate::select) is the
/// comfortable way to use it.
pub struct Select<'a> {
    operations: Vec<Box<dyn Operation + 'a>>,
    /// On OS threads: becomes ready when the thread's group crashes.
    death: Option<crossbeam_channel::Receiver<Infallible>>,
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// An operation that was selected and must now be completed.
#[must_use]
pub struct SelectedOperation<'a> {
    index: usize,
    kind: Selected<'a>,
}

enum Selected<'a> {
    Sim,
    Os(crossbeam_channel::SelectedOperation<'a>),
    /// The thread is being ended: its channels are disconnected.
    Dying,
}

impl<'a> Select<'a> {
    /// No operation yet.
    pub fn new() -> Self {
        Self { operations: Vec::new(), death: os::group::death() }
    }

    /// Adds receiving from `receiver`; gives the operation's index.
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.operations.push(Box::new(Receive(receiver)));
        self.operations.len() - 1
    }

    /// Adds sending to `sender`; gives the operation's index.
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.operations.push(Box::new(Send(sender)));
        self.operations.len() - 1
    }

    /// Waits until one of the operations can be completed.
    #[track_caller]
    pub fn select(&self) -> SelectedOperation<'_> {
        self.wait(Limit::Never, Location::caller()).expect("without a limit, one is selected")
    }

    /// One of the operations that can be completed now, if there is one.
    #[track_caller]
    pub fn try_select(&self) -> Option<SelectedOperation<'_>> {
        self.wait(Limit::Now, Location::caller())
    }

    /// As [`Select::select`], for at most `timeout`.
    #[track_caller]
    pub fn select_timeout(&self, timeout: Duration) -> Option<SelectedOperation<'_>> {
        self.wait(Limit::After(timeout), Location::caller())
    }

    fn wait(
        &self,
        limit: Limit,
        place: &'static Location<'static>,
    ) -> Option<SelectedOperation<'_>> {
        match raw::world() {
            Some(world) => self.wait_in_sim(world, limit, place),
            None => self.wait_on_os(limit, place),
        }
    }

    fn wait_in_sim(
        &self,
        world: WorldRef,
        limit: Limit,
        place: &'static Location<'static>,
    ) -> Option<SelectedOperation<'_>> {
        world.point(place);
        let deadline = match limit {
            Limit::After(timeout) => time::sim_deadline(timeout),
            Limit::Never | Limit::Now => None,
        };
        let mut woken = Woken::Ready;
        loop {
            if let Some(index) = self.pick_ready(world, woken) {
                return Some(SelectedOperation { index, kind: Selected::Sim });
            }
            let late = deadline.is_some_and(|deadline| deadline <= world.now());
            if limit == Limit::Now || late {
                return None;
            }
            woken = self.wait_once(world, deadline, place);
            if woken == Woken::Dying {
                world.raise_if_dying(world.me("select"));
                return self.give_up(limit);
            }
        }
    }

    /// A thread that is being ended waits no more: a limit passes, and without one the first
    /// operation is completed as on a channel that is disconnected.
    fn give_up(&self, limit: Limit) -> Option<SelectedOperation<'_>> {
        let disconnected = SelectedOperation { index: 0, kind: Selected::Dying };
        (limit == Limit::Never && !self.operations.is_empty()).then_some(disconnected)
    }

    fn wait_once(
        &self,
        world: WorldRef,
        deadline: Option<u64>,
        place: &'static Location<'static>,
    ) -> Woken {
        let keys: Vec<Key> = self.operations.iter().filter_map(|op| op.key(&world)).collect();
        let alarms = self.operations.iter().filter_map(|operation| operation.deadline());
        let until = alarms.chain(deadline).min();
        self.operations.iter().for_each(|operation| operation.begin_waiting());
        world.wait(&keys, until, WaitFor::Select, place, || true)
    }

    /// The operation that a wake-up was for, if it still is ready: it may be all that anybody
    /// will hear of that channel, and a rendezvous' sender counts on it. Otherwise any that is.
    fn pick_ready(&self, world: WorldRef, woken: Woken) -> Option<usize> {
        let is_ready = |&index: &usize| self.operations[index].is_ready();
        let ready: Vec<usize> = (0..self.operations.len()).filter(is_ready).collect();
        let meant = |&&index: &&usize| match woken {
            Woken::ByKey(key) => self.operations[index].key(&world) == Some(key),
            _ => false,
        };
        match ready.len() {
            0 => None,
            1 => Some(ready[0]),
            several => {
                let meant = ready.iter().find(meant).copied();
                meant.or_else(|| Some(ready[world.choose(several)]))
            }
        }
    }

    fn wait_on_os(
        &self,
        limit: Limit,
        place: &'static Location<'static>,
    ) -> Option<SelectedOperation<'_>> {
        os::group::checkpoint(place);
        let mut select = self.registered();
        let selected = match limit {
            Limit::Never => select.select(),
            Limit::Now => select.try_select().ok()?,
            Limit::After(timeout) => select.select_timeout(timeout).ok()?,
        };
        let index = selected.index();
        match &self.death {
            Some(death) if index == self.operations.len() => {
                let _ = selected.recv(death);
                os::group::checkpoint(place);
                self.give_up(limit)
            }
            _ => Some(SelectedOperation { index, kind: Selected::Os(selected) }),
        }
    }

    /// The operations and, as the last one, the group's death.
    fn registered(&self) -> crossbeam_channel::Select<'_> {
        let mut select = crossbeam_channel::Select::new();
        self.operations.iter().for_each(|operation| operation.register(&mut select));
        if let Some(death) = &self.death {
            select.recv(death);
        }
        select
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    Never,
    Now,
    After(Duration),
}

impl SelectedOperation<'_> {
    /// The index that [`Select::recv`] or [`Select::send`] gave.
    pub fn index(&self) -> usize {
        self.index
    }

    /// For the macro, which computes a message only once there is room for it: on OS threads a
    /// crash must not take effect while the other side waits for it.
    #[doc(hidden)]
    pub fn begin_message(&self) -> os::group::Section {
        os::group::Section::begin()
    }

    /// Completes a receive operation.
    ///
    /// # Errors
    /// If the channel is empty and no sender is left.
    pub fn recv<T>(self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        match (self.kind, &receiver.0) {
            (Selected::Sim, ReceiverFlavor::Sim(queue)) => queue.take().map_err(|_| RecvError),
            (Selected::Sim, ReceiverFlavor::SimAlarm(alarm, message)) => {
                alarm.take().map(message).map_err(|_| RecvError)
            }
            (Selected::Os(operation), ReceiverFlavor::Os(rx)) => operation.recv(rx),
            (Selected::Os(operation), ReceiverFlavor::OsAlarm(rx, message)) => {
                operation.recv(rx).map(|_| message(super::os_now()))
            }
            (Selected::Dying, _) => Err(RecvError),
            _ => refuse_mixture(),
        }
    }

    /// Completes a send operation.
    ///
    /// # Errors
    /// Gives the message back if no receiver is left.
    #[track_caller]
    pub fn send<T>(self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        match (self.kind, &sender.0) {
            (Selected::Os(operation), SenderFlavor::Os(tx)) => operation.send(tx, message),
            (Selected::Sim, SenderFlavor::Sim(queue)) => {
                let mut message = Some(message);
                match (queue.push(&mut message, false), message) {
                    (Offer::Disconnected, Some(message)) => Err(SendError(message)),
                    // Others may have run while the message was computed, and taken the room.
                    (Offer::Full, Some(message)) => sender.send(message),
                    _ => Ok(()),
                }
            }
            (Selected::Dying, _) => Err(SendError(message)),
            _ => refuse_mixture(),
        }
    }
}

/// Waits for one of several channel operations and runs its arm; the shape is crossbeam's:
///
/// ```
/// use labrt::{channel, select};
/// use std::time::Duration;
///
/// let (tx, rx) = channel::unbounded();
/// tx.send(1).expect("the receiver is alive");
/// let got = select! {
///     recv(rx) -> message => message.ok(),
///     default(Duration::from_secs(1)) => None,
/// };
/// assert_eq!(got, Some(1));
/// ```
///
/// Arms are `recv(receiver) -> pattern => body`, `send(sender, message) -> pattern => body`, and
/// at most one of `default => body` (do not wait) and `default(timeout) => body`, which comes
/// last. Among several operations that are ready one is chosen at random.
#[macro_export]
macro_rules! select {
    ($($arms:tt)*) => { $crate::__select_parse!([] $($arms)*) };
}

/// Brings the arms into a regular form, one at a time. Each channel is bound by a `match`, so that
/// its expression is evaluated once, and may be a temporary: `recv(channel::after(timeout))`. (The
/// `end`s do not clash: each expansion has its own.)
#[doc(hidden)]
#[macro_export]
macro_rules! __select_parse {
    ([$($done:tt)*], $($rest:tt)*) => {
        $crate::__select_parse!([$($done)*] $($rest)*)
    };
    ([$($done:tt)*] recv($rx:expr) -> $pat:pat => $body:block $($rest:tt)*) => {
        match &$rx {
            end => $crate::__select_parse!(
                [$($done)* (recv, end, (), $pat, $body)] $($rest)*
            ),
        }
    };
    ([$($done:tt)*] recv($rx:expr) -> $pat:pat => $body:expr, $($rest:tt)*) => {
        match &$rx {
            end => $crate::__select_parse!(
                [$($done)* (recv, end, (), $pat, $body)] $($rest)*
            ),
        }
    };
    ([$($done:tt)*] recv($rx:expr) -> $pat:pat => $body:expr) => {
        match &$rx {
            end => $crate::__select_parse!(
                [$($done)* (recv, end, (), $pat, $body)]
            ),
        }
    };
    ([$($done:tt)*] send($tx:expr, $message:expr) -> $pat:pat => $body:block $($rest:tt)*) => {
        match &$tx {
            end => $crate::__select_parse!(
                [$($done)* (send, end, $message, $pat, $body)] $($rest)*
            ),
        }
    };
    ([$($done:tt)*] send($tx:expr, $message:expr) -> $pat:pat => $body:expr, $($rest:tt)*) => {
        match &$tx {
            end => $crate::__select_parse!(
                [$($done)* (send, end, $message, $pat, $body)] $($rest)*
            ),
        }
    };
    ([$($done:tt)*] send($tx:expr, $message:expr) -> $pat:pat => $body:expr) => {
        match &$tx {
            end => $crate::__select_parse!(
                [$($done)* (send, end, $message, $pat, $body)]
            ),
        }
    };
    ([$($done:tt)*] default => $body:expr $(,)?) => {
        $crate::__select_run!([$($done)*] try_select() else $body)
    };
    ([$($done:tt)*] default($timeout:expr) => $body:expr $(,)?) => {
        $crate::__select_run!([$($done)*] select_timeout($timeout) else $body)
    };
    ([$($done:tt)*]) => {
        $crate::__select_run!([$($done)*] always() else unreachable!("a select always selects"))
    };
}

/// Registers the operations, waits, and runs the arm of the one that was selected.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_run {
    ([$(($kind:ident, $end:expr, $message:expr, $pat:pat, $body:expr))*]
     $wait:ident($($limit:expr)?) else $default:expr) => {{
        #[allow(unused_mut, reason = "a select may have a default arm only")]
        let mut select = $crate::channel::Select::new();
        $(select.$kind($end);)*
        match $crate::__select_wait!(select, $wait, $($limit)?) {
            None => $default,
            Some(operation) => $crate::__select_arm!(
                operation, 0usize, $(($kind, $end, $message, $pat, $body))*
            ),
        }
    }};
}

/// One of the three ways to wait.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_wait {
    ($select:ident, always,) => {
        Some($select.select())
    };
    ($select:ident, $wait:ident, $($limit:expr)?) => {
        $select.$wait($($limit)?)
    };
}

/// Finds the arm by its index and completes its operation.
#[doc(hidden)]
#[macro_export]
macro_rules! __select_arm {
    ($operation:ident, $index:expr,) => {
        unreachable!("a selected operation is one of the select's own")
    };
    ($operation:ident, $index:expr,
     (recv, $rx:expr, $_no:expr, $pat:pat, $body:expr) $($rest:tt)*) => {
        if $operation.index() == $index {
            let $pat = $operation.recv($rx);
            $body
        } else {
            $crate::__select_arm!($operation, $index + 1, $($rest)*)
        }
    };
    ($operation:ident, $index:expr,
     (send, $tx:expr, $message:expr, $pat:pat, $body:expr) $($rest:tt)*) => {
        if $operation.index() == $index {
            let message = {
                let _section = $operation.begin_message();
                $message
            };
            let $pat = $operation.send($tx, message);
            $body
        } else {
            $crate::__select_arm!($operation, $index + 1, $($rest)*)
        }
    };
}
