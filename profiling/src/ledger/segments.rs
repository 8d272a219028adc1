//! The shared segments of a tree: found in `maps` and `fd`, measured by `stat`, counted once.

use std::collections::HashSet;

use super::member::Member;
use crate::proc_files::{ProcessDirectory, ReadError, maps, smaps};
use crate::segment::{SegmentId, SegmentMemory, insert};

/// `stat` counts blocks of this size, whatever the file system's own.
const BLOCK: u64 = 512;

/// A way to reach a segment's file without keeping it open: an open descriptor, even one that only
/// names the file, would keep its memory alive after the last process of the tree let it go.
#[derive(Debug, Clone)]
enum Location {
    /// A link in the folder of a process: `map_files/…` (needs privilege) or `fd/…`.
    Link { pid: u32, name: String },
    /// A path of its own, for a named segment.
    Path(String),
}

#[derive(Debug)]
struct Segment {
    memory: SegmentMemory,
    location: Option<Location>,
    /// The path as the kernel spells it.
    path: String,
    /// Whether everyone's descriptors were searched for it since its mappers last changed.
    searched: bool,
}

/// All segments of a tree.
#[derive(Debug)]
pub(super) struct SegmentTable {
    segments: Vec<Segment>,
    /// Devices of the tmpfs mounts that the root process sees.
    tmpfs: HashSet<(u32, u32)>,
}

impl SegmentTable {
    pub(super) fn new(tmpfs: HashSet<(u32, u32)>) -> Self {
        Self { segments: Vec::new(), tmpfs }
    }

    pub(super) fn memory(&self) -> impl Iterator<Item = &SegmentMemory> {
        self.segments.iter().map(|segment| &segment.memory)
    }

    /// The segment of this identity, made if it is new.
    fn entry(&mut self, id: SegmentId, path: &str) -> &mut Segment {
        let known = self.segments.iter().position(|segment| segment.memory.id == id);
        let index = known.unwrap_or_else(|| {
            let memory = SegmentMemory::new(id, path);
            let path = path.to_owned();
            self.segments.push(Segment { memory, location: None, path, searched: false });
            self.segments.len() - 1
        });
        &mut self.segments[index]
    }

    /// Forgets that a process maps or holds anything.
    pub(super) fn forget(&mut self, pid: u32) {
        for segment in &mut self.segments {
            segment.memory.leave(pid);
            if matches!(segment.location, Some(Location::Link { pid: at, .. }) if at == pid) {
                segment.location = None;
            }
        }
    }

    /// Whether `maps` of this process should be read for a quick sample.
    pub(super) fn wants_remap(&self, member: &Member) -> bool {
        let pid = member.pid();
        let mapped = self.memory().filter(|segment| segment.mapped_by.contains(&pid));
        member.maps_are_stale(mapped.map(|segment| segment.resident).sum())
    }

    /// Reads which segments a process maps, and measures the new ones.
    pub(super) fn remap(&mut self, member: &mut Member, buffer: &mut Vec<u8>) {
        let read = member.directory.read(c"maps", buffer);
        member.memory.denied.maps = read == Err(ReadError::Refused);
        if read.is_err() {
            return; // dying, or not ours to see
        }
        let pid = member.pid();
        member.mapped = maps::memory_backed(buffer, &self.tmpfs);
        let mut unmapped = false;
        for segment in &mut self.segments {
            let still = member.mapped.segments.iter().any(|mapped| mapped.id == segment.memory.id);
            if !still && segment.memory.mapped_by.contains(&pid) {
                segment.memory.mapped_by.retain(|other| *other != pid);
                unmapped = true;
            }
        }
        let mut explained = 0u64;
        for mapped in &member.mapped.segments {
            let segment = self.entry(mapped.id, &mapped.name);
            if !segment.memory.mapped_by.contains(&pid) {
                segment.memory.mapped_by.push(pid);
                segment.searched = false;
            }
            if segment.location.is_none() {
                let name = format!("map_files/{}", mapped.range);
                segment.try_link(pid, &member.directory, name);
            }
            explained = explained.saturating_add(segment.memory.resident);
        }
        member.unexplained = member.memory.shmem.saturating_sub(explained);
        member.maps_were_read();
        if unmapped {
            // The memory stays while a descriptor holds it, to be mapped again, say.
            self.find_held(member);
        }
    }

