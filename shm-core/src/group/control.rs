//! The control file: one line a member, and the two words on which everybody may sleep.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use memmap2::MmapRaw;
use rustix::fs::{Mode, OFlags};

use super::owner::{INDICES, Owner};
use super::robust;
use crate::backing;
use crate::futex::Futex;
use crate::header::{Header, Kind};
use crate::name::NamedFile;
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::record_lock::{self, Byte, Lock};
use crate::{Error, SegmentId};

/// A life word that is nobody's. `WAITERS` is always set: without it the kernel wakes nobody when
/// it stamps, with it exactly one.
pub(crate) const FREE: u32 = robust::WAITERS;
/// Stamped by the kernel: the thread that had armed it has ended.
pub(crate) const DIED: u32 = robust::WAITERS | robust::OWNER_DIED;

/// In a claim, the claimant's index + 1 lies above any thread id (those are below 2²²), so that no
/// ending thread takes the word for its own.
const CLAIMANT_SHIFT: u32 = 24;

/// The life word of a dead member whose recovery `by` has claimed.
pub(crate) fn claim(by: Owner) -> u32 {
    DIED | (by.index() as u32 + 1) << CLAIMANT_SHIFT | by.generation()
}

/// What a life word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Nobody's.
    Free,
    /// Armed by a living thread.
    Armed,
    /// Stamped.
    Died,
    /// Stamped, and its recovery claimed.
    Claimed(Owner),
    /// None of these: a corrupted word.
    Strange,
}

impl Life {
    pub fn of(word: u32) -> Life {
        let rest = word & !DIED;
        match word {
            FREE => Life::Free,
            DIED => Life::Died,
            _ if word & DIED == DIED => {
                let index = (rest >> CLAIMANT_SHIFT) as usize;
                if index == 0 || index > INDICES {
                    return Life::Strange;
                }
                Life::Claimed(Owner::new(index - 1, rest & ((1 << CLAIMANT_SHIFT) - 1)))
            }
            _ if word & robust::OWNER_DIED == 0 && rest >> CLAIMANT_SHIFT == 0 => Life::Armed,
            _ => Life::Strange,
        }
    }

    pub fn is_stamped(self) -> bool {
        matches!(self, Life::Died | Life::Claimed(_))
    }
}

/// One member.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct Line {
    /// Armed by the member's keeper thread; see [`Life`].
    pub life: Futex,
    /// Counts the stays at this index.
    pub generation: AtomicU32,
    /// The last stay that ended by death, plus one; for [`Group::on_death`](crate::Group).
    pub died: AtomicU32,
    /// For people: process id as the member sees it.
    pub pid: AtomicU32,
    /// For people: start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: AtomicU64,
    /// For people: inode of the pid namespace.
    pub namespace: AtomicU64,
}

/// A futex on a line of its own.
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct OwnLine(pub Futex);

/// The data of a control file. Any bytes are a valid value.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Words {
    /// High-water mark of the indices in use; everybody who may be parked is told when it changes,
    /// and when a member arrives.
    pub roster: OwnLine,
    /// Counts the recoveries that are complete, and other reasons to look again.
    pub events: OwnLine,
    /// Deaths that were recovered since the group was made.
    pub deaths: AtomicU64,
    pub lines: [Line; INDICES],
}

/// Hash in the header: changes with the layout above.
const LAYOUT: u64 = 0x6772_6f75_7000_0001;

/// The control file of a group, mapped.
#[derive(Debug)]
pub(crate) struct Control {
    map: MmapRaw,
    file: ControlFile,
    header: Header,
    /// Device and inode: a descriptor number may come to mean another file, if somebody closes what
    /// is not his.
    inode: (u64, u64),
}

#[derive(Debug)]
enum ControlFile {
    /// The file, and an `O_PATH` descriptor for others: closing that one touches no lock.
    Memfd(File, OwnedFd),
    Named(Arc<NamedFile>),
}

impl ControlFile {
    fn memfd(file: File) -> Result<ControlFile, Error> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::system("open"))?;
        Ok(ControlFile::Memfd(file, place))
    }

    fn get(&self) -> BorrowedFd<'_> {
        match self {
            ControlFile::Memfd(file, _) => file.as_fd(),
            ControlFile::Named(named) => named.file().as_fd(),
        }
    }
}

pub(crate) fn header() -> Result<Header, Error> {
    let mut header = Header::plain(size_of::<Words>() as u64)?;
    header.kind = Kind::Group;
    header.type_hash = LAYOUT;
    Ok(header)
}

fn expect_group(header: &Header) -> Result<(), Error> {
    let ours = header.kind == Kind::Group
        && header.type_hash == LAYOUT
        && header.size == size_of::<Words>() as u64;
    if ours {
        return Ok(());
    }
    Err(Error::WrongType { found: header.type_hash, wanted: "the control file of a group".into() })
}

