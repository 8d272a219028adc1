//! Where a structure lies in a segment: the one check of bounds and alignment.

use std::ptr::NonNull;

use shm_core::Segment;

use crate::Error;

/// The address of `size` bytes at `offset` of the segment's data.
pub(crate) fn place(
    segment: &Segment,
    offset: usize,
    size: usize,
    align: usize,
) -> Result<NonNull<u8>, Error> {
    let end = offset.checked_add(size).filter(|&end| end <= segment.size());
    if end.is_none() {
        return Err(Error::OutOfBounds { offset, size, segment: segment.size() });
    }
    // SAFETY: `offset + size` lies within the segment's data region, which is mapped as a whole.
    let start = unsafe { segment.data().add(offset) };
    if start.addr().get() % align != 0 {
        return Err(Error::Misaligned { offset, align });
    }
    Ok(start)
}
