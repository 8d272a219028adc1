//! How much anonymous shared memory may still be made.
//!
//! A memfd has no file-system limit: without a check the kernel grants any size and the process is
//! killed when it touches too much. So the crate asks first: what the machine has available
//! (`MemAvailable`) and what the memory cgroups of this process leave (versions 1 and 2). It is a
//! check, not a reservation: two processes that ask at once can both be told yes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Sizes below this are not checked: the check reads several small files.
const CHECK_FROM: u64 = 8 << 20;

/// Fails when `size` bytes are more than the machine or the cgroup can give.
pub(crate) fn check(size: u64) -> Result<(), Error> {
    if size < CHECK_FROM {
        return Ok(());
    }
    for (limit, available) in
        [("the machine (MemAvailable)", mem_available()), ("the memory cgroup", cgroup_left())]
    {
        if let Some(available) = available
            && size > available
        {
            return Err(Error::OutOfMemory { size, available, limit });
        }
    }
    Ok(())
}

fn mem_available() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The least that any memory cgroup above this process leaves.
fn cgroup_left() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(left_in).min()
}

fn left_in(line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (root, max, used) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max", "memory.current")
    } else if controllers.split(',').any(|name| name == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
    } else {
        return None;
    };
    let group: PathBuf = Path::new(root).join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .filter_map(|dir| Some(number(&dir.join(max))?.saturating_sub(number(&dir.join(used))?)))
        .min()
}

/// `None` also for the word `max`: no limit.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_machine_has_is_refused_with_both_sizes() {
        let size = 1 << 60;
        match check(size) {
            Err(Error::OutOfMemory { size: asked, available, .. }) => {
                assert_eq!(asked, size);
                assert!(available < size);
            }
            other => panic!("{other:?}"),
        }
    }
}
