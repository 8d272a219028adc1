//! The producer's half of the protocol: walk to the tail, claim its slot, put the block into its
//! cell, hand it over.

use shm_core::Peers;
use shm_core::barrier::light_barrier;
use shm_core::primitive::Ordering;

use super::shared::{Cells, Content, Mailbox, SKIPPED};
use crate::Side;
use crate::mpmc::park::{Look, wait};
use crate::mpmc::word::{State, Word};
use crate::ring::Stop;
use crate::wait::{Deadline, Patience};

/// Where one handle stands.
#[derive(Clone, Debug)]
pub(crate) struct SendSide {
    /// No position below is free.
    at: u64,
    /// The hint is told at positions that have none of these bits.
    quiet: u64,
    /// The last look found a slot of the dead that others are still clearing up.
    is_unsettled: bool,
    pub(crate) patience: Patience,
}

impl SendSide {
    /// Begins at the hint, and tells it every `every` positions (a power of two).
    pub(crate) fn new(hint: u64, every: u64) -> Self {
        SendSide { at: hint, quiet: every - 1, is_unsettled: false, patience: Patience::default() }
    }

    /// Walks to the tail. `Ok`: its slot was free when looked at.
    #[inline(always)]
    fn find<P: Peers, C: Cells + Copy>(&mut self, mailbox: Mailbox<'_, P, C>) -> Result<u64, Stop> {
        loop {
            // Relaxed: only compared by the exchange that claims.
            let seen = Word(mailbox.queue.slot(self.at).word.load(Ordering::Relaxed));
            if seen == Word::free(self.at) {
                return Ok(1);
            }
            self.pass(mailbox, seen)?;
        }
    }

