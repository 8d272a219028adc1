//! `/proc/PID/maps`: which files held in memory a process has mapped.

use std::collections::HashSet;
use std::ops::Range;

use crate::segment::SegmentId;

/// One line of `maps`, split but not copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping<'a> {
    range: &'a [u8],
    shared: bool,
    device: &'a [u8],
    inode: &'a [u8],
    path: &'a [u8],
}

impl<'a> Mapping<'a> {
    /// `start-end perms offset major:minor inode   path`
    pub(crate) fn split(line: &'a [u8]) -> Option<Self> {
        let (range, rest) = word(line)?;
        let (permissions, rest) = word(rest)?;
        let (_offset, rest) = word(rest)?;
        let (device, rest) = word(rest)?;
        let (inode, rest) = word(rest)?;
        let shared = permissions.get(3) == Some(&b's');
        Some(Self { range, shared, device, inode, path: rest.trim_ascii() })
    }

    /// Whether writes to it go to others too.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// First address and the one behind the last.
    pub(crate) fn addresses(&self) -> Option<Range<u64>> {
        let (start, end) = std::str::from_utf8(self.range).ok()?.split_once('-')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        (start < end).then_some(start..end)
    }
}

/// The next word of a line, and what follows it.
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    (end > 0).then(|| line.split_at(end))
}

/// The identity of the file behind a mapping; `None` for memory without a file.
pub(crate) fn inode_of(mapping: &Mapping<'_>) -> Option<SegmentId> {
    let inode: u64 = std::str::from_utf8(mapping.inode).ok()?.parse().ok()?;
    let device = std::str::from_utf8(mapping.device).ok()?;
    let (major, minor) = device.split_once(':')?;
    let major = u32::from_str_radix(major, 16).ok()?;
    let minor = u32::from_str_radix(minor, 16).ok()?;
    (inode != 0).then_some(SegmentId { major, minor, inode })
}

/// A file held in memory, as one process maps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappedSegment {
    pub(crate) id: SegmentId,
    /// The first range mapped, as the names in `map_files` spell it.
    pub(crate) range: String,
    /// In how many ranges it is mapped: resident pages count once in each.
    pub(crate) ranges: u64,
    pub(crate) name: String,
}

/// The files held in memory that one process maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemoryMaps {
    pub(crate) segments: Vec<MappedSegment>,
    /// Whether other files in memory are mapped too (program text on tmpfs), whose pages count in
    /// `RssShmem` as well.
    pub(crate) others: bool,
}

/// The segments among the mappings: shared mappings of files that live in memory (memfd, System V,
/// shared anonymous memory, tmpfs), and private mappings of memfds.
///
/// A *private* mapping of a named tmpfs file is program text kept on tmpfs, and no segment.
pub(crate) fn memory_backed(maps: &[u8], tmpfs: &HashSet<(u32, u32)>) -> MemoryMaps {
    let mut found = MemoryMaps::default();
    for line in maps.split(|byte| *byte == b'\n') {
        // Files in memory lie on devices of major number 0: turn the others away cheaply.
        let mapping = Mapping::split(line).filter(|mapping| mapping.device.starts_with(b"00:"));
        let Some(mapping) = mapping else { continue };
        let Some(id) = inode_of(&mapping) else { continue };
        let on_tmpfs = tmpfs.contains(&(id.major, id.minor));
        if is_nameless_memory(mapping.path) || (on_tmpfs && mapping.shared) {
            found.add(id, &mapping);
        } else {
            found.others |= on_tmpfs;
        }
    }
    found
}

impl MemoryMaps {
    fn add(&mut self, id: SegmentId, mapping: &Mapping<'_>) {
        match self.segments.iter_mut().find(|segment| segment.id == id) {
            Some(segment) => segment.ranges += 1,
            None => {
                let range = without_leading_zeros(&lossy(mapping.range));
                self.segments.push(MappedSegment {
                    id,
                    range,
                    ranges: 1,
                    name: lossy(mapping.path),
                });
            }
        }
    }
}

/// Whether a path in `maps` or a link in `fd` is memory without a place in any file system.
pub(crate) fn is_nameless_memory(path: &[u8]) -> bool {
    path.starts_with(b"/memfd:") || path.starts_with(b"/SYSV") || path == b"/dev/zero (deleted)"
}

/// `maps` fills low addresses up with zeros, `map_files` does not.
fn without_leading_zeros(range: &str) -> String {
    let parts: Vec<&str> = range.split('-').map(|part| part.trim_start_matches('0')).collect();
    parts.join("-")
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// The devices of the tmpfs mounts in a `mountinfo` file.
pub(crate) fn tmpfs_devices(mountinfo: &[u8]) -> HashSet<(u32, u32)> {
    let text = String::from_utf8_lossy(mountinfo);
    text.lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            if kind.split(' ').next()? != "tmpfs" {
                return None;
            }
            let (major, minor) = mount.split(' ').nth(2)?.split_once(':')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &[u8] = b"\
55e000000000-55e000010000 r-xp 00000000 fe:00 247003                     /usr/bin/program\n\
7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \n\
7f1000000000-7f1010000000 rw-s 00000000 00:01 1042                       /memfd:a column (deleted)\n\
7f1010000000-7f1010001000 r--s 00001000 00:01 1042                       /memfd:a column (deleted)\n\
7f2000000000-7f2010000000 r--p 00000000 00:01 1043                       /memfd:frozen (deleted)\n\
7f3000000000-7f3000001000 rw-s 00000000 00:1a 7                          /dev/shm/named\n\
7f4000000000-7f4000001000 r-xp 00000000 00:1a 8                          /dev/shm/program\n\
7f5000000000-7f5000001000 rw-s 00000000 00:01 32769                      /SYSV00000000 (deleted)\n\
7f6000000000-7f6000001000 rw-s 00000000 00:01 1050                       /dev/zero (deleted)\n\
7f7000000000-7f7000001000 rw-s 00000000 00:2b 99                         /mnt/overlay/file\n\
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]\n";

    #[test]
    fn segments_are_told_from_ordinary_files() {
        let found = memory_backed(MAPS, &HashSet::from([(0, 0x1a)]));
        assert!(found.others, "the program on tmpfs");
        let found = found.segments;
        let inodes: Vec<u64> = found.iter().map(|segment| segment.id.inode).collect();
        assert_eq!(inodes, [1042, 1043, 7, 32769, 1050]);
        assert_eq!(found[0].name, "/memfd:a column (deleted)");
        assert_eq!((found[0].range.as_str(), found[0].ranges), ("7f1000000000-7f1010000000", 2));
    }

    #[test]
    fn low_addresses_are_spelled_as_in_map_files() {
        assert_eq!(without_leading_zeros("00400000-00401000"), "400000-401000");
    }

    #[test]
    fn only_tmpfs_mounts_are_taken_from_mountinfo() {
        let text = b"24 29 0:22 / /proc rw shared:13 - proc proc rw\n\
            30 29 0:26 / /dev/shm rw,nosuid shared:4 - tmpfs tmpfs rw,inode64\n";
        assert_eq!(tmpfs_devices(text), HashSet::from([(0, 26)]));
    }
}
