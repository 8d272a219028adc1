//! The slots of a typed ring, and the four functions that move elements through them. These are
//! what the loom models run.

use shm_core::primitive::UnsafeCell;

use crate::prefetch;
use crate::ring::{RecvSide, SendSide, Shared, Stop};
use crate::wait::Deadline;

/// One slot. A slot belongs to the consumer while its position lies in `head..tail`, else to the
/// producer; the stores of the positions hand it over.
pub(crate) type Slot<T> = UnsafeCell<T>;

/// The slot of a position.
#[inline(always)]
fn slot<T>(slots: &[Slot<T>], position: u64) -> &Slot<T> {
    // The length is a power of two: a mask, and no bounds check survives it.
    &slots[position as usize & (slots.len() - 1)]
}

/// The slots of `count` positions (at most all), up to the ring's wrap and behind it.
#[inline(always)]
fn run<T>(slots: &[Slot<T>], position: u64, count: usize) -> (&[Slot<T>], &[Slot<T>]) {
    let (before, after) = slots.split_at(position as usize & (slots.len() - 1));
    let to_wrap = count.min(after.len());
    (&after[..to_wrap], &before[..(count - to_wrap).min(before.len())])
}

/// Asks for what is written some sends from now, as long as there is room up to there: farther on the
/// consumer still reads.
#[inline(always)]
fn prefetch<T>(side: &SendSide, slots: &[Slot<T>]) {
    let ahead = prefetch::ahead::<T>();
    if side.knows_room_for(ahead) {
        slot(slots, side.position() + ahead).with(prefetch::to_write);
    }
}

/// The same before `count` slots are written: the lines of the first behind them.
fn prefetch_behind<T>(side: &SendSide, slots: &[Slot<T>], count: u64) {
    let ahead = prefetch::ahead::<T>();
    if side.knows_room_for(count + ahead) {
        let a_line = (prefetch::LINE / size_of::<T>().max(1)).max(1);
        for next in (count..count + ahead).step_by(a_line) {
            slot(slots, side.position() + next).with(prefetch::to_write);
        }
    }
}

/// Sends one element.
#[inline(always)]
pub(crate) fn send<T: Copy>(
    side: &mut SendSide,
    shared: &Shared,
    slots: &[Slot<T>],
    value: T,
    deadline: Deadline,
) -> Result<(), Stop> {
    side.wait_room(shared, 1, deadline)?;
    prefetch(side, slots);
    slot(slots, side.position()).with_mut(|at| {
        // SAFETY: there is room, so the slot is the producer's, whose one thread we are.
        unsafe { at.write(value) }
    });
    side.publish(shared, 1);
    Ok(())
}

/// Receives one element.
#[inline(always)]
pub(crate) fn recv<T: Copy>(
    side: &mut RecvSide,
    shared: &Shared,
    slots: &[Slot<T>],
    deadline: Deadline,
) -> Result<T, Stop> {
    side.wait_ready(shared, 1, deadline)?;
    let value = slot(slots, side.position()).with(|at| {
        // SAFETY: the slot is published, so it is the consumer's, whose one thread we are, and
        // holds an element that the producer finished before.
        unsafe { at.read() }
    });
    side.consume(shared, 1);
    Ok(value)
}

/// Sends from the front of `values` as many as fit, at least one, as one step; how many.
#[inline]
pub(crate) fn send_some<T: Copy>(
    side: &mut SendSide,
    shared: &Shared,
    slots: &[Slot<T>],
    values: &[T],
    deadline: Deadline,
) -> Result<usize, Stop> {
    let room = side.wait_room(shared, values.len() as u64, deadline)?;
    let count = values.len().min(room as usize);
    prefetch_behind(side, slots, count as u64);
    let (front, back) = run(slots, side.position(), count);
    let (values, wrapped) = values[..count].split_at(front.len());
    for (slot, value) in front.iter().zip(values).chain(back.iter().zip(wrapped)) {
        slot.with_mut(|at| {
            // SAFETY: as in `send`: `count` slots are free from the position on.
            unsafe { at.write(*value) }
        });
    }
    side.publish(shared, count as u64);
    Ok(count)
}

/// Receives as many as there are, at most `values.len()` and at least one, as one step.
#[inline]
pub(crate) fn recv_some<T: Copy>(
    side: &mut RecvSide,
    shared: &Shared,
    slots: &[Slot<T>],
    values: &mut [T],
    deadline: Deadline,
) -> Result<usize, Stop> {
    let ready = side.wait_ready(shared, values.len() as u64, deadline)?;
    let count = values.len().min(ready as usize);
    let (front, back) = run(slots, side.position(), count);
    let (values, wrapped) = values[..count].split_at_mut(front.len());
    for (slot, value) in front.iter().zip(values).chain(back.iter().zip(wrapped)) {
        *value = slot.with(|at| {
            // SAFETY: as in `recv`: `count` slots are published from the position on.
            unsafe { at.read() }
        });
    }
    side.consume(shared, count as u64);
    Ok(count)
}
