//! The memory of one process, each figure defined by the kernel's own field.

use crate::proc_files::{ProcessDirectory, stat};

/// When a process was started, in clock ticks since boot (`starttime` of `/proc/PID/stat`); `None`
/// if there is none of that id. With the pid it names a process for as long as the machine is up,
/// as [`ProcessMemory::start_ticks`] does. Costs three system calls.
///
/// ```
/// let this = std::process::id();
/// assert_eq!(profiling::start_ticks(this), profiling::start_ticks(this));
/// assert_eq!(profiling::start_ticks(u32::MAX), None);
/// ```
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    let mut text = Vec::new();
    ProcessDirectory::open(pid).ok()?.read(c"stat", &mut text).ok()?;
    stat::start_ticks(&text)
}

/// What a process is doing, from the `State:` line of `/proc/PID/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ProcessState {
    /// On a processor, or ready for one (`R`).
    Running,
    /// Waiting, and a signal would wake it (`S`), or idle (`I`).
    Sleeping,
    /// Waiting in the kernel, and no signal wakes it (`D`).
    DiskSleep,
    /// Stopped by a signal (`T`) or a debugger (`t`).
    Stopped,
    /// Dead (`Z`, `X`): its memory is given back, its parent has not yet asked how it ended.
    Zombie,
    /// A letter this crate does not know.
    Other(char),
}

impl ProcessState {
    /// The state behind the kernel's letter.
    pub(crate) fn from_letter(letter: u8) -> Self {
        match letter {
            b'R' => Self::Running,
            b'S' | b'I' => Self::Sleeping,
            b'D' => Self::DiskSleep,
            b'T' | b't' => Self::Stopped,
            b'Z' | b'X' => Self::Zombie,
            other => Self::Other(char::from(other)),
        }
    }
}

/// The memory of one process at one instant. All amounts are bytes.
///
/// The figures of the first block are the kernel's running counters, read in every sample. On
/// kernels 6.2 to 6.16 those counters may lag by up to 128 KiB for each processor of the machine;
/// before and after, they are exact or nearly so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ProcessMemory {
    /// The process id, as seen by the process that samples.
    pub pid: u32,
    /// The id of its parent (`PPid`).
    pub parent: u32,
    /// When it was started, in clock ticks since boot (`starttime` of `/proc/PID/stat`). With the
    /// pid it tells a process from a later one that was given the same number.
    pub start_ticks: u64,
    /// The name of its main thread (`Name`): at most 15 bytes of the program's name.
    pub name: String,
    /// What it is doing (`State`).
    pub state: ProcessState,

    /// Resident memory that belongs to no file (`RssAnon`): heap, stacks, written private pages.
    pub anonymous: u64,
    /// Resident pages of ordinary files (`RssFile`): program text, mapped data files.
    pub file: u64,
    /// Resident pages of files in memory that are in its page tables (`RssShmem`). Each process
    /// that touched a segment has them here, so these must not be added up.
    pub shmem: u64,
    /// Anonymous memory moved out to swap (`VmSwap`).
    pub swap: u64,
    /// Its page tables (`VmPTE`): 8 bytes for each 4 KiB page touched, shared segments included.
    pub page_tables: u64,
    /// The most its resident memory ever was (`VmHWM`), kept by the kernel: a peak between two
    /// samples is in here too.
    pub high_water: u64,

    /// The part of [`anonymous`](Self::anonymous) that is charged elsewhere: after a fork, parent
    /// and child hold the same pages until one writes. Reckoned at the last full sample
    /// (`Anonymous - Pss_Anon`); a child forked since then counts as wholly shared.
    pub copy_on_write: u64,
    /// Whether the process runs *in* its parent's memory (`vfork`, `posix_spawn`, before `exec`):
    /// then nothing is charged to it.
    pub borrows_parent: bool,
    /// What a fork has cost so far, in pages that began shared with a relative and were then copied
    /// because somebody wrote. See [`ForkCopies`] for what is and what cannot be measured.
    pub fork: ForkCopies,
    /// The figures that cost a walk over the page tables, from the last full sample.
    pub detail: Option<ProcessDetail>,
    /// What the kernel would not show us of this process. The figures that depend on it are
    /// missing (zero, `None`, or absent from a list), not small.
    pub denied: Denied,
}

impl ProcessMemory {
    /// Resident bytes as `ps` and `top` show them (`VmRSS`): [`anonymous`](Self::anonymous) +
    /// [`file`](Self::file) + [`shmem`](Self::shmem).
    pub fn resident(&self) -> u64 {
        self.anonymous.saturating_add(self.file).saturating_add(self.shmem)
    }

