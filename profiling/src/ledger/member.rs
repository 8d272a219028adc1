//! One process of the tree, with the handle on its folder in `/proc`.

use crate::proc_files::maps::MemoryMaps;
use crate::proc_files::smaps::Rollup;
use crate::proc_files::stat::Stat;
use crate::proc_files::status::Status;
use crate::proc_files::{ProcessDirectory, ReadError};
use crate::process::{Denied, ForkCopies, ProcessDetail, ProcessMemory, ProcessState};

/// A process of the tree.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) memory: ProcessMemory,
    pub(super) directory: ProcessDirectory,
    /// Has not run `exec` since its fork.
    pub(super) forked: bool,
    /// Where its stack began when it was last looked for `exec`.
    stack_start: u64,
    /// Whether its counters were ever read.
    known: bool,
    virtual_size: u64,
    virtual_high_water: u64,
    /// What it had mapped when `maps` was last read.
    pub(super) mapped: MemoryMaps,
    /// `VmSize` at that moment; `None` when `maps` must be read again.
    mapped_at_size: Option<u64>,
    /// Resident pages in memory files that no segment explains: program text kept on tmpfs.
    pub(super) unexplained: u64,
    /// `RssShmem` when `smaps` was last read.
    pub(super) walked_at_shmem: u64,
    /// The family it was forked in, see [`families`](super::families).
    pub(super) family: Option<u32>,
    /// Whether its pages were looked at since it was forked.
    pub(super) looked_at: bool,
}

