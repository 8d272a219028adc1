//! The words of a ring of messages, in shared memory, and where a message lies.

use shm_core::primitive::{AtomicU32, AtomicU64, Ordering, UnsafeCell};
use shm_core::{Owner, Peers};

use crate::bell::Bell;
use crate::broadcast::park::Counters;
use crate::ring::{Line, Stop};
use crate::{Error, Side};

/// Bits of [`Control::flags`], set by `fetch_or` and never cleared.
const CLOSED: u32 = 1;
const HAD_PRODUCER: u32 = 1 << 1;
const HAD_CONSUMER: u32 = 1 << 2;

/// Bytes of a word; what messages are aligned to, and what stands before each: its length.
pub(crate) const WORD: u64 = 8;

#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) control: Line<Control>,
    pub(crate) producer: Line<SideWords>,
    pub(crate) consumer: Line<SideWords>,
}

/// Read by both sides, written rarely.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Control {
    flags: AtomicU32,
    /// The consumer listens, the producer rings: there is a message.
    pub(crate) data: Bell,
    /// The producer listens, the consumer rings: there is room.
    pub(crate) space: Bell,
    /// The producer sleeps until the consumer is at least here.
    pub(crate) awaited: AtomicU64,
}

/// One side's line.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SideWords {
    /// Bytes sent (received) since the ring was created: whole messages, each with its length.
    pub(crate) position: AtomicU64,
    /// The owner that is this side; 0: nobody.
    role: AtomicU32,
    pub(crate) counters: Counters,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Shared>() == 3 * 128);

fn had(side: Side) -> u32 {
    match side {
        Side::Producer => HAD_PRODUCER,
        Side::Consumer => HAD_CONSUMER,
    }
}

impl Shared {
    pub(crate) fn side(&self, side: Side) -> &SideWords {
        match side {
            Side::Producer => &self.producer.0,
            Side::Consumer => &self.consumer.0,
        }
    }

    #[inline(always)]
    pub(crate) fn is_closed(&self) -> bool {
        // Acquire: pairs with the Release in `close`: what was sent before it is seen.
        self.control.0.flags.load(Ordering::Acquire) & CLOSED != 0
    }

    /// The producer's word that it sends no more.
    pub(crate) fn close(&self) {
        // Release: pairs with the Acquire in `is_closed`.
        self.control.0.flags.fetch_or(CLOSED, Ordering::Release);
        self.control.0.data.ring();
    }

    /// Makes `me` that side, if there is none or it is dead.
    pub(crate) fn take_role(&self, side: Side, me: Owner, peers: &impl Peers) -> Result<(), Error> {
        let there = match side {
            Side::Producer => Error::ProducerThere,
            Side::Consumer => Error::ConsumerThere,
        };
        let role = &self.side(side).role;
        // Relaxed: compared again by the exchange.
        let held = role.load(Ordering::Relaxed);
        if Owner::from_bits(held).is_some_and(|owner| !peers.is_gone(owner)) {
            return Err(there);
        }
        // Acquire: pairs with the Release in `leave_role`: what the one before us did is seen; of
        // the dead, by the proof. Relaxed on failure: nothing is done then.
        role.compare_exchange(held, me.to_bits(), Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| there)?;
        // Release: the role comes before; pairs with the Acquire in `is_deserted`.
        self.control.0.flags.fetch_or(had(side), Ordering::Release);
        Ok(())
    }

    /// That side leaves: the other must not wait for it.
    pub(crate) fn leave_role(&self, side: Side) {
        // Release: what we did comes before; pairs with the Acquire in `take_role` and
        // `is_deserted`.
        self.side(side).role.store(0, Ordering::Release);
        match side {
            Side::Producer => self.control.0.data.ring(),
            Side::Consumer => self.control.0.space.ring(),
        };
    }

