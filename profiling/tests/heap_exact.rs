//! Exact counts and the exact mode, beside an allocator that counts by itself.
#![cfg(feature = "heap")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use profiling::heap::{self, Mode, Profiler, Snapshot, Usage};

/// The reference: counts every call that succeeds.
struct Reference;

static ALLOCATED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static FREED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// The next reallocation to this size fails.
const REFUSED: usize = 54321;

fn add(to: &[AtomicU64; 2], bytes: usize) {
    to[0].fetch_add(bytes as u64, Relaxed);
    to[1].fetch_add(1, Relaxed);
}

// SAFETY: all calls are passed on to the system's allocator.
unsafe impl GlobalAlloc for Reference {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller's.
        let block = unsafe { System.alloc(layout) };
        add(&ALLOCATED, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        add(&FREED, layout.size());
        // SAFETY: as the caller's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size == REFUSED {
            return std::ptr::null_mut();
        }
        add(&FREED, layout.size());
        add(&ALLOCATED, new_size);
        // SAFETY: as the caller's.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

#[global_allocator]
static HEAP: Profiler<Reference> = Profiler::new(Reference, Mode::Exact);

/// Counts of the whole process are compared, and a panic's trace allocates much: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// What the reference and the profile say, with nothing in between.
fn both() -> ([u64; 4], [u64; 4]) {
    // The threads of the test harness may allocate meanwhile: until nothing moves.
    loop {
        let reference = || {
            [&ALLOCATED[0], &ALLOCATED[1], &FREED[0], &FREED[1]].map(|count| count.load(Relaxed))
        };
        let before = reference();
        let Ok(totals) = heap::current() else { panic!("no profile") };
        if before == reference() {
            let profile = [
                totals.allocated_bytes,
                totals.allocated_blocks,
                totals.freed_bytes,
                totals.freed_blocks,
            ];
            return (before, profile);
        }
    }
}

fn live_in_sites(snapshot: &Snapshot) -> (u64, u64) {
    let bytes: f64 = snapshot.sites.iter().map(|site| site.live.bytes).sum();
    let blocks: f64 = snapshot.sites.iter().map(|site| site.live.blocks).sum();
    (bytes as u64, blocks as u64)
}

fn live_in_scope(snapshot: &Snapshot, name: &str) -> f64 {
    let is_it = |tag: u32| snapshot.tags[tag as usize] == name;
    let sites = snapshot.sites.iter().filter(|site| site.tag.is_some_and(is_it));
    sites.map(|site| site.live.bytes).sum()
}

/// Some work that allocates, grows, shrinks and frees, in sizes from 1 byte to a megabyte.
fn work(rounds: usize) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for round in 0..rounds {
        let size = 1 << (round * 7 % 21);
        let mut block = vec![round as u8; size];
        block.extend_from_slice(&[1; 100]);
        block.truncate(size / 2 + 1);
        block.shrink_to_fit();
        kept.push(block);
        if round % 3 == 0 {
            kept.swap_remove(round * 5 % kept.len());
        }
    }
    black_box(&kept);
}

#[test]
fn the_counts_are_the_references_to_the_byte() {
    let _alone = alone();
    work(300);
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(|| work(200))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let (reference, profile) = both();
    assert_eq!(reference, profile);
}

#[test]
fn the_live_blocks_of_all_sites_are_the_references_to_the_byte() {
    let _alone = alone();
    // In a scope: what the snapshot and the test harness hold themselves is in no scope of ours.
    let scope = heap::scope("counted");
    let kept: Vec<Vec<u8>> = (0..5000).map(|nth| vec![0; 1000 + nth]).collect();
    drop(scope);
    let after = heap::snapshot().unwrap();
    let held = (1000..6000).sum::<u64>() + 5000 * size_of::<Vec<u8>>() as u64;
    assert_eq!(live_in_scope(&after, "counted") as u64, held);
    let (bytes, blocks) = live_in_sites(&after);
    assert!(bytes >= held && blocks > 5000);
    assert_eq!(after.quality.dropped_blocks + after.quality.dropped_stacks, 0);
    drop(kept);
}

