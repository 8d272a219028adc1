//! A reference to a shared value, and the plain bytes as which it travels.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use super::payload::{self, Payload};
use super::steps;
use super::table::InHeap;
use super::words::{FLIGHTS, seat_bit};
use super::{Arcs, Inner, State};
use crate::layout::{Field, Layout, Shape};
use crate::primitive::Ordering;
use crate::{Concurrent, Error, Group, Owner, Peers, ShmSafe};

/// A value in a heap that many processes share: [`std::sync::Arc`] between processes.
///
/// Clones within a process are counted privately and cost what std's do; in shared memory stands one
/// bit for each process. The value is freed with the last reference of the last process, however
/// that ends. Values are used through `&T`, so they are of types that many may use at once:
/// atomics, locks, [`ReadOnly`](super::ReadOnly) data; `Arc<[T]>` holds a slice of them.
///
/// In a forked child an inherited `Arc` can be read, and does nothing else: it cannot be sent, and
/// dropping it releases nothing.
pub struct Arc<T: Payload + ?Sized, P: Peers + Clone = Group> {
    value: NonNull<T>,
    side: std::sync::Arc<Side<P>>,
}

/// A process's hold on a slot: one for each time it was made or received here.
struct Side<P: Peers + Clone> {
    inner: std::sync::Arc<Inner<P>>,
    slot: u32,
    at: u64,
}

// SAFETY: the value may be used by many threads (`Payload`), and the side is `Send` and `Sync`.
unsafe impl<T: Payload + ?Sized, P: Peers + Clone + Send + Sync> Send for Arc<T, P> {}
// SAFETY: as above.
unsafe impl<T: Payload + ?Sized, P: Peers + Clone + Send + Sync> Sync for Arc<T, P> {}

impl<T: Concurrent + Send, P: Peers + Clone> Arc<T, P> {
    /// Puts a value into the heap.
    ///
    /// Killed before it returns: there is no value. Cost: an allocation, a compare-and-swap for the
    /// slot and one to put the block there.
    ///
    /// # Errors
    /// Those of [`Local::allocate`](crate::heap::Local::allocate); [`Error::TooManyValues`].
    pub fn new(arcs: &Arcs<P>, value: T) -> Result<Self, Error> {
        Arc::make(arcs, vec![value])
    }
}

impl<T: Concurrent + Send, P: Peers + Clone> Arc<[T], P> {
    /// Puts values into the heap, side by side.
    ///
    /// # Errors
    /// As [`Arc::new`]; [`Error::BadSize`] when they could not be addressed.
    pub fn from_values(arcs: &Arcs<P>, values: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        Arc::make(arcs, values.into_iter().collect())
    }
}

impl<T: Payload + ?Sized, P: Peers + Clone> Arc<T, P> {
    fn make(arcs: &Arcs<P>, values: Vec<T::Element>) -> Result<Self, Error> {
        let inner = &arcs.inner;
        if !inner.is_ours() {
            return Err(Error::Inherited);
        }
        let layout = payload::layout::<T::Element>(values.len())?;
        let mut state = inner.state();
        let State { local, counts, cursor } = &mut *state;
        let block = local.allocate(layout)?;
        let (slot, at) = inner.claim(local, cursor)?;
        let there = InHeap { local, at };
        let (start, len) = (block.as_ptr().as_ptr(), values.len());
        let first = payload::first::<T::Element>(start);
        for (at, word) in [(0, payload::hash::<T>()), (8, len as u64)] {
            let place = start.wrapping_add(at).cast::<u64>();
            // SAFETY: within the header, aligned to 16, and ours alone.
            unsafe { place.write(word) };
        }
        for (index, value) in values.into_iter().enumerate() {
            let place = first.wrapping_add(index);
            // SAFETY: the block has room for all of them, aligned, and is ours alone.
            unsafe { place.write(value) };
        }
        let cell = there.cell()?;
        // What an earlier holder could not free for want of an entry.
        steps::Slot::free(&there);
        if block.publish(cell).is_err() {
            steps::release(&there, seat_bit(inner.seat));
            return Err(Error::BadHeap { what: "its tables of shared values are whole" });
        }
        Inner::<P>::count(counts, slot);
        drop(state);
        Ok(Arc::of(inner, (slot, at), first, len))
    }

