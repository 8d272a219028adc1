//! A reference to a shared value, and the plain bytes as which it travels.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc as Private;
use std::sync::atomic::AtomicUsize;
// Of the private counts: Release for a handle that goes, Acquire for the last: every use of the value
// comes before what is done with its slot. Relaxed: one more, by whoever has one or has the lock.
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::steps;
use super::table::InHeap;
use super::table::Words;
use super::words::{FLIGHTS, seat_bit};
use super::{Arcs, Inner, State};
use crate::data::{Elements, Init, Payload, payload_layout};
use crate::layout::{Field, Layout, Shape};
use crate::primitive::Ordering;
use crate::{Concurrent, Error, Group, Owner, Peers, ShmSafe};

/// A value in a heap that many processes share: [`std::sync::Arc`] between processes.
///
/// Clones within a process are counted privately: one atomic increment, as std's; in shared memory
/// stands one bit for each process. The value is freed with the last reference of the last process, however
/// that ends. Values are used through `&T`, so they are of types that many may use at once:
/// atomics, locks, [`ReadOnly`](crate::data::ReadOnly) data; `Arc<[T]>` holds a slice of them.
///
/// In a forked child an inherited `Arc` can be read, and does nothing else: it cannot be sent, and
/// dropping it releases nothing.
pub struct Arc<T: Payload + ?Sized, P: Peers + Clone = Group> {
    value: NonNull<T>,
    /// How many handles this process has: in `Inner::counts`. While it is not 0, so is the count of
    /// references to `inner`, of which one is the slot's.
    count: NonNull<AtomicUsize>,
    inner: NonNull<Inner<P>>,
    slot: u32,
}

// SAFETY: the value may be used by many threads (`Payload`); the count is atomic, and `Inner` is
// `Send` and `Sync`.
unsafe impl<T: Payload + ?Sized, P: Peers + Clone + Send + Sync> Send for Arc<T, P> {}
// SAFETY: as above.
unsafe impl<T: Payload + ?Sized, P: Peers + Clone + Send + Sync> Sync for Arc<T, P> {}

impl<T: Concurrent, P: Peers + Clone> Arc<T, P> {
    /// Puts a value into the heap.
    ///
    /// Killed before it returns: there is no value. Cost: an allocation, a compare-and-swap for the
    /// slot and one to put the block there, and a lock within the process.
    ///
    /// # Errors
    /// Those of [`Local::allocate`](crate::heap::Local::allocate); [`Error::TooManyValues`].
    #[inline]
    pub fn new(arcs: &Arcs<P>, value: T) -> Result<Self, Error> {
        Arc::make(arcs, Init::One(value))
    }
}

impl<T: Elements + ?Sized, P: Peers + Clone> Arc<T, P> {
    /// Puts values into the heap, side by side.
    ///
    /// # Errors
    /// As [`Arc::new`]; [`Error::BadSize`] when they could not be addressed.
    pub fn from_values(
        arcs: &Arcs<P>,
        values: impl IntoIterator<Item = T::Element>,
    ) -> Result<Self, Error> {
        Arc::make(arcs, Init::Many(values.into_iter().collect()))
    }

    /// Puts copies of values into the heap, side by side: one pass over them.
    ///
    /// # Errors
    /// As [`from_values`](Arc::from_values).
    pub fn copy_of(arcs: &Arcs<P>, values: &[T::Element]) -> Result<Self, Error>
    where
        T::Element: Copy,
    {
        Arc::make(arcs, Init::Copied(values))
    }

    /// Puts so many elements into the heap whose bytes are all zero.
    ///
    /// # Errors
    /// As [`from_values`](Arc::from_values).
    pub fn zeroed(arcs: &Arcs<P>, len: usize) -> Result<Self, Error> {
        Arc::make(arcs, Init::Zeroed(len))
    }
}

/// Bytes before the value in its block: `type hash 8 | length 8`, and what alignment asks for.
const fn header<T: Payload + ?Sized>() -> usize {
    if T::ALIGN > 16 { T::ALIGN } else { 16 }
}

