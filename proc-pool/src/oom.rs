//! Whether the kernel's out-of-memory killer struck.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A strike is put down to a death that is noticed within this time.
const FRESH: Duration = Duration::from_secs(1);

/// Counts its victims, in the memory cgroup of this process if that can be read, else on the whole
/// machine.
#[derive(Debug)]
pub(crate) struct OomWatch {
    file: PathBuf,
    seen: Option<u64>,
    /// Strikes that no death was put down to yet, and when they were seen.
    strikes: u64,
    at: Option<Instant>,
}

impl OomWatch {
    pub fn new() -> OomWatch {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let files = candidates(&groups, Path::new("/sys/fs/cgroup"));
        let machine = PathBuf::from("/proc/vmstat");
        let ours = |file: &PathBuf| victims(file).is_some() && is_member(file);
        OomWatch::of(files.into_iter().find(ours).unwrap_or(machine))
    }

    fn of(file: PathBuf) -> OomWatch {
        OomWatch { seen: victims(&file), file, strikes: 0, at: None }
    }

    /// Whether it struck lately, once for each strike: asked when a death is noticed that it may
    /// have caused. (It counts before it kills.)
    pub fn struck(&mut self) -> bool {
        let now = victims(&self.file);
        let before = std::mem::replace(&mut self.seen, now);
        if self.at.is_some_and(|at| at.elapsed() > FRESH) {
            self.strikes = 0;
        }
        if let (Some(before), Some(now)) = (before, now)
            && now > before
        {
            self.strikes += now - before;
            self.at = Some(Instant::now());
        }
        let struck = self.strikes > 0;
        self.strikes -= u64::from(struck);
        struck
    }
}

/// Where the count may stand, for a process in these groups. Inside of a container the mount shows
/// the lower end of the path only.
fn candidates(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let of_line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        if controllers.is_empty() {
            return Some(lower_ends(mount, path, "memory.events"));
        }
        let memory = controllers.split(',').any(|controller| controller == "memory");
        memory.then(|| lower_ends(&mount.join("memory"), path, "memory.oom_control"))
    };
    groups.lines().filter_map(of_line).flatten().collect()
}

fn lower_ends(mount: &Path, path: &str, file: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (0..=parts.len())
        .map(|start| parts[start..].iter().fold(mount.to_owned(), |at, part| at.join(part)))
        .map(|group| group.join(file))
        .collect()
}

/// Whether this process is in the group that the file belongs to.
fn is_member(file: &Path) -> bool {
    let members = std::fs::read_to_string(file.with_file_name("cgroup.procs")).unwrap_or_default();
    let own = std::process::id().to_string();
    members.lines().any(|pid| pid == own)
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
        let first = ["a/b", "b", ""].map(|path| mount.join("memory").join(path));
        let second = ["c", ""].map(|path| mount.join(path));
        let expected = (first.iter().map(|group| group.join("memory.oom_control")))
            .chain(second.iter().map(|group| group.join("memory.events")));
        assert!(found.iter().eq(&expected.collect::<Vec<_>>()), "{found:?}");
    }

    #[test]
    fn each_strike_is_put_down_to_one_death() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.events");
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        let mut watch = OomWatch::of(file.clone());
        assert!(!watch.struck());
        // Two at once.
        std::fs::write(&file, "oom_kill 3\n").unwrap();
        assert!(watch.struck() && watch.struck());
        assert!(!watch.struck());
        // A strike that nobody here died of is not kept for somebody who dies later.
        std::fs::write(&file, "oom_kill 5\n").unwrap();
        assert!(watch.struck());
        watch.at = Instant::now().checked_sub(2 * FRESH);
        assert!(!watch.struck());
    }
}