    /// The slot is not free for our position. `Ok`: look again, here or further on.
    #[inline(never)]
    fn pass<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
        seen: Word,
    ) -> Result<(), Stop> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let queue = mailbox.queue;
        let hint = queue.shared.direction(Side::Producer).hint();
        let a_lap_before = self.at.wrapping_sub(queue.capacity());
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
            (Less, State::Claimed(owner)) if queue.peers.is_gone(owner) => {
                queue.free_of_the_dead(seen, a_lap_before);
                Ok(())
            }
            // Received, unless the message is still there: then it is a consumer's to take over.
            (Less, State::Taking(owner)) if queue.peers.is_gone(owner) => {
                match mailbox.left_by_the_dead(a_lap_before) {
                    Content::Empty => {
                        queue.free_of_the_dead(seen, a_lap_before);
                        return Ok(());
                    }
                    Content::Full => {}
                    Content::Unsettled => self.is_unsettled = true,
                }
                Err(Stop::NotYet)
            }
            (Less, _) => Err(Stop::NotYet),
        }
    }

    /// Claims the tail's slot, whose cell is empty then. The linearization point of a send that gets
    /// as far as `hand_over`.
    #[inline(always)]
    fn claim<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
    ) -> Result<u64, Stop> {
        let queue = mailbox.queue;
        if queue.shared.is_closed() {
            return Err(Stop::Closed);
        }
        loop {
            self.find(mailbox)?;
            let (free, mine) = (Word::free(self.at), Word::claimed(queue.me, self.at));
            // Acquire: whoever emptied or freed the slot has finished with it; pairs with the
            // Release in `RecvSide::free` and `free_of_the_dead`. Relaxed on failure: the slot is
            // looked at again.
            let word = &queue.slot(self.at).word;
            if word.compare_exchange(free.0, mine.0, Ordering::Acquire, Ordering::Relaxed).is_err()
            {
                continue;
            }
            if self.is_usable(mailbox) {
                return Ok(1);
            }
            self.skip(mailbox);
        }
    }

    /// Whether the cell of our slot is empty, or could be made so.
    #[inline(always)]
    fn is_usable<P, C: Cells + Copy>(&self, mailbox: Mailbox<'_, P, C>) -> bool {
        let index = mailbox.index(self.at);
        match mailbox.cells.settle(index) {
            Content::Empty => true,
            Content::Full => {
                // Of a producer that died before it handed its slot over: never sent.
                mailbox.cells.clear(index);
                mailbox.cells.settle(index) == Content::Empty
            }
            Content::Unsettled => false,
        }
    }

    /// Nothing is sent from our position: consumers pass over it, in its turn.
    #[cold]
    fn skip<P: Peers, C: Cells + Copy>(&mut self, mailbox: Mailbox<'_, P, C>) {
        self.is_unsettled = true;
        self.hand_over(mailbox, SKIPPED);
        // Between the slot and the look at the closing: pairs with the heavy one in `listen`.
        light_barrier();
        if mailbox.queue.shared.is_closed() {
            // Whoever waits for the end may have seen the slot claimed. Others need not be woken for
            // nothing.
            mailbox.queue.shared.bell_of(Side::Consumer).ring();
        }
    }

    /// Claims, and says whether there is nobody left to send to.
    fn claim_fully<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
    ) -> Result<u64, Stop> {
        let queue = mailbox.queue;
        match self.claim(mailbox) {
            Err(Stop::NotYet) if queue.shared.is_deserted(Side::Consumer, queue.peers) => {
                // Once more: what the last of them gave back is room.
                self.is_unsettled = false;
                match self.claim(mailbox) {
                    Err(Stop::NotYet) if !self.is_unsettled => Err(Stop::Disconnected),
                    done => done,
                }
            }
            done => done,
        }
    }

    /// Whether a send would not wait for a slot: from a copy, our own position is the one that is
    /// claimed.
    pub(crate) fn is_ready<P: Peers, C: Cells + Copy>(&self, mailbox: Mailbox<'_, P, C>) -> bool {
        let queue = mailbox.queue;
        queue.shared.is_closed()
            || self.clone().find(mailbox) != Err(Stop::NotYet)
            || queue.shared.is_deserted(Side::Consumer, queue.peers)
    }

    #[inline(always)]
    fn claim_until<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        match self.claim(mailbox) {
            Ok(_) => Ok(()),
            Err(Stop::NotYet) => self.claim_slowly(mailbox, deadline),
            Err(stop) => Err(stop),
        }
    }

    #[cold]
    fn claim_slowly<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        mailbox.queue.shared.direction(Side::Producer).counters.count_full();
        if let Deadline::Now = deadline {
            return self.claim_fully(mailbox).map(drop);
        }
        let mut patience = self.patience;
        let claimed =
            wait(&mut patience, mailbox.queue, Side::Producer, deadline, |look| match look {
                Look::Quick => self.claim(mailbox),
                Look::Fully => self.claim_fully(mailbox),
                // From a copy: our own position is the one that is claimed.
                Look::Only => self.clone().find(mailbox),
            });
        self.patience = patience;
        claimed
    }

    /// Sends a block whose first `len` bytes are the message; gives it back if that can not be.
    #[inline(always)]
    pub(crate) fn send<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
        block: C::Block,
        len: usize,
        deadline: Deadline,
    ) -> Result<(), (Stop, C::Block)> {
        if let Err(stop) = self.claim_until(mailbox, deadline) {
            return Err((stop, block));
        }
        if let Err(block) = mailbox.cells.put(mailbox.index(self.at), block) {
            // The cell was empty and is ours: somebody writes what he likes.
            self.skip(mailbox);
            return Err((Stop::Corrupted, block));
        }
        self.hand_over(mailbox, len as u64);
        mailbox.queue.ring(Side::Consumer, 1);
        Ok(())
    }

    #[inline(always)]
    fn hand_over<P, C>(&mut self, mailbox: Mailbox<'_, P, C>, len: u64) {
        let queue = mailbox.queue;
        mailbox.set_len(self.at, len);
        // Release: the length is written before; pairs with the Acquire in `RecvSide::take_next`.
        queue.slot(self.at).word.store(Word::ready(self.at).0, Ordering::Release);
        self.at += 1;
        if self.at & self.quiet == 0 {
            queue.shared.direction(Side::Producer).tell(self.at);
        }
    }
}
