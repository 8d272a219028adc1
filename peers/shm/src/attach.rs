//! Attaching and detaching, creating and taking away, beside the bare system calls.

use std::fs::File;
use std::hint::black_box;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use memmap2::{MmapOptions, MmapRaw};
use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Target, Unit};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::shm::OFlags;
use shm_core::{Frozen, Segment};

use crate::rivals::Rivals;

const SIZE: usize = 64 << 10;

const OURS: Promise = Promise::keeps("memory and names go with their last user, killed or not");
const NONE: Promise = Promise::may_lose("names stay after a kill until somebody removes them");

/// Microseconds a call.
fn time(calls: u32, mut call: impl FnMut() -> Outcome<()>) -> Outcome<Sample> {
    let start = Instant::now();
    for _ in 0..calls {
        call()?;
    }
    Ok(Sample::from(start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)))
}

/// Reads one byte, so that a page is really there.
fn touch(map: &MmapRaw) {
    // SAFETY: the mapping is not empty, and nobody writes it during the measurement.
    black_box(unsafe { map.as_ptr().read_volatile() });
}

/// As if the descriptor had just arrived: `fstat` for the size, map, touch, unmap, close.
fn attach_bare(fd: BorrowedFd<'_>, write: bool) -> Outcome<()> {
    let fd: OwnedFd = fd.try_clone_to_owned()?;
    let size = rustix::fs::fstat(&fd)?.st_size as usize;
    let mut options = MmapOptions::new();
    options.offset((size - SIZE) as u64).len(SIZE);
    touch(&if write { options.map_raw(&fd)? } else { options.map_raw_read_only(&fd)? });
    Ok(())
}

fn attach_ours(fd: BorrowedFd<'_>) -> Outcome<()> {
    let segment = Segment::attach(fd.try_clone_to_owned()?)?;
    // SAFETY: the segment is not empty, and nobody writes it during the measurement.
    black_box(unsafe { segment.data().read_volatile() });
    Ok(())
}

/// The cases.
pub fn run(arguments: &Arguments, rivals: &Rivals) -> Outcome<()> {
    let calls = arguments.pick(300, 500);
    read_write(arguments, rivals, calls)?;
    read_only(arguments, calls)?;
    create(arguments, rivals, calls)?;
    how_many(arguments, calls)
}

fn read_write(arguments: &Arguments, rivals: &Rivals, calls: u32) -> Outcome<()> {
    let segment = Segment::anonymous(SIZE)?;
    let plain = segment.as_fd();
    let inside = "duplicate a descriptor, attach 64 KiB, read a byte, detach; ours checks what it \
                  attaches to";
    Case::new(
        "shm",
        "attach and detach, read–write",
        inside,
        Unit::MICROSECONDS,
        Calibration::Compute,
    )
    .side(Side::new("shm-core Segment", OURS, || time(calls, || attach_ours(plain))))
    .side(Side::limit("the bare system calls", || time(calls, || attach_bare(plain, true))))
    .side(rivals.boost(
        "Boost 1.74 managed_shared_memory, by name",
        NONE,
        format!("attach {calls}"),
    ))
    .side(rivals.python("Python SharedMemory, by name", NONE, format!("attach {calls}")))
    .target(Target::Times("the bare system calls", 1.3))
    .run(arguments);
    Ok(())
}

fn read_only(arguments: &Arguments, calls: u32) -> Outcome<()> {
    let frozen = Frozen::copy_of(&vec![1_u8; SIZE])?;
    let sealed = frozen.as_fd();
    let inside = "duplicate a descriptor, attach 64 KiB of frozen data, read a byte, detach; ours \
                  checks the seals too";
    Case::new(
        "shm",
        "attach and detach, read-only",
        inside,
        Unit::MICROSECONDS,
        Calibration::Compute,
    )
    .side(Side::new("shm-core Frozen", OURS, || {
        time(calls, || {
            let frozen = Frozen::<u8>::attach(sealed.try_clone_to_owned()?)?;
            black_box(frozen[0]);
            Ok(())
        })
    }))
    .side(Side::limit("the bare system calls", || time(calls, || attach_bare(sealed, false))))
    .target(Target::Times("the bare system calls", 1.7))
    .run(arguments);
    Ok(())
}

fn create(arguments: &Arguments, rivals: &Rivals, calls: u32) -> Outcome<()> {
    let inside = "make 64 KiB of shared memory (Boost: 1 MiB), and take it away";
    Case::new("shm", "create and drop", inside, Unit::MICROSECONDS, Calibration::Compute)
        .side(Side::new("shm-core Segment, anonymous", OURS, || {
            time(calls, || {
                black_box(Segment::anonymous(SIZE)?);
                Ok(())
            })
        }))
        .side(Side::limit("memfd_create, ftruncate, seal, mmap", || time(calls, create_memfd)))
        .side(Side::new("shm_open, ftruncate, mmap, shm_unlink", NONE, || {
            time(calls, create_named)
        }))
        .side(rivals.boost("Boost 1.74 managed_shared_memory", NONE, format!("create {calls}")))
        .side(rivals.python("Python SharedMemory", NONE, format!("create {calls}")))
        .side(rivals.python("Python SharedMemoryManager", NONE, format!("manager {calls}")))
        .run(arguments);
    Ok(())
}

fn create_memfd() -> Outcome<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("peers", flags)?);
    rustix::fs::ftruncate(&file, SIZE as u64)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
    black_box(MmapOptions::new().len(SIZE).map_raw(&file)?);
    Ok(())
}

fn create_named() -> Outcome<()> {
    let name = format!("/peers-{}", std::process::id());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
    let fd = rustix::shm::open(&name, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::ftruncate(&fd, SIZE as u64)?;
    black_box(MmapOptions::new().len(SIZE).map_raw(&fd)?);
    Ok(rustix::shm::unlink(&name)?)
}

/// What an attach costs while this process has many segments already.
fn how_many(arguments: &Arguments, calls: u32) -> Outcome<()> {
    let inside =
        "as `attach and detach, read–write`, in a process that has this many other segments";
    let mut others = Vec::new();
    for many in [1, 16, 128, 512] {
        while others.len() < many {
            others.push(Segment::anonymous(SIZE)?);
        }
        let plain = others[0].as_fd();
        let name = format!("attach beside {many} other segments");
        Case::new("shm", name, inside, Unit::MICROSECONDS, Calibration::Compute)
            .side(Side::new("shm-core Segment", OURS, || time(calls, || attach_ours(plain))))
            .side(Side::limit("the bare system calls", || time(calls, || attach_bare(plain, true))))
            .at("shm-segments", "segments of the process", many as f64)
            .at_most(7)
            .run(arguments);
    }
    Ok(())
}