    /// What the ledger charges to this process: anonymous memory, less what it shares by
    /// copy-on-write with relatives, and page tables. Segments are charged apart, once each.
    pub fn charged(&self) -> u64 {
        if self.borrows_parent {
            return 0;
        }
        self.anonymous.saturating_sub(self.copy_on_write).saturating_add(self.page_tables)
    }
}

/// What only a walk over a process's page tables tells (`/proc/PID/smaps_rollup`), in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ProcessDetail {
    /// Pages no other process has (`Private_Clean + Private_Dirty`): what its death gives back.
    pub private: u64,
    /// Pages that others have too (`Shared_Clean + Shared_Dirty`).
    pub shared: u64,
    /// Its share of every page, each divided by the number of processes that have it (`Pss`).
    pub proportional: u64,
    /// The anonymous part of `proportional` (`Pss_Anon`).
    pub proportional_anonymous: u64,
    /// The part of ordinary files in `proportional` (`Pss_File`): counts program text once when
    /// added up over all processes that have it.
    pub proportional_file: u64,
    /// The part of files in memory in `proportional` (`Pss_Shmem`).
    pub proportional_shmem: u64,
    /// Its share of swapped memory (`SwapPss`).
    pub proportional_swap: u64,
}

/// What became of the pages that a process shared with its parent when it was forked, in bytes.
/// Reckoned from `/proc/PID/pagemap`.
///
/// *Measured*: at the first sample after a fork, the pages of the child that are anonymous and
/// mapped more than once: these began shared. In full samples, and in quick ones as far as a
/// budget of processor time goes, how many different pages the
/// family (all who descend from one process by fork and have not run `exec`) has at each of those
/// addresses by now; each beyond the first is a copy, and is counted at the process that has it
/// alone (the youngest, where all have one of their own).
///
/// *Not measured*: who wrote; what was copied before the first look at the child; an address that
/// was given back and is used anew counts as copied; a page that two children share while their
/// parent and a third child share another counts once too little.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ForkCopies {
    /// What was seen shared with a relative at the first look, if there was one.
    pub inherited: u64,
    /// What of such pages this process now has a copy of, beside that of a relative.
    pub copied: u64,
}

/// The files in `/proc/PID` that could not be read for want of permission.
///
/// A process of another user, or one that made itself undumpable, hides these from everybody but
/// root (`PTRACE_MODE_READ`, see ptrace(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Denied {
    /// `status`: all figures of this process (only with procfs mounted `hidepid`).
    pub status: bool,
    /// `maps`: which segments it maps.
    pub maps: bool,
    /// `smaps_rollup`: private, shared and proportional bytes.
    pub smaps_rollup: bool,
    /// `fd`: which segments it holds without mapping them.
    pub fd: bool,
    /// `pagemap`: what fork copied.
    pub pagemap: bool,
}

impl Denied {
    /// The names of the files, as in `smaps_rollup, maps`; empty if everything could be read.
    pub fn files(&self) -> Vec<&'static str> {
        let all = [
            (self.status, "status"),
            (self.maps, "maps"),
            (self.smaps_rollup, "smaps_rollup"),
            (self.fd, "fd"),
            (self.pagemap, "pagemap"),
        ];
        all.into_iter().filter_map(|(denied, file)| denied.then_some(file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn process(anonymous: u64) -> ProcessMemory {
        ProcessMemory {
            pid: 7,
            parent: 1,
            start_ticks: 1,
            name: String::new(),
            state: ProcessState::from_letter(b'S'),
            anonymous,
            file: 1000,
            shmem: 500,
            swap: 0,
            page_tables: 10,
            high_water: 0,
            copy_on_write: 0,
            borrows_parent: false,
            fork: ForkCopies::default(),
            detail: None,
            denied: Denied::default(),
        }
    }

    #[test]
    fn a_process_is_charged_for_its_own_memory_and_its_page_tables() {
        assert_eq!(process(100).charged(), 110);
        assert_eq!(process(100).resident(), 1600);
    }

    #[test]
    fn pages_shared_since_a_fork_are_charged_elsewhere() {
        let child = ProcessMemory { copy_on_write: 90, ..process(100) };
        assert_eq!(child.charged(), 20);
    }

    #[test]
    fn denied_files_are_named() {
        let denied = Denied { maps: true, fd: true, ..Denied::default() };
        assert_eq!(denied.files(), ["maps", "fd"]);
        assert!(Denied::default().files().is_empty());
    }

    #[test]
    fn a_child_that_borrows_its_parents_memory_is_charged_nothing() {
        let child = ProcessMemory { borrows_parent: true, ..process(100) };
        assert_eq!(child.charged(), 0);
    }
}
