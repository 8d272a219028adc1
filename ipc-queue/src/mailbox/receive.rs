//! The consumer's half of the protocol: take over what the dead had in hand, or walk to the head and
//! take its slot; and give the slot back.

use shm_core::primitive::Ordering;
use shm_core::{Peers, Ticket};

use super::shared::{Cells, Content, Mailbox, SKIPPED};
use crate::Side;
use crate::mpmc::park::{Look, wait};
use crate::mpmc::word::{State, Word};
use crate::ring::Stop;
use crate::wait::{Deadline, Patience};

/// The ticket of a group in which nobody has died yet: a handle begins with it, so that it looks
/// after the dead before its first receive if there was a death.
const BEFORE_ANY_DEATH: Ticket = Ticket(0);

/// Where one handle stands.
#[derive(Clone, Debug)]
pub(crate) struct RecvSide {
    /// Every position below is taken, or was given up.
    at: u64,
    /// The position whose slot is in hand.
    hand: u64,
    /// The hint is told at positions that have none of these bits.
    quiet: u64,
    /// The deaths that were looked after.
    looked_after: Ticket,
    pub(crate) patience: Patience,
}

/// What a look after the dead has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfTheDead {
    Nothing,
    /// A message, which is in our hand now.
    Message,
    /// Something that others are still clearing up.
    Later,
}

impl RecvSide {
    /// Begins at the hint, and tells it every `every` positions (a power of two).
    pub(crate) fn new(hint: u64, every: u64) -> Self {
        let (quiet, patience) = (every - 1, Patience::default());
        RecvSide { at: hint, hand: 0, quiet, looked_after: BEFORE_ANY_DEATH, patience }
    }

    /// The position whose slot is in hand.
    pub(crate) fn hand(&self) -> u64 {
        self.hand
    }

    /// Walks to the head. `Ok`: there was something to take when looked at.
    #[inline(always)]
    fn find<P: Peers, C: Cells + Copy>(&mut self, mailbox: Mailbox<'_, P, C>) -> Result<u64, Stop> {
        loop {
            // Relaxed: only compared by the exchange that takes.
            let seen = Word(mailbox.queue.slot(self.at).word.load(Ordering::Relaxed));
            if seen == Word::ready(self.at) {
                return Ok(1);
            }
            self.pass(mailbox, seen)?;
        }
    }

