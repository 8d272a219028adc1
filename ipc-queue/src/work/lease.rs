//! The handle that works: leases an item, and says what has become of it.

use std::time::Duration;

use shm_core::barrier::heavy_barrier;
use shm_core::{Group, Peers, Ticket};

use super::end::End;
use super::record::{Record, State};
use super::shared::{BEFORE_ANY_DEATH, Work};
use crate::mpmc::park::{Look, wait};
use crate::mpmc::receive::RecvSide;
use crate::prefetch;
use crate::ring::Stop;
use crate::select::source::source_is_its_part;
use crate::spsc::Element;
use crate::wait::Deadline;
use crate::{Error, RecvError, Side, SideStats};

/// One of those who work on the items of a work queue, one item at a time. Clone it for more.
#[derive(Debug)]
pub struct Worker<T: Element, P: Peers = Group> {
    end: End<T, P>,
    side: Leasing,
}

/// What one worker knows.
#[derive(Debug)]
pub(crate) struct Leasing {
    /// The record in hand, and its word.
    pub(crate) index: usize,
    pub(crate) leased: Record,
    /// The deaths that were looked after.
    looked_after: Ticket,
    ring: RecvSide,
}

impl Leasing {
    pub(crate) fn new(hint: u64, every: u64) -> Self {
        let ring = RecvSide::new(hint, every);
        Leasing { index: 0, leased: Record(0), looked_after: BEFORE_ANY_DEATH, ring }
    }

    pub(crate) fn limit_looks(&mut self, looks: u32) {
        self.ring.patience.limit(looks);
    }

    fn lease<T, P: Peers>(&mut self, work: Work<'_, T, P>, index: usize) -> bool {
        if index >= work.slots.len() {
            return false;
        }
        loop {
            let queued = work.record(index);
            if queued.state() != State::Queued {
                // An old hint.
                return false;
            }
            let leased = queued.leased(work.me());
            if work.change(index, queued, leased) {
                (self.index, self.leased) = (index, leased);
                return true;
            }
        }
    }

    /// Asks for what the next leases exchange, each on a line of its own: slots of the ring, and records,
    /// which mostly come in turn. Behind a wait the submitter is at work there, and keeps them.
    fn prefetch<T, P: Peers>(&self, work: Work<'_, T, P>) {
        const AHEAD: usize = 2;
        if self.ring.has_run(AHEAD as u64) {
            self.ring.prefetch(work.ring, AHEAD as u64);
            let record = &work.slots[(self.index + AHEAD) & (work.slots.len() - 1)];
            prefetch::to_write(&raw const record.word);
        }
    }

    fn attempt<T, P: Peers>(&mut self, work: Work<'_, T, P>) -> Result<u64, Stop> {
        let deaths = work.ring.peers.ticket();
        if self.looked_after != deaths {
            work.look_after_the_dead();
            self.looked_after = deaths;
        }
        while let Some(index) = work.shared.take_returned() {
            if self.lease(work, index) {
                return Ok(1);
            }
        }
        loop {
            match self.ring.recv_if_there(work.ring) {
                Ok(index) if self.lease(work, index as usize) => {
                    self.prefetch(work);
                    return Ok(1);
                }
                Ok(_) => {}
                Err(Stop::Corrupted) => return Err(Stop::Corrupted),
                Err(_) => return Err(Stop::NotYet),
            }
        }
    }

    /// Whether a lease would not wait. What is there may turn out to be an old hint.
    fn is_ready<T, P: Peers>(&self, work: Work<'_, T, P>) -> bool {
        if self.looked_after != work.ring.peers.ticket() {
            work.look_after_the_dead();
        }
        self.is_there_more(work).is_ok() || (end_of(work).is_some() && is_over(work))
    }

    fn attempt_fully<T, P: Peers>(&mut self, work: Work<'_, T, P>) -> Result<u64, Stop> {
        match self.attempt(work) {
            Err(Stop::NotYet) => self.finished(work),
            done => done,
        }
    }

