//! How much processor time quick samples may spend on what is dear: reading `maps`, and looking at
//! pages that began shared.

use std::time::{Duration, Instant};

/// The processor time that it may take: one part in so many of the time that passes.
const SHARE: u32 = 50;

/// As much may be saved up for a burst, as when a pool starts and maps its segments.
const BURST: Duration = Duration::from_millis(10);

/// A token bucket whose tokens are time.
///
/// What costs more than was saved is a debt, to be paid off before anything more is spent. A process
/// that maps and unmaps all the time has its `maps` read less often by this; what it maps is then
/// found a little later.
#[derive(Debug)]
pub(super) struct Budget {
    saved: Duration,
    spent: Duration,
    refilled: Instant,
}

impl Budget {
    /// A full bucket.
    pub(super) fn new(now: Instant) -> Self {
        Self { saved: BURST, spent: Duration::ZERO, refilled: now }
    }

    /// Whether anything may be spent at `now`.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        self.saved += now.saturating_duration_since(self.refilled) / SHARE;
        self.refilled = now;
        let paid = self.saved.min(self.spent);
        self.spent -= paid;
        self.saved = (self.saved - paid).min(BURST);
        self.spent.is_zero() && !self.saved.is_zero()
    }

    /// Takes what was spent.
    pub(super) fn spend(&mut self, cost: Duration) {
        self.spent += cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_one_part_in_fifty() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert!(budget.allows(start));
        budget.spend(BURST);
        assert!(!budget.allows(start));
        let later = start + Duration::from_millis(50);
        assert!(budget.allows(later));
        budget.spend(Duration::from_millis(1));
        assert!(!budget.allows(later));
    }

    #[test]
    fn what_cost_too_much_is_paid_off_first() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert!(budget.allows(start));
        budget.spend(2 * BURST);
        assert!(!budget.allows(start + BURST * SHARE / 2));
        assert!(!budget.allows(start + BURST * SHARE));
        assert!(budget.allows(start + BURST * SHARE * 2));
    }

    #[test]
    fn no_more_than_a_burst_is_ever_saved() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let much_later = start + Duration::from_secs(3600);
        assert!(budget.allows(much_later));
        budget.spend(BURST);
        assert!(!budget.allows(much_later));
    }
}
