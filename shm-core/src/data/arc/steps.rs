//! The steps by which references are made, sent, received and given up, in the order that every
//! kill point depends on: the tables of the design page (`docs/src/researchers/arc.md`).

// Orderings: a store that follows another is Release, for the prefix that a death leaves. The mask
// is changed by read-modify-writes alone while anybody holds the value, so that whoever sees one of
// them (Acquire) sees everything before each earlier one (Release). Relaxed: a failed exchange, after
// which nothing is read, and a look before an exchange, which decides.

use super::words::{FLIGHTS, FlightWord, SEATS, Seat, Stage, flight_bit};
use crate::primitive::{AtomicU64, Ordering};
use crate::{Owner, Peers};

/// The words of one value.
pub(super) trait Slot {
    /// Who holds it: the truth.
    fn mask(&self) -> &AtomicU64;
    /// Where its references on their way are.
    fn flight(&self, flight: usize) -> &AtomicU64;
    /// Frees the value's block, unless it is freed. By the sole holder alone.
    fn free(&self);
}

/// Makes us the holder of a slot that nobody has.
pub(super) fn claim(slot: &impl Slot, mine: u64) -> bool {
    // Acquire: pairs with the Release of 0 in `release`: its block is freed.
    slot.mask().compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed).is_ok()
}

/// Takes out of the mask a bit that is ours alone to take out: our seat's, that of a seat whose
/// recovery we have claimed, or of a flight that we have taken. If it is the last, the value is freed
/// first, with the bit set: it says whose the freeing is.
pub(super) fn release(slot: &impl Slot, bit: u64) {
    let mask = slot.mask();
    loop {
        // Acquire: pairs with the Release of the others' exchanges: their last use comes before.
        let seen = mask.load(Ordering::Acquire);
        if seen & bit == 0 {
            return;
        }
        if seen == bit {
            // Nobody else can get a bit now: there is no holder, and no other flight.
            slot.free();
            // Release: pairs with the Acquire in `claim`.
            mask.store(0, Ordering::Release);
            return;
        }
        // Release: what we did with the value comes before. Relaxed: a failure is looked at anew.
        let (ok, lost) = (Ordering::Release, Ordering::Relaxed);
        if mask.compare_exchange(seen, seen & !bit, ok, lost).is_ok() {
            return;
        }
    }
}

/// Sends a reference to a value that we hold: which flight, and its number. `None`: all are busy.
pub(super) fn send(slot: &impl Slot, me: Owner, to: Option<Owner>) -> Option<(usize, u32)> {
    for flight in 0..FLIGHTS {
        let word = slot.flight(flight);
        // Relaxed: the exchange decides.
        let seen = FlightWord(word.load(Ordering::Relaxed));
        if seen.stage() != Some(Stage::Free) {
            continue;
        }
        // 1. Acquire: pairs with the Release of Free: its bit is gone.
        let reserved = seen.next(Stage::Reserved(me));
        let (ok, lost) = (Ordering::Acquire, Ordering::Relaxed);
        if word.compare_exchange(seen.0, reserved.0, ok, lost).is_err() {
            continue;
        }
        // 2. Relaxed: stays behind the Acquire of the reservation, and publishes nothing.
        slot.mask().fetch_or(flight_bit(flight), Ordering::Relaxed);
        let sent = to.map_or(Stage::From(me), Stage::To);
        // 3. Release: pairs with the Acquire in `begin`: what we see of the value is seen.
        word.store(reserved.become_of(sent).0, Ordering::Release);
        return Some((flight, reserved.number()));
    }
    None
}

/// Begins to receive, or to take back whomever it was sent to (`me` none): nobody else does now.
/// `None`: it was received, taken back, or is another's.
pub(super) fn begin(
    slot: &impl Slot,
    flight: usize,
    number: u32,
    (by, me): (Owner, Option<Owner>),
) -> Option<Begun> {
    let word = slot.flight(flight);
    // Relaxed: the exchange decides.
    let sent = FlightWord(word.load(Ordering::Relaxed));
    let ours = match sent.stage() {
        Some(Stage::From(_)) => true,
        Some(Stage::To(owner)) => me.is_none_or(|me| owner == me),
        _ => false,
    };
    if !ours || sent.number() != number {
        return None;
    }
    let taken = sent.become_of(Stage::Taken(by));
    // 1. Acquire: pairs with the Release of the sender's last step.
    let (ok, lost) = (Ordering::Acquire, Ordering::Relaxed);
    word.compare_exchange(sent.0, taken.0, ok, lost).ok().map(|_| Begun { flight, sent })
}

/// A reference that we are about to receive.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    flight: usize,
    sent: FlightWord,
}

