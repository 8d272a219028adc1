//! What the kernel does to shared memory when a process dies.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};

use super::region::{FileAt, Region};
use super::sys::{self, Pid};
use super::trace::read_memory;

/// Set by the kernel in a robust futex whose owner died (`linux/futex.h`).
pub const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// Set by a waiter in a futex on which it sleeps.
pub const FUTEX_WAITERS: u32 = 0x8000_0000;
/// The owner's thread id in a futex.
pub const FUTEX_TID_MASK: u32 = 0x3fff_ffff;

/// Nodes the kernel walks at most (`ROBUST_LIST_LIMIT`).
const ROBUST_LIST_LIMIT: usize = 2048;

/// A process that stands still at a kill point, or was killed there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Victim {
    pub(super) tid: u32,
    pub(super) robust: Vec<usize>,
}

impl Victim {
    /// Its thread id, as it writes it into locks.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid
    }

    /// Offsets in the image of the futexes on its robust list (`set_robust_list(2)`), a pending
    /// operation last.
    #[must_use]
    pub fn robust_words(&self) -> &[usize] {
        &self.robust
    }
}

/// How survivors come to see a death in the memory itself.
///
/// A stepped victim stands still and is not dead, so the kit makes, in the copy that survivors
/// get, the changes that the kernel would make in the original. Proofs of death that are no part
/// of the memory (a pidfd, a record lock) need either [`Region::is_dead`] in their place, or real
/// kills at every point: `Scenario::real_kills(usize::MAX)`.
pub trait Liveness: Debug {
    /// Changes `image` as the kernel changes the memory at the death of `victim`.
    fn stamp(&self, victim: &Victim, image: &mut [u8]);

    /// Called after a real `SIGKILL`, on the real region. The kernel has done its part by then,
    /// so this is empty unless `stamp` models more than the kernel does by itself.
    fn after_sigkill(&self, victim: &Victim, region: &Region) {
        let _ = (victim, region);
    }
}

/// Exactly what the kernel does: walks the victim's robust list and stamps what it finds in the
/// region. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct RobustList;

impl Liveness for RobustList {
    fn stamp(&self, victim: &Victim, image: &mut [u8]) {
        for &offset in &victim.robust {
            stamp_word(image, offset, victim.tid);
        }
    }
}

/// Life words at fixed offsets, stamped at the death of the thread whose id they hold, whether or
/// not that thread put them on its robust list.
///
/// For models of protocols: the scenario writes its thread id into one of these words, and needs
/// no robust list.
#[derive(Clone, Debug)]
pub struct LifeWords(Vec<usize>);

impl LifeWords {
    /// The life words at these byte offsets, each a multiple of 4; in a region of several files, of
    /// its image, where the files follow one another.
    #[must_use]
    pub fn at(offsets: &[usize]) -> LifeWords {
        LifeWords(offsets.to_vec())
    }
}

impl Liveness for LifeWords {
    fn stamp(&self, victim: &Victim, image: &mut [u8]) {
        for &offset in &self.0 {
            stamp_word(image, offset, victim.tid);
        }
    }

    fn after_sigkill(&self, victim: &Victim, region: &Region) {
        for &offset in &self.0 {
            if let Some(word) = region.word_in_image(offset) {
                stamp_live_word(word, victim.tid);
            }
        }
    }
}

/// The word after the death of `tid`, if `tid` owns it (`handle_futex_death` in the kernel).
fn dead_word(word: u32, tid: u32) -> Option<u32> {
    (word & FUTEX_TID_MASK == tid).then_some((word & FUTEX_WAITERS) | FUTEX_OWNER_DIED)
}

fn stamp_word(image: &mut [u8], offset: usize, tid: u32) {
    let Some(bytes) = image.get_mut(offset..).and_then(|rest| rest.first_chunk_mut::<4>()) else {
        return;
    };
    if let Some(stamped) = dead_word(u32::from_ne_bytes(*bytes), tid) {
        *bytes = stamped.to_ne_bytes();
    }
}

fn stamp_live_word(word: &AtomicU32, tid: u32) {
    // Acquire and Release: pair with the owner's and the survivors' accesses, as the kernel's own
    // compare-and-exchange does.
    let stamped =
        word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| dead_word(word, tid));
    if stamped.is_ok_and(|before| before & FUTEX_WAITERS != 0) {
        sys::futex_wake_one(word);
    }
}

/// Where the region is mapped in a process: `(first address, length, offset in the image)`.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings(Vec<(u64, u64, u64)>);

impl Mappings {
    /// Every mapping of these files in `pid`, from `/proc/PID/maps`.
    pub(super) fn of(pid: Pid, files: &[FileAt]) -> Mappings {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        Mappings(maps.lines().filter_map(|line| mapping(line, files)).collect())
    }

    /// The offset in the image of an address that lies in one of the mappings.
    pub(super) fn offset(&self, address: u64) -> Option<usize> {
        self.0.iter().find_map(|&(first, len, skip)| {
            let into = address.checked_sub(first).filter(|into| *into < len)?;
            usize::try_from(into + skip).ok()
        })
    }
}

/// One line of `/proc/PID/maps`: `first-end perms offset dev inode path`.
fn mapping(line: &str, files: &[FileAt]) -> Option<(u64, u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (first, end) = fields.next()?.split_once('-')?;
    let skip = fields.nth(1)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let device = libc::makedev(
        libc::c_uint::from_str_radix(major, 16).ok()?,
        libc::c_uint::from_str_radix(minor, 16).ok()?,
    );
    let file = (device, fields.next()?.parse().ok()?);
    let start = files.iter().find_map(|(known, start)| (*known == file).then_some(*start))?;
    let first = u64::from_str_radix(first, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let skip = u64::from_str_radix(skip, 16).ok()?.checked_add(start as u64)?;
    Some((first, end.checked_sub(first)?, skip))
}

/// The victim as the kernel would see it if it died now.
pub(super) fn victim(pid: Pid, mappings: &Mappings) -> Victim {
    let tid = u32::try_from(pid).unwrap_or(0);
    Victim { tid, robust: robust_words(pid, mappings).unwrap_or_default() }
}

/// Walks the robust list of a stopped process as `exit_robust_list` in the kernel does.
fn robust_words(pid: Pid, mappings: &Mappings) -> Option<Vec<usize>> {
    let mut head = 0_u64;
    let mut len = 0_usize;
    // SAFETY: the kernel writes one pointer and one length into live variables of those sizes.
    let got = unsafe { libc::syscall(libc::SYS_get_robust_list, pid, &raw mut head, &raw mut len) };
    if got != 0 || head == 0 {
        return None;
    }
    let [first, futex_offset, pending] = read_words(pid, head)?;
    // Bit 0 of a link says "priority inheritance"; the kernel masks it as well.
    let word_of = |node: u64| mappings.offset((node & !1).wrapping_add(futex_offset));
    let mut found = Vec::new();
    let mut node = first;
    for _ in 0..ROBUST_LIST_LIMIT {
        if node & !1 == head || node == 0 {
            break;
        }
        if node & !1 != pending & !1 {
            found.extend(word_of(node));
        }
        let Some([next]) = read_words(pid, node & !1) else { break };
        node = next;
    }
    if pending != 0 {
        found.extend(word_of(pending));
    }
    Some(found)
}

fn read_words<const N: usize>(pid: Pid, address: u64) -> Option<[u64; N]> {
    let mut bytes = vec![0_u8; N * 8];
    read_memory(pid, address, &mut bytes).ok()?;
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*chunk);
    }
    Some(words)
}
