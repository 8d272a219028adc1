//! The tree's total against a second witness: what the kernel charges a memory cgroup around it.

use std::fs;
use std::path::{Path, PathBuf};

use profiling::Ledger;

use crate::load::Load;

const MIB: u64 = 1 << 20;

/// A memory cgroup made for a test, taken away after it.
struct MemoryGroup {
    folder: PathBuf,
    usage: &'static str,
}

impl MemoryGroup {
    /// `None` where no hierarchy with a memory controller is writable.
    fn new(name: &str) -> Option<Self> {
        let hierarchies = [
            ("/sys/fs/cgroup/memory", "memory.usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.current"),
            ("/sys/fs/cgroup/unified", "memory.current"),
        ];
        hierarchies.into_iter().find_map(|(root, usage)| {
            let folder = Path::new(root).join(format!("{name}-{}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let group = Self { folder, usage };
            fs::metadata(group.folder.join(usage)).ok()?;
            Some(group)
        })
    }

    fn add(&self, pid: u32) -> std::io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    fn charged(&self) -> u64 {
        fs::read_to_string(self.folder.join(self.usage)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

#[test]
fn the_total_agrees_with_what_a_memory_cgroup_charges() {
    const SKIPPED: &str = "skipped: no writable memory cgroup here";
    let Some(group) = MemoryGroup::new("profiling-ledger-test") else {
        println!("{SKIPPED}");
        return;
    };
    // After the group, so that it ends before it: a group goes only when it is empty.
    let mut root = Load::start();
    if group.add(root.pid()).is_err() {
        println!("{SKIPPED}");
        return;
    }
    let path = root.tell("memfd column 67108864");
    root.tell("touch 67108864");
    for child in 0..4 {
        root.tell("spawn");
        root.tell(&format!("to {child} map {path}"));
        root.tell(&format!("to {child} touch 67108864"));
        root.tell(&format!("to {child} private 25165824"));
    }
    let mut ledger = Ledger::of(root.pid()).unwrap();
    for snapshot in [ledger.full(), ledger.quick()] {
        let (ours, kernels) = (snapshot.total(), group.charged());
        let allowed = (kernels / 100).max(4 * MIB);
        println!("ours {ours}, kernel's {kernels}, summed RSS {}", snapshot.resident_sum());
        assert!(ours.abs_diff(kernels) <= allowed, "ours {ours}, the kernel's {kernels}");
        assert!(snapshot.resident_sum() > 2 * kernels);
    }
}
