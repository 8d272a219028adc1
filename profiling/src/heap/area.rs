//! The profile's memory, as its writer sees it: atomic words at offsets.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64};

use super::format::{Layout, Loss};
use super::slot::Slot;

/// The mapped memory of a profile.
///
/// All access is atomic, from any thread, in any order: the memory has no invariant that Rust
/// relies on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area<'a> {
    base: NonNull<u8>,
    pub(crate) layout: &'a Layout,
    mapping: PhantomData<&'a AtomicU64>,
}

impl<'a> Area<'a> {
    /// # Safety
    ///
    /// - `base` is page-aligned, and `layout.length` bytes from it are mapped, readable and
    ///   writable, for `'a`.
    /// - Whoever else uses them does so atomically, too.
    #[inline]
    pub(crate) unsafe fn new(base: NonNull<u8>, layout: &'a Layout) -> Area<'a> {
        Area { base, layout, mapping: PhantomData }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The word at a byte offset: one of the layout's, so a multiple of 8 and inside.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> &'a AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.layout.length);
        // SAFETY: all offsets come from the layout, and are inside its length.
        let word = unsafe { self.base.add(at) }.cast::<AtomicU64>();
        // SAFETY: mapped for 'a and aligned (base to a page, the offset to 8); any bit pattern is
        // an AtomicU64, and everybody's access is atomic, by the promise to `new`.
        unsafe { word.as_ref() }
    }

    /// The byte at a byte offset of the layout.
    #[inline]
    pub(crate) fn byte(&self, at: usize) -> &'a AtomicU8 {
        debug_assert!(at < self.layout.length);
        // SAFETY: all offsets come from the layout, and are inside its length.
        let byte = unsafe { self.base.add(at) }.cast::<AtomicU8>();
        // SAFETY: mapped for 'a; any bit pattern is an AtomicU8; all access is atomic, by the
        // promise to `new`. Bytes of the filter are never accessed as words.
        unsafe { byte.as_ref() }
    }

    /// The slot of a thread.
    #[inline]
    pub(crate) fn slot(&self, nth: usize) -> &'a Slot {
        debug_assert!(nth < usize::from(self.layout.shape.threads));
        // SAFETY: the layout has that many slots, one behind another.
        let slot = unsafe { self.base.add(self.layout.slot(nth)) }.cast::<Slot>();
        // SAFETY: mapped for 'a, aligned to the slot's size; a slot is words only, see `word`.
        unsafe { slot.as_ref() }
    }

    /// Counts something that could not be recorded whole.
    #[cold]
    pub(crate) fn lose(&self, what: Loss) {
        // Relaxed: a count that nothing else depends on.
        self.word(what.at()).fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}
