//! Random numbers that follow from the seed, in separate streams.
//!
//! One seed decides everything, but not through one generator: each purpose has a stream of its
//! own, keyed by (seed, purpose, id). Taking one fault out of a test, or switching recording on,
//! then leaves every other draw as it was, and a failure stays where it is while one looks at it.
//!
//! The generator is xoshiro256++ (Blackman and Vigna), its crate pinned to an exact version,
//! seeded through SplitMix64. Draws are made with integers only, so that no platform's
//! floating-point library can tell two machines apart.
//!
//! [`rng`] is what ordinary code uses: it implements rand's [`Rng`] and therefore all of
//! [`RngExt`].
//!
//! Left out: cryptographic strength. Nothing here is secret.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

use rand::{SeedableRng, TryRng};
use rand_xoshiro::Xoshiro256PlusPlus;

pub use rand::seq::SliceRandom;
pub use rand::{Rng, RngExt};

use crate::{os, raw};

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream of `(seed, purpose, id)`: the same three give the same numbers, anywhere.
    pub fn new(seed: u64, purpose: &str, id: u64) -> Self {
        let key = mix(mix(mix(seed) ^ fnv1a(purpose)) ^ id);
        Self(Xoshiro256PlusPlus::seed_from_u64(key))
    }

    /// A number below `bound`, which must not be zero (a multiply-shift reduction: the bias is
    /// below bound / 2^64).
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a random number below zero was asked for");
        let wide = u128::from(self.0.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A duration in `range`; its start, if it is empty.
    pub fn duration(&mut self, range: Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start);
        match u64::try_from(width.as_nanos()).unwrap_or(u64::MAX) {
            0 => range.start,
            nanos => range.start + Duration::from_nanos(self.below(nanos)),
        }
    }

    /// True with a probability of `per_million` in a million. A probability of 0 draws nothing,
    /// so that a fault which is switched off leaves its stream where it was.
    #[inline]
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// A duration whose logarithm is about uniform between 2^`low` and 2^`high` nanoseconds: the
    /// power of two is uniform, and so is the place within it. No logarithm is computed, since
    /// libraries round those differently.
    pub fn log_uniform(&mut self, low: u32, high: u32) -> Duration {
        let power = 1 << (u64::from(low) + self.below(u64::from(high - low)));
        Duration::from_nanos(power + self.below(power))
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(bytes)
    }
}

/// The current server's source of random numbers; see [`rng`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerRng(());

/// The current server's random numbers.
///
/// In `sim` they follow from the seed and the server, and are the same at every replay. In the
/// other worlds each OS thread draws from a generator seeded by the operating system.
pub fn rng() -> ServerRng {
    ServerRng(())
}

/// The stream of `(the world's seed, purpose, id)`. In plain OS threads the operating system's
/// entropy takes the seed's place.
pub fn stream(purpose: &str, id: u64) -> Stream {
    Stream::new(seed(), purpose, id)
}

/// The seed that decides this run, or an arbitrary number outside a world that has one.
pub fn seed() -> u64 {
    match raw::world() {
        Some(world) => world.seed(),
        None => os::seed().unwrap_or_else(os_entropy),
    }
}

/// Makes the OS worlds draw from `seed` too (faults and scripts, that is: real threads keep their
/// own schedule).
pub fn set_os_seed(seed: u64) {
    os::set_seed(seed);
}

/// 64 bits from the operating system: what the standard library seeds its hash maps with.
pub(crate) fn os_entropy() -> u64 {
    RandomState::new().hash_one(0u8)
}

impl TryRng for ServerRng {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next_u64() >> 32) as u32)
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(match raw::world() {
            Some(world) => world.draw_for_current_group(),
            None => os::draw(),
        })
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
        Ok(())
    }
}

/// SplitMix64's finaliser: a bijection that spreads every bit over all.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a: a portable hash of a purpose's name.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_on_every_machine_for_ever() {
        let mut stream = Stream::new(7, "schedule", 3);
        let drawn: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        // Written down once: a change here changes the meaning of every seed ever reported.
        assert_eq!(drawn, PINNED);
    }

    const PINNED: [u64; 3] =
        [18_173_924_751_842_186_587, 10_999_791_605_819_785_957, 15_854_442_207_500_028_256];

    #[test]
    fn purpose_and_id_and_seed_each_change_the_stream() {
        let first = |seed, purpose, id| Stream::new(seed, purpose, id).next_u64();
        let base = first(1, "link", 1);
        assert_ne!(base, first(2, "link", 1));
        assert_ne!(base, first(1, "disk", 1));
        assert_ne!(base, first(1, "link", 2));
        assert_eq!(base, first(1, "link", 1));
    }

    #[test]
    fn a_chance_of_zero_draws_nothing() {
        let mut with = Stream::new(1, "x", 0);
        let mut without = with.clone();
        assert!(!with.chance(0));
        assert_eq!(with.next_u64(), without.next_u64());
    }

    #[test]
    fn log_uniform_stays_between_its_powers_of_two() {
        let mut stream = Stream::new(1, "stall", 0);
        for _ in 0..10_000 {
            let nanos = stream.log_uniform(10, 24).as_nanos();
            assert!((1 << 10..1 << 24).contains(&nanos), "{nanos} ns is out of range");
        }
    }
}