#[test]
fn a_reallocation_that_fails_changes_nothing() {
    let _alone = alone();
    let layout = Layout::from_size_align(700, 8).unwrap();
    let scope = heap::scope("refused");
    // SAFETY: not of size zero.
    let block = unsafe { std::alloc::alloc(layout) };
    drop(scope);
    let before = both();
    // SAFETY: the block is live, and of this layout; the new size is neither zero nor too large.
    let moved = unsafe { std::alloc::realloc(block, layout, REFUSED) };
    assert!(moved.is_null());
    assert_eq!(both(), before);
    let snapshot = heap::snapshot().unwrap();
    let held = |snapshot: &Snapshot| live_in_scope(snapshot, "refused");
    assert_eq!(held(&snapshot), 700.0, "the block is no longer in the profile");
    // SAFETY: still live, of this layout.
    unsafe { std::alloc::dealloc(block, layout) };
    assert_eq!(held(&heap::snapshot().unwrap()), 0.0);
}

#[test]
fn a_closure_is_measured_to_the_byte() {
    let _alone = alone();
    let (kept, usage) = heap::measure(|| {
        let kept = black_box(vec![0u8; 100]);
        drop(black_box(vec![0u64; 4]));
        kept
    })
    .unwrap();
    let Usage { allocated_bytes, allocated_blocks, freed_bytes, freed_blocks, .. } = usage;
    assert_eq!((allocated_bytes, allocated_blocks, freed_bytes, freed_blocks), (132, 2, 32, 1));
    assert_eq!(usage.kept_bytes(), 100);
    drop(kept);
}

#[test]
fn the_most_that_a_closure_held_is_measured_to_the_byte() {
    let _alone = alone();
    for mode in [Mode::Counters, Mode::SAMPLED, Mode::Exact] {
        heap::set_mode(mode).unwrap();
        let before = black_box(vec![0u8; 50_000]);
        let (inner, usage) = heap::measure(|| {
            drop(before);
            let first = black_box(vec![0u8; 70_001]);
            let (_, inner) = heap::measure(|| drop(black_box(vec![0u8; 30_000]))).unwrap();
            drop(first);
            (0..100).for_each(|_| drop(black_box(vec![0u8; 1])));
            inner
        })
        .unwrap();
        assert_eq!((inner.peak_bytes, usage.peak_bytes), (30_000, 50_001), "{mode:?}");
        let (_, nothing) = heap::measure(|| black_box(1)).unwrap();
        assert_eq!(nothing.peak_bytes, 0);
        let fails = std::panic::AssertUnwindSafe(|| heap::measure(|| panic!("on purpose")));
        assert!(std::panic::catch_unwind(fails).is_err());
    }
}

#[cfg(feature = "deep-size")]
#[test]
fn the_deep_size_of_a_value_is_what_its_clone_allocates() {
    #[derive(Clone, get_size2::GetSize)]
    struct Row {
        name: String,
        values: Vec<Vec<u32>>,
    }
    let _alone = alone();
    let row = |nth: usize| Row { name: "x".repeat(nth), values: vec![vec![7; 3]; nth] };
    let table: Vec<Row> = (0..100).map(row).collect();
    let (clone, usage) = heap::measure(|| table.clone()).unwrap();
    let own = size_of::<Vec<Row>>() as i64;
    assert_eq!(profiling::deep_size(&clone) as i64, own + usage.kept_bytes());
    assert_eq!(table.iter().map(|row| row.name.len() + row.values.len()).sum::<usize>(), 9900);
}

#[test]
fn an_assertion_holds_where_it_should_and_fails_where_it_should() {
    let _alone = alone();
    heap::assert_no_allocation(|| black_box(1 + 1));
    heap::assert_allocates_at_most(100, || black_box(vec![0u8; 100]));
    let fails = |run: fn()| std::panic::catch_unwind(run).is_err();
    assert!(fails(|| heap::assert_no_allocation(|| drop(black_box(vec![0u8])))));
    assert!(fails(|| drop(heap::assert_allocates_at_most(99, || black_box(vec![0u8; 100])))));
}

