//! `/proc/PID/stat`: parent, start time, and whether the process has run `exec` since its fork.

use super::leading_number;

/// The kernel's `PF_FORKNOEXEC`: forked, and has not run `exec` since.
const FORKED_WITHOUT_EXEC: u64 = 0x40;

/// The kernel's `PF_EXITING`: on its way out, its memory being given back.
const EXITING: u64 = 0x4;

/// What the ledger takes from `stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    /// Clock ticks since boot; with the pid it names a process for as long as the machine is up.
    pub(crate) start_ticks: u64,
    /// Still the image of its parent, with pages perhaps shared by copy-on-write.
    pub(crate) forked: bool,
    /// Ending: what it still has says nothing of what it had.
    pub(crate) exiting: bool,
    /// Where its stack begins: another place after `exec`. 0 where we may not know.
    pub(crate) stack_start: u64,
}

impl Stat {
    /// `None` for a file that was cut short.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let flags = field(text, 9)?;
        Some(Self {
            parent: u32::try_from(field(text, 4)?).unwrap_or(0),
            forked: flags & FORKED_WITHOUT_EXEC != 0,
            exiting: flags & EXITING != 0,
            start_ticks: start_ticks(text)?,
            stack_start: field(text, 28)?,
        })
    }
}

/// When the process was started, in clock ticks since boot. Allocates nothing: the heap profiler
/// asks from inside the program's allocator.
pub(crate) fn start_ticks(text: &[u8]) -> Option<u64> {
    field(text, 22)
}

/// A field by its number in proc(5), which counts from 1 with pid and name.
fn field(text: &[u8], number: usize) -> Option<u64> {
    // The name, field 2, stands in parentheses and may hold anything, even a parenthesis.
    let after_name = text.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = text[after_name..].split(|byte| byte.is_ascii_whitespace());
    fields.filter(|field| !field.is_empty()).nth(number - 3).map(leading_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "71 (a) (b) S 42 71 71 0 -1 4194368 110 0 0 0 0 0 0 0 20 0 1 0 8888 3133440 441 \
        18446744073709551615 1 1 7 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = Stat::parse(LINE.as_bytes()).unwrap();
        assert_eq!(
            stat,
            Stat { parent: 42, start_ticks: 8888, forked: true, exiting: false, stack_start: 7 }
        );
    }

    #[test]
    fn a_file_cut_short_is_no_stat() {
        assert_eq!(Stat::parse(&LINE.as_bytes()[..90]), None);
    }
}
