//! A vector of fixed capacity in a heap.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::typed::{NotThat, Typed};
use crate::heap::{Block, Cell, Local};
use crate::{Error, Group, Peers, ShmSafe};

/// Distinguishes a vector from other things of the same element.
const KIND: u64 = 0x7665_6300;

/// A vector in a heap, held by one thread, whose capacity is fixed when it is made: read and
/// written as a slice.
pub struct FixedVec<'l, T: ShmSafe, P: Peers + Clone = Group>(Typed<'l, T, P>);

impl<'l, T: ShmSafe, P: Peers + Clone> FixedVec<'l, T, P> {
    /// An empty vector with room for at least so many elements.
    ///
    /// # Errors
    /// Those of [`Local::allocate`]; [`Error::BadAlignment`] for types aligned to more than 16;
    /// [`Error::BadSize`] when it could not be addressed.
    pub fn with_capacity(local: &'l Local<P>, capacity: usize) -> Result<Self, Error> {
        Typed::new(local, KIND, capacity).map(FixedVec)
    }

    /// The vector that another process put into the block.
    ///
    /// # Errors
    /// [`Error::WrongType`]; [`Error::OutOfBounds`] for a length that does not fit. The block is
    /// given back.
    pub fn from_block(block: Block<'l, P>) -> Result<Self, NotThat<'l, P>> {
        Typed::from_block(block, KIND).map(FixedVec)
    }

    /// Adds an element at the end.
    ///
    /// # Errors
    /// Gives the element back when there is no room.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        self.0.push(value)
    }

    /// Removes the last elements, so that at most `len` are left.
    pub fn truncate(&mut self, len: usize) {
        if len < self.0.len() {
            self.0.set_len(len);
        }
    }

    /// Elements that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Hands the vector over: see [`Block::publish`].
    ///
    /// # Errors
    /// Gives the vector back if the cell is not empty.
    pub fn publish(self, cell: Cell<'_, P>) -> Result<(), Self> {
        self.0.publish(cell).map_err(FixedVec)
    }

    /// The block, for whoever handles blocks.
    pub fn into_block(self) -> Block<'l, P> {
        self.0.into_block()
    }
}

impl<T: ShmSafe + Copy, P: Peers + Clone> FixedVec<'_, T, P> {
    /// Removes the last element.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.last().copied()?;
        self.truncate(self.len() - 1);
        Some(last)
    }

    /// Adds copies of all elements at the end, or of none.
    ///
    /// # Errors
    /// How many there is room for, if it is fewer.
    pub fn extend_from_slice(&mut self, values: &[T]) -> Result<(), usize> {
        let room = self.capacity() - self.len();
        if values.len() > room {
            return Err(room);
        }
        // Whole elements first, then the length: one store takes all of them in.
        self.0.append(values);
        Ok(())
    }
}

impl<T: ShmSafe, P: Peers + Clone> Deref for FixedVec<'_, T, P> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.slice()
    }
}

impl<T: ShmSafe, P: Peers + Clone> DerefMut for FixedVec<'_, T, P> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.slice_mut()
    }
}

impl<T: ShmSafe + fmt::Debug, P: Peers + Clone> fmt::Debug for FixedVec<'_, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