#[test]
fn the_peak_is_known_within_its_slack_and_can_begin_anew() {
    let _alone = alone();
    heap::reset_peak().unwrap();
    let before = heap::current().unwrap();
    let large = 50 << 20;
    drop(black_box(vec![1u8; large]));
    let after = heap::current().unwrap();
    let rise = after.peak_bytes - before.live_bytes();
    let slack = 8 * heap::PEAK_SLACK;
    assert!(rise.abs_diff(large as u64) <= slack, "a rise of {rise}");
    heap::reset_peak().unwrap();
    let anew = heap::current().unwrap();
    assert!(anew.peak_bytes < anew.live_bytes() + slack);
}

#[test]
fn a_scope_names_what_is_allocated_in_it() {
    let _alone = alone();
    let kept = {
        let _outer = heap::scope("outer");
        let outer = black_box(vec![0u8; 3001]);
        let inner = {
            let _inner = heap::scope("inner");
            black_box(vec![0u8; 3002])
        };
        [outer, inner, black_box(vec![0u8; 3003])]
    };
    let snapshot = heap::snapshot().unwrap();
    let holds = |name| live_in_scope(&snapshot, name);
    assert_eq!((holds("outer"), holds("inner")), (6004.0, 3002.0));
    drop(kept);
}

#[test]
fn an_empty_name_is_no_scope() {
    let _alone = alone();
    let kept = {
        let _outer = heap::scope("around");
        let _none = heap::scope("");
        black_box(vec![0u8; 3004])
    };
    let snapshot = heap::snapshot().unwrap();
    assert!(snapshot.tags.iter().all(|name| !name.is_empty()));
    let untagged = snapshot.sites.iter().filter(|site| site.tag.is_none());
    assert!(untagged.map(|site| site.live.bytes).sum::<f64>() >= 3004.0);
    assert_eq!(live_in_scope(&snapshot, "around"), 0.0);
    drop(kept);
}

#[test]
fn threads_come_and_go_and_nothing_is_lost() {
    let _alone = alone();
    let shared_before = heap::snapshot().unwrap().quality.shared_threads;
    for _ in 0..40 {
        let threads: Vec<_> = (0..20).map(|_| std::thread::spawn(|| work(2))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    let (reference, profile) = both();
    assert_eq!(reference, profile);
    let snapshot = heap::snapshot().unwrap();
    assert!(snapshot.threads.len() < 100, "slots are not used again");
    assert_eq!(snapshot.quality.shared_threads, shared_before);
}

#[test]
fn more_threads_than_slots_are_counted_all_the_same() {
    let _alone = alone();
    let barrier = std::sync::Barrier::new(600);
    std::thread::scope(|scope| {
        let start = |_| {
            let small = std::thread::Builder::new().stack_size(64 << 10);
            let run = || {
                work(2);
                barrier.wait();
                work(3);
            };
            small.spawn_scoped(scope, run).unwrap()
        };
        // Joined, so that each has also ended its last allocation.
        let threads: Vec<_> = (0..600).map(start).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let (reference, profile) = both();
    assert_eq!(reference, profile);
    assert!(heap::snapshot().unwrap().quality.shared_threads > 0);
}

#[test]
fn a_thread_that_allocates_while_it_dies_is_counted_to_the_byte() {
    let _alone = alone();
    struct Last(Vec<u8>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0 = black_box(vec![0; 4242]);
            work(1);
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) };
    }
    for _ in 0..20 {
        let dying = || LAST.with(|last| *last.borrow_mut() = Some(Last(vec![1; 10])));
        std::thread::spawn(dying).join().unwrap();
    }
    let (reference, profile) = both();
    assert_eq!(reference, profile);
}
