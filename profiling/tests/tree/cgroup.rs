//! The tree's total against a second witness: what the kernel charges a memory cgroup around it.

use std::fs;

use profiling::Ledger;

use crate::load::Load;
use crate::memory_group::MemoryGroup;

const MIB: u64 = 1 << 20;

/// A root with four children, 64 MiB that all of them share, and 24 MiB that each has for itself.
fn grow(root: &mut Load) {
    let path = root.tell("memfd column 67108864");
    root.tell("touch 67108864");
    for child in 0..4 {
        root.tell("spawn");
        root.tell(&format!("to {child} map {path}"));
        root.tell(&format!("to {child} touch 67108864"));
        root.tell(&format!("to {child} private 25165824"));
    }
}

#[test]
fn the_total_agrees_with_what_a_memory_cgroup_charges() {
    const SKIPPED: &str = "skipped: no writable memory cgroup here; the other witness is run";
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
    group.limit(1 << 30).unwrap();
    grow(&mut root);
    let mut ledger = Ledger::of(root.pid()).unwrap();
    for snapshot in [ledger.full(), ledger.quick()] {
        let (ours, kernels) = (snapshot.total(), group.charged());
        let allowed = (kernels / 100).max(4 * MIB);
        println!("ours {ours}, kernel's {kernels}, summed RSS {}", snapshot.resident_sum());
        assert!(ours.abs_diff(kernels) <= allowed, "ours {ours}, the kernel's {kernels}");
        assert!(snapshot.resident_sum() > 2 * kernels);
    }
    assert_eq!(group.kills(), 0);
}

/// The second witness, which needs no privilege: everybody's share of every page that is not an
/// ordinary file's, as the kernel divides it, and page tables.
#[test]
fn the_total_agrees_with_everybodys_shares_added_up() {
    let mut root = Load::start();
    grow(&mut root);
    let snapshot = Ledger::of(root.pid()).unwrap().full();
    let shares = snapshot.processes.iter().map(|process| {
        let of = |file: &str, keys: &[&str]| -> u64 {
            let text = fs::read_to_string(format!("/proc/{}/{file}", process.pid)).unwrap();
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let wanted = lines.filter(|(key, _)| keys.contains(key));
            wanted
                .map(|(_, value)| value.trim().trim_end_matches(" kB").parse::<u64>().unwrap())
                .sum()
        };
        (of("smaps_rollup", &["Pss_Anon", "Pss_Shmem"]) + of("status", &["VmPTE"])) * 1024
    });
    let (ours, theirs) = (snapshot.total(), shares.sum::<u64>());
    assert!(ours.abs_diff(theirs) <= (theirs / 100).max(4 * MIB), "ours {ours}, theirs {theirs}");
}
