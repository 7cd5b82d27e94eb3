//! Events, and what each does to its handler.

use crate::zipf::Zipf;

/// Keys of a run.
pub(crate) const KEYS: u32 = 10_000;
/// The most frequent keys have no slow events: one of 5 s in a hundred would be more than their time.
const FIRST_SLOW_KEY: u32 = 100;
/// Of a million events: how many take long, fail and recover, panic once, or never succeed.
const SLOW: f64 = 10_000.0;
const FAILING: u64 = 5_000;
const PANICKING: u64 = 2_000;
const POISON: u64 = 300;
const MILLION: u64 = 1_000_000;

/// An event as it is in a record's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) key: u32,
}

impl Event {
    pub(crate) fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.key.to_le_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (number, key) = bytes.split_first_chunk()?;
        let key = u32::from_le_bytes(key.try_into().ok()?);
        Some(Self { number: u64::from_le_bytes(*number), key })
    }
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done at once.
    Plain,
    /// Its handler takes 5 s.
    Slow,
    /// Its handler fails twice.
    Fails,
    /// Its handler panics once.
    Panics,
    /// Its handler always fails.
    Poison,
}

/// The fates of a seed's events.
pub(crate) struct Fates {
    seed: u64,
    /// Of a million events of keys that may be slow.
    slow: u64,
}

impl Fates {
    pub(crate) fn new(seed: u64) -> Self {
        let share = Zipf::new(KEYS).share_from(FIRST_SLOW_KEY as usize);
        Self { seed, slow: (SLOW / share) as u64 }
    }

    pub(crate) fn of(&self, event: Event) -> Fate {
        let drawn = mix(self.seed ^ mix(event.number)) % MILLION;
        let slow = if event.key < FIRST_SLOW_KEY { 0 } else { self.slow };
        let bounds = [
            (POISON, Fate::Poison),
            (PANICKING, Fate::Panics),
            (FAILING, Fate::Fails),
            (slow, Fate::Slow),
        ];
        let mut bound = 0;
        for (count, fate) in bounds {
            bound += count;
            if drawn < bound {
                return fate;
            }
        }
        Fate::Plain
    }
}

/// The finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use onrush_runtime::Random;

    use super::*;

    #[test]
    fn fates_have_their_shares() {
        let (fates, zipf, random) = (Fates::new(3), Zipf::new(KEYS), Random::seeded(3));
        let mut counts = [0_u32; 5];
        for number in 0..200_000 {
            counts[fates.of(Event { number, key: zipf.draw(&random) }) as usize] += 1;
        }
        let slow = f64::from(counts[Fate::Slow as usize]) / 200_000.0;
        assert!((0.008..0.012).contains(&slow), "{slow}");
        assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
        assert_eq!(
            fates.of(Event { number: 5, key: 1 }),
            Fates::new(3).of(Event { number: 5, key: 1 })
        );
    }

    #[test]
    fn events_are_read_back() {
        let event = Event { number: 1 << 40, key: 7 };
        assert_eq!(Event::read(&event.bytes()), Some(event));
        assert_eq!(Event::read(b"short"), None);
    }
}
