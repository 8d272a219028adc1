//! What stands in the words of shared references: encodings, and nothing that touches memory.

use crate::Owner;

/// How many holders there can be: a process is one.
pub(crate) const SEATS: usize = 48;
/// How many references to one value can be on their way at once.
pub(crate) const FLIGHTS: usize = 16;

/// The holder's bit in a mask.
#[inline(always)]
pub(super) const fn seat_bit(seat: usize) -> u64 {
    1 << (seat % SEATS)
}

/// The bit of a reference on its way.
#[inline(always)]
pub(super) const fn flight_bit(flight: usize) -> u64 {
    1 << (SEATS + flight % FLIGHTS)
}

const NONCE_BITS: u32 = 31;
const NONCE_SHIFT: u32 = Owner::BITS;
const STATE_SHIFT: u32 = NONCE_SHIFT + NONCE_BITS;

/// Where a reference on its way is. Owners name stays, so none of these words ever comes back: the
/// number counts the flight's uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nothing is on its way here.
    Free,
    /// This sender is about to send.
    Reserved(Owner),
    /// Sent to whoever comes first; it goes with its sender.
    From(Owner),
    /// Sent to this receiver; it goes with its receiver.
    To(Owner),
    /// This process is taking it, or clearing it up.
    Taken(Owner),
}

/// A flight's word: `stage 3 | number 31 | owner 30`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FlightWord(pub u64);

impl FlightWord {
    pub fn new(stage: Stage, number: u32) -> FlightWord {
        let (state, owner) = match stage {
            Stage::Free => (0, 0),
            Stage::Reserved(owner) => (1, owner.to_bits()),
            Stage::From(owner) => (2, owner.to_bits()),
            Stage::To(owner) => (3, owner.to_bits()),
            Stage::Taken(owner) => (4, owner.to_bits()),
        };
        let number = u64::from(number) & ((1 << NONCE_BITS) - 1);
        FlightWord(state << STATE_SHIFT | number << NONCE_SHIFT | u64::from(owner))
    }

    /// `None`: a word that is never written.
    pub fn stage(self) -> Option<Stage> {
        if self.0 >> STATE_SHIFT == 0 {
            return Some(Stage::Free);
        }
        let owner = Owner::from_bits(self.0 as u32)?;
        match self.0 >> STATE_SHIFT {
            1 => Some(Stage::Reserved(owner)),
            2 => Some(Stage::From(owner)),
            3 => Some(Stage::To(owner)),
            4 => Some(Stage::Taken(owner)),
            _ => None,
        }
    }

    /// Which use of the flight it is.
    pub fn number(self) -> u32 {
        (self.0 >> NONCE_SHIFT) as u32 & ((1 << NONCE_BITS) - 1)
    }

    /// The same use in another stage.
    pub fn become_of(self, stage: Stage) -> FlightWord {
        FlightWord::new(stage, self.number())
    }

    /// The next use.
    pub fn next(self, stage: Stage) -> FlightWord {
        FlightWord::new(stage, self.number().wrapping_add(1))
    }
}

/// A holder's place: `state 2 | by 30 | owner 30`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seat {
    /// Nobody's: no mask has its bit.
    Free,
    /// A living process's, as far as is known.
    Live(u32),
    /// A dead one's, whose bits another is taking out of the masks.
    Recovering { dead: u32, by: u32 },
}

impl Seat {
    pub fn of(word: u64) -> Seat {
        let bits = |shift: u32| (word >> shift) as u32 & Owner::MASK;
        let (dead, by) = (bits(0), bits(Owner::BITS));
        match word >> (2 * Owner::BITS) {
            0 => Seat::Free,
            1 => Seat::Live(dead),
            _ => Seat::Recovering { dead, by },
        }
    }

    pub fn word(self) -> u64 {
        match self {
            Seat::Free => 0,
            Seat::Live(owner) => 1 << (2 * Owner::BITS) | u64::from(owner),
            Seat::Recovering { dead, by } => {
                2 << (2 * Owner::BITS) | u64::from(by) << Owner::BITS | u64::from(dead)
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_parts_at_their_limits() {
        let owner = Owner::from_bits(Owner::MASK & !0x3f | 49).unwrap();
        let last = (1 << NONCE_BITS) - 1;
        for stage in [Stage::Free, Stage::From(owner), Stage::To(owner), Stage::Taken(owner)] {
            for number in [0, 1, last] {
                let word = FlightWord::new(stage, number);
                assert_eq!((word.stage(), word.number()), (Some(stage), number));
            }
        }
        assert_eq!(FlightWord::new(Stage::Free, last).next(Stage::Reserved(owner)).number(), 0);
        assert_eq!(FlightWord(u64::MAX).stage(), None);
        let bits = owner.to_bits();
        for seat in [Seat::Free, Seat::Live(bits), Seat::Recovering { dead: bits, by: 1 }] {
            assert_eq!(Seat::of(seat.word()), seat);
        }
    }

    #[test]
    fn every_holder_and_flight_has_a_bit_of_its_own() {
        let seats = (0..SEATS).map(seat_bit);
        let all = seats.chain((0..FLIGHTS).map(flight_bit)).fold(0u64, |all, bit| {
            assert_eq!(all & bit, 0);
            all | bit
        });
        assert_eq!(all, u64::MAX);
    }
}