/// Size and alignment of the block for so many elements.
#[inline]
fn block<T: Payload + ?Sized>(len: usize) -> Result<std::alloc::Layout, Error> {
    let value = payload_layout::<T>(len)?;
    let too_large = |_| Error::BadSize { size: u64::MAX, max: isize::MAX as u64 };
    let size = value.size().saturating_add(header::<T>());
    std::alloc::Layout::from_size_align(size, header::<T>()).map_err(too_large)
}

#[cold]
fn not_whole() -> Error {
    Error::BadHeap { what: "its tables of shared values are whole" }
}

impl<T: Payload + ?Sized, P: Peers + Clone> Arc<T, P> {
    #[inline]
    fn make(arcs: &Arcs<P>, init: Init<'_, T::Element>) -> Result<Self, Error> {
        let inner = &arcs.inner;
        if !inner.is_ours() {
            return Err(Error::Inherited);
        }
        let len = init.len();
        let layout = block::<T>(len)?;
        let mut state = inner.state();
        let State { local, free } = &mut *state;
        let block = local.allocate(layout)?;
        let (slot, at) = inner.claim(local, free)?;
        let there = InHeap { local, at };
        let start = block.as_ptr().as_ptr();
        for (at, word) in [(0, T::HASH), (8, len as u64)] {
            let place = start.wrapping_add(at).cast::<u64>();
            // SAFETY: within the header, aligned to 16, and ours alone.
            unsafe { place.write(word) };
        }
        let start = start.wrapping_add(header::<T>());
        // SAFETY: the block has room for them behind its header, aligned, and is ours alone.
        unsafe { init.write::<T>(start) };
        let cell = there.cell()?;
        if !cell.is_empty() {
            // What an earlier holder could not free for want of an entry.
            steps::Slot::free(&there);
        }
        let count = inner.counts.of(slot);
        let (Some(count), Ok(())) = (count, block.publish(cell)) else {
            steps::release(&there, seat_bit(inner.seat));
            return Err(not_whole());
        };
        let made = Arc::hold(inner, (slot, count), T::of(start, len));
        drop(state);
        Ok(made)
    }

    /// One more handle of this process for a slot whose bit is ours; under the lock of the process.
    #[inline]
    fn hold(
        inner: &Private<Inner<P>>,
        (slot, count): (u32, NonNull<AtomicUsize>),
        value: *const T,
    ) -> Self {
        // SAFETY: a place in a mapping is never at address zero.
        let value = unsafe { NonNull::new_unchecked(value.cast_mut()) };
        // SAFETY: in the counts of `inner`, which is borrowed.
        let handles = unsafe { count.as_ref() };
        // Relaxed: from 0 nobody but us changes it, who have the lock.
        if handles.load(Relaxed) == 0 {
            handles.store(1, Relaxed);
            // The slot's reference, which the last handle gives up.
            std::mem::forget(Private::clone(inner));
        } else {
            handles.fetch_add(1, Relaxed);
        }
        // SAFETY: a reference counted value is never at address zero.
        let inner = unsafe { NonNull::new_unchecked(Private::as_ptr(inner).cast_mut()) };
        Arc { value, count, inner, slot }
    }

    fn inner(&self) -> &Inner<P> {
        // SAFETY: this handle is counted, and so the slot has a reference to it.
        unsafe { self.inner.as_ref() }
    }

    #[inline(always)]
    fn count(&self) -> &AtomicUsize {
        // SAFETY: in the counts of `inner`, which lives as in `inner()`.
        unsafe { self.count.as_ref() }
    }

    /// Where the words of the slot lie.
    fn at(&self) -> Result<u64, Error> {
        let inner = self.inner();
        inner.tables.slot(&inner.heap, self.slot)?.ok_or_else(not_whole)
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
        let inner = self.inner();
        if !inner.is_ours() {
            return Err(Error::Inherited);
        }
        let words = Words { heap: &inner.heap, at: self.at()? };
        let sent = steps::send(&words, inner.me, to);
        let (flight, number) = sent.ok_or(Error::TooManyFlights { max: FLIGHTS })?;
        Ok(Flight { slot: self.slot, flight: flight as u32, number, unused: 0 })
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
        let count = inner.counts.of(flight.slot).ok_or(Error::NotOnItsWay)?;
        let state = inner.state();
        let words = Words { heap: &inner.heap, at };
        let begun =
            steps::begin(&words, flight.flight as usize, flight.number, (inner.me, Some(inner.me)));
        let begun = begun.ok_or(Error::NotOnItsWay)?;
        let value = match Self::look(inner, &state, at) {
            Ok(found) => found,
            Err(error) => {
                steps::decline(&words, begun);
                return Err(error);
            }
        };
        steps::accept(&words, begun, seat_bit(inner.seat));
        let received = Arc::hold(inner, (flight.slot, count), value);
        drop(state);
        Ok(received)
    }