    fn of(
        inner: &std::sync::Arc<Inner<P>>,
        (slot, at): (u32, u64),
        first: *const T::Element,
        len: usize,
    ) -> Self {
        // SAFETY: a place in a mapping is never at address zero.
        let value = unsafe { NonNull::new_unchecked(T::of(first, len).cast_mut()) };
        let inner = std::sync::Arc::clone(inner);
        Arc { value, side: std::sync::Arc::new(Side { inner, slot, at }) }
    }

    /// Sends a reference: what travels is a [`Flight`], over any queue, pipe or cell. The value lives
    /// at least until it is received.
    ///
    /// With `to` it is for that member of the group alone, outlives its sender, and goes with its
    /// receiver. Without, whoever comes first receives it, and if this process ends before that it
    /// is taken back: then receiving is an error.
    ///
    /// Linearization point: the last store, to the flight's word. A process that is killed before it
    /// has sent nothing. Progress: wait-free. Cost: one compare-and-swap and one `fetch_or`.
    ///
    /// # Errors
    /// [`Error::TooManyFlights`]; [`Error::Inherited`].
    pub fn send(&self, to: Option<Owner>) -> Result<Flight, Error> {
        let Side { inner, slot, at } = &*self.side;
        if !inner.is_ours() {
            return Err(Error::Inherited);
        }
        let words = super::table::Words { heap: &inner.heap, at: *at };
        let sent = steps::send(&words, inner.me, to);
        let (flight, number) = sent.ok_or(Error::TooManyFlights { max: FLIGHTS })?;
        Ok(Flight { slot: *slot, flight: flight as u32, number, unused: 0 })
    }

    /// Receives a reference that was sent.
    ///
    /// Linearization point: the exchange on the mask. A process that is killed before it has received
    /// nothing; the reference is released, as if it had been. Progress: lock-free. Cost: two
    /// compare-and-swaps, and a lock within the process.
    ///
    /// # Errors
    /// [`Error::NotOnItsWay`]; [`Error::WrongType`], and it can be received as what it is.
    pub fn receive(arcs: &Arcs<P>, flight: Flight) -> Result<Self, Error> {
        let inner = &arcs.inner;
        if !inner.is_ours() {
            return Err(Error::Inherited);
        }
        let at = inner.tables.slot(&inner.heap, flight.slot)?.ok_or(Error::NotOnItsWay)?;
        let mut state = inner.state();
        let words = super::table::Words { heap: &inner.heap, at };
        let begun =
            steps::begin(&words, flight.flight as usize, flight.number, (inner.me, Some(inner.me)));
        let begun = begun.ok_or(Error::NotOnItsWay)?;
        let (first, len) = match Self::look(inner, &state, at) {
            Ok(found) => found,
            Err(error) => {
                steps::decline(&words, begun);
                return Err(error);
            }
        };
        steps::accept(&words, begun, seat_bit(inner.seat));
        Inner::<P>::count(&mut state.counts, flight.slot);
        drop(state);
        Ok(Arc::of(inner, (flight.slot, at), first, len))
    }

