//! Who the children of a process are.

use std::ffi::CString;

use rustix::fs::{Dir, Mode, OFlags};

use super::directory::numbered_entries;
use super::stat::Stat;
use super::{ProcessDirectory, ReadError};

/// The children of the process behind `directory`: those of each of its threads.
///
/// `None` where the kernel was built without `CONFIG_PROC_CHILDREN`; see [`by_parent`].
pub(crate) fn of(directory: &ProcessDirectory, buffer: &mut Vec<u8>) -> Option<Vec<u32>> {
    let Ok(threads) = directory.numbers(c"task") else {
        return Some(Vec::new()); // the process is gone
    };
    let mut children = Vec::new();
    let mut missing = false;
    for thread in threads {
        let Ok(name) = CString::new(format!("task/{thread}/children")) else { continue };
        match directory.read(&name, buffer) {
            Ok(()) => children.extend(
                buffer
                    .split(|byte| byte.is_ascii_whitespace())
                    .filter_map(|pid| std::str::from_utf8(pid).ok()?.parse::<u32>().ok()),
            ),
            Err(ReadError::Gone) => missing = true, // the thread, the process, or the file
            Err(ReadError::Refused) => {}
        }
    }
    let unsupported = missing && children.is_empty() && !is_supported(buffer);
    (!unsupported).then_some(children)
}

/// Whether this kernel has the `children` file: our own is always there if so.
fn is_supported(buffer: &mut Vec<u8>) -> bool {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let Ok(name) = CString::new(format!("task/{thread}/children")) else { return false };
    ProcessDirectory::open(std::process::id())
        .is_ok_and(|directory| directory.read(&name, buffer).is_ok())
}

/// Every process of the machine with its parent: the slow way, for kernels without `children`.
pub(crate) fn by_parent(buffer: &mut Vec<u8>) -> Vec<(u32, u32)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::open("/proc", flags, Mode::empty()).and_then(Dir::new) else {
        return Vec::new();
    };
    numbered_entries(folder)
        .into_iter()
        .filter_map(|pid| {
            ProcessDirectory::open(pid).ok()?.read(c"stat", buffer).ok()?;
            Some((pid, Stat::parse(buffer)?.parent))
        })
        .collect()
}

/// A number that changes whenever a process or thread is made in our pid namespace.
///
/// It is the last field of `/proc/loadavg`, the pid given out last. While it stands still the tree
/// has not grown, and the walk over everyone's children can be left out.
pub(crate) fn last_pid(buffer: &mut Vec<u8>) -> Option<u32> {
    buffer.clear();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open("/proc/loadavg", flags, Mode::empty()).ok()?;
    std::io::Read::read_to_end(&mut std::fs::File::from(file), buffer).ok()?;
    std::str::from_utf8(buffer).ok()?.split_whitespace().nth(4)?.parse().ok()
}

/// How many processes and threads this machine has started since it was booted (`processes` in
/// `/proc/stat`); `None` where that may not be read.
pub(crate) fn ever_started() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("processes "))?.trim().parse().ok()
}
