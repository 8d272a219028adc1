//! The shared memory under test: mapped at the same address in every process of a run.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use super::deaths::Deaths;
use super::memory::Memory;

/// Where the bytes of a region come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A fresh file of so many zero bytes.
    Fresh(usize),
    /// A file that the structure made.
    Given(OwnedFd),
}

impl Source {
    fn map(&self) -> io::Result<Memory> {
        match self {
            Source::Fresh(len) => Memory::new(*len),
            Source::Given(fd) => Memory::of(fd.as_fd()),
        }
    }
}

/// Shared memory, mapped at one address in every process of a run. Zeroed at the start, unless it
/// is a file of the structure's own ([`Scenario::region_of`](super::Scenario::region_of)).
///
/// Reach it through [`as_ptr`](Region::as_ptr), through the atomic views
/// ([`u32_at`](Region::u32_at) and its like), or, for a structure that maps files itself, through
/// [`file`](Region::file), [`fd`](Region::fd) or [`path`](Region::path). In a process that
/// recovers, all of these lead to the image left by the dead, never to the victim's own memory.
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
    memory: Memory,
    others: Vec<Region>,
    deaths: Arc<Deaths>,
}

impl Region {
    /// Maps a fresh anonymous file of `len` bytes, zeroed.
    ///
    /// # Errors
    ///
    /// What `memfd_create(2)` or `mmap(2)` said; `InvalidInput` when `len` is zero.
    pub fn new(len: usize) -> io::Result<Region> {
        Region::of(&Source::Fresh(len), &[])
    }

    /// One region of one or several files.
    pub(super) fn of(first: &Source, others: &[Source]) -> io::Result<Region> {
        let deaths = Arc::new(Deaths::new()?);
        let one = |source: &Source, others| {
            let deaths = deaths.clone();
            source.map().map(|memory| Region { memory, others, deaths })
        };
        let others: io::Result<Vec<Region>> =
            others.iter().map(|source| one(source, Vec::new())).collect();
        one(first, others?)
    }

    /// The first byte. The same address in every process of the run.
    #[must_use]
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.memory.base().as_ptr()
    }

    /// Length in bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// A region is never empty; this is here because `len` is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file behind the memory, for structures that map files themselves.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// The same file as an owned handle, for an `attach` that takes a [`File`].
    ///
    /// # Errors
    ///
    /// What `fcntl(F_DUPFD_CLOEXEC)` said.
    pub fn file(&self) -> io::Result<File> {
        self.memory.fd().try_clone().map(File::from)
    }

    /// A path that opens the same file, valid in the calling process.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd().as_raw_fd()))
    }

    /// File number `nth` of those that [`Scenario::another_file`](super::Scenario::another_file)
    /// added, from 0.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[must_use]
    pub fn other(&self, nth: usize) -> &Region {
        &self.others[nth]
    }

    /// The byte at `offset` as an atomic.
    ///
    /// # Panics
    ///
    /// If `offset` is outside the region.
    #[must_use]
    #[inline]
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
    #[inline]
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
    #[inline]
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
    #[inline]
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
        self.deaths.contains(tid)
    }

    /// # Safety
    ///
    /// - Every bit pattern is a valid `T`, and `T` is only ever accessed atomically.
    // Plain arithmetic: every instruction of an unoptimised build is stepped. Sizes of atomics are
    // powers of two.
    #[inline]
    unsafe fn atomic_at<T>(&self, offset: usize) -> &T {
        let (size, len) = (size_of::<T>(), self.len());
        if offset & (size - 1) != 0 || offset >= len || len - offset < size {
            bad_offset(offset, size, len);
        }
        let at = (self.as_ptr() as usize + offset) as *const T;
        // SAFETY: in bounds and aligned (a mapping is page-aligned), both checked above; mapped
        // for as long as `self` lives; valid as `T` by the caller's promise.
        unsafe { &*at }
    }

    pub(super) fn deaths(&self) -> &Deaths {
        &self.deaths
    }

    fn files(&self) -> impl Iterator<Item = &Memory> {
        std::iter::once(&self.memory).chain(self.others.iter().map(|other| &other.memory))
    }

    /// Copies all files out, one behind another. Only while nobody else runs on them.
    pub(super) fn copy_out(&self, into: &mut Vec<u8>) {
        into.clear();
        self.files().for_each(|file| file.append_to(into));
    }

    /// Puts `image` in place of what the files hold.
    pub(super) fn copy_in(&self, mut image: &[u8]) {
        for file in self.files() {
            let (here, rest) = image.split_at(file.len().min(image.len()));
            file.write(here);
            image = rest;
        }
    }

    /// The word at an offset of the image, where files follow one another.
    pub(super) fn word_in_image(&self, mut offset: usize) -> Option<&AtomicU32> {
        let mut regions = std::iter::once(self).chain(&self.others);
        let region = regions.find(|region| {
            let inside = offset < region.len();
            offset -= if inside { 0 } else { region.len() };
            inside
        })?;
        let fits = offset.is_multiple_of(4) && region.len() - offset >= 4;
        fits.then(|| region.u32_at(offset))
    }

    /// The length of a file that outgrew its part of the region: what lies beyond is not seen.
    pub(super) fn outgrown(&self) -> io::Result<Option<u64>> {
        for file in self.files() {
            let (now, ..) = file.file()?;
            if now > file.len() as u64 {
                return Ok(Some(now));
            }
        }
        Ok(None)
    }

    /// In a child that recovers: puts `arena` in the region's place, under the same addresses and
    /// descriptor numbers.
    pub(super) fn replace_with(&self, arena: &Arena) -> io::Result<()> {
        self.files().zip(&arena.0).try_for_each(|(file, copy)| file.replace_with(copy))
    }
}