/// Nobody is in it.
pub(crate) fn fill(file: BorrowedFd<'_>, header: &Header) -> Result<(), Error> {
    let map = backing::map_writable(file, header)?;
    let words = map.as_mut_ptr().cast::<Words>();
    // SAFETY: page-aligned, as long as `Words`, and any bytes are a valid value of it.
    let words = unsafe { &*words };
    for line in &words.lines {
        // Relaxed: published with the file.
        line.life.word().store(FREE, Ordering::Relaxed);
    }
    Ok(())
}

impl Control {
    /// A new anonymous one.
    pub fn anonymous() -> Result<Control, Error> {
        let header = header()?;
        let file = backing::memfd(&header)?;
        fill(file.as_fd(), &header)?;
        Control::map(ControlFile::memfd(file)?, header)
    }

    /// The one behind a descriptor. The descriptor itself is only looked at: the file is opened
    /// anew, so that closing the descriptor releases no lock of this process.
    pub fn reopen(fd: BorrowedFd<'_>) -> Result<Control, Error> {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::system("open"))?;
        let file = File::from(file);
        let header = backing::read_sealed(file.as_fd())?;
        Control::map(ControlFile::memfd(file)?, header)
    }

    pub fn named(named: Arc<NamedFile>) -> Result<Control, Error> {
        let header = named.header();
        Control::map(ControlFile::Named(named), header)
    }

    fn map(file: ControlFile, header: Header) -> Result<Control, Error> {
        expect_group(&header)?;
        let map = backing::map_writable(file.get(), &header)?;
        let inode = inode_of(file.get())?;
        Ok(Control { map, file, header, inode })
    }

    #[inline(always)]
    pub fn words(&self) -> &Words {
        // SAFETY: mapped as long as `self`, page-aligned, of the size that was checked; the words
        // are atomics, and any bytes are a valid value.
        unsafe { &*self.map.as_ptr().cast::<Words>() }
    }

    pub fn id(&self) -> SegmentId {
        self.header.id
    }

    pub fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// The name of a named group.
    pub fn name(&self) -> Option<&str> {
        match &self.file {
            ControlFile::Memfd(..) => None,
            ControlFile::Named(named) => Some(named.name()),
        }
    }

    /// Whether the process of member `index`, another than ours, is wholly gone.
    ///
    /// Anything strange (a descriptor that somebody closed, a lock table that is full) is no proof.
    pub fn is_proven_gone(&self, index: usize) -> bool {
        let ours = inode_of(self.file.get()).is_ok_and(|inode| inode == self.inode);
        ours && record_lock::held_by_another(self.file.get(), Byte::Member(index)) == Ok(None)
    }

    pub fn lock_byte(&self, index: usize) -> Result<bool, Error> {
        record_lock::try_lock(self.file.get(), Byte::Member(index), Lock::Exclusive)
            .map_err(Error::system("fcntl(F_SETLK)"))
    }

    pub fn unlock_byte(&self, index: usize) {
        // Fails only for a descriptor that somebody closed; the lock is gone with it.
        let _ = record_lock::unlock(self.file.get(), Byte::Member(index));
    }

    /// A descriptor that tells which file it is, and that may be inherited, sent and closed.
    pub fn place(&self) -> BorrowedFd<'_> {
        match &self.file {
            ControlFile::Memfd(_, place) => place.as_fd(),
            ControlFile::Named(named) => named.place(),
        }
    }

    /// Makes everybody look again, whoever sleeps or is about to.
    pub fn ring_all(&self) {
        let events = &self.words().events.0;
        // Release: what the ringer did is seen by whoever reads the new count with Acquire.
        events.word().fetch_add(1, Ordering::Release);
        events.wake_all();
    }
}

pub(crate) fn inode_of(fd: BorrowedFd<'_>) -> Result<(u64, u64), Error> {
    let stat = rustix::fs::fstat(fd).map_err(Error::system("fstat"))?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::owner::MAX_MEMBERS;
    use super::*;

    #[test]
    fn a_claim_names_its_claimant_and_no_thread() {
        for index in [0, MAX_MEMBERS - 1, INDICES - 1] {
            let by = Owner::new(index, 0x00ab_cdef);
            assert_eq!(Life::of(claim(by)), Life::Claimed(by));
            assert!(claim(by) & robust::TID_MASK > 1 << 22, "no thread has such an id");
        }
    }

    #[test]
    fn life_words_are_read_as_they_are_written() {
        assert_eq!(Life::of(FREE), Life::Free);
        assert_eq!(Life::of(DIED), Life::Died);
        assert_eq!(Life::of(robust::WAITERS | 4_194_303), Life::Armed);
        assert_eq!(Life::of(DIED | 7), Life::Strange);
        assert_eq!(Life::of(robust::OWNER_DIED), Life::Strange);
    }
}
