//! The file that a profile lives in: made, sized, mapped; and replaced in a forked child.
//!
//! Nothing here allocates or locks: it runs inside the program's allocator, and between `fork` and
//! whatever comes next.
//!
//! Orderings: `Relaxed` on the descriptor's facts: written before the base address, which Release and
//! Acquire publish, or by the only thread of a new child.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64};

use rustix::fs::{FallocateFlags, MemfdFlags, Mode as Permissions, OFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags};
use rustix::process::{Resource, getrlimit};

use super::format::{Layout, PAGE, Shape, header, live, site};
use super::site_table;
use super::text::Text;
use crate::proc_files::stat;

/// The layout of every profile that a program makes of itself.
pub(crate) static LAYOUT: Layout = Layout::new(Shape::DEFAULT);

/// Where this process's profile is mapped: the same address in forked children, null if none.
static BASE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
/// Its descriptor, and device and inode, to know it again.
static DESCRIPTOR: AtomicI32 = AtomicI32::new(-1);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);
/// Must memory be asked for before use, lest a full filesystem kill the program?
static NEEDS_COMMIT: AtomicBool = AtomicBool::new(false);
/// The folder for profiles, read from the environment once.
static DIRECTORY: OnceLock<Text<1024>> = OnceLock::new();

/// A new profile's memory, mapped but in nobody's use yet.
pub(crate) struct Made {
    pub(crate) base: NonNull<u8>,
    file: OwnedFd,
    is_named: bool,
}

/// The base address of this process's profile.
pub(crate) fn base() -> Option<NonNull<u8>> {
    // Acquire: pairs with the Release in `adopt`: the memory is mapped and its header written.
    NonNull::new(BASE.load(Acquire))
}

/// The descriptor of this process's profile.
pub(crate) fn descriptor() -> Option<BorrowedFd<'static>> {
    // Relaxed: set once before the base is, and the same number in children.
    let descriptor = DESCRIPTOR.load(Relaxed);
    // SAFETY: open for as long as the process lives, unless the program closes what is not its own;
    // then the reader's checks find no profile behind it.
    (descriptor >= 0).then(|| unsafe { BorrowedFd::borrow_raw(descriptor) })
}

/// Remembers the folder that the environment names.
pub(crate) fn set_directory(directory: &CStr) {
    let mut text = Text::new();
    if !directory.is_empty() && text.push(directory.to_bytes()) {
        let _ = DIRECTORY.set(text);
    }
}

/// Makes a file of the layout's length and maps it.
pub(crate) fn make(pid: u32, started: u64) -> Option<Made> {
    let length = LAYOUT.length;
    if getrlimit(Resource::Fsize).current.is_some_and(|most| most < length as u64) {
        return None;
    }
    let (file, is_named) = match named_file(pid, started) {
        Some(file) => (file, true),
        None => (anonymous_file()?, false),
    };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice; the file has this length, and
    // nobody cuts it short: a memfd is sealed, a file in the folder is the folder's owner's trust.
    let mapped = unsafe {
        rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, &file, 0)
    };
    let base = NonNull::new(mapped.ok()?.cast::<u8>())?;
    // SAFETY: exactly the mapping just made. A core dump has no use for it.
    let _ = unsafe { rustix::mm::madvise(base.as_ptr().cast(), length, Advice::LinuxDontDump) };
    Some(Made { base, file, is_named })
}

fn anonymous_file() -> Option<OwnedFd> {
    const NAME: &CStr = c"heap-profile";
    const _: () = assert!(NAME.count_bytes() == super::FILE_NAME.len());
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(NAME, flags).ok()?;
    rustix::fs::ftruncate(&file, LAYOUT.length as u64).ok()?;
    // Refused by old kernels at worst: then peers are trusted not to cut it.
    let _ = rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW);
    Some(file)
}

/// A file in the folder, if there is one and it takes what every profile needs.
fn named_file(pid: u32, started: u64) -> Option<OwnedFd> {
    let directory = DIRECTORY.get()?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    // An exec keeps pid and start, so that a name may be taken.
    let (path, file) = (0..1000).find_map(|nth| {
        let mut path = *directory;
        write!(path, "/heap-{pid}-{started}-{nth}.profile").ok()?;
        let file = rustix::fs::open(path.c_str()?, flags, Permissions::RUSR | Permissions::WUSR);
        Some((path, file.ok()?))
    })?;
    let is_made = rustix::fs::ftruncate(&file, LAYOUT.length as u64).is_ok()
        && needed_always().all(|(at, bytes)| commit_file(file.as_fd(), at, bytes));
    if !is_made {
        // No room: a memfd serves at least those who look while the process lives.
        let _ = path.c_str().map(rustix::fs::unlink);
        return None;
    }
    Some(file)
}

/// Offsets and lengths of what every profile needs, before its first record.
fn needed_always() -> impl Iterator<Item = (usize, usize)> {
    let level = LAYOUT.live[0];
    let first_level = level.payloads + live::PAYLOAD_SIZE * level.places();
    let totals =
        (0..site::STRIPES).map(|nth| (LAYOUT.total(nth, 0), site_table::CHUNK * site::TOTAL_SIZE));
    let single = [
        (0, LAYOUT.sites),
        (LAYOUT.filter, first_level - LAYOUT.filter),
        (LAYOUT.sites, site_table::CHUNK * site::SIZE),
        (LAYOUT.frames, site_table::CHUNK * 8),
    ];
    single.into_iter().chain(totals)
}

