//! `after`, `tick` and `never` in a simulated world: no queue, only the next time.

use std::panic::Location;
use std::time::Duration;

use super::{RecvTimeoutError, TryRecvError};
use crate::raw::{self, WorldCell};
use crate::sim::futex::{WaitFor, Woken};
use crate::time::{self, Instant};

type Place = &'static Location<'static>;

pub(super) struct Alarm {
    /// Virtual time of the next message, if there is to be one.
    next: WorldCell<Option<u64>>,
    period: Option<Duration>,
}

impl Alarm {
    pub(super) fn once(delay: Duration) -> Self {
        Self { next: WorldCell::new(time::sim_deadline(delay)), period: None }
    }

    pub(super) fn every(period: Duration) -> Self {
        assert!(!period.is_zero(), "a ticker needs a period above zero");
        Self { next: WorldCell::new(time::sim_deadline(period)), period: Some(period) }
    }

    pub(super) fn never() -> Self {
        Self { next: WorldCell::new(None), period: None }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.next.with(|next| *next).flatten()
    }

    pub(super) fn is_due(&self) -> bool {
        let now = raw::world().map(|world| world.now());
        self.deadline().is_some_and(|at| now.is_some_and(|now| at <= now))
    }

    /// Takes the message, if it is due.
    pub(super) fn take(&self) -> Result<Instant, TryRecvError> {
        if !self.is_due() {
            return Err(TryRecvError::Empty);
        }
        let next = self.period.and_then(time::sim_deadline);
        self.next.with(|slot| *slot = next);
        let world = raw::world().ok_or(TryRecvError::Disconnected)?;
        Ok(Instant::from_nanos(world.local_now()))
    }

    pub(super) fn try_recv(&self, place: Place) -> Result<Instant, TryRecvError> {
        if let Some(world) = raw::world() {
            world.point(place);
        }
        self.take()
    }

    pub(super) fn recv(
        &self,
        deadline: Option<u64>,
        place: Place,
    ) -> Result<Instant, RecvTimeoutError> {
        let world = raw::world().ok_or(RecvTimeoutError::Disconnected)?;
        world.point(place);
        loop {
            if let Ok(at) = self.take() {
                return Ok(at);
            }
            if deadline.is_some_and(|deadline| deadline <= world.now()) {
                return Err(RecvTimeoutError::Timeout);
            }
            let until = [self.deadline(), deadline].into_iter().flatten().min();
            if world.wait(&[], until, WaitFor::Message, place, || true) == Woken::Dying {
                world.raise_if_dying(world.me("recv"));
                return Err(RecvTimeoutError::Disconnected);
            }
        }
    }
}
