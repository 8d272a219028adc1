//! Who made a segment, and when: for people, and to tell what a machine left before it restarted.

use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where a segment comes from. Zero where `/proc` did not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Origin {
    /// The kernel's id of this run of the machine.
    pub boot: [u64; 2],
    /// The creator's process id, in its own pid namespace.
    pub pid: u32,
    /// When the creator started, in clock ticks since the machine did.
    pub start: u64,
    /// When the segment was made, in nanoseconds since 1970.
    pub created: u64,
}

impl Origin {
    /// This process, now.
    pub fn here() -> Origin {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Origin {
            boot: boot_id(),
            pid: std::process::id(),
            start: own_start(),
            created: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Whether it was made before the machine was last started, as far as that is known.
    pub fn is_of_another_boot(&self) -> bool {
        self.boot != [0; 2] && boot_id() != [0; 2] && self.boot != boot_id()
    }
}

/// The kernel's random id of this run of the machine, read once.
fn boot_id() -> [u64; 2] {
    static ID: OnceLock<[u64; 2]> = OnceLock::new();
    *ID.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let id = u128::from_str_radix(&digits, 16).unwrap_or(0);
        [id as u64, (id >> 64) as u64]
    })
}

/// When this process started, in clock ticks since the machine did; 0 where `/proc` does not say.
/// Read once, and each time in a forked child.
///
/// By `self`: in a nested pid namespace, `/proc` may go by other numbers than the process does.
pub(crate) fn own_start() -> u64 {
    static KNOWN: OnceLock<(u32, u64)> = OnceLock::new();
    let pid = std::process::id();
    let (of, start) = *KNOWN.get_or_init(|| (pid, start_at("self").unwrap_or(0)));
    if of == pid { start } else { start_at("self").unwrap_or(0) }
}

/// When a process started, in clock ticks since the machine did; `None` when there is none.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    start_at(&pid.to_string())
}

/// The start time in a process's folder of `/proc`.
fn start_at(folder: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{folder}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything.
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_knows_where_it_is() {
        let origin = Origin::here();
        assert_eq!(origin.pid, std::process::id());
        assert_ne!(origin.boot, [0; 2]);
        assert!(origin.start > 0);
        assert_eq!(Some(origin.start), start_of(origin.pid));
        assert!(!origin.is_of_another_boot());
        let other = Origin { boot: [origin.boot[0] ^ 1, origin.boot[1]], ..origin };
        assert!(other.is_of_another_boot());
        assert!(!Origin { boot: [0; 2], ..origin }.is_of_another_boot(), "unknown is no proof");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_start() {
        assert_eq!(start_of(u32::MAX), None);
    }
}
