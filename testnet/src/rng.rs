//! Random numbers that a seed gives again.

/// SplitMix64 (Steele, Lea, Flood 2014): enough to choose victims and pauses, and to make data.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of a list that is not empty.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let most = u64::try_from(of.len()).unwrap_or(u64::MAX);
        &of[usize::try_from(self.below(most)).unwrap_or(0)]
    }

    /// `count` different numbers below `size`, in random order.
    pub fn choose(&mut self, count: usize, size: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..size).collect();
        for at in (1..size).rev() {
            let other = usize::try_from(self.below(at as u64 + 1)).unwrap_or_default();
            all.swap(at, other);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_again_and_choices_are_distinct() {
        let (mut one, mut other) = (Rng::new(7), Rng::new(7));
        for _ in 0..100 {
            let chosen = one.choose(2, 4);
            assert_eq!(chosen, other.choose(2, 4));
            assert!(chosen[0] != chosen[1] && chosen.iter().all(|n| *n < 4));
        }
    }
}
