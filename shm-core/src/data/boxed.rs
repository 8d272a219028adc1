//! One value in a heap.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::typed::{NotThat, Typed};
use crate::heap::{Block, Cell, Local};
use crate::{Error, Group, Peers, ShmSafe};

/// Distinguishes a box from other things of the same element.
const KIND: u64 = 0x626f_7800;

/// A value in a heap, held by one thread: read and written like a `std::boxed::Box`.
///
/// ```
/// use shm_core::data::Box;
/// # use shm_core::heap::{Heap, HeapOptions};
/// # use shm_core::{Group, Segment};
/// # let (segment, group) = (Segment::anonymous(4 << 20)?, Group::anonymous()?);
/// # let heap = Heap::create(&segment, &group, HeapOptions::default())?;
/// let local = heap.local()?;
/// let mut counts = Box::new(&local, [0u64; 3])?;
/// counts[1] += 1;
/// assert_eq!(*counts, [0, 1, 0]);
/// # Ok::<(), shm_core::Error>(())
/// ```
pub struct Box<'l, T: ShmSafe, P: Peers + Clone = Group>(Typed<'l, T, P>);

impl<'l, T: ShmSafe, P: Peers + Clone> Box<'l, T, P> {
    /// Puts a value into a block.
    ///
    /// # Errors
    /// Those of [`Local::allocate`]; [`Error::BadAlignment`] for types aligned to more than 16.
    pub fn new(local: &'l Local<P>, value: T) -> Result<Self, Error> {
        let mut typed = Typed::new(local, KIND, 1)?;
        // There is room for one.
        let _ = typed.push(value);
        Ok(Box(typed))
    }

    /// The value that another process put into the block.
    ///
    /// # Errors
    /// [`Error::WrongType`]; the block is given back.
    pub fn from_block(block: Block<'l, P>) -> Result<Self, NotThat<'l, P>> {
        let typed = Typed::<T, P>::from_block(block, KIND)?;
        if typed.len() == 1 {
            return Ok(Box(typed));
        }
        let error = Error::OutOfBounds { start: 0, end: 1, len: typed.len() as u64 };
        Err(NotThat { block: typed.into_block(), error })
    }

    /// Hands the value over: see [`Block::publish`].
    ///
    /// # Errors
    /// Gives the value back if the cell is not empty.
    pub fn publish(self, cell: Cell<'_, P>) -> Result<(), Self> {
        self.0.publish(cell).map_err(Box)
    }

    /// The block, for whoever handles blocks.
    pub fn into_block(self) -> Block<'l, P> {
        self.0.into_block()
    }
}

impl<T: ShmSafe, P: Peers + Clone> Deref for Box<'_, T, P> {
    type Target = T;

    fn deref(&self) -> &T {
        // There is one: made or checked so, and nobody else writes the length.
        &self.0.slice()[0]
    }
}

impl<T: ShmSafe, P: Peers + Clone> DerefMut for Box<'_, T, P> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.slice_mut()[0]
    }
}

impl<T: ShmSafe + fmt::Debug, P: Peers + Clone> fmt::Debug for Box<'_, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
