//! Keys by Zipf's law: the key of rank r is drawn with a weight of r to the power of -1.1.

use onrush_runtime::Random;

const EXPONENT: f64 = 1.1;

/// A table of the ranks' cumulated shares.
pub(crate) struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(keys: u32) -> Self {
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = (1..=keys)
            .map(|rank| {
                sum += f64::from(rank).powf(-EXPONENT);
                sum
            })
            .collect();
        cumulated.iter_mut().for_each(|share| *share /= sum);
        Self { cumulated }
    }

    /// A key, the most frequent one being 0.
    pub(crate) fn draw(&self, random: &Random) -> u32 {
        let at = random.next_u64() as f64 / u64::MAX as f64;
        let rank = self.cumulated.partition_point(|share| *share < at);
        u32::try_from(rank.min(self.cumulated.len() - 1)).unwrap_or(u32::MAX)
    }

    /// The share of all events that keys from this rank on have.
    pub(crate) fn share_from(&self, rank: usize) -> f64 {
        rank.checked_sub(1)
            .and_then(|below| self.cumulated.get(below))
            .map_or(1.0, |below| 1.0 - below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keys_have_most_events() {
        let (zipf, random) = (Zipf::new(10_000), Random::seeded(7));
        let mut counts = vec![0_u32; 10_000];
        (0..100_000).for_each(|_| counts[zipf.draw(&random) as usize] += 1);
        let share = f64::from(counts[0]) / 100_000.0;
        assert!((0.12..0.20).contains(&share), "{share}");
        let cold: u32 = counts[100..].iter().sum();
        let told = zipf.share_from(100);
        assert!((f64::from(cold) / 100_000.0 - told).abs() < 0.02, "{cold} {told}");
    }
}
