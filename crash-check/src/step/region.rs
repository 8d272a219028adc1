//! The shared memory under test: one mapping, at the same address in every process of a run.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::sys;

/// How many dead a process can be told of; a chain of kills is never that long.
const DEAD_LIMIT: usize = 8;
/// Bytes of the mapping that tells live processes of the really dead.
const GRAVES_LEN: usize = DEAD_LIMIT * size_of::<AtomicU32>();

/// Shared memory, mapped at one address in every process of a run, zeroed at the start.
///
/// Reach it through [`as_ptr`](Region::as_ptr), through the atomic views
/// ([`u32_at`](Region::u32_at) and its like), or, for a structure that maps files itself, through
/// [`fd`](Region::fd) or [`path`](Region::path). In a process that recovers, all of these lead to
/// the image left by the dead, never to the victim's own memory.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
/// let region = crash_check::step::Region::new(4096)?;
/// region.u32_at(64).store(7, Relaxed);
/// assert_eq!(region.u32_at(64).load(Relaxed), 7);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    fd: OwnedFd,
    /// Private to each process: the threads that count as dead here; zero is an empty place.
    ///
    /// Relaxed throughout: filled in by the kit before the scenario's code runs, in one thread.
    dead: [AtomicU32; DEAD_LIMIT],
    /// Shared by all processes of a run: the threads that were really killed in it.
    graves: NonNull<u8>,
}

// SAFETY: the safe methods give out the base address and atomics only; whoever dereferences the
// raw pointer answers for races, in one process as in several.
unsafe impl Send for Region {}
// SAFETY: as above; nothing in `Region` changes through `&self` except atomics.
unsafe impl Sync for Region {}

impl Region {
    /// Maps a fresh anonymous file of `len` bytes, zeroed.
    ///
    /// # Errors
    ///
    /// What `memfd_create(2)` or `mmap(2)` said; `InvalidInput` when `len` is zero.
    pub fn new(len: usize) -> io::Result<Region> {
        let fd = sys::memfd(c"crash-check", len)?;
        let base = sys::map(fd.as_fd(), len)?;
        let graves = sys::map(sys::memfd(c"crash-check dead", GRAVES_LEN)?.as_fd(), GRAVES_LEN)?;
        Ok(Region { base, len, fd, dead: Default::default(), graves })
    }

    /// The first byte. The same address in every process of the run.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// A region is never empty; this is here because `len` is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file behind the memory, for structures that map files themselves.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The same file as an owned handle, for an `attach` that takes a [`File`].
    ///
    /// # Errors
    ///
    /// What `fcntl(F_DUPFD_CLOEXEC)` said.
    pub fn file(&self) -> io::Result<File> {
        self.fd.try_clone().map(File::from)
    }

    /// A path that opens the same file, valid in the calling process.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The byte at `offset` as an atomic.
    ///
    /// # Panics
    ///
    /// If `offset` is outside the region.
    #[must_use]
    pub fn u8_at(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: every bit pattern is an AtomicU8, and it has no invariants.
        unsafe { self.atomic_at(offset) }
    }

    /// The two bytes at `offset` as an atomic.
    ///
    /// # Panics
    ///
    /// If `offset` is not a multiple of 2, or outside the region.
    #[must_use]
    pub fn u16_at(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: every bit pattern is an AtomicU16, and it has no invariants.
        unsafe { self.atomic_at(offset) }
    }

    /// The four bytes at `offset` as an atomic.
    ///
    /// # Panics
    ///
    /// If `offset` is not a multiple of 4, or outside the region.
    #[must_use]
    pub fn u32_at(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: every bit pattern is an AtomicU32, and it has no invariants.
        unsafe { self.atomic_at(offset) }
    }

    /// The eight bytes at `offset` as an atomic.
    ///
    /// # Panics
    ///
    /// If `offset` is not a multiple of 8, or outside the region.
    #[must_use]
    pub fn u64_at(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: every bit pattern is an AtomicU64, and it has no invariants.
        unsafe { self.atomic_at(offset) }
    }

    /// Was the thread `tid` killed by the kit, as far as this process may know?
    ///
    /// This is a proof of death: the victim stores nothing after it. On a copy of the memory the
    /// victim in fact only stands still, so `kill(2)`, a pidfd or a record lock would call it
    /// alive; a structure whose proof of death is a function of its own plugs this in instead.
    #[must_use]
    pub fn is_dead(&self, tid: u32) -> bool {
        // Acquire, for a live process: pairs with the Release in `bury_for_all`.
        let is_grave = |dead: &AtomicU32| dead.load(Ordering::Acquire) == tid;
        tid != 0 && (self.dead.iter().any(is_grave) || self.graves().iter().any(is_grave))
    }

    fn graves(&self) -> &[AtomicU32; DEAD_LIMIT] {
        // SAFETY: mapped by `new` with this very length, page-aligned, for as long as `self`
        // lives; every bit pattern is an AtomicU32.
        unsafe { self.graves.cast().as_ref() }
    }

    /// Tells this process of a death.
    pub(super) fn bury(&self, tid: u32) {
        if let Some(free) = self.dead.iter().find(|dead| dead.load(Ordering::Relaxed) == 0) {
            free.store(tid, Ordering::Relaxed);
        }
    }

