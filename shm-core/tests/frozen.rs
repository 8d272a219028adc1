//! Frozen data: nobody can write it, in this process or another.
#![allow(clippy::unwrap_used)]

mod reexec;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use reexec::{Actor, role, tell};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use shm_core::{Array, Error, Frozen};

/// Tries every way to change the file that Linux has; names those that succeed.
fn ways_to_write(fd: BorrowedFd<'_>) -> Vec<&'static str> {
    let size = rustix::fs::fstat(fd).unwrap().st_size as u64;
    let file = File::from(fd.try_clone_to_owned().unwrap());
    let mut open = Vec::new();
    let mut attempt = |what, succeeded: bool| {
        if succeeded {
            open.push(what);
        }
    };
    attempt("write", file.write_at(b"x", size - 1).is_ok());
    attempt("shrink", file.set_len(size - 1).is_ok());
    attempt("grow", file.set_len(size + 1).is_ok());
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    attempt("punch a hole", rustix::fs::fallocate(&file, hole, 65_536, 4096).is_ok());
    attempt("map for writing", map_for_writing(&file).is_ok());
    attempt("make a read-only mapping writable", remap_for_writing(&file));
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let reopened = File::options().write(true).open(&path);
    attempt("reopen and write", reopened.is_ok_and(|file| file.write_at(b"x", 65_536).is_ok()));
    attempt("reopen and truncate", File::create(&path).is_ok());
    attempt("take a seal back", !seals(fd).contains(SealFlags::WRITE));
    open
}

fn seals(fd: BorrowedFd<'_>) -> SealFlags {
    rustix::fs::fcntl_get_seals(fd).unwrap()
}

fn map_for_writing(file: &File) -> std::io::Result<memmap2::MmapRaw> {
    memmap2::MmapOptions::new().len(70_000).map_raw(file)
}

fn remap_for_writing(file: &File) -> bool {
    let map = memmap2::MmapOptions::new().len(70_000).map_raw_read_only(file).unwrap();
    let start = map.as_mut_ptr().cast();
    // SAFETY: our own mapping; nothing refers to it while its protection changes.
    let result = unsafe { libc::mprotect(start, 70_000, libc::PROT_READ | libc::PROT_WRITE) };
    result == 0
}

#[test]
fn in_a_child() {
    if role().is_some() {
        let data = Frozen::<u64>::attach(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
        let sum: u64 = data.unwrap().iter().sum();
        tell(&format!("{sum} {:?}", ways_to_write(std::io::stdin().as_fd())));
    }
}

#[test]
fn frozen_data_can_not_be_written_in_this_process() {
    let copied = Frozen::copy_of(&[7u64; 1000]).unwrap();
    assert_eq!(ways_to_write(copied.as_fd()), Vec::<&str>::new());
    let mut array = Array::<u64>::zeroed(1000).unwrap();
    array.fill(7);
    let frozen = array.freeze().unwrap();
    assert_eq!(ways_to_write(frozen.as_fd()), Vec::<&str>::new());
    assert_eq!(frozen[..], copied[..]);
}

#[test]
fn the_ways_to_write_are_found_where_they_are_open() {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("test", flags).unwrap());
    file.set_len(100_000).unwrap();
    assert_eq!(ways_to_write(file.as_fd()).len(), 9);
}

#[test]
fn frozen_data_can_not_be_written_in_another_process() {
    let data = Frozen::copy_of(&[7u64; 1000]).unwrap();
    let fd = data.as_fd().try_clone_to_owned().unwrap();
    let mut other = Actor::with_file("writer", "", fd);
    assert_eq!(other.hear(), "7000 []");
    other.finish();
    assert!(data.iter().all(|&value| value == 7));
}

#[test]
fn data_that_its_creator_can_still_write_is_not_frozen() {
    // Sealed against *future* writers: the mapping that exists goes on writing.
    let header = {
        let data = Frozen::copy_of(&[7u64; 1000]).unwrap();
        let mut bytes = [0u8; 136];
        let file = File::from(data.as_fd().try_clone_to_owned().unwrap());
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("test", flags).unwrap());
    file.set_len(65_536 + 8000).unwrap();
    file.write_all_at(&header, 0).unwrap();
    let writable = map_for_writing(&file).unwrap();
    let others = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW;
    rustix::fs::fcntl_add_seals(&file, others).unwrap();
    let attached = Frozen::<u64>::attach(file.try_clone().unwrap().into());
    assert!(matches!(attached, Err(Error::NotFrozen { .. })), "{attached:?}");

    // The kernel itself refuses the seal as long as that mapping exists, and then it is enough.
    assert!(rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).is_err());
    drop(writable);
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
    assert_eq!(Frozen::<u64>::attach(file.into()).unwrap().len(), 1000);
}

#[test]
fn an_array_that_somebody_still_maps_can_not_be_frozen() {
    let (parts, remains) = Array::<u8>::zeroed(10).unwrap().into_parts(1);
    // A second mapping of the file, as a process has that keeps its part after sending it back.
    let (bytes, files) = shm_core::handle::collect(|| postcard::to_allocvec(&parts[0]).unwrap());
    let file = File::from(files[0].as_fd().try_clone_to_owned().unwrap());
    let mapping = map_for_writing(&file).unwrap();
    drop((files, parts));
    let back = postcard::from_bytes(&bytes).unwrap();
    let array = remains.join([back]).unwrap();
    assert!(matches!(array.freeze(), Err(Error::StillWritable)));
    drop(mapping);
}