impl Member {
    pub(super) fn new(pid: u32, directory: ProcessDirectory, stat: Stat) -> Self {
        let memory = ProcessMemory {
            pid,
            parent: stat.parent,
            start_ticks: stat.start_ticks,
            name: String::new(),
            state: ProcessState::from_letter(b'?'),
            anonymous: 0,
            file: 0,
            shmem: 0,
            swap: 0,
            page_tables: 0,
            high_water: 0,
            copy_on_write: 0,
            borrows_parent: false,
            fork: ForkCopies::default(),
            detail: None,
            denied: Denied::default(),
        };
        Self {
            memory,
            directory,
            forked: stat.forked,
            stack_start: stat.stack_start,
            known: false,
            virtual_size: 0,
            virtual_high_water: 0,
            mapped: MemoryMaps::default(),
            mapped_at_size: None,
            unexplained: 0,
            walked_at_shmem: 0,
            family: None,
            looked_at: false,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.memory.pid
    }

    /// Reads the counters. An error means that the process is gone.
    pub(super) fn refresh(&mut self, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        match self.directory.read(c"status", buffer) {
            Ok(()) => self.take(Status::parse(buffer), buffer),
            Err(ReadError::Refused) => {
                self.memory.denied.status = true; // hidden from us: keep what we know
                return Ok(());
            }
            Err(ReadError::Gone) => return Err(ReadError::Gone),
        }
        if self.forked {
            self.look_for_exec(buffer);
        }
        Ok(())
    }

    fn take(&mut self, status: Status, buffer: &mut Vec<u8>) {
        // Only another program (exec) or death lowers the mark, but for a little inexactness.
        let lowered = status.high_water < self.memory.high_water;
        let replaced = lowered && self.is_another_program(buffer);
        self.virtual_size = status.virtual_size;
        self.virtual_high_water = status.virtual_high_water;
        let memory = &mut self.memory;
        memory.name = status.name;
        memory.state = ProcessState::from_letter(status.state);
        memory.parent = status.parent;
        memory.anonymous = status.anonymous;
        memory.file = status.file;
        memory.shmem = status.shmem;
        memory.swap = status.swap;
        memory.page_tables = status.page_tables;
        memory.high_water = status.high_water;
        if replaced {
            self.start_afresh();
        } else if self.forked && !self.known {
            memory.copy_on_write = memory.anonymous; // a fork begins with nothing of its own
        }
        self.known = true;
    }

    /// Whether it has run `exec` since it was last asked. One on its way out has not, and what it
    /// had is kept as it was.
    fn is_another_program(&mut self, buffer: &mut Vec<u8>) -> bool {
        if self.directory.read(c"stat", buffer).is_err() {
            return false;
        }
        let Some(stat) = Stat::parse(buffer).filter(|stat| !stat.exiting) else { return false };
        std::mem::replace(&mut self.stack_start, stat.stack_start) != stat.stack_start
    }

    /// After `exec` nothing is shared with the parent any more.
    fn look_for_exec(&mut self, buffer: &mut Vec<u8>) {
        if self.directory.read(c"stat", buffer).is_err() {
            return; // dying: the next refresh will say so
        }
        if let Some(stat) = Stat::parse(buffer).filter(|stat| !stat.forked) {
            self.forked = stat.forked;
            self.stack_start = stat.stack_start;
            self.start_afresh();
        }
    }

    fn start_afresh(&mut self) {
        self.memory.copy_on_write = 0;
        self.memory.borrows_parent = false;
        self.memory.detail = None;
        self.memory.fork = ForkCopies::default();
        self.family = None;
        self.mapped_at_size = None;
    }

    /// Whether this process runs in the very memory of `parent`: the kernel's marks, which differ
    /// from the moment of a real fork (it copies no pages of files), are all the same.
    pub(super) fn has_the_memory_of(&self, parent: &Self) -> bool {
        self.virtual_size != 0
            && self.virtual_size == parent.virtual_size
            && self.virtual_high_water == parent.virtual_high_water
            && self.memory.high_water == parent.memory.high_water
            && self.memory.page_tables == parent.memory.page_tables
    }

    /// Has the kernel walk the page tables.
    pub(super) fn read_detail(&mut self, buffer: &mut Vec<u8>) {
        if self.has_no_memory() {
            return;
        }
        let read = self.directory.read(c"smaps_rollup", buffer);
        self.memory.denied.smaps_rollup = read == Err(ReadError::Refused);
        if read.is_err() || buffer.is_empty() {
            return; // not allowed, or dying
        }
        let rollup = Rollup::parse(buffer);
        let shared = rollup.anonymous.saturating_sub(rollup.proportional_anonymous);
        self.memory.copy_on_write = shared;
        self.memory.detail = Some(ProcessDetail {
            private: rollup.private,
            shared: rollup.shared,
            proportional: rollup.proportional,
            proportional_anonymous: rollup.proportional_anonymous,
            proportional_file: rollup.proportional_file,
            proportional_shmem: rollup.proportional_shmem,
            proportional_swap: rollup.proportional_swap,
        });
    }

    /// Whether its mappings may have changed since `maps` was read, given how many bytes of memory
    /// files the known segments explain.
    pub(super) fn maps_are_stale(&self, explained: u64) -> bool {
        self.mapped_at_size != Some(self.virtual_size)
            || self.memory.shmem.saturating_sub(explained) > self.unexplained
    }

    /// Whether it has no memory of its own to look at: dead, or running in its parent's.
    pub(super) fn has_no_memory(&self) -> bool {
        self.memory.borrows_parent || self.memory.state == ProcessState::Zombie
    }

    /// Asks for `maps` to be read again.
    pub(super) fn distrust_maps(&mut self) {
        self.mapped_at_size = None;
    }

    /// Notes that `maps` was read.
    pub(super) fn maps_were_read(&mut self) {
        self.mapped_at_size = Some(self.virtual_size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process, as a child whose pages were looked at.
    fn looked_at() -> (Member, Vec<u8>) {
        let directory = ProcessDirectory::open(std::process::id()).unwrap();
        let mut buffer = Vec::new();
        directory.read(c"stat", &mut buffer).unwrap();
        let stat = Stat::parse(&buffer).unwrap();
        let mut member = Member::new(std::process::id(), directory, stat);
        member.refresh(&mut buffer).unwrap();
        member.memory.fork.inherited = 4096;
        member.family = Some(1);
        (member, buffer)
    }

    #[test]
    fn a_mark_that_falls_a_little_is_no_exec() {
        let (mut member, mut buffer) = looked_at();
        member.memory.high_water += 1 << 40;
        member.refresh(&mut buffer).unwrap();
        assert_eq!((member.memory.fork.inherited, member.family), (4096, Some(1)));
    }

    #[test]
    fn another_program_knows_nothing_of_the_fork() {
        let (mut member, mut buffer) = looked_at();
        member.memory.high_water += 1 << 40;
        member.stack_start += 16;
        member.refresh(&mut buffer).unwrap();
        assert_eq!((member.memory.fork.inherited, member.family), (0, None));
    }
}
