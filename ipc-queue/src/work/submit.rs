//! The handle that submits items and waits for their end.

use std::time::Duration;

use shm_core::barrier::light_barrier;
use shm_core::{Group, Peers, Ticket};

use super::end::End;
use super::record::{Record, State};
use super::shared::{BEFORE_ANY_DEATH, Work};
use crate::mpmc::park::{Look, wait};
use crate::mpmc::send::SendSide;
use crate::ring::Stop;
use crate::select::source::source_is_its_part;
use crate::spsc::Element;
use crate::wait::Deadline;
use crate::{Error, RecvError, SendError, Side, SideStats};

/// One of those who submit items to a work queue.
#[derive(Debug)]
pub struct Submitter<T: Element, P: Peers = Group> {
    end: End<T, P>,
    side: Reserving,
}

/// Records that a quick look for a free one looks at: they come free in turn, but for those in the hands of
/// slow workers.
const QUICKLY: usize = 16;

/// Where one submitter looks for a free record.
#[derive(Debug)]
pub(crate) struct Reserving {
    next: usize,
    /// The record in hand, and its word.
    index: usize,
    reserved: Record,
    /// The deaths that were looked after.
    looked_after: Ticket,
    ring: SendSide,
}

impl Reserving {
    pub(crate) fn new(hint: u64, every: u64) -> Self {
        let ring = SendSide::new(hint, every);
        Reserving { next: 0, index: 0, reserved: Record(0), looked_after: BEFORE_ANY_DEATH, ring }
    }

    pub(crate) fn limit_looks(&mut self, looks: u32) {
        self.ring.patience.limit(looks);
    }

    /// Looks at a few records only: whoever looks again and again at all takes each from the worker that
    /// has it.
    fn reserve<T, P: Peers>(&mut self, work: Work<'_, T, P>) -> Result<u64, Stop> {
        self.reserve_among(work, QUICKLY)
    }

    /// Looks at the next `most` records.
    fn reserve_among<T, P: Peers>(
        &mut self,
        work: Work<'_, T, P>,
        most: usize,
    ) -> Result<u64, Stop> {
        let closed = work.ring.shared.is_closed();
        let count = work.slots.len();
        for step in 0..if closed { 0 } else { count.min(most) } {
            let index = (self.next + step) & (count - 1);
            let free = work.record(index);
            let mine = free.reserved(work.me());
            if free.state() != State::Free || !work.change(index, free, mine) {
                continue;
            }
            // Before the look at the closing: pairs with the heavy one in `Leasing::finished`.
            light_barrier();
            if work.ring.shared.is_closed() {
                work.change(index, mine, mine.freed());
                work.ring.shared.ring_everybody();
                return Err(Stop::Closed);
            }
            (self.index, self.reserved, self.next) = (index, mine, index + 1);
            return Ok(1);
        }
        Err(if closed { Stop::Closed } else { Stop::NotYet })
    }

    /// Reserves, also what the dead had; and says whether nobody is left to make room.
    fn reserve_fully<T, P: Peers>(&mut self, work: Work<'_, T, P>) -> Result<u64, Stop> {
        let deaths = work.ring.peers.ticket();
        if self.looked_after != deaths {
            work.look_after_the_dead();
            self.looked_after = deaths;
        }
        match self.reserve_among(work, usize::MAX) {
            Err(Stop::NotYet) if work.ring.shared.is_deserted(Side::Consumer, work.ring.peers) => {
                match self.reserve_among(work, usize::MAX) {
                    Err(Stop::NotYet) => Err(Stop::Disconnected),
                    done => done,
                }
            }
            done => done,
        }
    }

    /// Whether a submit would not wait.
    fn is_ready<T, P: Peers>(&self, work: Work<'_, T, P>) -> bool {
        if self.looked_after != work.ring.peers.ticket() {
            work.look_after_the_dead();
        }
        let queue = work.ring.shared;
        queue.is_closed()
            || has_room(work).is_ok()
            || queue.is_deserted(Side::Consumer, work.ring.peers)
    }

    fn reserve_until<T, P: Peers>(
        &mut self,
        work: Work<'_, T, P>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        match self.reserve(work) {
            Err(Stop::NotYet) => self.reserve_slowly(work, deadline),
            done => done.map(drop),
        }
    }

    #[cold]
    fn reserve_slowly<T, P: Peers>(
        &mut self,
        work: Work<'_, T, P>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        work.ring.shared.direction(Side::Producer).counters.count_full();
        if let Deadline::Now = deadline {
            return self.reserve_fully(work).map(drop);
        }
        let mut patience = self.ring.patience_of_a_wait(work.ring);
        let found = wait(&mut patience, work.ring, Side::Producer, deadline, |look| match look {
            Look::Quick => self.reserve(work),
            Look::Fully => self.reserve_fully(work),
            Look::Only => has_room(work),
        });
        self.ring.patience = patience;
        found
    }

    /// Submits one item.
    pub(crate) fn submit<T: Copy, P: Peers>(
        &mut self,
        work: Work<'_, T, P>,
        value: T,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        self.reserve_until(work, deadline)?;
        let index = self.index;
        work.slots[index].value.with_mut(|at| {
            // SAFETY: the record is reserved in our name, by this thread: nobody else touches its
            // item before the exchange below.
            unsafe { at.write(value) }
        });
        work.queue(index, self.reserved);
        if self.ring.send_if_room(work.ring, index as u32).is_err() {
            work.shared.put_back(index);
            work.ring.ring(Side::Consumer, 1);
        }
        Ok(())
    }
}

