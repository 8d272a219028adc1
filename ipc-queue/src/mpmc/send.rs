//! The producer's half of the protocol: walk to the tail, claim its slot, fill it, hand it over.

use shm_core::Peers;
use shm_core::primitive::Ordering;

use super::park::{Look, wait};
use super::shared::Queue;
use super::word::{State, Word};
use crate::Side;
use crate::prefetch;
use crate::ring::Stop;
use crate::wait::{Deadline, Patience};

/// In a batch, the slot so many further is asked for: each has a line of its own, and an exchange waits for
/// it.
const AHEAD: usize = 8;

/// Where one handle stands.
#[derive(Clone, Debug)]
pub(crate) struct SendSide {
    /// No position below is free.
    at: u64,
    /// The hint is told at positions that have none of these bits.
    quiet: u64,
    pub(crate) patience: Patience,
    /// Where the last wait ended.
    waited_at: u64,
}

impl SendSide {
    /// Begins at the hint, and tells it every `every` positions (a power of two).
    pub(crate) fn new(hint: u64, every: u64) -> Self {
        SendSide { at: hint, quiet: every - 1, patience: Patience::one_by_one(), waited_at: hint }
    }

    /// Walks to the tail. `Ok`: its slot was free when looked at.
    #[inline(always)]
    fn find<T, P: Peers>(&mut self, queue: Queue<'_, T, P>) -> Result<u64, Stop> {
        loop {
            // Relaxed: only compared by the exchange that claims.
            let seen = Word(queue.slot(self.at).word.load(Ordering::Relaxed));
            if seen == Word::free(self.at) {
                return Ok(1);
            }
            self.pass(queue, seen)?;
        }
    }

    /// The slot is not free for our position. `Ok`: look again, here or further on.
    #[inline(never)]
    fn pass<T, P: Peers>(&mut self, queue: Queue<'_, T, P>, seen: Word) -> Result<(), Stop> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let hint = queue.shared.direction(Side::Producer).hint();
        match (seen.against(self.at), seen.state()) {
            _ if !queue.is_possible(seen, self.at, hint) => Err(Stop::Corrupted),
            (_, State::End) => Err(Stop::Closed),
            (Equal | Greater, _) => {
                self.at = queue.behind(seen, self.at).max(hint);
                Ok(())
            }
            (Less, _) if hint > self.at => {
                self.at = hint;
                Ok(())
            }
            // Of the lap before.
            (Less, State::Claimed(owner) | State::Taking(owner)) if queue.peers.is_gone(owner) => {
                queue.free_of_the_dead(seen, self.at.wrapping_sub(queue.capacity()));
                Ok(())
            }
            (Less, _) => Err(Stop::NotYet),
        }
    }

    /// Claims the tail's slot. The linearization point of a send that gets as far as `hand_over`.
    #[inline(always)]
    fn claim<T, P: Peers>(&mut self, queue: Queue<'_, T, P>) -> Result<u64, Stop> {
        if queue.shared.is_closed() {
            return Err(Stop::Closed);
        }
        loop {
            self.find(queue)?;
            let free = Word::free(self.at);
            let mine = Word::claimed(queue.me, self.at);
            // Acquire: whoever emptied or freed the slot has finished with it; pairs with the
            // Release in `RecvSide::give_back` and `free_of_the_dead`. Relaxed on failure: the slot
            // is looked at again.
            let word = &queue.slot(self.at).word;
            if word.compare_exchange(free.0, mine.0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Ok(1);
            }
        }
    }

    /// Claims, and says whether there is nobody left to send to.
    fn claim_fully<T, P: Peers>(&mut self, queue: Queue<'_, T, P>) -> Result<u64, Stop> {
        match self.claim(queue) {
            Err(Stop::NotYet) if queue.shared.is_deserted(Side::Consumer, queue.peers) => {
                // Once more: what the last of them gave back is room.
                match self.claim(queue) {
                    Err(Stop::NotYet) => Err(Stop::Disconnected),
                    done => done,
                }
            }
            done => done,
        }
    }

    /// Whether a send would not wait: from a copy, our own position is the one that is claimed.
    pub(crate) fn is_ready<T, P: Peers>(&self, queue: Queue<'_, T, P>) -> bool {
        queue.shared.is_closed()
            || self.clone().find(queue) != Err(Stop::NotYet)
            || queue.shared.is_deserted(Side::Consumer, queue.peers)
    }

    #[inline(always)]
    fn claim_until<T, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        match self.claim(queue) {
            Ok(_) => Ok(()),
            Err(Stop::NotYet) => self.claim_slowly(queue, deadline),
            Err(stop) => Err(stop),
        }
    }

    /// For a wait that begins now, here.
    pub(crate) fn patience_of_a_wait<T, P>(&mut self, queue: Queue<'_, T, P>) -> Patience {
        self.patience.has_run(self.at.saturating_sub(self.waited_at), queue.capacity() / 8);
        self.waited_at = self.at;
        self.patience
    }

    #[cold]
    fn claim_slowly<T, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        queue.shared.direction(Side::Producer).counters.count_full();
        if let Deadline::Now = deadline {
            return self.claim_fully(queue).map(drop);
        }
        let mut patience = self.patience_of_a_wait(queue);
        let claimed = wait(&mut patience, queue, Side::Producer, deadline, |look| match look {
            Look::Quick => self.claim(queue),
            Look::Fully => self.claim_fully(queue),
            // From a copy: our own position is the one that is claimed.
            Look::Only => self.clone().find(queue),
        });
        self.patience = patience;
        claimed
    }

    /// Fills the claimed slot and hands it over.
    #[inline(always)]
    fn hand_over<T: Copy, P>(&mut self, queue: Queue<'_, T, P>, value: T) {
        let slot = queue.slot(self.at);
        slot.value.with_mut(|at| {
            // SAFETY: the slot is claimed in our name, by this thread, so nobody else touches its
            // element before the store below.
            unsafe { at.write(value) }
        });
        // Release: the element is written before; pairs with the Acquire in `RecvSide::take`.
        slot.word.store(Word::ready(self.at).0, Ordering::Release);
        self.at += 1;
        if self.at & self.quiet == 0 {
            queue.shared.direction(Side::Producer).tell(self.at);
        }
    }

    /// Sends one element.
    #[inline(always)]
    pub(crate) fn send<T: Copy, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        value: T,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        self.claim_until(queue, deadline)?;
        self.hand_over(queue, value);
        queue.ring(Side::Consumer, 1);
        Ok(())
    }

    /// The same if there is room, without asking who is left to make some.
    pub(crate) fn send_if_room<T: Copy, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        value: T,
    ) -> Result<(), Stop> {
        self.claim(queue)?;
        self.hand_over(queue, value);
        queue.ring(Side::Consumer, 1);
        Ok(())
    }

    /// Sends from the front of `values` as many as there is room for without waiting again, at
    /// least one; how many. Others' elements may come between them.
    #[inline]
    pub(crate) fn send_some<T: Copy, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        values: &[T],
        deadline: Deadline,
    ) -> Result<usize, Stop> {
        let Some((&first, rest)) = values.split_first() else { return Ok(0) };
        self.claim_until(queue, deadline)?;
        self.hand_over(queue, first);
        let mut sent = 1;
        for (next, &value) in rest.iter().enumerate() {
            if next + AHEAD <= rest.len() {
                prefetch::to_write(&raw const queue.slot(self.at + AHEAD as u64).word);
            }
            if self.claim(queue).is_err() {
                break;
            }
            self.hand_over(queue, value);
            sent += 1;
        }
        queue.ring(Side::Consumer, sent as u32);
        Ok(sent)
    }
}
