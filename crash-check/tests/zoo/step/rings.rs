//! Rings that a death wedges.
//!
//! Orderings: in these small structures a Release store publishes what precedes it to the Acquire
//! load of the same word; Relaxed words have one writer, or are guarded by another word.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use crash_check::step::{Region, Scenario};

use super::{judge, me, verdict};
use crate::Specimen;

/// A byte ring in the manner of Aeron's: `head` and `tail` count records for ever, a header a
/// place. 0: nothing yet; below `PADDING`: a message of so many places; above: padding.
mod bytes {
    use super::*;

    const HEAD: usize = 0;
    const TAIL: usize = 8;
    /// What the producer is about to claim: `position + 1`, and how many places.
    const INTENT: usize = 16;
    const INTENT_LEN: usize = 24;
    const HEADERS: usize = 64;
    const CAPACITY: u64 = 8;
    const PADDING: u32 = 0x100;

    fn header(r: &Region, position: u64) -> &AtomicU32 {
        r.u32_at(HEADERS + (position % CAPACITY) as usize * 4)
    }

    pub fn start_near_the_end(r: &Region) {
        r.u64_at(HEAD).store(6, Relaxed);
        r.u64_at(TAIL).store(6, Relaxed);
    }

    /// Claims by moving the tail; what does not fit before the end begins at the start, and the
    /// rest of the lap is padding.
    pub fn offer(r: &Region, len: u64, with_intent: bool) -> Result<(), String> {
        let tail = r.u64_at(TAIL).load(Acquire);
        let to_end = CAPACITY - tail % CAPACITY;
        let padding = if len > to_end { to_end } else { 0 };
        if tail + padding + len - r.u64_at(HEAD).load(Acquire) > CAPACITY {
            return Err("full".to_owned());
        }
        if with_intent {
            r.u64_at(INTENT_LEN).store(padding << 32 | len, Relaxed);
            // Release: the lengths before the word that makes them count.
            r.u64_at(INTENT).store(tail + 1, Release);
        }
        // AcqRel: one claim a position. Killed right behind this, the places have no header.
        let claimed = r.u64_at(TAIL).compare_exchange(tail, tail + padding + len, AcqRel, Relaxed);
        claimed.map_err(|_| "lost a race that nobody else runs in".to_owned())?;
        write_headers(r, tail, padding, len as u32);
        // Release: the headers before the end of the intent.
        r.u64_at(INTENT).store(0, Release);
        Ok(())
    }

    fn write_headers(r: &Region, at: u64, padding: u64, header_of_message: u32) {
        if padding > 0 {
            header(r, at).store(PADDING + padding as u32, Release);
        }
        // Release: the payload, not modelled, before the header.
        header(r, at + padding).store(header_of_message, Release);
    }

    /// Aeron's `unblock`: looks for the next header between the head and the end of the buffer,
    /// and makes padding of what lies before it.
    pub fn unblock(r: &Region) {
        let (head, tail) = (r.u64_at(HEAD).load(Acquire), r.u64_at(TAIL).load(Acquire));
        if head == tail || header(r, head).load(Acquire) != 0 {
            return;
        }
        let end = tail.min(head + CAPACITY - head % CAPACITY);
        let next = (head + 1..end).find(|at| header(r, *at).load(Acquire) != 0);
        if let Some(next) = next {
            header(r, head).store(PADDING + (next - head) as u32, Release);
        }
    }

    /// Completes the dead producer's claim as padding, from its own word.
    pub fn complete_intent(r: &Region) {
        let intent = r.u64_at(INTENT).load(Acquire);
        if intent == 0 {
            return;
        }
        let (at, lengths) = (intent - 1, r.u64_at(INTENT_LEN).load(Relaxed));
        let (padding, len) = (lengths >> 32, lengths as u32);
        if r.u64_at(TAIL).load(Acquire) > at && header(r, at + padding).load(Acquire) == 0 {
            write_headers(r, at, padding, PADDING + len);
        }
        r.u64_at(INTENT).store(0, Release);
    }

    fn poll(r: &Region) -> Option<u32> {
        loop {
            let head = r.u64_at(HEAD).load(Acquire);
            if head == r.u64_at(TAIL).load(Acquire) {
                return None;
            }
            let len = header(r, head).load(Acquire);
            if len == 0 {
                return None;
            }
            header(r, head).store(0, Relaxed);
            r.u64_at(HEAD).store(head + u64::from(len % PADDING), Release);
            if len < PADDING {
                return Some(len);
            }
        }
    }

    /// Another producer's message must come through.
    pub fn later_message_arrives(r: &Region, with_intent: bool) -> Result<(), String> {
        offer(r, 1, with_intent)?;
        while let Some(len) = poll(r) {
            if len == 1 {
                return Ok(());
            }
        }
        Err("a later message is never reached: the consumer waits at a missing header".to_owned())
    }
}