    /// Whether nothing will come any more: nobody submits, and nothing is on its way or in hands
    /// that may give it back.
    fn finished<T, P: Peers>(&mut self, work: Work<'_, T, P>) -> Result<u64, Stop> {
        match end_of(work) {
            None => Err(Stop::NotYet),
            Some(end) if is_over(work) => Err(end),
            Some(_) => self.attempt(work),
        }
    }

    pub(crate) fn lease_until<T, P: Peers>(
        &mut self,
        work: Work<'_, T, P>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        match self.attempt(work) {
            Err(Stop::NotYet) => self.lease_slowly(work, deadline),
            done => done.map(drop),
        }
    }

    #[cold]
    fn lease_slowly<T, P: Peers>(
        &mut self,
        work: Work<'_, T, P>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        work.ring.shared.direction(Side::Consumer).counters.count_empty();
        if let Deadline::Now = deadline {
            return self.attempt_fully(work).map(drop);
        }
        let mut patience = self.ring.patience_of_a_wait(work.ring);
        let found = wait(&mut patience, work.ring, Side::Consumer, deadline, |look| match look {
            Look::Quick => self.attempt(work),
            Look::Fully => self.attempt_fully(work),
            Look::Only => self.is_there_more(work),
        });
        self.ring.patience = patience;
        found
    }

    fn is_there_more<T, P: Peers>(&self, work: Work<'_, T, P>) -> Result<u64, Stop> {
        if work.shared.has_returned() { Ok(1) } else { self.ring.clone().find(work.ring) }
    }

    /// The item is done.
    pub(crate) fn ack<T, P: Peers>(&self, work: Work<'_, T, P>) {
        while let Some(leased) = self.mine(work) {
            if work.change(self.index, leased, leased.freed()) {
                work.has_ended(leased);
                work.ring.ring(Side::Producer, 1);
                return;
            }
        }
    }

    /// The item is for somebody else.
    pub(crate) fn nack<T, P: Peers>(&self, work: Work<'_, T, P>) {
        while let Some(leased) = self.mine(work) {
            if work.give_back(self.index, leased) {
                return;
            }
        }
    }

    /// The record's word as it is now: a joiner may have marked it.
    fn mine<T, P: Peers>(&self, work: Work<'_, T, P>) -> Option<Record> {
        let seen = work.record(self.index);
        (seen == self.leased || seen == self.leased.joined()).then_some(seen)
    }
}

/// Whether nobody submits any more, and why.
fn end_of<T, P: Peers>(work: Work<'_, T, P>) -> Option<Stop> {
    let queue = work.ring.shared;
    match () {
        () if queue.is_closed() => Some(Stop::Closed),
        () if queue.is_deserted(Side::Producer, work.ring.peers) => Some(Stop::Disconnected),
        () => None,
    }
}

/// After that: whether nothing is on its way, or in hands that may give it back.
fn is_over<T, P: Peers>(work: Work<'_, T, P>) -> bool {
    // Between the end and the look: a submitter whose reservation the look does not show sees
    // the end. Pairs with the light barrier in `Reserving::reserve`; where it reached fences
    // only, those submitters use fences, too.
    let _ = heavy_barrier();
    let is_pending = |record: Record| match record.state() {
        State::Reserved(owner) => !work.ring.peers.is_gone(owner),
        _ => record.is_busy(),
    };
    work.snapshot(is_pending).is_ok()
}

source_is_its_part!([T: Element, P: Peers] for Worker<T, P>, end, |self| self.end.work().map(|work| self.side.is_ready(work)));

impl<T: Element, P: Peers> Worker<T, P> {
    pub(super) fn new(end: End<T, P>) -> Self {
        let hint = end.hint();
        Worker { end, side: Leasing::new(hint, super::HINT_EVERY) }
    }

