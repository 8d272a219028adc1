//! Single samples of trees whose memory is known.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::{Duration, Instant};

use profiling::{Error, Ledger, ProcessState, Snapshot};

use crate::load::Load;

const MIB: u64 = 1 << 20;

/// What a small process needs besides what it was told to take.
const SMALL: u64 = 2 * MIB;

fn process(snapshot: &Snapshot, pid: u32) -> &profiling::ProcessMemory {
    snapshot.processes.iter().find(|process| process.pid == pid).unwrap()
}

/// Takes quick samples until one is as wanted. It may take several: reading maps has a budget.
fn quick_until(ledger: &mut Ledger, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let snapshot = ledger.quick();
        if wanted(&snapshot) {
            return snapshot;
        }
        assert!(Instant::now() < limit, "never came: {snapshot:?}");
    }
}

/// A process with so many children, and their pids.
fn family(children: usize) -> (Load, Vec<u32>) {
    let mut root = Load::start();
    let pids = (0..children).map(|_| root.tell("spawn").parse().unwrap()).collect();
    (root, pids)
}

#[test]
fn a_segment_mapped_by_nine_processes_counts_once() {
    let (mut root, children) = family(8);
    let path = root.tell("memfd column 16777216");
    root.tell("touch 16777216");
    for child in 0..8 {
        root.tell(&format!("to {child} map {path}"));
        root.tell(&format!("to {child} touch 16777216"));
    }
    let mut ledger = Ledger::of(root.pid()).unwrap();
    let snapshot = ledger.full();
    assert_eq!(snapshot.processes.len(), 9);
    let [segment] = snapshot.segments.as_slice() else { panic!("{:?}", snapshot.segments) };
    assert_eq!(segment.name, "memfd:column");
    assert_eq!((segment.size, segment.resident), (16 * MIB, 16 * MIB));
    assert_eq!((segment.mapped_by.len(), segment.touched_by.len()), (9, 9));
    assert!(children.iter().all(|child| segment.mapped_by.contains(child)));
    assert!(snapshot.total() >= 16 * MIB);
    assert!(snapshot.total() < 16 * MIB + 9 * SMALL, "{}", snapshot.total());
    assert!(snapshot.resident_sum() > 9 * 16 * MIB, "{}", snapshot.resident_sum());
    assert_eq!(ledger.quick().total() / MIB, snapshot.total() / MIB);
    root.tell("kill 7");
    let segment = &ledger.quick().segments[0];
    assert_eq!((segment.mapped_by.len(), segment.resident), (8, 16 * MIB));
    assert!(!segment.mapped_by.contains(&children[7]));
}

#[test]
fn who_maps_a_segment_is_told_from_who_touched_it() {
    let (mut root, children) = family(2);
    let path = root.tell("memfd half 8388608");
    root.tell("touch 4194304");
    root.tell(&format!("to 0 map {path}"));
    root.tell(&format!("to 1 map {path}"));
    root.tell("to 1 touch 4096");
    let snapshot = Ledger::of(root.pid()).unwrap().full();
    let segment = &snapshot.segments[0];
    assert_eq!((segment.size, segment.resident), (8 * MIB, 4 * MIB));
    assert_eq!(segment.mapped_by, [root.pid(), children[0], children[1]]);
    assert_eq!(segment.touched_by, [root.pid(), children[1]]);
}

#[test]
fn who_touched_a_segment_is_seen_by_quick_samples_where_nothing_else_explains_it() {
    let (mut root, children) = family(2);
    let mut ledger = Ledger::of(root.pid()).unwrap();
    ledger.full();
    let path = root.tell("memfd one 8388608");
    root.tell("touch 8388608");
    root.tell(&format!("to 0 map {path}"));
    root.tell(&format!("to 1 map {path}"));
    root.tell("to 1 touch 4096");
    let all = |snapshot: &Snapshot| {
        snapshot.segments.first().is_some_and(|segment| segment.mapped_by.len() == 3)
    };
    let segment = &quick_until(&mut ledger, all).segments[0];
    assert_eq!(segment.touched_by, [root.pid(), children[1]]);
    // A second one, wholly resident too: pages in the first child may belong to either.
    let other = root.tell("memfd other 8388608");
    root.tell("touch 8388608");
    root.tell(&format!("to 0 map {other}"));
    root.tell("to 0 touch 4096");
    let both = quick_until(&mut ledger, |snapshot| {
        snapshot.segments.get(1).is_some_and(|segment| segment.mapped_by.len() == 2)
    });
    assert!(!both.segments.iter().any(|segment| segment.touched_by.contains(&children[0])));
    let walked = ledger.full();
    assert!(!walked.segments[0].touched_by.contains(&children[0]));
    assert!(walked.segments[1].touched_by.contains(&children[0]));
}