    /// Whether that side was there, and is no more. What it had done is seen then.
    pub(crate) fn is_deserted(&self, side: Side, peers: &impl Peers) -> bool {
        // Acquire: pairs with the Release in `take_role`: the role that is read below is that
        // holder's, or a later word.
        if self.control.0.flags.load(Ordering::Acquire) & had(side) == 0 {
            return false;
        }
        // Acquire: pairs with the Release in `leave_role`.
        let held = self.side(side).role.load(Ordering::Acquire);
        Owner::from_bits(held).is_none_or(|owner| peers.is_gone(owner))
    }

    /// Both positions, for whoever begins as a side: `(head, tail)`.
    pub(crate) fn positions(&self, capacity: u64) -> Result<(u64, u64), Stop> {
        // Acquire, consumer first: pairs with the Release in `RecvSide::release` and
        // `SendSide::commit`; the tail is never behind the head then.
        let head = self.consumer.0.position.load(Ordering::Acquire);
        // Acquire: as above.
        let tail = self.producer.0.position.load(Ordering::Acquire);
        let are_words = head.is_multiple_of(WORD) && tail.is_multiple_of(WORD);
        if tail.wrapping_sub(head) > capacity || !are_words {
            return Err(Stop::Corrupted);
        }
        Ok((head, tail))
    }
}

/// Bytes that a message takes in the ring, its length before it included.
#[inline(always)]
pub(crate) fn size_of_message(len: usize) -> Option<u64> {
    (len as u64).checked_next_multiple_of(WORD)?.checked_add(WORD)
}

/// A ring as an operation sees it, wherever it lies.
#[derive(Debug)]
pub(crate) struct Ring<'a, P> {
    pub(crate) shared: &'a Shared,
    /// Twice as many words as the capacity has: a message that begins before the end of the first
    /// half goes on behind it, in one piece. Nobody else is there: the next one that crosses the end
    /// comes a lap later.
    pub(crate) words: &'a [UnsafeCell<u64>],
    /// In bytes: a power of two.
    pub(crate) capacity: u64,
    pub(crate) peers: &'a P,
}

impl<P> Clone for Ring<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Ring<'_, P> {}

impl<P> Ring<'_, P> {
    /// The word at a position (a multiple of 8): the length of the message that begins there.
    #[inline(always)]
    pub(crate) fn header(&self, position: u64) -> &UnsafeCell<u64> {
        let index = (position & (self.capacity - 1)) / WORD;
        &self.words[index as usize & (self.words.len() - 1)]
    }

    /// Where the bytes of the message begin whose length stands at `position`. As many as fit into the
    /// ring lie there in one piece.
    #[inline(always)]
    pub(crate) fn payload(&self, position: u64) -> *mut u8 {
        let index = (position & (self.capacity - 1)) / WORD + 1;
        // In the second half at the latest; of the whole slice, so that it may be followed to its end.
        self.words.as_ptr().wrapping_add(index as usize).cast_mut().cast()
    }

    /// The longest message that the ring can hold, in bytes.
    pub(crate) fn longest(&self) -> usize {
        (self.capacity - WORD) as usize
    }

    /// Bytes sent and not yet received, as far as this instant can say.
    pub(crate) fn used(&self) -> u64 {
        self.shared.positions(self.capacity).map_or(0, |(head, tail)| tail - head)
    }

    /// Walks over all messages that are there. Meaningful while nobody sends or receives.
    pub(crate) fn validate(&self) -> Result<usize, Error> {
        let (mut at, tail) = self
            .shared
            .positions(self.capacity)
            .map_err(|_| Error::Corrupted("the positions are further apart than the capacity"))?;
        let mut count = 0;
        while at < tail {
            // SAFETY: between the positions lie messages that are not written to; whoever asks is
            // alone.
            let len = self.header(at).with(|header| unsafe { header.read() });
            let size = usize::try_from(len).ok().and_then(size_of_message);
            match size.filter(|&size| size <= tail - at) {
                Some(size) => at += size,
                None => return Err(Error::Corrupted("a message is longer than what was sent")),
            }
            count += 1;
        }
        Ok(count)
    }
}