fn padded(with_intent: bool) -> Result<(), String> {
    let recovery = if with_intent { bytes::complete_intent } else { bytes::unblock };
    let scenario = Scenario::new("byte ring: offer 3 places")
        .state("2 places before the end")
        .init(bytes::start_near_the_end)
        .operation(move |r| bytes::offer(r, 3, with_intent))
        .recovery(recovery)
        .validate(|_| ())
        .continuation(move |r| bytes::later_message_arrives(r, with_intent));
    verdict(scenario)
}

#[test]
fn lost_padding_header_is_found() {
    judge(&Specimen {
        name: "ring like Aeron's that loses its padding header",
        bug: "killed between the tail's move and the padding header, the end of the lap is mute",
        broken: || padded(false),
        fixed: || padded(true),
    });
}

/// A ring whose slots carry `state | position`; what the dead consumer had goes back.
mod leases {
    use super::*;

    const HEAD: usize = 0;
    const TAIL: usize = 8;
    const SLOTS: usize = 64;
    const RETURNED: usize = 192;
    const CAPACITY: u64 = 4;
    /// In the upper half of a slot's word; the lower half is the position, or the taker.
    const FREE: u64 = 0;
    const READY: u64 = 1 << 32;
    const TAKEN: u64 = 2 << 32;

    fn slot(r: &Region, at: u64) -> &AtomicU64 {
        r.u64_at(SLOTS + (at % CAPACITY) as usize * 16)
    }

    fn item(r: &Region, at: u64) -> &AtomicU64 {
        r.u64_at(SLOTS + (at % CAPACITY) as usize * 16 + 8)
    }

    pub fn create(r: &Region) {
        for at in 0..CAPACITY {
            slot(r, at).store(FREE | at, Relaxed);
        }
        assert!(push(r, 100) && push(r, 101));
    }

    fn push(r: &Region, value: u64) -> bool {
        let tail = r.u64_at(TAIL).load(Acquire);
        if slot(r, tail).load(Acquire) != FREE | tail {
            return false;
        }
        item(r, tail).store(value, Relaxed);
        // Release: the item before the word that says it is there.
        slot(r, tail).store(READY | tail, Release);
        r.u64_at(TAIL).store(tail + 1, Release);
        true
    }

    pub fn pop(r: &Region) -> Option<u64> {
        for nth in 0..CAPACITY {
            // AcqRel: one taker for what was returned.
            let value = r.u64_at(RETURNED + nth as usize * 8).swap(0, AcqRel);
            if value != 0 {
                return Some(value);
            }
        }
        let mut head = r.u64_at(HEAD).load(Acquire);
        // A dead consumer may have died before it moved the head on.
        while head < r.u64_at(TAIL).load(Acquire)
            && slot(r, head).load(Acquire) == FREE | (head + CAPACITY)
        {
            head += 1;
        }
        // Acquire: pairs with the Release in `push`.
        let taken = TAKEN | u64::from(me());
        slot(r, head).compare_exchange(READY | head, taken, Acquire, Relaxed).ok()?;
        r.u64_at(HEAD).store(head + 1, Release);
        let value = item(r, head).load(Relaxed);
        // Release: the item is read before the slot is free.
        slot(r, head).store(FREE | (head + CAPACITY), Release);
        Some(value)
    }

    fn held_by_the_dead(r: &Region) -> impl Iterator<Item = u64> {
        (0..CAPACITY).filter(|at| {
            let word = slot(r, *at).load(Acquire);
            word & TAKEN != 0 && r.is_dead(word as u32)
        })
    }

    /// The item is ready again where it was: behind the head.
    pub fn ready_again(r: &Region) {
        held_by_the_dead(r).for_each(|at| slot(r, at).store(READY | at, Release));
    }

    /// The item goes to a set that consumers look at first; its slot is free for the next lap.
    pub fn give_back(r: &Region) {
        held_by_the_dead(r).for_each(|at| {
            r.u64_at(RETURNED + at as usize * 8).store(item(r, at).load(Relaxed), Relaxed);
            // Release: the returned item before the slot is free.
            slot(r, at).store(FREE | (at + CAPACITY), Release);
        });
    }

    /// A lap and a half of traffic must pass.
    pub fn goes_on(r: &Region) -> Result<(), String> {
        while pop(r).is_some() {}
        for value in 1..CAPACITY * 2 {
            if !push(r, value) {
                return Err(format!("full for producers at item {value}, empty for consumers"));
            }
            if pop(r).is_none() {
                return Err(format!("item {value} is never seen by consumers"));
            }
        }
        Ok(())
    }
}

fn leased(recovery: fn(&Region)) -> Result<(), String> {
    let scenario = Scenario::new("ring: pop")
        .state("two items")
        .init(leases::create)
        .operation(|r| leases::pop(r).map(drop).ok_or("empty"))
        .recovery(recovery)
        .validate(|_| ())
        .continuation(leases::goes_on);
    verdict(scenario)
}

#[test]
fn ready_again_ring_is_found() {
    judge(&Specimen {
        name: "ready-again ring",
        bug: "a dead consumer's slot is made ready again behind the head: full and empty at once",
        broken: || leased(leases::ready_again),
        fixed: || leased(leases::give_back),
    });
}