/// It is ours: one exchange puts our bit in the flight's place.
pub(super) fn accept(slot: &impl Slot, begun: Begun, mine: u64) {
    let (mask, bit) = (slot.mask(), flight_bit(begun.flight));
    loop {
        // Relaxed: the exchange decides.
        let seen = mask.load(Ordering::Relaxed);
        // 2. Relaxed: stays behind the Acquire in `begin`; what we do with the value comes later.
        let ours = (seen | mine) & !bit;
        if mask.compare_exchange(seen, ours, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            break;
        }
    }
    finish(slot, begun);
}

/// The flight is free again: its bit is gone.
fn finish(slot: &impl Slot, begun: Begun) {
    // 3. Release: pairs with the Acquire in `send`; and the bit goes before.
    slot.flight(begun.flight).store(begun.sent.become_of(Stage::Free).0, Ordering::Release);
}

/// It is not what we took it for: it can be received by another.
pub(super) fn decline(slot: &impl Slot, begun: Begun) {
    // Release: pairs with the Acquire in `begin`.
    slot.flight(begun.flight).store(begun.sent.0, Ordering::Release);
}

/// It is nobody's: the sender takes it back before it was received.
pub(super) fn discard(slot: &impl Slot, begun: Begun) {
    release(slot, flight_bit(begun.flight));
    finish(slot, begun);
}

/// Clears up what one flight's word says of somebody who is gone. `is_settled`: whether nothing else
/// of such an owner has still to be cleared up before.
pub(super) fn settle(
    slot: &impl Slot,
    flight: usize,
    (peers, me): (&impl Peers, Owner),
    is_settled: impl Fn(Owner) -> bool,
) -> Claimed {
    let word = slot.flight(flight);
    // Relaxed: the proof that follows brings what the dead one did.
    let seen = FlightWord(word.load(Ordering::Relaxed));
    let whose = match seen.stage() {
        Some(Stage::Reserved(owner) | Stage::From(owner)) => owner,
        Some(Stage::To(owner) | Stage::Taken(owner)) => owner,
        Some(Stage::Free) | None => return Claimed::No,
    };
    if !peers.is_gone(whose) {
        return Claimed::No;
    }
    if !is_settled(whose) {
        return Claimed::Later;
    }
    let taken = seen.become_of(Stage::Taken(me));
    // Relaxed: the proof came before, and the bit's exchange is a Release. A word that names the dead
    // never comes back once it is gone.
    if word.compare_exchange(seen.0, taken.0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return Claimed::No;
    }
    // Not set: it had not been sent, or had been received.
    discard(slot, Begun { flight, sent: seen });
    Claimed::Yes
}

/// Claims the recovery of a seat whose process is gone, or whose recoverer is. `is_settled` as in
/// [`settle`].
pub(super) fn claim_seat(
    seat: &AtomicU64,
    (peers, me): (&impl Peers, Owner),
    is_settled: impl Fn(Owner) -> bool,
) -> Claimed {
    // Relaxed: the proof that follows brings what the dead one did, also an earlier recoverer.
    let seen = seat.load(Ordering::Relaxed);
    let gone = |bits| Owner::from_bits(bits).filter(|&owner| peers.is_gone(owner));
    let (by, dead) = match Seat::of(seen) {
        Seat::Live(owner) => (gone(owner), owner),
        Seat::Recovering { dead, by } => (gone(by), dead),
        Seat::Free => return Claimed::No,
    };
    let Some(by) = by else { return Claimed::No };
    if !is_settled(by) || !Owner::from_bits(dead).is_none_or(is_settled) {
        return Claimed::Later;
    }
    let claimed = Seat::Recovering { dead, by: me.to_bits() }.word();
    // Relaxed: the proof came before, and the bit's exchange is a Release. Neither value ever comes
    // back.
    match seat.compare_exchange(seen, claimed, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Claimed::Yes,
        Err(_) => Claimed::No,
    }
}

/// What came of looking at a seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claimed {
    /// It is nobody's that is gone, or another's to recover.
    No,
    /// Its bits are ours to take out.
    Yes,
    /// Its process is gone, and the heap still names it.
    Later,
}

/// Gives a seat up that no mask has a bit of.
pub(super) fn leave_seat(seat: &AtomicU64) {
    // Release: pairs with the Acquire in `take_seat`: the masks are clear of it.
    seat.store(Seat::Free.word(), Ordering::Release);
}

/// Makes us the holder of the first free seat.
pub(super) fn take_seat<'a>(seat: impl Fn(usize) -> &'a AtomicU64, me: Owner) -> Option<usize> {
    let (free, mine) = (Seat::Free.word(), Seat::Live(me.to_bits()).word());
    (0..SEATS).find(|&index| {
        // Acquire: pairs with the Release in `leave_seat`.
        let (ok, lost) = (Ordering::Acquire, Ordering::Relaxed);
        seat(index).compare_exchange(free, mine, ok, lost).is_ok()
    })
}
