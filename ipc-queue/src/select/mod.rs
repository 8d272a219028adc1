//! Waiting for several ends at once, of any kinds, without polling.
//!
//! ```
//! use ipc_queue::select::Select;
//! use ipc_queue::{mpmc, spsc};
//!
//! let (mut orders, mut inbox) = spsc::channel::<u64>(8)?;
//! let (mut jobs, mut queue) = mpmc::channel::<u32>(8)?;
//! orders.send(1)?;
//! let mut select = Select::new();
//! match select.wait(&[&inbox, &queue])? {
//!     0 => assert_eq!(inbox.try_recv(), Ok(1)),
//!     _ => { let _ = queue.try_recv(); }
//! }
//! jobs.send(2)?;
//! assert_eq!(select.wait(&[&inbox, &queue])?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An end is *ready* when its operation would not wait: something is there for it (an element to
//! receive, room to send), or it would say why there never will be (closed, the peer died). Nothing
//! is taken: do that with the end's own `try_` form, and be prepared for `Empty` or `Full` where
//! others compete for the same queue.
//!
//! # Waiting
//! One sleep on the bells of all ends (`futex_waitv`) and on the deaths of their groups; nobody
//! polls. A wake that one selector was given and does not use is passed on: whoever leaves
//! rings each queue that still has something. So where many select on one queue, an element may
//! wake more than one of them.
//!
//! # When a process is killed
//! As in each end's own waiting: a sleeper is woken by every proven death in the groups of its ends,
//! and looks at all of them again. A selector that is killed after it was woken swallows no wake:
//! its death wakes everybody. An end without a group is told by a supervisor.

pub(crate) mod source;

use std::time::{Duration, Instant};

use crate::wait::{Deadline, Patience};
use source::{Listening, Source};

/// The most ends in one [`Select`]: the kernel takes 128 words, and each end may be in a group of its
/// own.
pub const MOST: usize = 64;

/// An end that can be waited for among others: every end that can wait by itself.
pub trait Selectable: Source {}

impl<S: Source> Selectable for S {}

/// Why no end is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// None became ready within the time given.
    #[error("no end became ready in the time given; try again, or give up")]
    Timeout,
    /// There is no end to wait for, so the wait would never end.
    #[error("there is no end to wait for; give at least one")]
    Nothing,
    /// More ends than one sleep can watch.
    #[error(
        "{count} ends are too many; at most {MOST} can be waited for at once: use more threads"
    )]
    TooMany {
        /// How many were given.
        count: usize,
    },
}

/// Waits for the first of several ends that is ready.
///
/// Keep it for the next wait: it remembers where it looked last, so that an end that is always ready
/// does not keep the others from their turn, and it learns how long looking again pays.
#[derive(Debug, Default)]
pub struct Select {
    next: usize,
    patience: Patience,
}

impl Select {
    /// A selector that begins with the first end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The index of an end that is ready, waiting as long as it takes.
    ///
    /// # Errors
    /// [`SelectError::Nothing`], [`SelectError::TooMany`].
    pub fn wait(&mut self, ends: &[&dyn Selectable]) -> Result<usize, SelectError> {
        self.wait_until(ends, Deadline::Never)
    }

    /// The index of an end that is ready now.
    ///
    /// # Errors
    /// [`SelectError::Timeout`] if none is; else as [`wait`](Self::wait).
    pub fn try_wait(&mut self, ends: &[&dyn Selectable]) -> Result<usize, SelectError> {
        self.wait_until(ends, Deadline::Now)
    }

    /// The index of an end that is ready, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`SelectError::Timeout`]; else as [`wait`](Self::wait).
    ///
    /// ```
    /// use ipc_queue::select::{Select, SelectError};
    /// use std::time::{Duration, Instant};
    ///
    /// let (_producer, consumer) = ipc_queue::spsc::channel::<u8>(8)?;
    /// let mut select = Select::new();
    /// let ready = select.wait_timeout(&[&consumer], Duration::from_millis(1));
    /// assert_eq!(ready, Err(SelectError::Timeout));
    /// assert_eq!(select.wait(&[]), Err(SelectError::Nothing));
    /// # Ok::<(), ipc_queue::Error>(())
    /// ```
    pub fn wait_timeout(
        &mut self,
        ends: &[&dyn Selectable],
        timeout: Duration,
    ) -> Result<usize, SelectError> {
        self.wait_until(ends, Deadline::after(timeout))
    }

    /// How often a wait looks again before it sleeps, at most (it adapts below that); 0: sleeps at
    /// once, for programs with more busy threads than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.patience.limit(looks);
    }

    fn wait_until(
        &mut self,
        ends: &[&dyn Selectable],
        deadline: Deadline,
    ) -> Result<usize, SelectError> {
        match ends.len() {
            0 => return Err(SelectError::Nothing),
            count if count > MOST => return Err(SelectError::TooMany { count }),
            _ => {}
        }
        let sources: Vec<&dyn Source> = ends.iter().map(|&end| end as &dyn Source).collect();
        let found = wait_for_any(&mut self.patience, &sources, self.next, deadline);
        let index = found.ok_or(SelectError::Timeout)?;
        self.next = index + 1;
        Ok(index)
    }
}

/// The first source that is ready, in a round that begins at `from`.
fn first_ready(sources: &[&dyn Source], from: usize) -> Option<usize> {
    let places = (0..sources.len()).map(|step| (from + step) % sources.len());
    places.into_iter().find(|&index: &usize| sources[index].is_ready())
}

/// Waits until a source is ready; `None` when the time is over.
pub(crate) fn wait_for_any(
    patience: &mut Patience,
    sources: &[&dyn Source],
    from: usize,
    deadline: Deadline,
) -> Option<usize> {
    let look = || first_ready(sources, from);
    if let Some(index) = look() {
        return Some(index);
    }
    deadline.left()?;
    let mut found = None;
    let again = patience.look_again(&mut || {
        found = look();
        // As one unit: bursts are each end's own business.
        found.map(|_| Ok(1))
    });
    if again.is_some() {
        return found;
    }
    sleep_until_ready(patience, sources, look, deadline)
}

#[cold]
fn sleep_until_ready(
    patience: &mut Patience,
    sources: &[&dyn Source],
    look: impl Fn() -> Option<usize>,
    deadline: Deadline,
) -> Option<usize> {
    let mut has_slept = false;
    let found = loop {
        let listening = Listening::begin(sources);
        if let Some(index) = look() {
            patience.look_longer();
            break Some(index);
        }
        let Some(left) = deadline.left() else { break None };
        let start = Instant::now();
        listening.sleep(left);
        has_slept = true;
        patience.look_shorter(start.elapsed());
        if let Some(index) = look() {
            break Some(index);
        }
    };
    Listening::end(sources, has_slept);
    found
}
