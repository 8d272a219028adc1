//! What the fuzz target calls, and the stable tests: attaches to a file that the input has damaged.
//!
//! | input | says |
//! |---|---|
//! | byte 0 | which kind of file, modulo [`KINDS`] |
//! | byte 1 | bit 0: the header's checksum is made to fit; bits 1 to 3: seals |
//! | byte 2 | how long the file is, from a table |
//! | then, three bytes each | an offset (little end first), and the byte that is put there |

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags};
use shm_core::heap::{Heap, HeapOptions};
use shm_core::{Frozen, Group, ReadOnlySegment, Segment, seat};

/// Plain memory, a frozen array, a group's control file, a heap.
const KINDS: u8 = 4;
const HEADER: usize = 136;
const SUM: usize = 128;
const DATA_OFFSET: usize = 65_536;

/// Whatever the input: an error, or memory that can be read. In how many ways it was attached to.
pub fn attach(input: &[u8]) -> usize {
    let [kind, flags, length, patches @ ..] = input else { return 0 };
    let mut bytes = whole(kind % KINDS);
    for patch in patches.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]]));
        // The header, and behind it the data: its distance from the header means nothing.
        let at = if at < HEADER { at } else { DATA_OFFSET + at - HEADER };
        if let Some(byte) = bytes.get_mut(at) {
            *byte = patch[2];
        }
    }
    if flags & 1 == 1 {
        let sum = bytes[..SUM].iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        bytes[SUM..HEADER].copy_from_slice(&sum.to_ne_bytes());
    }
    let whole = bytes.len();
    let lengths = [whole, whole + 1, whole - 1, 0, 1, SUM, HEADER, DATA_OFFSET, DATA_OFFSET + 1];
    let length = lengths[usize::from(*length) % lengths.len()];
    let seals = [SealFlags::SHRINK, SealFlags::WRITE, SealFlags::GROW];
    let set = seals.iter().enumerate().filter(|(bit, _)| flags >> (bit + 1) & 1 == 1);
    let seals = set.fold(SealFlags::empty(), |seals, (_, seal)| seals | *seal);
    file(&bytes, length, seals).map_or(0, |file| attach_in_every_way(&file))
}

/// The group that heaps belong to.
fn group() -> Option<&'static Group> {
    static GROUP: OnceLock<Option<Group>> = OnceLock::new();
    GROUP.get_or_init(|| Group::anonymous().ok()).as_ref()
}

/// The bytes of an undamaged file, made once.
fn whole(kind: u8) -> Vec<u8> {
    static FILES: [OnceLock<Vec<u8>>; KINDS as usize] = [const { OnceLock::new() }; KINDS as usize];
    FILES[usize::from(kind)].get_or_init(|| make(kind)).clone()
}

fn make(kind: u8) -> Vec<u8> {
    let file = match kind {
        0 => Segment::anonymous(1000).and_then(|segment| duplicate(segment.as_fd())),
        1 => Frozen::copy_of(&[7_u8; 1000]).and_then(|frozen| duplicate(frozen.as_fd())),
        2 => seat::control_file(),
        _ => heap(),
    };
    let mut bytes = Vec::new();
    if let Ok(file) = file {
        let file = File::from(file);
        bytes.resize(file.metadata().map_or(0, |meta| meta.len() as usize), 0);
        let _ = file.read_exact_at(&mut bytes, 0);
    }
    bytes
}

fn duplicate(fd: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd, shm_core::Error> {
    fd.try_clone_to_owned().map_err(|source| shm_core::Error::System { call: "dup", source })
}

/// A heap, and nothing else in its segment.
fn heap() -> Result<OwnedFd, shm_core::Error> {
    let segment = Segment::anonymous(1 << 18)?;
    if let Some(group) = group() {
        drop(Heap::create(&segment, group, HeapOptions::default().threads(2))?);
    }
    duplicate(segment.as_fd())
}

fn file(bytes: &[u8], length: usize, seals: SealFlags) -> Option<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("fuzz", flags).ok()?);
    file.write_all_at(bytes.get(..length.min(bytes.len()))?, 0).ok()?;
    file.set_len(length as u64).ok()?;
    rustix::fs::fcntl_add_seals(&file, seals).ok()?;
    Some(file.into())
}

fn attach_in_every_way(file: &OwnedFd) -> usize {
    let again = || file.try_clone();
    let mut ways = 0;
    if let Some(segment) = again().ok().and_then(|fd| Segment::attach(fd).ok()) {
        ways += 1;
        read(segment.data().as_ptr(), segment.size());
        let _ = segment.validate();
        if let Some(group) = group()
            && let Ok(heap) = Heap::attach(&segment, group, 0)
        {
            ways += 1;
            let _ = heap.validate();
        }
    }
    if let Some(segment) = again().ok().and_then(|fd| ReadOnlySegment::attach(fd).ok()) {
        ways += 1;
        read(segment.data(), segment.size());
    }
    if let Some(frozen) = again().ok().and_then(|fd| Frozen::<u8>::attach(fd).ok()) {
        ways += 1;
        read(frozen.as_ptr(), frozen.len());
    }
    if let Ok(group) = Group::attach(file) {
        ways += 1;
        let _ = (group.members(), group.validate(), group.stats());
    }
    ways
}

/// Its ends are there.
fn read(data: *const u8, size: usize) {
    if size > 0 {
        // SAFETY: within the memory that was attached to.
        std::hint::black_box(unsafe { data.read_volatile() });
        // SAFETY: as above.
        std::hint::black_box(unsafe { data.wrapping_add(size - 1).read_volatile() });
    }
}
