//! Named streams of random numbers: each choice has its own, so that none depends on what was drawn before it.

use allmende_core::digest::Digest;
use allmende_core::run::plan::{Coalition, Seed};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Key of a stream: the SHA-256 of what the stream is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StreamKey([u8; 32]);

impl StreamKey {
    /// The key of the initial parameters.
    #[must_use]
    pub fn initial(seed: Seed) -> Self {
        Self::named(&format!("allmende-train/1 initial seed={}", seed.0))
    }

    /// The key of one local round: no two rounds, slots or tracks shuffle alike.
    #[must_use]
    pub fn round(seed: Seed, coalition: Coalition, round: u32, slot: usize) -> Self {
        let (seed, coalition) = (seed.0, coalition.0);
        Self::named(&format!("allmende-train/1 round seed={seed} coalition={coalition} round={round} slot={slot}"))
    }

    /// The key that a salt commits to, for `purpose`.
    #[must_use]
    pub fn salted(purpose: &str, salt: &[u8; 32]) -> Self {
        let mut bytes = format!("allmende-train/1 {purpose} salt=").into_bytes();
        bytes.extend_from_slice(salt);
        Self(Digest::of(&bytes).0)
    }

    fn named(name: &str) -> Self {
        Self(Digest::of(name.as_bytes()).0)
    }

    /// The stream from its start.
    #[must_use]
    pub fn open(self) -> Stream {
        Stream(ChaCha20Rng::from_seed(self.0))
    }
}

impl std::fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A salted key would tell which rows are held out.
        f.write_str("StreamKey(..)")
    }
}

/// A stream of random numbers (ChaCha with 20 rounds).
#[derive(Debug)]
pub struct Stream(ChaCha20Rng);

impl Stream {
    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        // Exact: 53 bits fit a double, and the factor is a power of two.
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in 0..`bound`, without bias. 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Draws from the incomplete last stretch of the range would favour small results.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.0.next_u64();
            if draw < limit {
                return draw % bound;
            }
        }
    }

    /// Shuffles (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1);
            items.swap(i, j as usize);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_name() {
        let draw = |key: StreamKey| key.open().below(u64::MAX);
        let key = |seed, mask, round, slot| StreamKey::round(Seed(seed), Coalition(mask), round, slot);
        let base = draw(key(1, 7, 0, 0));
        assert_eq!(base, draw(key(1, 7, 0, 0)));
        for other in [key(2, 7, 0, 0), key(1, 3, 0, 0), key(1, 7, 1, 0), key(1, 7, 0, 1), StreamKey::initial(Seed(1))] {
            assert_ne!(base, draw(other));
        }
        // Golden: a change here changes every run that was ever planned.
        let mut order: Vec<u32> = (0..8).collect();
        key(1, 7, 0, 0).open().shuffle(&mut order);
        assert_eq!(order, GOLDEN_ORDER);
    }

    const GOLDEN_ORDER: [u32; 8] = [6, 5, 2, 1, 3, 0, 7, 4];

    #[test]
    fn draws_are_even() {
        let mut stream = StreamKey::salted("test", &[7; 32]).open();
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
        let mean = (0..10_000).map(|_| stream.unit()).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