    /// The value in the block of a slot, if it is what this is a reference to. Somebody's bit is set
    /// meanwhile.
    fn look(inner: &Inner<P>, state: &State<P>, at: u64) -> Result<*const T, Error> {
        let cell = InHeap { local: &state.local, at }.cell()?;
        let offset = cell.peek(&inner.heap).ok_or_else(not_whole)?;
        // Relaxed: came with the flight; nobody writes it any more.
        let read = |at: u64| inner.heap.word(offset + at).load(Ordering::Relaxed);
        if !inner.heap.holds(offset, header::<T>() as u64) {
            return Err(not_whole());
        }
        let (found, len) = (read(0), read(8));
        if found != T::HASH {
            return Err(Error::WrongType { found, wanted: T::name() });
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let size = block::<T>(len)?.size() as u64;
        if !T::fits(len) || !inner.heap.holds(offset, size) {
            return Err(not_whole());
        }
        let start = inner.heap.pointer(offset).ok_or_else(not_whole)?;
        Ok(T::of(start.as_ptr().wrapping_add(header::<T>()), len))
    }

    /// The heap that it lies in.
    #[cfg(feature = "serde")]
    pub(super) fn place(&self) -> (crate::SegmentId, u64) {
        self.inner().heap.place()
    }

    /// How many processes hold the value, and how many references are on their way: of a moment.
    #[must_use]
    pub fn holders(&self) -> (u32, u32) {
        let Ok(at) = self.at() else { return (0, 0) };
        // Relaxed: for people.
        let mask = self.inner().heap.word(at).load(Ordering::Relaxed);
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
        // Relaxed: there is a handle, so nobody gives the bit up.
        self.count().fetch_add(1, Relaxed);
        Arc { value: self.value, count: self.count, inner: self.inner, slot: self.slot }
    }
}

impl<T: Payload + ?Sized, P: Peers + Clone> Drop for Arc<T, P> {
    #[inline]
    fn drop(&mut self) {
        let count = self.count();
        // Relaxed: the exchange decides.
        let mut seen = count.load(Relaxed);
        while seen > 1 {
            // Release: what this thread did with the value comes before the last handle's `fetch_sub`.
            match count.compare_exchange_weak(seen, seen - 1, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        Inner::give_up(self.inner, (self.slot, self.count));
    }
}

impl<P: Peers + Clone> Inner<P> {
    /// One handle fewer, perhaps the last: that takes our bit out.
    #[inline(never)]
    fn give_up(this: NonNull<Self>, (slot, count): (u32, NonNull<AtomicUsize>)) {
        // SAFETY: the handle that is dropped is still counted: the slot has a reference.
        let inner = unsafe { this.as_ref() };
        if !inner.is_ours() {
            return;
        }
        let mut state = inner.state();
        // SAFETY: in the counts of `inner`.
        let count = unsafe { count.as_ref() };
        // Acquire: pairs with the Release of the other handles' drops. 1 is ours, and nobody else
        // changes it without the lock; so the store is Relaxed.
        if count.load(Acquire) == 1 {
            count.store(0, Relaxed);
        } else if count.fetch_sub(1, Acquire) != 1 {
            return;
        }
        inner.release(&mut state, slot);
        drop(state);
        // SAFETY: made by `Private::clone` and forgotten in `hold`; the count is 0, and the next
        // that makes it 1 brings a reference of its own.
        drop(unsafe { Private::from_raw(this.as_ptr().cast_const()) });
    }

    /// Takes our bit out of a slot's mask.
    fn release(&self, state: &mut State<P>, slot: u32) {
        let Ok(Some(at)) = self.tables.slot(&self.heap, slot) else { return };
        steps::release(&InHeap { local: &state.local, at }, seat_bit(self.seat));
        // Relaxed: a hint.
        if self.heap.word(at).load(Ordering::Relaxed) == 0 {
            state.free.note(slot);
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