/// Asks for memory (or disk) for a part of the profile; false if there is none.
pub(crate) fn commit(at: usize, bytes: usize) -> bool {
    // Relaxed: set before the profile is anybody's.
    if !NEEDS_COMMIT.load(Relaxed) {
        return true;
    }
    descriptor().is_some_and(|file| commit_file(file, at, bytes))
}

fn commit_file(file: BorrowedFd<'_>, at: usize, bytes: usize) -> bool {
    rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, at as u64, bytes as u64).is_ok()
}

impl Made {
    /// How many sites and frames have memory behind them from the start.
    pub(crate) fn limits(&self) -> (u64, u64) {
        if self.is_named {
            (site_table::CHUNK as u64, site_table::CHUNK as u64)
        } else {
            (LAYOUT.max_sites() as u64, LAYOUT.max_frames() as u64)
        }
    }

    /// Memory for so many sites and frames; how many there is room for then.
    pub(crate) fn commit_sites(&self, sites: usize, frames: usize) -> Option<(u64, u64)> {
        if !self.is_named {
            return Some(self.limits());
        }
        let whole = |used: usize| used.next_multiple_of(site_table::CHUNK);
        let (sites, frames) = (whole(sites), whole(frames));
        let totals = (0..site::STRIPES).map(|nth| LAYOUT.total(nth, 0));
        let mut parts = totals
            .map(|at| (at, sites * site::TOTAL_SIZE))
            .chain([(LAYOUT.sites, sites * site::SIZE), (LAYOUT.frames, frames * 8)]);
        let is_there = parts.all(|(at, bytes)| commit_file(self.file.as_fd(), at, bytes));
        is_there.then_some((sites as u64, frames as u64))
    }

    /// Makes it this process's profile. In a forked child it takes the place of the parent's, at
    /// the same address in one step, so that a pointer into the old one leads into the new.
    pub(crate) fn adopt(self) -> bool {
        // Relaxed, here and below: published by the base's Release.
        NEEDS_COMMIT.store(self.is_named, Relaxed);
        let old = base();
        let base = match old {
            None => self.base,
            Some(old) => {
                // SAFETY: moves our own fresh mapping over our own older one, of the same length.
                // Whoever still points into the old one finds the words of a profile there.
                let moved = unsafe {
                    rustix::mm::mremap_fixed(
                        self.base.as_ptr().cast(),
                        LAYOUT.length,
                        LAYOUT.length,
                        MremapFlags::MAYMOVE,
                        old.as_ptr().cast(),
                    )
                };
                if moved.is_err() {
                    return false;
                }
                old
            }
        };
        let place = descriptor().filter(|_| old.is_some()).filter(|old| is_known(*old));
        if let Ok(stat) = rustix::fs::fstat(&self.file) {
            DEVICE.store(stat.st_dev, Relaxed);
            INODE.store(stat.st_ino, Relaxed);
        }
        let mut kept = self.file;
        if let Some(place) = place {
            // SAFETY: the number is our own descriptor's, by its inode; closed and replaced in one
            // step, and given back to nobody's ownership below.
            let mut target =
                unsafe { OwnedFd::from_raw_fd(std::os::fd::AsRawFd::as_raw_fd(&place)) };
            if rustix::io::dup3(&kept, &mut target, rustix::io::DupFlags::CLOEXEC).is_ok() {
                kept = target;
            } else {
                let _ = target.into_raw_fd();
            }
        }
        DESCRIPTOR.store(kept.into_raw_fd(), Relaxed);
        // Release: pairs with the Acquire in `base`.
        BASE.store(base.as_ptr(), Release);
        true
    }
}

/// Is this still the descriptor of our profile, or has the program closed it and opened another?
fn is_known(file: BorrowedFd<'_>) -> bool {
    // Relaxed: written by this process before.
    rustix::fs::fstat(file)
        .is_ok_and(|stat| stat.st_dev == DEVICE.load(Relaxed) && stat.st_ino == INODE.load(Relaxed))
}

/// Puts private memory in the place of the parent's profile: no new one could be made, and no
/// stray store may reach the parent's.
pub(crate) fn detach() {
    let Some(old) = base() else { return };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    // SAFETY: replaces exactly our own mapping, whose users see zeros from now on.
    let _ = unsafe {
        rustix::mm::mmap_anonymous(old.as_ptr().cast(), LAYOUT.length, protection, flags)
    };
}

/// Has a page of memory cleared in forked children. False if the kernel can not do it.
pub(crate) fn wipe_on_fork(page: *mut u8) -> bool {
    // SAFETY: one page of a static of our own; the advice changes nothing in this process.
    unsafe { rustix::mm::madvise(page.cast(), PAGE, Advice::LinuxWipeOnFork) }.is_ok()
}

/// Path of the running program.
pub(crate) fn program(into: &mut [u8; header::PROGRAM_MAX]) -> usize {
    let mut room = [std::mem::MaybeUninit::uninit(); header::PROGRAM_MAX];
    let read = rustix::fs::readlinkat_raw(rustix::fs::CWD, c"/proc/self/exe", &mut room);
    read.map_or(0, |(path, _)| {
        into[..path.len()].copy_from_slice(path);
        path.len()
    })
}

/// Start of this process in clock ticks since the machine's start; 0 if it can not be read.
pub(crate) fn started_ticks() -> u64 {
    let mut text = [0; 1024];
    let stat = read_small(c"/proc/self/stat", &mut text);
    stat.and_then(stat::start_ticks).unwrap_or(0)
}

fn read_small<'a>(path: &CStr, into: &'a mut [u8]) -> Option<&'a [u8]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Permissions::empty()).ok()?;
    let length = rustix::io::read(&file, &mut *into).ok()?;
    into.get(..length)
}
