//! The consumer's half of the protocol: walk to the head, take its slot, empty it, give it back.

use shm_core::Peers;
use shm_core::primitive::Ordering;

use super::park::{Look, wait};
use super::shared::Queue;
use super::word::{State, Word};
use crate::Side;
use crate::prefetch;
use crate::ring::Stop;
use crate::wait::{Deadline, Gather, Patience};

/// In a batch, the slot so many further is asked for: each has a line of its own, and an exchange waits for
/// it.
const AHEAD: usize = 8;

/// Where one handle stands.
#[derive(Clone, Debug)]
pub(crate) struct RecvSide {
    /// Every position below is taken, or was given up by the dead.
    at: u64,
    /// The hint is told at positions that have none of these bits.
    quiet: u64,
    pub(crate) patience: Patience,
    /// Before a batch.
    gather: Gather,
    /// Where the last wait ended.
    waited_at: u64,
}

impl RecvSide {
    /// Begins at the hint, and tells it every `every` positions (a power of two).
    pub(crate) fn new(hint: u64, every: u64) -> Self {
        let (patience, gather) = (Patience::one_by_one(), Gather::default());
        RecvSide { at: hint, quiet: every - 1, patience, gather, waited_at: hint }
    }

    /// Walks to the head. `Ok`: there was something to take when looked at.
    #[inline(always)]
    pub(crate) fn find<T, P: Peers>(&mut self, queue: Queue<'_, T, P>) -> Result<u64, Stop> {
        loop {
            // Relaxed: only compared by the exchange that takes.
            let seen = Word(queue.slot(self.at).word.load(Ordering::Relaxed));
            if seen == Word::ready(self.at) {
                return Ok(1);
            }
            self.pass(queue, seen)?;
        }
    }

    /// There is nothing for us in the slot. `Ok`: look again, here or further on.
    #[inline(never)]
    fn pass<T, P: Peers>(&mut self, queue: Queue<'_, T, P>, seen: Word) -> Result<(), Stop> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let hint = queue.shared.direction(Side::Consumer).hint();
        match (seen.against(self.at), seen.state()) {
            _ if !queue.is_possible(seen, self.at, hint) => Err(Stop::Corrupted),
            (Equal, State::Free) => self.look_for_the_end(queue),
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
            (Less, State::Claimed(owner) | State::Taking(owner)) if queue.peers.is_gone(owner) => {
                queue.free_of_the_dead(seen, self.at.wrapping_sub(queue.capacity()));
                Ok(())
            }
            (Less, _) => Err(Stop::NotYet),
        }
    }

    /// Nothing is sent from our position yet. In a closed queue nothing ever will be, once the slot
    /// says so: a producer that began before the queue was closed finds it taken.
    #[cold]
    fn look_for_the_end<T, P>(&self, queue: Queue<'_, T, P>) -> Result<(), Stop> {
        if !queue.shared.is_closed() {
            return Err(Stop::NotYet);
        }
        let (free, end) = (Word::free(self.at), Word::end(self.at));
        // Relaxed: nothing is published; what matters is that no claim of this slot can succeed any
        // more. On failure there was one, and the slot is looked at again.
        let word = &queue.slot(self.at).word;
        match word.compare_exchange(free.0, end.0, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Err(Stop::Closed),
            Err(_) => Ok(()),
        }
    }

    /// Takes the head's slot. The linearization point of a receive.
    #[inline(always)]
    fn take<T, P: Peers>(&mut self, queue: Queue<'_, T, P>) -> Result<u64, Stop> {
        loop {
            self.find(queue)?;
            let ready = Word::ready(self.at);
            let mine = Word::taking(queue.me, self.at);
            let word = &queue.slot(self.at).word;
            // Acquire: pairs with the Release in `SendSide::hand_over`: the element is written.
            // Relaxed on failure: the slot is looked at again.
            if word.compare_exchange(ready.0, mine.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return Ok(1);
            }
        }
    }

    /// Takes, and says whether there is nobody left to wait for.
    fn take_fully<T, P: Peers>(&mut self, queue: Queue<'_, T, P>) -> Result<u64, Stop> {
        match self.take(queue) {
            Err(Stop::NotYet) if queue.shared.is_deserted(Side::Producer, queue.peers) => {
                // Once more: the last of them may have sent something before it left or died.
                match self.take(queue) {
                    Err(Stop::NotYet) => Err(Stop::Disconnected),
                    done => done,
                }
            }
            done => done,
        }
    }