#[test]
fn a_segment_held_by_a_descriptor_only_still_counts_and_goes_when_closed() {
    let mut root = Load::start();
    let mut ledger = Ledger::of(root.pid()).unwrap();
    ledger.full();
    root.tell("memfd kept 4194304");
    root.tell("touch 4194304");
    let mapped = quick_until(&mut ledger, |snapshot| snapshot.segments.len() == 1);
    assert_eq!(mapped.segments[0].mapped_by, [root.pid()]);
    root.tell("unmap");
    let held = ledger.full();
    assert_eq!(held.segments[0].held_by, [root.pid()]);
    assert_eq!((held.segments[0].mapped_by.len(), held.segments[0].resident), (0, 4 * MIB));
    root.tell("close");
    quick_until(&mut ledger, |snapshot| snapshot.segments.is_empty());
}

#[test]
fn a_segment_between_two_mappings_is_not_lost_by_quick_samples() {
    let mut root = Load::start();
    let mut ledger = Ledger::of(root.pid()).unwrap();
    ledger.full();
    root.tell("memfd kept 4194304");
    root.tell("touch 4194304");
    quick_until(&mut ledger, |snapshot| snapshot.segments.len() == 1);
    root.tell("unmap");
    for _ in 0..20 {
        let snapshot = ledger.quick();
        assert_eq!(snapshot.segments.len(), 1, "lost while only a descriptor held it");
        assert_eq!(snapshot.segments[0].resident, 4 * MIB);
    }
}

#[test]
fn a_new_segment_is_found_by_a_quick_sample() {
    let mut root = Load::start();
    let mut ledger = Ledger::of(root.pid()).unwrap();
    let before = ledger.full().total();
    root.tell("memfd late 8388608");
    root.tell("touch 8388608");
    let after = quick_until(&mut ledger, |snapshot| snapshot.segments.len() == 1);
    assert_eq!(after.segments[0].resident, 8 * MIB);
    assert!(after.total() >= before + 8 * MIB);
}

#[test]
fn a_named_segment_is_known_by_its_name_until_it_is_unlinked_and_after() {
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.as_file().set_len(2 * MIB).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mut root = Load::start();
    root.tell(&format!("map {path}"));
    root.tell("touch 2097152");
    let mut ledger = Ledger::of(root.pid()).unwrap();
    assert_eq!(ledger.full().segments[0].name, path);
    drop(file);
    let unlinked = ledger.full();
    assert_eq!((unlinked.segments.len(), unlinked.segments[0].resident), (1, 2 * MIB));
    root.tell("unmap");
    quick_until(&mut ledger, |snapshot| snapshot.segments.is_empty());
}

#[test]
fn private_memory_is_charged_to_its_process() {
    let (mut root, children) = family(1);
    let mut ledger = Ledger::of(root.pid()).unwrap();
    let before = ledger.full();
    root.tell("to 0 private 16777216");
    let after = ledger.full();
    let grown = process(&after, children[0]).charged() - process(&before, children[0]).charged();
    assert!((16 * MIB..17 * MIB).contains(&grown), "{grown}");
    let detail = process(&after, children[0]).detail.unwrap();
    assert!(detail.private >= 16 * MIB && detail.proportional >= 16 * MIB);
    assert!(process(&after, children[0]).high_water >= 16 * MIB);
    assert!(after.file_once().is_some());
}

#[test]
fn pages_shared_since_a_fork_count_once_and_their_copies_apart() {
    let mut root = Load::start();
    root.tell("private 33554432");
    let mut ledger = Ledger::of(root.pid()).unwrap();
    let before = ledger.full().total();
    root.tell("fork");
    let quick = ledger.quick();
    assert_eq!(quick.processes.len(), 2);
    assert!(quick.total() < before + SMALL, "{} {before}", quick.total());
    let full = ledger.full().total();
    assert!(full < before + SMALL, "{full} {before}");
    assert!(quick.processes[1].fork.copied < MIB, "its stack at most");
    let inherited = quick.processes[1].fork.inherited;
    assert!((32 * MIB..34 * MIB).contains(&inherited), "{inherited}");
    root.tell("forked-writes");
    let full = ledger.full();
    let written = full.total();
    assert!(written >= before + 32 * MIB, "{written} {before}");
    let copied: Vec<u64> = full.processes.iter().map(|process| process.fork.copied).collect();
    assert!(copied[0] < SMALL && (32 * MIB..34 * MIB).contains(&copied[1]), "{copied:?}");
    root.tell("forked-ends");
    let ended = ledger.full().total();
    assert!(ended < before + SMALL, "{ended} {before}");
}

/// Lets the reader of a FIFO go on, even when the test fails.
struct OpenedAtLast<'a>(&'a Path);

impl Drop for OpenedAtLast<'_> {
    fn drop(&mut self) {
        // Opening for writing alone waits until the reader is there; if the test failed it may
        // never come.
        let failed = std::thread::panicking();
        drop(OpenOptions::new().read(failed).write(true).open(self.0));
    }
}

#[test]
fn a_child_between_spawn_and_exec_is_not_charged_its_parents_memory() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let mut root = Load::start();
    root.tell("private 33554432");
    let mut ledger = Ledger::of(root.pid()).unwrap();
    let before = ledger.full().total();
    root.tell(&format!("spawn-stuck {}", fifo.display()));
    let release = OpenedAtLast(&fifo);
    let quick = quick_until(&mut ledger, |snapshot| snapshot.processes.len() == 2);
    let full = ledger.full();
    let child = full.processes.last().unwrap();
    let borrowed = (child.borrows_parent, child.resident() > 32 * MIB);
    drop(release);
    assert_eq!(borrowed, (true, true));
    assert!(quick.total() < before + SMALL, "{} {before}", quick.total());
    assert!(full.total() < before + SMALL, "{} {before}", full.total());
}