    /// Finds the segments a process holds by a descriptor, mapped or not.
    pub(super) fn find_held(&mut self, member: &mut Member) {
        let pid = member.pid();
        let descriptors = memory_descriptors(&member.directory);
        member.memory.denied.fd = matches!(descriptors, Err(ReadError::Refused));
        for segment in &mut self.segments {
            segment.memory.held_by.retain(|other| *other != pid);
        }
        for (descriptor, link) in descriptors.unwrap_or_default() {
            let name = format!("fd/{descriptor}");
            let Ok(stat) = member.directory.stat(&name) else { continue };
            let segment = self.entry(SegmentId::of(&stat), &link);
            if !segment.memory.mapped_by.contains(&pid) {
                insert(&mut segment.memory.held_by, pid);
            }
            if segment.location.is_none() {
                segment.try_link(pid, &member.directory, name);
            }
        }
    }

    /// Asks for the size of every segment, and drops those that nobody has and nothing names.
    ///
    /// Where a segment is not found any more, its mappers' `maps` are to be read again.
    pub(super) fn measure(&mut self, members: &mut [Member]) {
        for segment in &mut self.segments {
            if segment.measure(members) {
                continue;
            }
            let id = segment.memory.id;
            let has =
                |member: &&mut Member| member.mapped.segments.iter().any(|mapped| mapped.id == id);
            members.iter_mut().filter(has).for_each(Member::distrust_maps);
        }
        self.drop_the_gone();
    }

    /// Looks for a way to those segments that have none: first by everyone's mappings, then by
    /// their descriptors, last by the path.
    pub(super) fn locate_lost(&mut self, members: &[Member]) {
        for segment in self.segments.iter_mut().filter(|segment| segment.location.is_none()) {
            segment.locate(members);
        }
        self.drop_the_gone();
    }

    fn drop_the_gone(&mut self) {
        self.segments.retain(|segment| segment.memory.in_use() || segment.location.is_some());
    }

    /// Finds the segments that a process must have touched, since the others it maps cannot make up
    /// its `RssShmem`. With one segment mapped this tells all; with several, `smaps` tells the rest.
    pub(super) fn infer_touched(&mut self, member: &Member) {
        if member.mapped.others {
            return;
        }
        let most = |table: &Self, id: SegmentId, ranges: u64| {
            let segment = table.memory().find(|segment| segment.id == id);
            segment.map_or(0, |segment| segment.resident.saturating_mul(ranges))
        };
        let mapped = &member.mapped.segments;
        let all: u64 = mapped.iter().map(|mapped| most(self, mapped.id, mapped.ranges)).sum();
        for mapped in mapped {
            let others = all - most(self, mapped.id, mapped.ranges);
            if member.memory.shmem > others {
                let mut segments = self.segments.iter_mut().map(|segment| &mut segment.memory);
                if let Some(segment) = segments.find(|segment| segment.id == mapped.id) {
                    insert(&mut segment.touched_by, member.pid());
                }
            }
        }
    }

    /// Clears what only `smaps` can measure, before a walk over everyone's `smaps`.
    pub(super) fn begin_walk(&mut self) {
        for segment in self.segments.iter_mut().filter(|segment| segment.location.is_none()) {
            segment.memory.resident = 0;
        }
    }

    /// Reads from `smaps` which segments a process has touched, where that is not known yet. For a
    /// segment that nothing but `smaps` can measure, the greatest resident size is taken.
    pub(super) fn find_touched(&mut self, member: &mut Member, buffer: &mut Vec<u8>) {
        let pid = member.pid();
        let mut open =
            self.segments.iter().filter(|segment| segment.memory.mapped_by.contains(&pid));
        let changed = member.memory.shmem != member.walked_at_shmem;
        let wanted = open.any(|segment| {
            let unknown = !segment.memory.touched_by.contains(&pid);
            segment.location.is_none() || (changed && unknown)
        });
        if !wanted || member.directory.read(c"smaps", buffer).is_err() {
            return;
        }
        member.walked_at_shmem = member.memory.shmem;
        let resident = smaps::resident_by_inode(buffer);
        for segment in &mut self.segments {
            let Some(bytes) = resident.get(&segment.memory.id).filter(|bytes| **bytes > 0) else {
                continue;
            };
            insert(&mut segment.memory.touched_by, pid);
            if segment.location.is_none() {
                segment.memory.resident = segment.memory.resident.max(*bytes);
            }
        }
    }
}

