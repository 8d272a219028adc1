//! A string of fixed capacity in a heap.

use std::fmt;
use std::ops::Deref;

use super::FixedVec;
use super::typed::NotThat;
use crate::heap::{Block, Cell, Local};
use crate::{Error, Group, Peers};

/// Text in a heap, held by one thread, whose capacity in bytes is fixed when it is made: read as a
/// `str`.
pub struct FixedString<'l, P: Peers + Clone = Group>(FixedVec<'l, u8, P>);

impl<'l, P: Peers + Clone> FixedString<'l, P> {
    /// An empty string with room for at least so many bytes.
    ///
    /// # Errors
    /// Those of [`Local::allocate`].
    pub fn with_capacity(local: &'l Local<P>, bytes: usize) -> Result<Self, Error> {
        FixedVec::with_capacity(local, bytes).map(FixedString)
    }

    /// A copy of a text.
    ///
    /// # Errors
    /// Those of [`Local::allocate`].
    pub fn copy_of(local: &'l Local<P>, text: &str) -> Result<Self, Error> {
        let mut copy = FixedString::with_capacity(local, text.len())?;
        // It fits: there is room for all of it.
        let _ = copy.push_str(text);
        Ok(copy)
    }

    /// The text that another process put into the block: it is checked to be UTF-8.
    ///
    /// # Errors
    /// Those of [`FixedVec::from_block`]; [`Error::WrongType`] for bytes that are no text.
    pub fn from_block(block: Block<'l, P>) -> Result<Self, NotThat<'l, P>> {
        let bytes = FixedVec::<u8, P>::from_block(block)?;
        if std::str::from_utf8(&bytes).is_ok() {
            return Ok(FixedString(bytes));
        }
        let error = Error::WrongType { found: 0, wanted: "UTF-8 text".to_owned() };
        Err(NotThat { block: bytes.into_block(), error })
    }

    /// Adds a text at the end, whole or not at all.
    ///
    /// # Errors
    /// How many bytes there is room for, if it is fewer.
    pub fn push_str(&mut self, text: &str) -> Result<(), usize> {
        self.0.extend_from_slice(text.as_bytes())
    }

    /// Bytes that there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Hands the string over: see [`Block::publish`].
    ///
    /// # Errors
    /// Gives the string back if the cell is not empty.
    pub fn publish(self, cell: Cell<'_, P>) -> Result<(), Self> {
        self.0.publish(cell).map_err(FixedString)
    }
}

impl<P: Peers + Clone> Deref for FixedString<'_, P> {
    type Target = str;

    fn deref(&self) -> &str {
        // SAFETY: made of `str`s, or checked by `from_block`; nobody else writes the block.
        unsafe { std::str::from_utf8_unchecked(&self.0) }
    }
}

impl<P: Peers + Clone> fmt::Debug for FixedString<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
