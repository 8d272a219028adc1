//! Whether the kernel's out-of-memory killer struck.

use std::path::{Path, PathBuf};

/// Counts its victims, in the memory cgroup of this process if that can be read, else on the whole
/// machine.
#[derive(Debug)]
pub(crate) struct OomWatch {
    file: PathBuf,
    seen: Option<u64>,
}

impl OomWatch {
    pub fn new() -> OomWatch {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let files = candidates(&groups, Path::new("/sys/fs/cgroup"));
        let machine = PathBuf::from("/proc/vmstat");
        let file = files.into_iter().find(|file| victims(file).is_some()).unwrap_or(machine);
        OomWatch { seen: victims(&file), file }
    }

    /// Whether it struck since this was asked last.
    pub fn struck(&mut self) -> bool {
        let now = victims(&self.file);
        let before = std::mem::replace(&mut self.seen, now);
        matches!((before, now), (Some(before), Some(now)) if now > before)
    }
}

/// Where the count may stand, for a process in these groups.
fn candidates(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let file = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        if controllers.is_empty() {
            return Some(mount.join(path).join("memory.events"));
        }
        let memory = controllers.split(',').any(|controller| controller == "memory");
        memory.then(|| mount.join("memory").join(path).join("memory.oom_control"))
    };
    groups.lines().filter_map(file).collect()
}

fn victims(file: &Path) -> Option<u64> {
    count(&std::fs::read_to_string(file).ok()?)
}

/// `memory.events`, `memory.oom_control` and `vmstat` all have a line "oom_kill N".
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_each_kind_of_file() {
        assert_eq!(count("low 0\nhigh 0\nmax 4\noom 2\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count("nr_free_pages 5\noom_kill 0\n"), Some(0));
        assert_eq!(count("oom 3\n"), None);
    }

    #[test]
    fn the_memory_group_is_found_in_both_versions() {
        let mount = Path::new("/sys/fs/cgroup");
        let found = candidates("4:memory:/a/b\n3:cpuset:/\n0::/c\n", mount);
        let expected = [mount.join("memory/a/b/memory.oom_control"), mount.join("c/memory.events")];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_strike_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.events");
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        let mut watch = OomWatch { seen: victims(&file), file: file.clone() };
        assert!(!watch.struck());
        std::fs::write(&file, "oom_kill 2\n").unwrap();
        assert!(watch.struck());
        assert!(!watch.struck());
    }
}
