//! `/proc/PID/smaps_rollup` and `smaps`: figures the kernel counts page by page, so read seldom.

use std::collections::HashMap;
use std::ops::Range;

use super::maps::{Mapping, inode_of};
use super::{key_and_value, kibibytes};
use crate::segment::SegmentId;

/// The sums over all mappings of a process, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rollup {
    pub(crate) anonymous: u64,
    pub(crate) proportional: u64,
    pub(crate) proportional_anonymous: u64,
    pub(crate) proportional_file: u64,
    pub(crate) proportional_shmem: u64,
    pub(crate) proportional_swap: u64,
    pub(crate) private: u64,
    pub(crate) shared: u64,
}

impl Rollup {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut rollup = Self::default();
        for (key, value) in text.split(|byte| *byte == b'\n').filter_map(key_and_value) {
            let field = match key {
                b"Pss" => &mut rollup.proportional,
                b"Pss_Anon" => &mut rollup.proportional_anonymous,
                b"Pss_File" => &mut rollup.proportional_file,
                b"Pss_Shmem" => &mut rollup.proportional_shmem,
                b"SwapPss" => &mut rollup.proportional_swap,
                b"Anonymous" => &mut rollup.anonymous,
                b"Private_Clean" | b"Private_Dirty" => &mut rollup.private,
                b"Shared_Clean" | b"Shared_Dirty" => &mut rollup.shared,
                _ => continue,
            };
            *field = field.saturating_add(kibibytes(value));
        }
        rollup
    }
}

/// Resident bytes of every mapped file of a process, summed over its mappings of that file.
pub(crate) fn resident_by_inode(smaps: &[u8]) -> HashMap<SegmentId, u64> {
    let mut resident = HashMap::new();
    let mut current = None;
    for line in smaps.split(|byte| *byte == b'\n') {
        match key_and_value(line) {
            Some((b"Rss", value)) => {
                if let Some(id) = current {
                    let sum: &mut u64 = resident.entry(id).or_default();
                    *sum = sum.saturating_add(kibibytes(value));
                }
            }
            // A header has colons too (in the device), but hexadecimal digits before them.
            Some((key, _)) if key.contains(&b'-') => {
                current = Mapping::split(line).and_then(|mapping| inode_of(&mapping));
            }
            _ => {}
        }
    }
    resident
}

/// The address ranges of a process that hold anonymous pages, private ones only.
pub(crate) fn anonymous_ranges(smaps: &[u8]) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut current = None;
    for line in smaps.split(|byte| *byte == b'\n') {
        match key_and_value(line) {
            Some((b"Anonymous", value)) if kibibytes(value) > 0 => ranges.extend(current.take()),
            Some((key, _)) if key.contains(&b'-') => {
                current =
                    Mapping::split(line).filter(|it| !it.is_shared()).and_then(|it| it.addresses());
            }
            _ => {}
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_adds_clean_and_dirty() {
        let text = b"55e1-7ffd ---p 00000000 00:00 0   [rollup]\nRss: 1708 kB\nPss: 369 kB\n\
            Pss_Anon: 112 kB\nPss_File: 257 kB\nPss_Shmem: 3 kB\nShared_Clean: 1532 kB\n\
            Shared_Dirty: 1 kB\nPrivate_Clean: 64 kB\nPrivate_Dirty: 112 kB\nAnonymous: 200 kB\n\
            SwapPss: 5 kB\n";
        let rollup = Rollup::parse(text);
        assert_eq!(rollup.private, (64 + 112) << 10);
        assert_eq!(rollup.shared, 1533 << 10);
        assert_eq!((rollup.proportional, rollup.anonymous), (369 << 10, 200 << 10));
        assert_eq!(rollup.proportional_anonymous, 112 << 10);
        assert_eq!(rollup.proportional_swap, 5 << 10);
    }

    #[test]
    fn two_mappings_of_one_file_are_summed() {
        let text = b"1000-2000 rw-s 00000000 00:01 9   /memfd:a (deleted)\nRss:   8 kB\n\
            2000-3000 rw-p 00000000 00:00 0 \nRss:   100 kB\n\
            3000-4000 rw-s 00000000 00:01 9   /memfd:a (deleted)\nRss:   4 kB\nVmFlags: rd wr\n";
        let resident = resident_by_inode(text);
        assert_eq!(resident.len(), 1);
        assert_eq!(resident.values().copied().collect::<Vec<_>>(), [12 << 10]);
    }

    #[test]
    fn only_private_mappings_with_anonymous_pages_are_ranges() {
        let text = b"1000-3000 rw-p 00000000 00:00 0   [heap]\nRss: 8 kB\nAnonymous: 8 kB\n\
            4000-5000 rw-p 00000000 00:00 0 \nAnonymous:   0 kB\n\
            5000-6000 rw-s 00000000 00:01 9   /dev/zero (deleted)\nAnonymous: 4 kB\n\
            7000-8000 rw-p 00000000 fe:01 9   /lib/data\nAnonymous: 4 kB\n";
        assert_eq!(anonymous_ranges(text), [0x1000..0x3000, 0x7000..0x8000]);
    }
}