    /// There is nothing for us in the slot. `Ok`: look again, here or further on.
    #[inline(never)]
    fn pass<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
        seen: Word,
    ) -> Result<(), Stop> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let queue = mailbox.queue;
        let hint = queue.shared.direction(Side::Consumer).hint();
        match (seen.against(self.at), seen.state()) {
            _ if !queue.is_possible(seen, self.at, hint) => Err(Stop::Corrupted),
            (Equal, State::Free) => self.look_for_the_end(mailbox),
            (Equal | Less, State::End) => Err(Stop::Closed),
            (Equal, State::Claimed(_)) | (Less, _) if hint > self.at => {
                self.at = hint;
                Ok(())
            }
            (Equal, State::Claimed(owner)) => {
                if !queue.peers.is_gone(owner) {
                    return Err(Stop::NotYet);
                }
                // Nothing was sent from this position.
                queue.free_of_the_dead(seen, self.at);
                Ok(())
            }
            (Equal | Greater, _) => {
                self.at = queue.behind(seen, self.at).max(hint);
                Ok(())
            }
            // Of the lap before.
            (Less, State::Claimed(owner)) if queue.peers.is_gone(owner) => {
                queue.free_of_the_dead(seen, self.at.wrapping_sub(queue.capacity()));
                Ok(())
            }
            // Or in somebody's hand; of the dead `take_over` finds it.
            (Less, _) => Err(Stop::NotYet),
        }
    }

    /// Nothing is sent from our position yet. In a closed mailbox nothing ever will be, once the slot
    /// says so: a producer that began before it was closed finds the slot taken.
    #[cold]
    fn look_for_the_end<P, C: Copy>(&self, mailbox: Mailbox<'_, P, C>) -> Result<(), Stop> {
        if !mailbox.queue.shared.is_closed() {
            return Err(Stop::NotYet);
        }
        let (free, end) = (Word::free(self.at), Word::end(self.at));
        // Relaxed: nothing is published; what matters is that no claim of this slot can succeed any
        // more. On failure there was one, and the slot is looked at again.
        let word = &mailbox.queue.slot(self.at).word;
        match word.compare_exchange(free.0, end.0, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Err(Stop::Closed),
            Err(_) => Ok(()),
        }
    }

    /// Takes the head's slot.
    #[inline(always)]
    fn take_next<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
    ) -> Result<u64, Stop> {
        let queue = mailbox.queue;
        loop {
            self.find(mailbox)?;
            let (ready, mine) = (Word::ready(self.at), Word::taking(queue.me, self.at));
            let word = &queue.slot(self.at).word;
            // Acquire: pairs with the Release in `SendSide::hand_over`: the length is written.
            // Relaxed on failure: the slot is looked at again.
            if word.compare_exchange(ready.0, mine.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                self.hand = self.at;
                self.at += 1;
                if self.at & self.quiet == 0 {
                    queue.shared.direction(Side::Consumer).tell(self.at);
                }
                if mailbox.len_at(self.hand) != SKIPPED {
                    return Ok(1);
                }
                self.free(mailbox);
            }
        }
    }

    /// The slots that the dead had taken, with what is in their cells.
    fn of_the_dead<'a, P: Peers, C: Cells + Copy>(
        &self,
        mailbox: Mailbox<'a, P, C>,
    ) -> impl Iterator<Item = (Word, u64, Content)> + use<'a, P, C> {
        let queue = mailbox.queue;
        let near = self.at.max(queue.shared.direction(Side::Consumer).hint());
        (0..queue.capacity()).filter_map(move |index| {
            // Relaxed: what the dead did came with the proof; whoever acts on it makes an exchange.
            let seen = Word(queue.slot(index).word.load(Ordering::Relaxed));
            let State::Taking(owner) = seen.state() else { return None };
            if !queue.peers.is_gone(owner) {
                return None;
            }
            let position = seen.position(near);
            // A corrupted word is nobody's.
            let is_here = mailbox.index(position) == mailbox.index(index);
            is_here.then(|| (seen, position, mailbox.left_by_the_dead(position)))
        })
    }

    /// Looks at what the dead had in hand: a message passes into our hand, and the slots of those
    /// that were received are free.
    #[cold]
    fn take_over<P: Peers, C: Cells + Copy>(&mut self, mailbox: Mailbox<'_, P, C>) -> OfTheDead {
        let queue = mailbox.queue;
        let mut found = OfTheDead::Nothing;
        for (seen, position, content) in self.of_the_dead(mailbox) {
            match content {
                Content::Full => {
                    let mine = Word::taking(queue.me, position);
                    let word = &queue.slot(position).word;
                    // Relaxed: what the dead had seen of the slot came with the proof; on failure
                    // somebody else was first.
                    let (ok, lost) = (Ordering::Relaxed, Ordering::Relaxed);
                    if word.compare_exchange(seen.0, mine.0, ok, lost).is_ok() {
                        self.hand = position;
                        return OfTheDead::Message;
                    }
                }
                Content::Empty => {
                    queue.free_of_the_dead(seen, position);
                    mailbox.announce_room();
                }
                Content::Unsettled => found = OfTheDead::Later,
            }
        }
        found
    }

    fn take<P: Peers, C: Cells + Copy>(&mut self, mailbox: Mailbox<'_, P, C>) -> Result<u64, Stop> {
        let deaths = mailbox.queue.peers.ticket();
        if self.looked_after != deaths {
            match self.take_over(mailbox) {
                OfTheDead::Message => return Ok(1),
                OfTheDead::Nothing => self.looked_after = deaths,
                OfTheDead::Later => {}
            }
        }
        match self.take_next(mailbox) {
            Err(Stop::Closed) => self.take_at_the_end(mailbox, Stop::Closed),
            taken => taken,
        }
    }

    /// Takes, also what those had in hand whose death was not told of yet; and says whether there is
    /// nobody left to wait for.
    fn take_fully<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
    ) -> Result<u64, Stop> {
        if self.take_over(mailbox) == OfTheDead::Message {
            return Ok(1);
        }
        let queue = mailbox.queue;
        match self.take_next(mailbox) {
            Err(Stop::NotYet) if queue.shared.is_deserted(Side::Producer, queue.peers) => {
                // Once more: the last of them may have sent something before it left or died.
                match self.take_next(mailbox) {
                    Err(Stop::NotYet) => self.take_at_the_end(mailbox, Stop::Disconnected),
                    Err(Stop::Closed) => self.take_at_the_end(mailbox, Stop::Closed),
                    taken => taken,
                }
            }
            Err(Stop::Closed) => self.take_at_the_end(mailbox, Stop::Closed),
            taken => taken,
        }
    }

    /// Nothing more will be sent; nor does anything come again, if this says so. Looks after the
    /// dead once more, whatever was looked at before: one may have died since with a message in
    /// hand, and before that was the end. As long as something of the dead is to come, nothing is
    /// at its end.
    #[cold]
    fn take_at_the_end<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
        end: Stop,
    ) -> Result<u64, Stop> {
        match self.take_over(mailbox) {
            OfTheDead::Message => Ok(1),
            OfTheDead::Nothing => Err(end),
            OfTheDead::Later => Err(Stop::NotYet),
        }
    }

    /// Whether a receive would not wait.
    pub(crate) fn is_ready<P: Peers, C: Cells + Copy>(&self, mailbox: Mailbox<'_, P, C>) -> bool {
        let queue = mailbox.queue;
        let is_told = self.looked_after != queue.peers.ticket();
        // From a copy: our own position is the one that is taken.
        self.clone().find(mailbox) != Err(Stop::NotYet)
            || queue.shared.is_deserted(Side::Producer, queue.peers)
            || is_told && self.of_the_dead(mailbox).any(|(_, _, found)| found == Content::Full)
    }

    /// Takes a message into our hand.
    #[inline(always)]
    pub(crate) fn take_until<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        match self.take(mailbox) {
            Ok(_) => Ok(()),
            Err(Stop::NotYet) => self.take_slowly(mailbox, deadline),
            Err(stop) => Err(stop),
        }
    }

    #[cold]
    fn take_slowly<P: Peers, C: Cells + Copy>(
        &mut self,
        mailbox: Mailbox<'_, P, C>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        mailbox.queue.shared.direction(Side::Consumer).counters.count_empty();
        if let Deadline::Now = deadline {
            return self.take_fully(mailbox).map(drop);
        }
        let mut patience = self.patience;
        let taken =
            wait(&mut patience, mailbox.queue, Side::Consumer, deadline, |look| match look {
                Look::Quick => self.take(mailbox),
                Look::Fully => self.take_fully(mailbox),
                // From a copy: our own position is the one that is taken.
                Look::Only => self.clone().find(mailbox),
            });
        self.patience = patience;
        taken
    }

    /// The message in hand has been received: it is free, and so is its slot, for the next lap.
    #[inline(always)]
    pub(crate) fn release<P: Peers, C: Cells + Copy>(
        &self,
        mailbox: Mailbox<'_, P, C>,
        lease: C::Lease,
    ) {
        mailbox.cells.acknowledge(lease);
        self.free(mailbox);
    }

    /// The slot in hand is free for the next lap.
    #[inline(always)]
    fn free<P: Peers, C: Copy>(&self, mailbox: Mailbox<'_, P, C>) {
        let free = Word::free(self.hand + mailbox.queue.capacity());
        // Release: we have finished with the slot; pairs with the Acquire in `SendSide::claim`.
        mailbox.queue.slot(self.hand).word.store(free.0, Ordering::Release);
        mailbox.announce_room();
    }
}