fn has_room<T, P: Peers>(work: Work<'_, T, P>) -> Result<u64, Stop> {
    let is_free = |index| work.record(index).state() == State::Free;
    if (0..work.slots.len()).any(is_free) { Ok(1) } else { Err(Stop::NotYet) }
}

source_is_its_part!([T: Element, P: Peers] for Submitter<T, P>, end, |self| self.end.work().map(|work| self.side.is_ready(work)));

impl<T: Element, P: Peers> Submitter<T, P> {
    pub(super) fn new(end: End<T, P>) -> Self {
        let hint = end.hint();
        Submitter { end, side: Reserving::new(hint, super::HINT_EVERY) }
    }

    /// Another submitter of the same queue, for another thread of this process.
    ///
    /// # Errors
    /// [`Error::TooManyHandles`]; [`Error::NotAMember`] in a forked child.
    pub fn try_clone(&self) -> Result<Self, Error>
    where
        P: Clone,
    {
        Ok(Self::new(self.end.another()?))
    }

    fn submit_until(&mut self, value: T, deadline: Deadline) -> Result<(), SendError<T>> {
        let submitted = match self.end.work() {
            Ok(work) => self.side.submit(work, value, deadline),
            Err(stop) => Err(stop),
        };
        submitted.map_err(|stop| SendError::from_stop(stop, value))
    }

    /// Submits an item, waiting for a free record as long as it takes.
    ///
    /// # Errors
    /// [`SendError::Closed`]; [`SendError::Disconnected`] if all records are in use and no worker is
    /// left; [`SendError::Forked`], [`SendError::Corrupted`]; each with the item.
    pub fn submit(&mut self, value: T) -> Result<(), SendError<T>> {
        self.submit_until(value, Deadline::Never)
    }

    /// Submits an item if there is a free record now.
    ///
    /// # Errors
    /// [`SendError::Full`], or as [`submit`](Self::submit).
    pub fn try_submit(&mut self, value: T) -> Result<(), SendError<T>> {
        self.submit_until(value, Deadline::Now)
    }

    /// [`submit`](Self::submit) as a future, for any executor: see [`futures`](crate::futures). Dropped
    /// before it is ready, it has submitted nothing, and `value` is gone.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[cfg(feature = "async")]
    pub async fn submit_async(&mut self, value: T) -> Result<(), SendError<T>> {
        crate::futures::until(self, move |end| match end.try_submit(value) {
            Err(SendError::Full(_)) => None,
            done => Some(done),
        })
        .await
    }

    /// Submits an item, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`SendError::Timeout`], or as [`submit`](Self::submit).
    pub fn submit_timeout(&mut self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        self.submit_until(value, Deadline::after(timeout))
    }

    /// Waits until there was an instant, since the call, at which no item was queued or leased:
    /// each that was submitted before has been acknowledged, or has failed. Exact: an item that a
    /// worker submits before it acknowledges its own is waited for, too.
    ///
    /// # Errors
    /// [`RecvError::Forked`].
    pub fn join(&self) -> Result<(), RecvError> {
        Ok(super::join::join(self.end.work()?, Deadline::Never)?)
    }

    /// [`join`](Self::join) for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::Timeout`], [`RecvError::Forked`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<(), RecvError> {
        Ok(super::join::join(self.end.work()?, Deadline::after(timeout))?)
    }

    /// Takes an item that was given back too often, and frees its record.
    ///
    /// # Errors
    /// [`RecvError::Empty`] if there is none; [`RecvError::Forked`].
    pub fn take_failed(&mut self) -> Result<T, RecvError> {
        let work = self.end.work()?;
        for index in 0..work.slots.len() {
            let failed = work.record(index);
            let mine = failed.reserved(work.me());
            if failed.state() != State::Failed || !work.change(index, failed, mine) {
                continue;
            }
            let value = work.slots[index].value.with(|at| {
                // SAFETY: reserved in our name; the item was written before it was queued.
                unsafe { at.read() }
            });
            work.change(index, mine, mine.freed());
            work.ring.ring(Side::Producer, 1);
            return Ok(value);
        }
        Err(RecvError::Empty)
    }

    /// Closes the queue for everybody: later submits fail; workers go on until nothing is left.
    pub fn close(&self) {
        self.end.close();
    }

    /// Items that are queued or leased, as far as one look tells.
    #[must_use]
    pub fn len(&self) -> usize {
        let work = self.end.look();
        (0..work.slots.len()).filter(|&index| work.record(index).is_busy()).count()
    }

    /// Whether no item is queued or leased, as far as one look tells; see [`join`](Self::join).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a blocked submit looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy threads than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.side.limit_looks(looks);
    }

    /// What the waits of all submitters have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// Items that can be queued, leased or failed at a time.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.look().slots.len()
    }
}