    /// The elements in the block of a slot, if they are what this is a reference to. Somebody's bit
    /// is set meanwhile.
    fn look(
        inner: &Inner<P>,
        state: &State<P>,
        at: u64,
    ) -> Result<(*const T::Element, usize), Error> {
        let bad = || Error::BadHeap { what: "its tables of shared values are whole" };
        let cell = InHeap { local: &state.local, at }.cell()?;
        let offset = cell.peek(&inner.heap).ok_or_else(bad)?;
        // Relaxed: came with the flight; nobody writes it any more.
        let read = |at: u64| inner.heap.word(offset + at).load(Ordering::Relaxed);
        if !inner.heap.holds(offset, payload::header::<T::Element>() as u64) {
            return Err(bad());
        }
        let (found, len) = (read(0), read(8));
        if found != payload::hash::<T>() {
            let wanted = format!("shared {}", T::Element::LAYOUT);
            return Err(Error::WrongType { found, wanted });
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let size = payload::layout::<T::Element>(len)?.size() as u64;
        if !T::fits(len) || !inner.heap.holds(offset, size) {
            return Err(bad());
        }
        let start = inner.heap.pointer(offset).ok_or_else(bad)?;
        Ok((payload::first::<T::Element>(start.as_ptr()), len))
    }

    /// The heap that it lies in.
    #[cfg(feature = "serde")]
    pub(super) fn place(&self) -> (crate::SegmentId, u64) {
        self.side.inner.heap.place()
    }

    /// How many processes hold the value, and how many references are on their way: of a moment.
    #[must_use]
    pub fn holders(&self) -> (u32, u32) {
        // Relaxed: for people.
        let mask = self.side.inner.heap.word(self.side.at).load(Ordering::Relaxed);
        let flights = (mask >> super::SEATS).count_ones();
        (mask.count_ones() - flights, flights)
    }
}

impl<P: Peers + Clone> Arcs<P> {
    /// Takes back a reference that was sent and not received: for transports that know that it will
    /// not be. Whether it was on its way.
    ///
    /// # Errors
    /// [`Error::Inherited`]; [`Error::TooManyRoots`].
    pub fn recall(&self, flight: Flight) -> Result<bool, Error> {
        let inner = &self.inner;
        if !inner.is_ours() {
            return Err(Error::Inherited);
        }
        let Some(at) = inner.tables.slot(&inner.heap, flight.slot)? else { return Ok(false) };
        let state = inner.state();
        let slot = InHeap { local: &state.local, at };
        let (which, number) = (flight.flight as usize, flight.number);
        let begun = steps::begin(&slot, which, number, (inner.me, None));
        if let Some(begun) = begun {
            steps::discard(&slot, begun);
        }
        Ok(begun.is_some())
    }
}

impl<T: Payload + ?Sized, P: Peers + Clone> Deref for Arc<T, P> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: mapped as long as the side's heap, in a block that is not freed while our bit is
        // set, checked to be a `T`, for which any bytes are valid and every access is atomic or
        // under a lock.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Payload + ?Sized, P: Peers + Clone> Clone for Arc<T, P> {
    #[inline(always)]
    fn clone(&self) -> Self {
        Arc { value: self.value, side: std::sync::Arc::clone(&self.side) }
    }
}

impl<P: Peers + Clone> Drop for Side<P> {
    fn drop(&mut self) {
        if self.inner.is_ours() {
            self.inner.uncount(self.slot, self.at);
        }
    }
}

impl<T: Payload + fmt::Debug + ?Sized, P: Peers + Clone> fmt::Debug for Arc<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A reference on its way: plain bytes, good for one [`Arc::receive`] in the same heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(C)]
pub struct Flight {
    slot: u32,
    flight: u32,
    number: u32,
    unused: u32,
}

// SAFETY: four numbers side by side.
unsafe impl ShmSafe for Flight {
    const LAYOUT: Layout = {
        const fn number(name: &'static str, offset: usize) -> Field {
            Field { name, offset, layout: &u32::LAYOUT }
        }
        const FIELDS: &[Field] =
            &[number("slot", 0), number("flight", 4), number("number", 8), number("unused", 12)];
        let shape = Shape::Record { version: 1, fields: FIELDS };
        Layout { name: "Flight", size: 16, align: 4, shape }
    };
}