#[test]
fn a_killed_process_leaves_the_sample_and_is_no_error() {
    let (mut root, children) = family(3);
    root.tell("to 1 private 16777216");
    let mut ledger = Ledger::of(root.pid()).unwrap();
    let before = ledger.full().total();
    root.tell("kill 1");
    let after = ledger.quick();
    let pids: Vec<u32> = after.processes.iter().map(|process| process.pid).collect();
    assert_eq!(pids, [root.pid(), children[0], children[2]]);
    assert!(after.total() + 16 * MIB <= before);
}

#[test]
fn a_zombie_is_shown_and_has_no_memory() {
    let (mut root, children) = family(1);
    root.tell("to 0 private 16777216");
    let mut ledger = Ledger::of(root.pid()).unwrap();
    ledger.full();
    root.tell("kill-unreaped 0");
    let snapshot = ledger.quick();
    let zombie = process(&snapshot, children[0]);
    assert_eq!(zombie.state, ProcessState::Zombie);
    assert_eq!((zombie.charged(), zombie.resident()), (0, 0));
    root.tell("kill 0");
}

#[test]
fn processes_that_come_and_go_while_being_read_are_no_error() {
    let mut root = Load::start();
    let mut ledger = Ledger::of(root.pid()).unwrap();
    let churn = std::thread::spawn(move || {
        root.tell("churn 150");
        root
    });
    let mut most = 0;
    while !churn.is_finished() {
        most = most.max(ledger.quick().processes.len());
        most = most.max(ledger.full().processes.len());
    }
    let root = churn.join().unwrap();
    assert!(most >= 2, "no short life was ever seen");
    assert_eq!(ledger.full().processes.len(), 1);
    drop(root);
    assert_eq!(ledger.quick(), ledger.full());
    assert!(ledger.quick().processes.is_empty());
}

#[test]
fn an_orphan_stays_in_the_tree_until_it_ends() {
    let (mut root, _) = family(1);
    let grandchild: u32 = root.tell("to 0 spawn").parse().unwrap();
    let mut ledger = Ledger::of(root.pid()).unwrap();
    assert_eq!(ledger.full().processes.len(), 3);
    // Stopped, it outlives its parent until we have looked.
    let pid = rustix::process::Pid::from_raw(i32::try_from(grandchild).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    root.tell("kill 0");
    let orphaned = ledger.quick();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(orphaned.processes.len(), 2);
    assert_eq!(orphaned.processes[1].pid, grandchild);
}

#[test]
fn an_excluded_process_is_left_out_and_its_children_are_not() {
    let (mut root, children) = family(1);
    root.tell("private 16777216");
    root.tell("memfd own 4194304");
    root.tell("touch 4194304");
    let mut ledger = Ledger::of(root.pid()).unwrap();
    ledger.exclude(root.pid());
    for snapshot in [ledger.full(), ledger.quick()] {
        let pids: Vec<u32> = snapshot.processes.iter().map(|process| process.pid).collect();
        assert_eq!(pids, children);
        assert_eq!(snapshot.segments, []);
        assert!(snapshot.total() < SMALL);
    }
}

#[test]
fn an_unprivileged_user_gets_the_same_figures_for_segments() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: not root, so that the other tests already run without privilege");
        return;
    }
    let mut root = Load::start_unprivileged();
    root.tell("memfd seen 4194304");
    root.tell("touch 2097152");
    assert_eq!(root.tell("segments"), "memfd:seen=2097152");
    root.tell("close"); // no descriptor leads there any more: only `smaps` tells
    assert_eq!(root.tell("segments"), "memfd:seen=2097152");
}

#[test]
fn a_process_that_does_not_exist_is_refused_by_its_number() {
    let Err(Error::NoSuchProcess { pid }) = Ledger::of(u32::MAX) else { panic!("found one") };
    assert_eq!(pid, u32::MAX);
}

#[test]
fn what_may_not_be_read_of_a_strangers_process_is_named() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let theirs = Load::start();
    let mut stranger = Load::start_unprivileged();
    let denied = stranger.tell(&format!("denied {}", theirs.pid()));
    assert_eq!(denied, "maps smaps_rollup fd");
    assert_eq!(stranger.tell(&format!("denied {}", stranger.pid())), "");
}

#[test]
fn memory_made_after_a_fork_is_no_copy() {
    let mut root = Load::start();
    root.tell("private 8388608");
    root.tell("fork");
    let mut ledger = Ledger::of(root.pid()).unwrap();
    ledger.full();
    root.tell("private 16777216");
    let copied: u64 = ledger.full().processes.iter().map(|process| process.fork.copied).sum();
    assert!(copied < MIB, "{copied}");
    root.tell("forked-ends");
}
