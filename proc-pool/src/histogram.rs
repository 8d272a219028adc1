//! A histogram of durations with a fixed number of buckets, each an eighth of a power of two wide.

use std::time::Duration;

/// Buckets to a power of two.
const PARTS: u64 = 8;
const PART_BITS: u32 = PARTS.ilog2();
/// All that 64 bits of nanoseconds need.
const BUCKETS: usize = ((64 - PART_BITS as usize) + 1) * PARTS as usize;

/// How long something took, each time: counts in buckets that are 1/8 wide at most.
///
/// Adding costs some nanoseconds; the size is fixed (4 KiB). The buckets are HdrHistogram's, with
/// three bits of precision.
///
/// ```
/// use std::time::Duration;
/// use proc_pool::Histogram;
///
/// let mut times = Histogram::new();
/// for millis in 1..=100 {
///     times.add(Duration::from_millis(millis), 1);
/// }
/// assert_eq!(times.count(), 100);
/// assert_eq!(times.mean(), Duration::from_micros(50_500));
/// let median = times.quantile(0.5);
/// assert!(median >= Duration::from_millis(50) && median <= Duration::from_millis(57));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    nanos: u128,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), count: 0, nanos: 0, longest: 0 }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("mean", &self.mean())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("longest", &self.longest())
            .finish()
    }
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new() -> Histogram {
        Histogram::default()
    }

    /// Counts a duration so many times.
    pub fn add(&mut self, took: Duration, times: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += times;
        self.count += times;
        self.nanos += u128::from(nanos) * u128::from(times);
        if times > 0 {
            self.longest = self.longest.max(nanos);
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    #[must_use]
    pub fn total(&self) -> Duration {
        duration(self.nanos)
    }

    /// Their mean; zero when there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        duration(self.nanos / u128::from(self.count.max(1)))
    }

    /// The longest.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }

    /// A duration that this part of them (0 to 1) does not exceed: at most an eighth too long.
    /// Zero when there are none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        let rank = (part.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (number, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(last_of(number).min(self.longest));
            }
        }
        self.longest()
    }

    /// The buckets that are not empty: the longest duration of each, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(number, count)| (Duration::from_nanos(last_of(number)), *count))
    }
}

fn duration(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The first buckets are one nanosecond wide; then eight to each power of two.
fn bucket(nanos: u64) -> usize {
    let Some(power) = nanos.checked_ilog2().filter(|&power| power >= PART_BITS) else {
        return nanos as usize;
    };
    let shift = power - PART_BITS;
    let part = (nanos >> shift) - PARTS;
    ((u64::from(shift) + 1) * PARTS + part) as usize
}

/// The largest number in a bucket.
fn last_of(bucket: usize) -> u64 {
    let (row, part) = (bucket as u64 / PARTS, bucket as u64 % PARTS);
    match row {
        0 => part,
        _ => ((((PARTS + part + 1) as u128) << (row - 1)) - 1).try_into().unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_the_bucket_that_ends_after_it() {
        let near = |power: u32| [0, 1, 2].map(|more| (1u64 << power).wrapping_sub(1) + more);
        for nanos in (0..64).flat_map(near).chain([u64::MAX - 1, u64::MAX]) {
            let number = bucket(nanos);
            assert!(number < BUCKETS, "{nanos}");
            assert!(last_of(number) >= nanos, "{nanos} in {number}");
            assert!(number == 0 || last_of(number - 1) < nanos, "{nanos} in {number}");
            assert!(last_of(number) - nanos <= nanos / 8, "{nanos} in {number}");
        }
    }

    #[test]
    fn quantiles_are_at_most_an_eighth_too_long() {
        let mut times = Histogram::new();
        (1..=1000).for_each(|micros| times.add(Duration::from_micros(micros), 2));
        assert_eq!((times.count(), times.longest()), (2000, Duration::from_millis(1)));
        for part in [0.1, 0.5, 0.9, 0.99] {
            let (found, exact) = (times.quantile(part).as_secs_f64() * 1e3, part);
            assert!(found >= exact && found <= exact * 1.126, "{part}: {found}");
        }
        assert_eq!(times.quantile(1.0), times.longest());
        assert_eq!(times.buckets().map(|(_, count)| count).sum::<u64>(), 2000);
        assert_eq!(Histogram::new().quantile(0.5), Duration::ZERO);
    }
}
