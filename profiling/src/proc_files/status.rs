//! `/proc/PID/status`: the quick figures, kept by the kernel and not counted page by page.

use super::{key_and_value, kibibytes, leading_number};

/// What the ledger takes from `status`. All amounts are bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) state: u8,
    pub(crate) parent: u32,
    pub(crate) virtual_size: u64,
    pub(crate) virtual_high_water: u64,
    pub(crate) high_water: u64,
    pub(crate) anonymous: u64,
    pub(crate) file: u64,
    pub(crate) shmem: u64,
    pub(crate) page_tables: u64,
    pub(crate) swap: u64,
}

impl Status {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut status = Self::default();
        for (key, value) in text.split(|byte| *byte == b'\n').filter_map(key_and_value) {
            match key {
                b"Name" => status.name = unescaped(value.trim_ascii()),
                b"State" => status.state = value.trim_ascii().first().copied().unwrap_or(b'?'),
                b"PPid" => status.parent = u32::try_from(leading_number(value)).unwrap_or(0),
                b"VmPeak" => status.virtual_high_water = kibibytes(value),
                b"VmSize" => status.virtual_size = kibibytes(value),
                b"VmHWM" => status.high_water = kibibytes(value),
                b"RssAnon" => status.anonymous = kibibytes(value),
                b"RssFile" => status.file = kibibytes(value),
                b"RssShmem" => status.shmem = kibibytes(value),
                b"VmPTE" => status.page_tables = kibibytes(value),
                b"VmSwap" => {
                    status.swap = kibibytes(value);
                    break; // nothing after this line concerns us
                }
                _ => {}
            }
        }
        status
    }
}

/// The kernel writes a line feed and a backslash in a name as `\n` and `\\`.
fn unescaped(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace("\\n", "\n").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_matter_are_found() {
        let text = b"Name:\tworker one\nState:\tS (sleeping)\nPPid:\t42\nVmPeak:\t  400 kB\n\
            VmSize:\t  300 kB\nVmHWM:\t  70 kB\nVmRSS:\t  60 kB\nRssAnon:\t  10 kB\n\
            RssFile:\t  20 kB\nRssShmem:\t  30 kB\nVmPTE:\t  8 kB\nVmSwap:\t  4 kB\n";
        let status = Status::parse(text);
        assert_eq!(status.name, "worker one");
        assert_eq!((status.state, status.parent), (b'S', 42));
        assert_eq!((status.anonymous, status.file, status.shmem), (10 << 10, 20 << 10, 30 << 10));
        assert_eq!((status.high_water, status.page_tables, status.swap), (70 << 10, 8192, 4096));
        assert_eq!((status.virtual_size, status.virtual_high_water), (300 << 10, 400 << 10));
    }

    #[test]
    fn a_zombie_has_a_name_and_no_memory() {
        let status = Status::parse(b"Name:\tgone\nState:\tZ (zombie)\nPPid:\t1\nThreads:\t1\n");
        assert_eq!((status.state, status.anonymous, status.high_water), (b'Z', 0, 0));
    }
}
