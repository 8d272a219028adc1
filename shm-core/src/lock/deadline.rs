//! How long an operation may wait. Public for the sibling crates only, and no part of the stable API.

use std::time::{Duration, Instant};

/// How long an operation may wait.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// Not at all.
    Now,
    /// Until this instant.
    At(Instant),
    /// For ever.
    Never,
}

impl Deadline {
    /// So long from now; for ever if the clock cannot show that instant.
    pub fn after(timeout: Duration) -> Self {
        Instant::now().checked_add(timeout).map_or(Deadline::Never, Deadline::At)
    }

    /// The time left: `None` if it is over, `Some(None)` if there is no end.
    pub fn left(self) -> Option<Option<Duration>> {
        match self {
            Deadline::Now => None,
            Deadline::Never => Some(None),
            Deadline::At(end) => {
                let left = end.saturating_duration_since(Instant::now());
                (!left.is_zero()).then_some(Some(left))
            }
        }
    }
}
