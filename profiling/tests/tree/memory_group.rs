//! Memory cgroups for tests.

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};

/// A memory cgroup made for a test, taken away after it.
pub struct MemoryGroup {
    folder: PathBuf,
    files: Files,
}

/// What the files of a hierarchy are called.
#[derive(Clone, Copy)]
struct Files {
    usage: &'static str,
    limit: &'static str,
    /// Has a line `oom_kill N`.
    kills: &'static str,
}

const FIRST: Files = Files {
    usage: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
    kills: "memory.oom_control",
};
const SECOND: Files =
    Files { usage: "memory.current", limit: "memory.max", kills: "memory.events" };

impl MemoryGroup {
    /// `None` where no hierarchy with a memory controller is writable.
    pub fn new(name: &str) -> Option<Self> {
        let hierarchies = [
            ("/sys/fs/cgroup/memory", FIRST),
            ("/sys/fs/cgroup", SECOND),
            ("/sys/fs/cgroup/unified", SECOND),
        ];
        hierarchies.into_iter().find_map(|(root, files)| {
            let folder = Path::new(root).join(format!("{name}-{}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let group = Self { folder, files };
            fs::metadata(group.folder.join(files.usage)).ok()?;
            Some(group)
        })
    }

    /// Moves a process into it.
    pub fn add(&self, pid: u32) -> Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Limits what its processes take together.
    pub fn limit(&self, bytes: u64) -> Result<()> {
        fs::write(self.folder.join(self.files.limit), bytes.to_string())
    }

    /// What the kernel charges it, in bytes.
    pub fn charged(&self) -> u64 {
        self.read(self.files.usage).trim().parse().unwrap()
    }

    /// How many of its processes the kernel killed for want of memory.
    pub fn kills(&self) -> u64 {
        let text = self.read(self.files.kills);
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}
