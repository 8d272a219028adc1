//! When to take the next sample, such that watching stays cheap.

use std::time::{Duration, Instant};

/// Quick samples may take one part in this many of one processor.
const QUICK_SHARE: u32 = 10;
/// Full samples may take one part in this many of one processor.
const FULL_SHARE: u32 = 50;

/// Decides when the next quick and the next full sample are due.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    full_interval: Duration,
    next: Instant,
    next_full: Instant,
}

impl Pace {
    pub(super) fn new(interval: Duration, full_interval: Duration) -> Self {
        let now = Instant::now();
        Self { interval, full_interval, next: now, next_full: now }
    }

    /// When the next sample is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether a sample taken at `now` should be a full one.
    pub(super) fn full_is_due(&self, now: Instant) -> bool {
        now >= self.next_full
    }

    /// Notes that a sample was taken, and what processor time it cost. Samples that came too late
    /// are not made up for.
    pub(super) fn sampled(&mut self, began: Instant, cost: Duration, full: bool) {
        if full {
            self.next_full = began + self.full_interval.max(cost.saturating_mul(FULL_SHARE));
            self.next = (began + cost).max(began + self.interval);
        } else {
            self.next = began + self.interval.max(cost.saturating_mul(QUICK_SHARE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn cheap_samples_keep_the_interval() {
        let mut pace = Pace::new(5 * MS, 250 * MS);
        let began = Instant::now();
        pace.sampled(began, MS / 10, false);
        assert_eq!(pace.next(), began + 5 * MS);
    }

    #[test]
    fn dear_samples_stretch_the_interval() {
        let mut pace = Pace::new(5 * MS, 250 * MS);
        let began = Instant::now();
        pace.sampled(began, 2 * MS, false);
        assert_eq!(pace.next(), began + 20 * MS);
    }

    #[test]
    fn a_dear_full_sample_is_not_repeated_soon() {
        let mut pace = Pace::new(5 * MS, 250 * MS);
        let began = Instant::now();
        pace.sampled(began, 40 * MS, true);
        assert!(!pace.full_is_due(began + 1999 * MS));
        assert!(pace.full_is_due(began + 2000 * MS));
        assert_eq!(pace.next(), began + 40 * MS);
    }
}
