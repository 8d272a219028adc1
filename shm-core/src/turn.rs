//! In whose hands each part of an array is: one counter a part, in the array's own file.
//!
//! ```text
//! header area   0        4096             4104     4112            65536
//!               | header | count of parts | turn 0 | turn 1 | ...  | elements
//! ```
//!
//! | turn | the part is | who may change it |
//! |---|---|---|
//! | even | with the process that made it, or that redeemed the handle with the turn before | that process, to `turn + 1`: it hands the part over |
//! | odd | on its way, in a handle that bears this turn | whoever redeems the handle first, to `turn + 1` |
//!
//! Turns only grow, also over several cuts of one array. So a handle is good for one redemption, in
//! whichever process, and a part that was handed over can be handed over again by its receiver
//! alone. A part whose receiver is killed stays where it is: the array is never whole again.

use std::marker::PhantomData;

use crate::Error;
use crate::header::DATA_OFFSET;
use crate::primitive::{AtomicU64, Ordering};

pub(crate) const COUNT_AT: usize = 4096;
const TURNS_AT: usize = COUNT_AT + 8;

/// How many parts of one array can be handed over.
pub(crate) const MAX_PARTS: usize = (DATA_OFFSET as usize - TURNS_AT) / 8;

/// The words, in mapped memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns<'a> {
    start: *mut u8,
    mapping: PhantomData<&'a AtomicU64>,
}

impl<'a> Turns<'a> {
    /// # Safety
    ///
    /// - `start` is 8-aligned and valid for reads and writes of the header area during `'a`;
    /// - from byte 4096 on, the area holds words of this type (zeroed ones to begin with) and is
    ///   accessed through this type only.
    pub unsafe fn at(start: *mut u8) -> Turns<'a> {
        Turns { start, mapping: PhantomData }
    }

    fn word(&self, at: usize) -> &'a AtomicU64 {
        let word = self.start.wrapping_add(at).cast::<AtomicU64>();
        // SAFETY: both callers stay within the header area, which the constructor's caller
        // promised to be mapped, aligned and ours for `'a`; any bytes are a valid word.
        unsafe { &*word }
    }

    fn turn(&self, part: usize) -> Result<&'a AtomicU64, Error> {
        if part >= MAX_PARTS {
            return Err(Error::TooManyParts { part, max: MAX_PARTS });
        }
        Ok(self.word(TURNS_AT + part * 8))
    }

    /// Into how many parts the array is cut.
    pub fn count(&self) -> usize {
        // Relaxed: written before the first part is handed over, and read after one is redeemed.
        self.word(COUNT_AT).load(Ordering::Relaxed) as usize
    }

    /// Notes a new cut, when nobody else holds a part.
    pub fn set_count(&self, parts: usize) {
        // Relaxed: published by the Release in `hand_over`.
        self.word(COUNT_AT).store(parts as u64, Ordering::Relaxed);
    }

    /// The turn of a part that this process holds; 0 for one that cannot travel.
    pub fn held(&self, part: usize) -> u64 {
        // Relaxed: only the holder changes an even turn.
        self.turn(part).map_or(0, |turn| turn.load(Ordering::Relaxed))
    }

    /// Gives the part away; the turn that its handle bears.
    pub fn hand_over(&self, part: usize, held: u64) -> Result<u64, Error> {
        let sent = held.wrapping_add(1);
        // Release: what was written into the part is seen by the Acquire in `redeem`. Relaxed on
        // failure: nothing is read.
        self.turn(part)?
            .compare_exchange(held, sent, Ordering::Release, Ordering::Relaxed)
            .map(|_| sent)
            .map_err(|_| Error::AlreadyHandedOver)
    }

    /// Takes a part whose handle bears `sent`; the turn that its holder has from now on.
    pub fn redeem(&self, part: usize, sent: u64) -> Result<u64, Error> {
        if sent.is_multiple_of(2) {
            return Err(Error::AlreadyHandedOver);
        }
        let held = sent.wrapping_add(1);
        // Acquire: sees what was written into the part before the Release in `hand_over`. Relaxed
        // on failure: nothing is read.
        self.turn(part)?
            .compare_exchange(sent, held, Ordering::Acquire, Ordering::Relaxed)
            .map(|_| held)
            .map_err(|_| Error::AlreadyHandedOver)
    }
}

impl Turns<'_> {
    /// Makes the handle that bears `sent` good again. Whoever redeemed it is proven dead, and so is
    /// every handle that it may have made of the part.
    pub fn recall(&self, part: usize, sent: u64) {
        if let Ok(turn) = self.turn(part) {
            // Release: what the dead one wrote, as seen by the caller through the proof of its
            // death, is seen by the Acquire in `redeem`. A plain store: nobody else may change a
            // turn whose holder is dead.
            turn.store(sent, Ordering::Release);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[repr(align(8))]
    struct Area([u8; DATA_OFFSET as usize]);

    fn with_turns(test: impl FnOnce(Turns<'_>)) {
        let mut area = Box::new(Area([0; DATA_OFFSET as usize]));
        // SAFETY: aligned, exclusive, and alive until the end of this function.
        test(unsafe { Turns::at(area.0.as_mut_ptr()) });
    }

    #[test]
    fn a_handle_is_good_for_one_redemption() {
        with_turns(|turns| {
            let sent = turns.hand_over(3, turns.held(3)).unwrap();
            let held = turns.redeem(3, sent).unwrap();
            assert!(turns.redeem(3, sent).is_err());
            let sent_back = turns.hand_over(3, held).unwrap();
            assert!(turns.redeem(3, sent).is_err(), "the first handle is spent for ever");
            assert!(turns.redeem(3, sent_back).is_ok());
        });
    }

    #[test]
    fn what_is_handed_over_can_not_be_handed_over_again() {
        with_turns(|turns| {
            turns.hand_over(0, 0).unwrap();
            assert!(turns.hand_over(0, 0).is_err());
            assert!(turns.hand_over(0, 1).is_ok_and(|sent| turns.redeem(0, sent).is_err()));
        });
    }

    #[test]
    fn the_last_word_lies_within_the_header_area() {
        with_turns(|turns| {
            assert!(turns.hand_over(MAX_PARTS - 1, 0).is_ok());
            let too_many = turns.hand_over(MAX_PARTS, 0);
            assert!(matches!(too_many, Err(Error::TooManyParts { .. })), "{too_many:?}");
        });
        assert!(TURNS_AT + MAX_PARTS * 8 <= DATA_OFFSET as usize);
    }
}