    /// Tells every process of a real death, once the victim is gone.
    pub(super) fn bury_for_all(&self, tid: u32) {
        if let Some(free) = self.graves().iter().find(|dead| dead.load(Ordering::Relaxed) == 0) {
            // Release: all that the dead one did, which `waitpid` ordered before this, comes
            // before what a survivor does once it sees the death in `is_dead`.
            free.store(tid, Ordering::Release);
        }
    }

    /// Before a new run on the same region.
    pub(super) fn forget_the_dead(&self) {
        // Relaxed: nobody else runs on the region now.
        self.graves().iter().for_each(|dead| dead.store(0, Ordering::Relaxed));
    }

    /// # Safety
    ///
    /// - Every bit pattern is a valid `T`, and `T` is only ever accessed atomically.
    // Plain arithmetic: every instruction of an unoptimised build is stepped. Sizes of atomics are
    // powers of two.
    #[inline]
    unsafe fn atomic_at<T>(&self, offset: usize) -> &T {
        let size = size_of::<T>();
        if offset & (size - 1) != 0 || offset >= self.len || self.len - offset < size {
            bad_offset(offset, size, self.len);
        }
        let at = (self.base.as_ptr() as usize + offset) as *const T;
        // SAFETY: in bounds and aligned (a mapping is page-aligned), both checked above; mapped
        // for as long as `self` lives; valid as `T` by the caller's promise.
        unsafe { &*at }
    }

    /// Copies the whole region out. Only while nobody else runs on it.
    pub(super) fn copy_out(&self, into: &mut Vec<u8>) {
        read_view(self.base, self.len, into);
    }

    /// Puts `image` in place of what the region holds.
    pub(super) fn copy_in(&self, image: &[u8]) {
        write_view(self.base, self.len, image);
    }

    /// In a child that recovers: puts `arena` in the region's place, under the same address and
    /// descriptor number.
    pub(super) fn replace_with(&self, arena: &Arena) -> io::Result<()> {
        sys::replace_fd(arena.fd.as_fd(), self.fd.as_raw_fd())?;
        // SAFETY: the range is this region's own mapping; what is borrowed from it are atomics,
        // whose values may change at any time.
        unsafe { sys::map_over(self.base, self.fd.as_fd(), self.len) }.map(drop)
    }
}

#[cold]
fn bad_offset(offset: usize, size: usize, len: usize) -> ! {
    panic!("{size} bytes at offset {offset}: not aligned, or outside the region of {len} bytes");
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no borrow outlives `self`.
        unsafe { sys::unmap(self.base, self.len) };
        // SAFETY: as above.
        unsafe { sys::unmap(self.graves, GRAVES_LEN) };
    }
}

/// A copy of an image in a file of its own, seen by the tracer at some other address.
#[derive(Debug)]
pub(super) struct Arena {
    base: NonNull<u8>,
    len: usize,
    fd: OwnedFd,
}

impl Arena {
    /// A fresh file that holds `image`.
    pub(super) fn holding(image: &[u8]) -> io::Result<Arena> {
        let fd = sys::memfd(c"crash-check copy", image.len())?;
        let base = sys::map(fd.as_fd(), image.len())?;
        write_view(base, image.len(), image);
        Ok(Arena { base, len: image.len(), fd })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: mapped by `holding`, and no borrow outlives `self`.
        unsafe { sys::unmap(self.base, self.len) };
    }
}

/// Memory that a stopped process shares with its tracer.
pub(super) trait View: std::fmt::Debug {
    /// Copies the bytes out; the processes that write them are stopped or gone.
    fn image(&self, into: &mut Vec<u8>);
    /// Device and inode of the file, to find its mappings in a process.
    fn identity(&self) -> io::Result<(u64, u64)>;
}

impl View for Region {
    fn image(&self, into: &mut Vec<u8>) {
        self.copy_out(into);
    }
    fn identity(&self) -> io::Result<(u64, u64)> {
        sys::file_len(self.fd.as_fd()).map(|(_, device, inode)| (device, inode))
    }
}

impl View for Arena {
    fn image(&self, into: &mut Vec<u8>) {
        read_view(self.base, self.len, into);
    }
    fn identity(&self) -> io::Result<(u64, u64)> {
        sys::file_len(self.fd.as_fd()).map(|(_, device, inode)| (device, inode))
    }
}

fn read_view(base: NonNull<u8>, len: usize, into: &mut Vec<u8>) {
    into.resize(len, 0);
    // SAFETY: both ranges hold `len` bytes and do not overlap; writers are stopped or gone, so
    // the bytes do not change while they are copied.
    unsafe { std::ptr::copy_nonoverlapping(base.as_ptr(), into.as_mut_ptr(), len) };
}

fn write_view(base: NonNull<u8>, len: usize, image: &[u8]) {
    let len = len.min(image.len());
    // SAFETY: both ranges hold at least `len` bytes and do not overlap; nobody else runs on it.
    unsafe { std::ptr::copy_nonoverlapping(image.as_ptr(), base.as_ptr(), len) };
}
