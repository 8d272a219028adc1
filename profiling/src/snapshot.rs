//! A process tree at one instant.

use crate::process::ProcessMemory;
use crate::segment::SegmentMemory;

/// The memory of a process tree at one instant: every process, and every shared segment once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The processes of the tree, in the order they were found; the root comes first.
    pub processes: Vec<ProcessMemory>,
    /// The shared segments that any of them maps or holds.
    pub segments: Vec<SegmentMemory>,
}

impl Snapshot {
    /// The memory of the whole tree in bytes: what each process is
    /// [charged](ProcessMemory::charged), and each segment's resident bytes once.
    ///
    /// It is meant to agree with what a memory cgroup around the tree charges. Left out are:
    /// pages of ordinary files (the kernel charges them to whoever read them first, and takes them
    /// back when memory is short; see [`file_once`](Self::file_once)), what sockets and pipes
    /// hold, kernel memory other than page tables (stacks, file tables: some 20 to 100 KiB a
    /// process), segments that nobody in the tree maps or holds, and memory that only a device
    /// driver knows. A segment that is partly in swap counts whole.
    pub fn total(&self) -> u64 {
        let processes = self.processes.iter().map(ProcessMemory::charged);
        processes.chain(self.segments.iter().map(|segment| segment.resident)).sum()
    }

    /// What adding up everybody's resident size (`VmRSS`) says, in bytes: each shared page is in it
    /// as many times as there are processes that touched it. Only for comparison.
    pub fn resident_sum(&self) -> u64 {
        self.processes.iter().map(ProcessMemory::resident).sum()
    }

    /// The anonymous memory that is in swap, in bytes. Not part of [`total`](Self::total).
    pub fn swap(&self) -> u64 {
        self.processes.iter().map(|process| process.swap).sum()
    }

    /// The tree's share of mapped pages of ordinary files, in bytes (the sum of `Pss_File`), where
    /// a full sample has been taken of every process. Not part of [`total`](Self::total).
    pub fn file_once(&self) -> Option<u64> {
        self.processes.iter().map(|process| Some(process.detail?.proportional_file)).sum()
    }
}
