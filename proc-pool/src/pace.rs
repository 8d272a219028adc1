//! How many items to send at once.

use std::time::Duration;

/// How long a chunk should take: long enough that its cost vanishes, short enough that a crash, a
/// cancelled stream or a slow item holds up little.
const CHUNK_TIME: Duration = Duration::from_micros(100);

/// The most items in a chunk.
const MOST: usize = 4096;

/// Learns what an item takes, and sizes chunks by it.
#[derive(Debug)]
pub(crate) struct Pace {
    fixed: Option<usize>,
    /// Smoothed, as workers measure it.
    item_nanos: Option<f64>,
    /// Whether this stream has measured any.
    learnt: bool,
    /// The last size; the next is at most four times as large.
    last: usize,
    workers: usize,
}

impl Pace {
    /// For so many workers; `before` is what an item took in an earlier stream, if there was one.
    pub fn new(workers: usize, before: Option<f64>) -> Pace {
        let pace = Pace {
            fixed: None,
            item_nanos: before,
            learnt: false,
            last: 1,
            workers: workers.max(1),
        };
        // A chunk that is too large for a while, because items now take longer, is divided among
        // the idle; see `state::balance`.
        let last = if before.is_some() { pace.wanted() / 16 } else { 1 };
        Pace { last: last.max(1), ..pace }
    }

    /// What an item takes, if this stream has found out.
    pub fn learnt(&self) -> Option<f64> {
        self.item_nanos.filter(|_| self.learnt)
    }

    /// The size that takes `CHUNK_TIME`.
    fn wanted(&self) -> usize {
        let nanos = self.item_nanos.unwrap_or(f64::MAX);
        ((CHUNK_TIME.as_nanos() as f64 / nanos.max(1.0)) as usize).clamp(1, MOST)
    }

    /// Every chunk has this many items.
    pub fn fix(&mut self, items: usize) {
        self.fixed = Some(items);
    }

    pub fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// These many items took so long.
    pub fn learn(&mut self, items: usize, nanos: u64) {
        let each = nanos as f64 / items.max(1) as f64;
        self.learnt = true;
        self.item_nanos = Some(match self.item_nanos {
            // A larger chunk tells more than one item, which pays for everything that is cold.
            Some(before) if items < self.last => 0.8 * before + 0.2 * each,
            Some(before) => 0.3 * before + 0.7 * each,
            None => each,
        });
    }

    /// Whether the size is known: until then, only a few items should be under way.
    pub fn is_settled(&self) -> bool {
        self.fixed.is_some() || self.item_nanos.is_some()
    }

    /// The size of the next chunk, with at most `left` items to come: towards the end smaller, so
    /// that all workers end together.
    pub fn chunk(&mut self, left: Option<usize>) -> usize {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        if self.item_nanos.is_none() {
            return 1;
        }
        let mut chunk = self.wanted().min(4 * self.last);
        self.last = chunk;
        if let Some(left) = left {
            chunk = chunk.min(left / (2 * self.workers)).max(1);
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_items_travel_in_large_chunks_that_grow_step_by_step() {
        let mut pace = Pace::new(2, None);
        assert!(!pace.is_settled());
        assert_eq!(pace.chunk(None), 1);
        pace.learn(1, 50);
        let sizes: Vec<usize> = (0..7).map(|_| pace.chunk(None)).collect();
        assert_eq!(sizes, [4, 16, 64, 256, 1024, 2000, 2000]);
    }

    #[test]
    fn long_items_travel_alone() {
        let mut pace = Pace::new(2, None);
        pace.learn(1, 10_000_000);
        assert_eq!(pace.chunk(None), 1);
    }

    #[test]
    fn the_last_chunks_are_small() {
        let mut pace = Pace::new(2, None);
        pace.learn(1, 50);
        (0..5).for_each(|_| assert!(pace.chunk(None) > 0));
        assert_eq!(pace.chunk(Some(400)), 100);
        assert_eq!(pace.chunk(Some(3)), 1);
    }

    #[test]
    fn what_was_learnt_before_saves_the_first_steps() {
        let mut pace = Pace::new(2, Some(50.0));
        assert!(pace.is_settled() && pace.learnt().is_none());
        let sizes: Vec<usize> = (0..3).map(|_| pace.chunk(None)).collect();
        assert_eq!(sizes, [500, 2000, 2000]);
        // Items take longer now.
        (0..9).for_each(|_| pace.learn(2000, 2_000_000_000));
        assert_eq!(pace.chunk(None), 1);
        assert!(pace.learnt().is_some_and(|nanos| nanos > 100_000.0));
    }

    #[test]
    fn a_fixed_size_stays() {
        let mut pace = Pace::new(2, None);
        pace.fix(7);
        pace.learn(7, 50);
        assert_eq!(pace.chunk(Some(3)), 7);
    }
}
