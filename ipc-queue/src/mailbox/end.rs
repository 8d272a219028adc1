//! What the handles of both sides have: the mailbox, a place in its heap, the group, and a place in
//! the count.

use shm_core::heap::Local;
use shm_core::{Group, Owner, Peers, Segment, SegmentId, Watch};

use super::cells::HeapCells;
use super::place::Place;
use super::shared::Mailbox;
use crate::mpmc::shared::Queue;
use crate::ring::Stop;
use crate::wait::SideStats;
use crate::{Error, Side};

/// A mailbox as a handle's operations see it.
pub(super) type View<'a, P> = Mailbox<'a, P, HeapCells<'a, P>>;

/// A place in a heap that goes where its handle goes.
#[derive(Debug)]
struct Movable<P: Peers + Clone>(Local<P>);

// SAFETY: a place in a heap is known by a word that names the process, and what it keeps in private
// is reached through `&Local` alone, which nobody but its owner's thread can have: it is not `Sync`,
// so whatever borrows from it keeps the handle where it is. Nothing in it is of a particular thread.
unsafe impl<P: Peers + Clone + Send + Sync> Send for Movable<P> {}

/// One handle's part in a mailbox, counted as long as it lives.
#[derive(Debug)]
pub(super) struct End<P: Peers + Clone> {
    local: Movable<P>,
    place: Place<P>,
    peers: P,
    me: Owner,
    side: Side,
}

impl<P: Peers + Clone> End<P> {
    pub(super) fn attach(
        segment: &Segment,
        offset: usize,
        (peers, id): (P, SegmentId),
        side: Side,
    ) -> Result<Self, Error> {
        Self::arrive(Place::attach(segment, offset, (peers.clone(), id))?, peers, side)
    }

    fn arrive(place: Place<P>, peers: P, side: Side) -> Result<Self, Error> {
        // Registers this process before its first publication (see `barrier`).
        shm_core::barrier::mode();
        let me = peers.me().ok_or(Error::NotAMember)?;
        let local = place.heap.local().map_err(|error| Error::Heap(error.to_string()))?;
        place.shared().attached.arrive(me, side)?;
        place.shared().has_arrived(side);
        Ok(End { local: Movable(local), place, peers, me, side })
    }

    /// Another handle of this side.
    pub(super) fn another(&self) -> Result<Self, Error> {
        Self::arrive(self.place.clone(), self.peers.clone(), self.side)
    }

    /// The mailbox; nothing in a process that inherited the handle by `fork`.
    #[inline(always)]
    pub(super) fn view(&self) -> Result<View<'_, P>, Stop> {
        if self.peers.me() != Some(self.me) {
            return Err(Stop::Forked);
        }
        Ok(self.look())
    }

    /// The same for looking only.
    #[inline(always)]
    pub(super) fn look(&self) -> View<'_, P> {
        let Place { heap, slots_at, .. } = &self.place;
        let cells = HeapCells { heap, local: &self.local.0, slots_at: *slots_at };
        let (shared, slots) = (self.place.shared(), self.place.slots());
        Mailbox { queue: Queue { shared, slots, peers: &self.peers, me: self.me }, cells }
    }

    pub(super) fn peers(&self) -> &P {
        &self.peers
    }

    pub(super) fn hint(&self) -> u64 {
        self.place.shared().direction(self.side).hint()
    }

    pub(super) fn longest(&self) -> usize {
        self.place.longest
    }

    pub(super) fn capacity(&self) -> usize {
        self.place.capacity
    }

    pub(super) fn close(&self) {
        if self.view().is_ok() {
            self.place.shared().close();
        }
    }

    pub(super) fn stats(&self) -> SideStats {
        self.place.shared().direction(self.side).counters.read()
    }

    /// Bytes of messages, sent or being written, and of the slots.
    pub(super) fn used(&self) -> usize {
        self.place.heap.stats().used as usize
    }

    /// Checks every slot, and that every block in use is somebody's.
    pub(super) fn validate(&self) -> Result<(), Error> {
        self.look().queue.validate()?;
        self.place.heap.recover();
        // One block is nobody's: the slots.
        self.place.heap.validate_settled(1).map_err(|error| Error::Heap(error.to_string()))
    }
}

impl End<Group> {
    /// After each death clears up what this process can, and rings: somebody may have looked while
    /// others were at it.
    pub(super) fn watch(&self) -> Watch {
        let place = self.place.clone();
        self.peers.on_death(move |_| {
            place.heap.recover();
            place.shared().ring_everybody();
        })
    }
}

impl<P: Peers + Clone> Drop for End<P> {
    fn drop(&mut self) {
        if self.view().is_ok() && self.place.shared().attached.leave(self.me, self.side) {
            // Somebody may be waiting for us, the last of this side.
            self.place.shared().ring_everybody();
        }
    }
}
