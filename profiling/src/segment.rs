//! A shared segment: a file that lives in memory, counted once however many map it.

/// What makes a segment the same in every process: the device and inode of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SegmentId {
    /// Major number of the device (`maps`).
    pub major: u32,
    /// Minor number of the device (`maps`).
    pub minor: u32,
    /// Inode number.
    pub inode: u64,
}

impl SegmentId {
    /// The identity of the file a `stat` was made of.
    pub(crate) fn of(stat: &rustix::fs::Stat) -> Self {
        Self::of_device(stat.st_dev, stat.st_ino)
    }

    /// The identity by device number and inode.
    pub(crate) fn of_device(device: u64, inode: u64) -> Self {
        Self { major: rustix::fs::major(device), minor: rustix::fs::minor(device), inode }
    }
}

/// A shared segment at one instant. Amounts are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SegmentMemory {
    /// Device and inode.
    pub id: SegmentId,
    /// The kernel's name for it: `memfd:column`, `/dev/shm/name`, `SYSV…` (System V),
    /// `/dev/zero` (shared anonymous memory).
    pub name: String,
    /// Its length (`st_size`).
    pub size: u64,
    /// Pages that exist, in memory or in swap (`st_blocks * 512`), whoever wrote them. A segment
    /// nobody wrote to is resident nowhere, however long it is.
    pub resident: u64,
    /// The processes that have it mapped, by pid.
    pub mapped_by: Vec<u32>,
    /// The processes seen with pages of it in their page tables, by pid: where their `RssShmem`
    /// cannot come from other segments, or by `Rss` in `smaps`, which only full samples read. One
    /// that touched it through `read` or `write` alone is not among them.
    pub touched_by: Vec<u32>,
    /// The processes that hold a descriptor of it without mapping it, by pid. Looked up in full
    /// samples only.
    pub held_by: Vec<u32>,
}

impl SegmentMemory {
    /// A segment just found: nothing is known of it but its name.
    pub(crate) fn new(id: SegmentId, path: &str) -> Self {
        Self {
            id,
            name: readable_name(path),
            size: 0,
            resident: 0,
            mapped_by: Vec::new(),
            touched_by: Vec::new(),
            held_by: Vec::new(),
        }
    }

    /// Its name, or what it is for where its name is one that this crate gave: a heap profile in a
    /// folder is called after its process.
    pub fn title(&self) -> String {
        let file = self.name.rsplit('/').next().unwrap_or_default();
        let profile = file.strip_prefix("heap-").and_then(|file| file.strip_suffix(".profile"));
        match profile.and_then(|profile| profile.split('-').next()) {
            Some(pid) => format!("heap profile of {pid}"),
            None => self.name.clone(),
        }
    }

    /// Forgets that `pid` maps or holds it. Who touched it stays known.
    pub(crate) fn leave(&mut self, pid: u32) {
        self.mapped_by.retain(|other| *other != pid);
        self.held_by.retain(|other| *other != pid);
    }

    /// Whether any process still maps or holds it.
    pub(crate) fn in_use(&self) -> bool {
        !(self.mapped_by.is_empty() && self.held_by.is_empty())
    }
}

/// Adds `pid` if it is not there yet.
pub(crate) fn insert(pids: &mut Vec<u32>, pid: u32) {
    if !pids.contains(&pid) {
        pids.push(pid);
    }
}

/// The kernel's `/memfd:column (deleted)` as people write it: `memfd:column`.
fn readable_name(path: &str) -> String {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let nameless = path.starts_with("/memfd:") || path.starts_with("/SYSV");
    if nameless { path[1..].to_owned() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels_without_its_decoration() {
        assert_eq!(readable_name("/memfd:a (b) (deleted)"), "memfd:a (b)");
        assert_eq!(readable_name("/dev/shm/x (deleted)"), "/dev/shm/x");
        assert_eq!(readable_name("/SYSV00000000 (deleted)"), "SYSV00000000");
        assert_eq!(readable_name("/dev/zero (deleted)"), "/dev/zero");
    }

    #[test]
    fn a_heap_profile_is_called_after_its_process() {
        let id = SegmentId { major: 0, minor: 1, inode: 1 };
        let title = |path| SegmentMemory::new(id, path).title();
        assert_eq!(title("/dev/shm/a/heap-42-1000-0.profile"), "heap profile of 42");
        assert_eq!(title("/memfd:column (deleted)"), "memfd:column");
    }
}
