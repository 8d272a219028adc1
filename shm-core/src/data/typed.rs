//! A block that says what is in it: `type hash 8 | length 8 | elements`.

use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::heap::{Block, Cell, Local};
use crate::{Error, Peers, ShmSafe};

/// Bytes before the elements, and what the elements are aligned to.
const HEADER: usize = 16;

/// A block that is not what it was taken for; it is given back.
pub struct NotThat<'l, P: Peers + Clone> {
    /// The block.
    pub block: Block<'l, P>,
    /// What it was taken for, and what is in it.
    pub error: Error,
}

impl<P: Peers + Clone> fmt::Debug for NotThat<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NotThat").field(&self.error).finish()
    }
}

impl<P: Peers + Clone> fmt::Display for NotThat<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<P: Peers + Clone> std::error::Error for NotThat<'_, P> {}

/// Elements of a type in a block of ours.
pub(super) struct Typed<'l, T, P: Peers + Clone> {
    block: Block<'l, P>,
    elements: PhantomData<T>,
}

impl<'l, T: ShmSafe, P: Peers + Clone> Typed<'l, T, P> {
    /// Room for so many elements, of which there are none.
    pub fn new(local: &'l Local<P>, kind: u64, capacity: usize) -> Result<Self, Error> {
        let too_large = || Error::BadSize { size: u64::MAX, max: isize::MAX as u64 };
        let align = align_of::<T>();
        if align > HEADER {
            return Err(Error::BadAlignment { align, most: HEADER });
        }
        let size = capacity.checked_mul(size_of::<T>()).and_then(|size| size.checked_add(HEADER));
        let layout = Layout::from_size_align(size.ok_or_else(too_large)?, HEADER);
        let block = local.allocate(layout.map_err(|_| too_large())?)?;
        let mut typed = Typed { block, elements: PhantomData };
        typed.write_header(0, T::LAYOUT.hash() ^ kind);
        typed.set_len(0);
        Ok(typed)
    }

    /// The elements that another process put into a block.
    pub fn from_block(block: Block<'l, P>, kind: u64) -> Result<Self, NotThat<'l, P>> {
        let typed = Typed::<T, P> { block, elements: PhantomData };
        let found = typed.header(0);
        if found != T::LAYOUT.hash() ^ kind || align_of::<T>() > HEADER {
            let error = Error::WrongType { found, wanted: T::LAYOUT.to_string() };
            return Err(NotThat { block: typed.block, error });
        }
        let (len, capacity) = (typed.header(8), typed.capacity() as u64);
        if len > capacity {
            let error = Error::OutOfBounds { start: 0, end: len, len: capacity };
            return Err(NotThat { block: typed.block, error });
        }
        Ok(typed)
    }

    fn header(&self, at: usize) -> u64 {
        let word = self.block.as_ptr().as_ptr().wrapping_add(at).cast::<u64>();
        // SAFETY: a block is at least 16 bytes, aligned to that, and ours alone.
        unsafe { word.read() }
    }

    fn write_header(&mut self, at: usize, value: u64) {
        let word = self.block.as_ptr().as_ptr().wrapping_add(at).cast::<u64>();
        // SAFETY: as in `header`, and borrowed mutably.
        unsafe { word.write(value) };
    }

    /// Elements that there are.
    pub fn len(&self) -> usize {
        // Not beyond the block, whatever stands there.
        (self.header(8) as usize).min(self.capacity())
    }

    pub fn set_len(&mut self, len: usize) {
        self.write_header(8, len as u64);
    }

    /// Elements that there is room for.
    pub fn capacity(&self) -> usize {
        (self.block.size() - HEADER).checked_div(size_of::<T>()).unwrap_or(usize::MAX)
    }

    fn first(&self) -> NonNull<T> {
        let first = self.block.as_ptr().as_ptr().wrapping_add(HEADER).cast();
        // A mapping is never at address zero.
        NonNull::new(first).unwrap_or(NonNull::dangling())
    }

    /// The first `len` elements.
    pub fn slice(&self) -> &[T] {
        // SAFETY: within the block, aligned, and any bytes are valid elements (`ShmSafe`); the block
        // is ours alone.
        unsafe { std::slice::from_raw_parts(self.first().as_ptr(), self.len()) }
    }

    pub fn slice_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `slice`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.first().as_ptr(), self.len()) }
    }

    /// Writes the element behind the last, if there is room.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let len = self.len();
        if len >= self.capacity() {
            return Err(value);
        }
        let place = self.first().as_ptr().wrapping_add(len);
        // SAFETY: within the block, as was just checked, aligned and ours.
        unsafe { place.write(value) };
        self.set_len(len + 1);
        Ok(())
    }

    /// Copies elements behind the last; the caller has seen that there is room.
    pub fn append(&mut self, values: &[T])
    where
        T: Copy,
    {
        let len = self.len();
        let room = self.capacity() - len;
        let values = &values[..values.len().min(room)];
        let place = self.first().as_ptr().wrapping_add(len);
        // SAFETY: within the block, as was just made sure, aligned and ours; the values are
        // elsewhere, since the block is borrowed mutably.
        unsafe { place.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        self.set_len(len + values.len());
    }

    pub fn publish(self, cell: Cell<'_, P>) -> Result<(), Self> {
        self.block.publish(cell).map_err(|block| Typed { block, elements: PhantomData })
    }

    pub fn into_block(self) -> Block<'l, P> {
        self.block
    }
}
