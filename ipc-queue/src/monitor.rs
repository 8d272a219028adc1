//! A third party's view of a ring: a supervisor that watches, and that tells the living when it
//! has proof that their peer died.

use shm_core::Segment;
use shm_core::barrier;

use crate::Error;
use crate::mapped::Mapped;
use crate::ring;
use crate::role::{self, Holder, Side};
use crate::wait::SideStats;

/// Watches a ring or a pipe from outside, without a role.
///
/// ```
/// use ipc_queue::{Monitor, RecvError, Side, spsc};
/// use shm_core::Segment;
///
/// let segment = Segment::anonymous(spsc::required_size::<u64>(8)?)?;
/// spsc::create::<u64>(&segment, 0, 8)?;
/// let mut consumer = spsc::attach_consumer::<u64>(&segment, 0)?;
/// # std::mem::forget(spsc::attach_producer::<u64>(&segment, 0)?);
/// let monitor = Monitor::attach(&segment, 0)?;
/// let producer = monitor.holder(Side::Producer).expect("a child has attached");
/// // The supervisor's pidfd of that process polls readable:
/// monitor.disconnect(producer)?;
/// assert_eq!(consumer.recv(), Err(RecvError::PeerDead)); // does not hang
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    mapped: Mapped,
    unit: usize,
}

// SAFETY: a monitor only reaches the ring's atomic words, never its units.
unsafe impl Sync for Monitor {}

impl Monitor {
    /// Watches the ring or pipe at `offset`, whatever it carries.
    ///
    /// # Errors
    /// [`Error::NotAQueue`], [`Error::Version`], [`Error::OutOfBounds`], [`Error::Corrupted`].
    pub fn attach(segment: &Segment, offset: usize) -> Result<Self, Error> {
        barrier::mode();
        let (mapped, unit) = Mapped::attach_any(segment, offset)?;
        Ok(Monitor { mapped, unit })
    }

    /// Reports that a process which holds a side, as [`holder`](Self::holder) said, is dead. The other
    /// side is woken if it sleeps; once it has drained what was sent (a consumer), or at once (a
    /// producer), its operations return `PeerDead`. May be repeated, also by another supervisor where one
    /// died in the middle; a ring that was closed before stays closed.
    ///
    /// The report names its dead one: come too late, when a successor has taken the role over, it
    /// changes nothing. Call it with proof only (a pidfd that polls readable). Without proof nothing
    /// unsound happens, but a living peer's work is refused from then on.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if it holds neither side (any more).
    pub fn disconnect(&self, dead: Holder) -> Result<(), Error> {
        role::disconnect(self.mapped.shared(), dead)
    }

    /// Closes the ring for both sides; what was sent can still be received.
    pub fn close(&self) {
        self.mapped.shared().end(ring::PRODUCER_CLOSED | ring::CONSUMER_CLOSED);
    }

    /// Who holds `side`, if anybody. A dead process goes on holding its side until somebody takes
    /// it over.
    #[must_use]
    pub fn holder(&self, side: Side) -> Option<Holder> {
        role::holder(self.mapped.shared(), side)
    }

    /// Whether either side closed the ring.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.mapped.shared().is_closed()
    }

    /// Elements (or bytes) sent and not yet received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mapped.shared().len(self.mapped.capacity()) as usize
    }

    /// Whether everything sent has been received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements (or bytes) that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.mapped.capacity() as usize
    }

    /// Bytes of elements handed over since the ring was created, counted by the ring itself.
    #[must_use]
    pub fn bytes_moved(&self) -> u64 {
        self.mapped.shared().sent().wrapping_mul(self.unit as u64)
    }

    /// What the waits of `side` have cost.
    #[must_use]
    pub fn stats(&self, side: Side) -> SideStats {
        match side {
            Side::Producer => self.mapped.shared().producer.0.counters.read(),
            Side::Consumer => self.mapped.shared().consumer.0.counters.read(),
        }
    }
}