impl Segment {
    /// Takes the size if `stat` is of this very segment.
    fn take(&mut self, stat: &rustix::fs::Stat) -> bool {
        if SegmentId::of(stat) != self.memory.id {
            return false;
        }
        self.memory.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.memory.resident = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
        true
    }

    /// Uses a link in a process's folder from now on, if it leads here.
    fn try_link(&mut self, pid: u32, directory: &ProcessDirectory, name: String) -> bool {
        let found = directory.stat(&name).is_ok_and(|stat| self.take(&stat));
        if found {
            self.location = Some(Location::Link { pid, name });
        }
        found
    }

    /// Asks at the known place. False, and the place forgotten, if the segment is not there now.
    fn measure(&mut self, members: &[Member]) -> bool {
        let stat = match &self.location {
            None => return true, // only `smaps` knows, in a full sample
            Some(Location::Path(path)) => rustix::fs::stat(path.as_str()).ok(),
            Some(Location::Link { pid, name }) => members
                .iter()
                .find(|member| member.pid() == *pid)
                .and_then(|member| member.directory.stat(name).ok()),
        };
        let found = stat.is_some_and(|stat| self.take(&stat));
        if !found {
            self.location = None;
            self.searched = false;
        }
        found
    }

    fn locate(&mut self, members: &[Member]) {
        if self.locate_by_mapping(members) || self.locate_by_path() || self.searched {
            return;
        }
        self.searched = true;
        if !self.locate_by_descriptor(members) {
            self.memory.held_by.clear(); // they were found by a descriptor, and have closed it
        }
    }

    fn locate_by_mapping(&mut self, members: &[Member]) -> bool {
        let id = self.memory.id;
        members.iter().any(|member| {
            let mapped = member.mapped.segments.iter().find(|mapped| mapped.id == id);
            mapped.is_some_and(|mapped| {
                let name = format!("map_files/{}", mapped.range);
                self.try_link(member.pid(), &member.directory, name)
            })
        })
    }

    fn locate_by_path(&mut self) -> bool {
        if maps::is_nameless_memory(self.path.as_bytes()) || self.path.ends_with(" (deleted)") {
            return false;
        }
        let found = rustix::fs::stat(self.path.as_str()).is_ok_and(|stat| self.take(&stat));
        if found {
            self.location = Some(Location::Path(self.path.clone()));
        }
        found
    }

    fn locate_by_descriptor(&mut self, members: &[Member]) -> bool {
        let users: Vec<&Member> = members
            .iter()
            .filter(|member| {
                let pid = member.pid();
                self.memory.mapped_by.contains(&pid) || self.memory.held_by.contains(&pid)
            })
            .collect();
        users.iter().any(|member| {
            let descriptors = memory_descriptors(&member.directory).unwrap_or_default();
            descriptors.into_iter().any(|(descriptor, _)| {
                self.try_link(member.pid(), &member.directory, format!("fd/{descriptor}"))
            })
        })
    }
}

/// The open descriptors of a process that lead to files in memory, with the paths they show.
fn memory_descriptors(directory: &ProcessDirectory) -> Result<Vec<(u32, String)>, ReadError> {
    let descriptors = directory.numbers(c"fd")?.into_iter().filter_map(|descriptor| {
        let link = directory.link(&format!("fd/{descriptor}")).ok()?;
        let memory = maps::is_nameless_memory(&link) || link.starts_with(b"/dev/shm/");
        memory.then(|| (descriptor, String::from_utf8_lossy(&link).into_owned()))
    });
    Ok(descriptors.collect())
}