    /// Whether a receive would not wait: from a copy, our own position is the one that is taken.
    pub(crate) fn is_ready<T, P: Peers>(&self, queue: Queue<'_, T, P>) -> bool {
        self.clone().find(queue) != Err(Stop::NotYet)
            || queue.shared.is_deserted(Side::Producer, queue.peers)
    }

    #[inline(always)]
    fn take_until<T, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        match self.take(queue) {
            Ok(_) => Ok(()),
            Err(Stop::NotYet) => self.take_slowly(queue, deadline),
            Err(stop) => Err(stop),
        }
    }

    /// Whether so many elements came since the last wait.
    #[inline]
    pub(crate) fn has_run(&self, elements: u64) -> bool {
        self.at >= self.waited_at + elements
    }

    /// Asks for the slot so many positions from here.
    #[inline]
    pub(crate) fn prefetch<T, P>(&self, queue: Queue<'_, T, P>, ahead: u64) {
        prefetch::to_write(&raw const queue.slot(self.at.wrapping_add(ahead)).word);
    }

    /// For a wait that begins now, here.
    pub(crate) fn patience_of_a_wait<T, P>(&mut self, queue: Queue<'_, T, P>) -> Patience {
        self.patience.has_run(self.at.saturating_sub(self.waited_at), queue.capacity() / 8);
        self.waited_at = self.at;
        self.patience
    }

    #[cold]
    fn take_slowly<T, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        deadline: Deadline,
    ) -> Result<(), Stop> {
        queue.shared.direction(Side::Consumer).counters.count_empty();
        if let Deadline::Now = deadline {
            return self.take_fully(queue).map(drop);
        }
        let mut patience = self.patience_of_a_wait(queue);
        let taken = wait(&mut patience, queue, Side::Consumer, deadline, |look| match look {
            Look::Quick => self.take(queue),
            Look::Fully => self.take_fully(queue),
            // From a copy: our own position is the one that is taken.
            Look::Only => self.clone().find(queue),
        });
        self.patience = patience;
        taken
    }

    /// Copies the element of the taken slot out, and gives the slot back for the next lap.
    #[inline(always)]
    fn give_back<T: Copy, P>(&mut self, queue: Queue<'_, T, P>) -> T {
        let slot = queue.slot(self.at);
        let value = slot.value.with(|at| {
            // SAFETY: the slot is taken in our name, by this thread, so nobody writes it before
            // the store below; it holds an element that its producer finished.
            unsafe { at.read() }
        });
        // Release: we have finished reading; pairs with the Acquire in `SendSide::claim`.
        slot.word.store(Word::free(self.at + queue.capacity()).0, Ordering::Release);
        self.at += 1;
        if self.at & self.quiet == 0 {
            queue.shared.direction(Side::Consumer).tell(self.at);
        }
        value
    }

    /// After slots were given back.
    #[inline(always)]
    fn announce<T, P>(&self, queue: Queue<'_, T, P>, count: u32) {
        queue.ring(Side::Producer, count);
        if queue.shared.is_closed() {
            // Whoever waits for the end of a closed queue may have seen the slot in our hands.
            queue.shared.bell_of(Side::Consumer).ring();
        }
    }

    /// Receives one element.
    #[inline(always)]
    pub(crate) fn recv<T: Copy, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        deadline: Deadline,
    ) -> Result<T, Stop> {
        self.take_until(queue, deadline)?;
        let value = self.give_back(queue);
        self.announce(queue, 1);
        Ok(value)
    }

    /// The same if there is one, without asking who is left to send another.
    #[inline]
    pub(crate) fn recv_if_there<T: Copy, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
    ) -> Result<T, Stop> {
        self.take(queue)?;
        let value = self.give_back(queue);
        self.announce(queue, 1);
        Ok(value)
    }

    /// Receives as many elements as there are, at most `values.len()` and at least one.
    #[inline]
    pub(crate) fn recv_some<T: Copy, P: Peers>(
        &mut self,
        queue: Queue<'_, T, P>,
        values: &mut [T],
        deadline: Deadline,
    ) -> Result<usize, Stop> {
        let Some((first, rest)) = values.split_first_mut() else { return Ok(0) };
        let most = rest.len();
        self.gather.before_looking(deadline);
        self.take_until(queue, deadline)?;
        *first = self.give_back(queue);
        let mut received = 1;
        for (next, value) in rest.iter_mut().enumerate() {
            if next + AHEAD <= most {
                self.prefetch(queue, AHEAD as u64);
            }
            if self.take(queue).is_err() {
                break;
            }
            *value = self.give_back(queue);
            received += 1;
        }
        self.gather.has_found(received as u64, most as u64);
        self.announce(queue, received as u32);
        Ok(received)
    }
}