    /// Another worker of the same queue, for another thread of this process.
    ///
    /// # Errors
    /// [`Error::TooManyHandles`]; [`Error::NotAMember`] in a forked child.
    pub fn try_clone(&self) -> Result<Self, Error>
    where
        P: Clone,
    {
        Ok(Self::new(self.end.another()?))
    }

    fn lease_until(&mut self, deadline: Deadline) -> Result<Lease<'_, T, P>, RecvError> {
        self.take(deadline)?;
        self.lend()
    }

    fn take(&mut self, deadline: Deadline) -> Result<(), Stop> {
        self.side.lease_until(self.end.work()?, deadline)
    }

    /// The item that was just leased.
    fn lend(&mut self) -> Result<Lease<'_, T, P>, RecvError> {
        let work = self.end.work()?;
        let value = work.slots[self.side.index].value.with(|at| {
            // SAFETY: leased in our name: nobody writes the item before the lease ends; it was
            // written before it was queued.
            unsafe { at.read() }
        });
        Ok(Lease { worker: self, value, is_ended: false })
    }

    /// Leases the next item, waiting as long as it takes. Items that were given back come first.
    ///
    /// # Errors
    /// When no item is queued or leased, and none is being submitted: [`RecvError::Closed`];
    /// [`RecvError::Disconnected`] if there were submitters and none is left.
    /// [`RecvError::Forked`], [`RecvError::Corrupted`].
    pub fn lease(&mut self) -> Result<Lease<'_, T, P>, RecvError> {
        self.lease_until(Deadline::Never)
    }

    /// Leases the next item if there is one now.
    ///
    /// # Errors
    /// [`RecvError::Empty`], or as [`lease`](Self::lease).
    pub fn try_lease(&mut self) -> Result<Lease<'_, T, P>, RecvError> {
        self.lease_until(Deadline::Now)
    }

    /// [`lease`](Self::lease) as a future, for any executor: see [`futures`](crate::futures). Dropped
    /// before it is ready, it has leased nothing.
    ///
    /// # Errors
    /// As [`lease`](Self::lease).
    #[cfg(feature = "async")]
    pub async fn lease_async(&mut self) -> Result<Lease<'_, T, P>, RecvError> {
        crate::futures::until(self, |worker| match worker.take(Deadline::Now) {
            Err(Stop::NotYet) => None,
            done => Some(done),
        })
        .await?;
        self.lend()
    }

    /// Leases the next item, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::Timeout`], or as [`lease`](Self::lease).
    pub fn lease_timeout(&mut self, timeout: Duration) -> Result<Lease<'_, T, P>, RecvError> {
        self.lease_until(Deadline::after(timeout))
    }

    /// What the waits of all workers have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked lease looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy threads than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.side.limit_looks(looks);
    }

    /// Closes the queue for everybody: later submits fail; workers go on until nothing is left.
    pub fn close(&self) {
        self.end.close();
    }
}

/// An item in the hands of a worker. Dropped without [`ack`](Lease::ack), it is given back, as if the
/// worker had died.
#[derive(Debug)]
#[must_use = "a lease that is dropped gives its item back"]
pub struct Lease<'a, T: Element, P: Peers = Group> {
    worker: &'a Worker<T, P>,
    value: T,
    is_ended: bool,
}

impl<T: Element, P: Peers> Lease<'_, T, P> {
    /// How often the item was given out before.
    #[must_use]
    pub fn redeliveries(&self) -> u32 {
        self.worker.side.leased.redeliveries()
    }

    /// The item is done: its record is free, and nobody is given it again.
    pub fn ack(mut self) {
        self.is_ended = true;
        if let Ok(work) = self.worker.end.work() {
            self.worker.side.ack(work);
        }
    }

    /// Gives the item back: another worker leases it next, unless it was given out too often.
    pub fn nack(self) {
        drop(self);
    }
}

impl<T: Element, P: Peers> std::ops::Deref for Lease<'_, T, P> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Element, P: Peers> Drop for Lease<'_, T, P> {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        if let Ok(work) = self.worker.end.work() {
            self.worker.side.nack(work);
        }
    }
}
