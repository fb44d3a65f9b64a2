//! What can go wrong on one direction of a link.

use std::ops::Range;
use std::time::Duration;

use labrt::random::Stream;

/// The faults of one direction of a link: what befalls the requests and the replies that take it.
///
/// Probabilities are in millionths. The numbers of [`Faults::reliable`], [`Faults::unreliable`]
/// and long reordering are those of the MIT labs' network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A request is lost; its caller learns of that at once.
    pub request_loss_ppm: u32,
    /// A reply is lost; likewise.
    pub reply_loss_ppm: u32,
    /// How long a request takes.
    pub request_delay: Range<Duration>,
    /// How long a reply takes.
    pub reply_delay: Range<Duration>,
    /// A second copy of a request arrives, after a delay of its own.
    pub duplicate_ppm: u32,
    /// A reply is held back for 200 to 2,200 ms, mostly little: later ones overtake it.
    pub reorder_ppm: u32,
    /// After how long a caller learns that the other end cannot be reached.
    pub unreachable_delay: Range<Duration>,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Faults {
    /// Nothing is lost. On OS threads messages take no time of their own; in a simulated world
    /// 0.2 to 1 ms, for a closed loop of calls would otherwise run for free.
    pub fn reliable() -> Self {
        let delay = if labrt::in_simulation() {
            Duration::from_micros(200)..ms(1)
        } else {
            Duration::ZERO..Duration::ZERO
        };
        Self {
            request_loss_ppm: 0,
            reply_loss_ppm: 0,
            request_delay: delay.clone(),
            reply_delay: delay,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            unreachable_delay: ms(0)..ms(100),
        }
    }

    /// The labs' unreliable network: one request in ten is lost, and one reply in ten; requests
    /// take up to 26 ms.
    pub fn unreliable() -> Self {
        Self {
            request_loss_ppm: 100_000,
            reply_loss_ppm: 100_000,
            request_delay: ms(0)..ms(27),
            ..Self::reliable()
        }
    }

    /// The same with two thirds of the replies held back.
    #[must_use]
    pub fn with_long_reordering(mut self) -> Self {
        self.reorder_ppm = 666_667;
        self
    }

    /// The same, but a caller waits for up to 7 s until it learns that nobody is there: this
    /// catches who holds a lock across a call.
    #[must_use]
    pub fn with_long_delays(mut self) -> Self {
        self.unreachable_delay = ms(0)..ms(7_000);
        self
    }

    /// How long a reply takes: with reordering, 200 + rand(1 + rand(2000)) ms for those held back.
    pub(super) fn draw_reply_delay(&self, delays: &mut Stream, reorders: &mut Stream) -> Duration {
        let delay = delays.duration(self.reply_delay.clone());
        if !reorders.chance(self.reorder_ppm) {
            return delay;
        }
        let range = 1 + reorders.below(2_000);
        ms(200 + reorders.below(range))
    }
}
