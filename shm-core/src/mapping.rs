//! A file in memory: plain memory anywhere, an array where the kernel can use huge pages for it.
//!
//! Pages of 4 KiB cost about as much as the data they hold: every process that maps 240 MB fills
//! and empties 60,000 page-table entries, which takes longer than reading the data. With pages of
//! 2 MiB there are 120. A memfd gets them by `MADV_COLLAPSE` (Linux 6.1), which needs no setting of
//! the machine and no privilege; where the kernel refuses, small pages do.
//!
//! The kernel maps a huge page as one entry only where address and file offset agree modulo its
//! size. So mappings of arrays begin at a multiple of it, in a stretch of reserved address space.

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use crate::header::DATA_OFFSET;

/// Size of a huge page. Where it is another, nothing is gained and nothing is lost.
pub(crate) const HUGE: usize = 2 << 20;

/// A shared mapping of a whole file, header included; unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// Where the file begins.
    start: NonNull<c_void>,
    /// Bytes mapped.
    len: usize,
    /// Bytes of data after the header.
    size: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; what is read and written through
// the pointers is the business of those who own the mapping.
unsafe impl Send for Mapping {}
// SAFETY: as above; the methods only give pointers.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps header and `size` bytes of data, for writing too if `writable`; `populate` fills the
    /// page table at once, cheaper than faulting for data that will be read whole.
    pub fn new(
        fd: BorrowedFd<'_>,
        size: usize,
        writable: bool,
        populate: bool,
    ) -> Result<Mapping, rustix::io::Errno> {
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let flags = if populate { MapFlags::SHARED | MapFlags::POPULATE } else { MapFlags::SHARED };
        let len = file_len(size);
        let start = if size < HUGE {
            // SAFETY: a new mapping at an address that the kernel chooses.
            unsafe { mmap(null_mut(), len, prot, flags, fd, 0) }?
        } else {
            map_aligned(fd, len, prot, flags)?
        };
        // A successful mapping is never at address zero.
        let start = NonNull::new(start).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Mapping { start, len, size })
    }

    /// Maps header and `size` bytes of data wherever the kernel likes: one system call. Bytes past
    /// the file's end are address space only, until the file grows.
    pub fn anywhere(
        fd: BorrowedFd<'_>,
        size: usize,
        writable: bool,
    ) -> Result<Mapping, rustix::io::Errno> {
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let len = DATA_OFFSET as usize + size;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { mmap(null_mut(), len, prot, MapFlags::SHARED, fd, 0) }?;
        // A successful mapping is never at address zero.
        let start = NonNull::new(start).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Mapping { start, len, size })
    }

    /// Brings the first `size` bytes of data into memory and into this process's page table.
    pub fn prefault(&self, size: usize, writable: bool) -> Result<(), rustix::io::Errno> {
        let advice = if writable { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
        loop {
            // SAFETY: within the mapping; reads pages in and changes nothing of what they hold.
            match unsafe { madvise(self.data().cast(), size.min(self.size), advice) } {
                // Before Linux 5.14 there is no such advice: the memory comes when it is touched.
                Ok(()) | Err(rustix::io::Errno::INVAL) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Leaves the mapping out of this process's core dumps.
    pub fn exclude_from_core_dumps(&self) -> Result<(), rustix::io::Errno> {
        // SAFETY: the whole mapping is ours; the advice changes nothing of what it holds.
        unsafe { madvise(self.start.as_ptr(), self.len, Advice::LinuxDontDump) }
    }

    /// Where the file begins.
    pub fn header(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }

    /// Where the data begins: valid for [`size`](Mapping::size) bytes.
    pub fn data(&self) -> *mut u8 {
        self.header().wrapping_add(DATA_OFFSET as usize)
    }

    /// Bytes of data.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Gives a new, writable mapping all of its memory now, in huge pages. `false` where the kernel
    /// has none to give: then some of the memory may be there, in small pages.
    ///
    /// One page of each stretch is touched first: a stretch without any is refused. The rest of it
    /// is never there in small pages, so nothing is copied.
    pub fn take_huge_pages(&mut self) -> bool {
        if self.size < HUGE {
            return false;
        }
        for at in (0..self.len).step_by(HUGE) {
            let byte = self.header().wrapping_add(at);
            // SAFETY: within the mapping.
            let value = unsafe { byte.read_volatile() };
            // SAFETY: within the mapping, which is writable and, being new, nobody else's; the
            // byte keeps its value.
            unsafe { byte.write_volatile(value) };
        }
        // SAFETY: the whole mapping is ours; the advice changes how memory is kept, not what it
        // holds.
        let refused = unsafe { libc::madvise(self.start.as_ptr(), self.len, libc::MADV_COLLAPSE) };
        refused == 0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `mmap` with this length, and nobody uses it after its owner. Failing
        // would leave it mapped: no harm but the memory.
        let _ = unsafe { munmap(self.start.as_ptr(), self.len) };
    }
}

/// The size of an array's file: whole huge pages for those that can have them.
pub(crate) fn file_len(size: usize) -> usize {
    let len = DATA_OFFSET as usize + size;
    if size < HUGE { len } else { len.next_multiple_of(HUGE) }
}

/// Maps at a multiple of [`HUGE`]: reserves more address space than needed, maps over the aligned
/// stretch of it, and gives the rest back.
fn map_aligned(
    fd: BorrowedFd<'_>,
    len: usize,
    prot: ProtFlags,
    flags: MapFlags,
) -> Result<*mut c_void, rustix::io::Errno> {
    let reserved = len.checked_add(HUGE).ok_or(rustix::io::Errno::NOMEM)?;
    let nothing = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at an address that the kernel chooses, never accessed.
    let base = unsafe { mmap_anonymous(null_mut(), reserved, ProtFlags::empty(), nothing) }?;
    let before = base.addr().next_multiple_of(HUGE) - base.addr();
    let start = base.wrapping_byte_add(before);
    // SAFETY: replaces pages of the reservation only, which nobody uses.
    let mapped = unsafe { mmap(start, len, prot, flags | MapFlags::FIXED, fd, 0) };
    let (rest, kept) = match mapped {
        Ok(_) => (start.wrapping_byte_add(len), before),
        Err(_) => (start, before),
    };
    if kept > 0 {
        // SAFETY: the unused head of the reservation.
        let _ = unsafe { munmap(base, kept) };
    }
    // SAFETY: the unused tail of the reservation (all of it when mapping failed).
    let _ = unsafe { munmap(rest, base.addr() + reserved - rest.addr()) };
    mapped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn memfd(len: usize) -> std::fs::File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = std::fs::File::from(rustix::fs::memfd_create("test", flags).unwrap());
        file.set_len(len as u64).unwrap();
        file
    }

    #[test]
    fn large_mappings_begin_at_a_huge_page_and_show_the_file() {
        let size = 5 * HUGE + 12_345;
        let file = memfd(file_len(size));
        let writable = Mapping::new(file.as_fd(), size, true, false).unwrap();
        assert_eq!(writable.header().addr() % HUGE, 0);
        let last = writable.data().wrapping_add(size - 1);
        // SAFETY: within the data, mapped writable, used by this test alone.
        unsafe { last.write(7) };
        let readable = Mapping::new(file.as_fd(), size, false, true).unwrap();
        let last = readable.data().wrapping_add(size - 1);
        // SAFETY: within the data.
        assert_eq!(unsafe { last.read() }, 7);
    }

    #[test]
    fn taking_huge_pages_leaves_the_memory_zero_and_takes_all_of_it_or_says_no() {
        let size = 3 * HUGE;
        let file = memfd(file_len(size));
        let mut mapping = Mapping::new(file.as_fd(), size, true, false).unwrap();
        let taken = mapping.take_huge_pages();
        // SAFETY: within the data.
        let data = unsafe { std::slice::from_raw_parts(mapping.data(), size) };
        assert!(data.iter().all(|byte| *byte == 0));
        let blocks = rustix::fs::fstat(&file).unwrap().st_blocks as usize * 512;
        println!("huge pages: {taken}");
        assert!(blocks >= size, "reading filled what was not taken");
    }
}