#[cold]
fn bad_offset(offset: usize, size: usize, len: usize) -> ! {
    panic!("{size} bytes at offset {offset}: not aligned, or outside the region of {len} bytes");
}

/// A copy of an image in files of its own, seen by the tracer at some other address.
#[derive(Debug)]
pub(super) struct Arena(Vec<Memory>);

impl Arena {
    /// Fresh files, of the same lengths as those of `region`, that hold `image`.
    pub(super) fn holding(mut image: &[u8], region: &Region) -> io::Result<Arena> {
        let copy = |file: &Memory| {
            let (here, rest) = image.split_at(file.len().min(image.len()));
            image = rest;
            Memory::holding(here)
        };
        region.files().map(copy).collect::<io::Result<Vec<Memory>>>().map(Arena)
    }
}

/// A file by device and inode, and where its bytes begin in the image.
pub(super) type FileAt = ((u64, u64), usize);

/// Memory that a stopped process shares with its tracer.
pub(super) trait View: std::fmt::Debug {
    /// Copies the bytes out; the processes that write them are stopped or gone.
    fn image(&self, into: &mut Vec<u8>);
    /// The files, to find their mappings in a process.
    fn files_at(&self) -> io::Result<Vec<FileAt>>;
}

impl View for Region {
    fn image(&self, into: &mut Vec<u8>) {
        self.copy_out(into);
    }
    fn files_at(&self) -> io::Result<Vec<FileAt>> {
        files_at(self.files())
    }
}

impl View for Arena {
    fn image(&self, into: &mut Vec<u8>) {
        into.clear();
        self.0.iter().for_each(|file| file.append_to(into));
    }
    fn files_at(&self) -> io::Result<Vec<FileAt>> {
        files_at(self.0.iter())
    }
}

fn files_at<'a>(files: impl Iterator<Item = &'a Memory>) -> io::Result<Vec<FileAt>> {
    let mut start = 0;
    files
        .map(|file| {
            let (_, device, inode) = file.file()?;
            let file_at = ((device, inode), start);
            start += file.len();
            Ok(file_at)
        })
        .collect()
}
