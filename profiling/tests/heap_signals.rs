//! Signal handlers that allocate in the middle of the profiler, and that fork there.
//!
//! The C library's allocator must not be called from a handler that interrupts it, so the one
//! inside is a bump allocator, which may be.
#![cfg(all(feature = "heap", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "test code, outside test functions too")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize};

use profiling::heap::{self, Mode, Profile, Profiler};

const ROOM: usize = 256 << 20;

/// Hands out a static piece by piece; a block is used again only by whoever freed it last, at once.
struct Bump {
    room: UnsafeCell<MaybeUninit<[u8; ROOM]>>,
    used: AtomicUsize,
}

// SAFETY: pieces of the room are handed out once, by an atomic counter.
unsafe impl Sync for Bump {}

static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

// SAFETY: every block is a piece of the room of its own, aligned, never handed out again.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size() + layout.align();
        let start = self.used.fetch_add(size, Relaxed);
        if start + size > ROOM {
            return std::ptr::null_mut();
        }
        ALLOCATED.fetch_add(layout.size() as u64, Relaxed);
        let place = self.room.get().cast::<u8>().wrapping_add(start);
        place.wrapping_add(place.align_offset(layout.align()))
    }

    unsafe fn dealloc(&self, _: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size() as u64, Relaxed);
    }
}

#[global_allocator]
static HEAP: Profiler<Bump> = Profiler::new(
    Bump { room: UnsafeCell::new(MaybeUninit::uninit()), used: AtomicUsize::new(0) },
    Mode::Exact,
);

static ALONE: Mutex<()> = Mutex::new(());
static HANDLED: AtomicU64 = AtomicU64::new(0);
static FORKS: AtomicBool = AtomicBool::new(false);
static CHILD: AtomicI32 = AtomicI32::new(0);

extern "C" fn handler(_: libc::c_int) {
    let block = black_box(vec![1u8; 333]);
    HANDLED.fetch_add(1, SeqCst);
    if FORKS.swap(false, SeqCst) {
        // SAFETY: the child returns into the interrupted code, allocates, and stops.
        CHILD.store(unsafe { libc::fork() }, SeqCst);
    }
    drop(block);
}

fn handle_signals() {
    let handler = handler as extern "C" fn(libc::c_int);
    // SAFETY: the handler calls the bump allocator, the profiler, and `fork` only.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
}

/// Sends signals to this thread from another one, while `work` runs here and says to go on.
fn under_fire(mut work: impl FnMut() -> bool) {
    // SAFETY: any thread may ask who it is.
    let this = unsafe { libc::pthread_self() } as usize;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let archer = scope.spawn(|| {
            while !stop.load(Relaxed) {
                // SAFETY: the thread is alive, since it joins this one.
                unsafe { libc::pthread_kill(this as libc::pthread_t, libc::SIGUSR1) };
            }
        });
        while work() {}
        stop.store(true, Relaxed);
        archer.join().unwrap();
    });
}

/// Bytes allocated and freed that the profile has not counted: those of threads that died in
/// between, and nothing else.
fn missed() -> (u64, u64) {
    let totals = heap::current().unwrap();
    let (allocated, freed) = (ALLOCATED.load(SeqCst), FREED.load(SeqCst));
    (allocated.wrapping_sub(totals.allocated_bytes), freed.wrapping_sub(totals.freed_bytes))
}

/// What threads had missed that died in earlier tests may be made up for since.
fn assert_nothing_more_is_missed(before: (u64, u64)) {
    let now = missed();
    assert!(now.0 <= before.0 && now.1 <= before.1, "{now:?}, before: {before:?}");
}

#[test]
fn a_handler_that_allocates_in_the_middle_of_a_record_is_counted_to_the_byte() {
    let _alone = ALONE.lock().unwrap_or_else(|broken| broken.into_inner());
    handle_signals();
    let missed_before = missed();
    let mut kept = Vec::with_capacity(64);
    let (before, mut rounds) = (HANDLED.load(SeqCst), 0);
    under_fire(|| {
        kept.push(black_box(vec![0u8; 100]));
        if kept.len() == 64 {
            kept.clear();
        }
        rounds += 1;
        HANDLED.load(SeqCst) < before + 2000 && rounds < 500_000
    });
    assert!(HANDLED.load(SeqCst) > before, "no signal came");
    assert_nothing_more_is_missed(missed_before);
    let snapshot = heap::snapshot().unwrap();
    let by_sites: u64 = snapshot.sites.iter().map(|site| site.live.samples).sum();
    let (live, lost) = (snapshot.totals.live_blocks(), snapshot.quality.reentrant);
    // The snapshot's own blocks come and go while it is taken.
    assert!(by_sites.abs_diff(live) <= lost + 50, "{by_sites} recorded, {live} live, {lost} lost");
}

#[test]
fn a_handler_that_forks_in_the_middle_of_a_record_writes_to_no_other_profile() {
    let _alone = ALONE.lock().unwrap_or_else(|broken| broken.into_inner());
    handle_signals();
    let missed_before = missed();
    for _ in 0..20 {
        let parent = std::process::id();
        let mut pipe = [0; 2];
        // SAFETY: the place is ours.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        let mut kept = Vec::with_capacity(64);
        FORKS.store(true, SeqCst);
        under_fire(|| {
            kept.push(black_box(vec![0u8; 10]));
            if kept.len() == 64 {
                kept.clear();
            }
            let goes_on = FORKS.load(SeqCst);
            if std::process::id() != parent {
                in_the_child(pipe[1]);
            }
            goes_on
        });
        let child = CHILD.load(SeqCst);
        let mut byte = [0u8];
        // SAFETY: our own descriptor, and one byte of ours.
        assert_eq!(unsafe { libc::read(pipe[0], byte.as_mut_ptr().cast(), 1) }, 1);
        let profile = Profile::of_process(child.cast_unsigned()).unwrap();
        profile.validate().unwrap();
        let its = profile.snapshot().unwrap();
        assert_eq!(
            live_in_child(&its),
            54321.0,
            "{:?} {:?} {:?}",
            its.sites,
            its.tags,
            its.quality
        );
        assert_eq!(live_in_child(&heap::snapshot().unwrap()), 0.0);
        // SAFETY: our own child, which has not been waited for.
        unsafe { libc::kill(child, libc::SIGKILL) };
        // SAFETY: our own child; no status is wanted.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        for end in pipe {
            // SAFETY: our own descriptors, closed once.
            unsafe { libc::close(end) };
        }
    }
    assert_nothing_more_is_missed(missed_before);
}

/// Ends the thread that it interrupts, and nothing else: no destructor runs, no slot is given back.
extern "C" fn end_this_thread(_: libc::c_int) {
    // SAFETY: the kernel ends the thread and wakes who joins it; nothing of it is used again.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

extern "C" fn allocate_without_end(ready: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: the flag of the thread that started this one, and joins it.
    unsafe { &*ready.cast::<AtomicBool>() }.store(true, SeqCst);
    let mut kept = Vec::with_capacity(64);
    loop {
        kept.push(black_box(vec![0u8; 10]));
        if kept.len() == 64 {
            kept.clear();
        }
    }
}

#[test]
fn threads_that_die_while_they_are_recorded_leave_a_profile_that_goes_on() {
    let _alone = ALONE.lock().unwrap_or_else(|broken| broken.into_inner());
    let handler = end_this_thread as extern "C" fn(libc::c_int);
    // SAFETY: the handler makes one system call.
    unsafe { libc::signal(libc::SIGUSR2, handler as libc::sighandler_t) };
    let before = heap::snapshot().unwrap();
    for round in 0..60 {
        let ready = AtomicBool::new(false);
        let mut thread = MaybeUninit::uninit();
        let argument = (&raw const ready).cast_mut().cast();
        // SAFETY: the flag outlives the thread, which is joined below. Not one of std's threads:
        // those expect to be told when they end.
        let made = unsafe {
            libc::pthread_create(
                thread.as_mut_ptr(),
                std::ptr::null(),
                allocate_without_end,
                argument,
            )
        };
        assert_eq!(made, 0);
        // SAFETY: written by the call above.
        let thread = unsafe { thread.assume_init() };
        while !ready.load(SeqCst) {
            std::hint::spin_loop();
        }
        (0..round * 500).map(black_box).for_each(|_| ());
        // SAFETY: it runs until this comes.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR2) }, 0);
        // SAFETY: joined once.
        assert_eq!(unsafe { libc::pthread_join(thread, std::ptr::null_mut()) }, 0);
    }
    let after = heap::snapshot().unwrap();
    let inside = after.threads.iter().filter(|thread| thread.inside.is_some()).count();
    println!("{inside} of 60 threads died inside the profiler");
    assert!(inside > 0, "none died inside the profiler");
    // Each may have counted a block that it had not recorded yet, or the other way round.
    let missing = |snapshot: &heap::Snapshot| {
        let by_sites: u64 = snapshot.sites.iter().map(|site| site.live.samples).sum();
        by_sites.abs_diff(snapshot.totals.live_blocks())
    };
    let most = missing(&before) + 60 + 50;
    assert!(missing(&after) <= most, "{} {:?}", missing(&after), after.quality);
    // The others go on, to the byte.
    let (_, usage) = heap::measure(|| drop(black_box(vec![0u8; 4000]))).unwrap();
    assert_eq!((usage.allocated_bytes, usage.freed_blocks), (4000, 1));
    let kept = {
        let _scope = heap::scope("goes on");
        black_box(vec![0u8; 5000])
    };
    let goes_on = heap::snapshot().unwrap();
    let tag = goes_on.tags.iter().position(|name| name == "goes on").map(|nth| nth as u32);
    let site = goes_on.sites.iter().find(|site| site.tag == tag).unwrap();
    assert_eq!(site.live.bytes, 5000.0);
    drop(kept);
}

fn live_in_child(snapshot: &heap::Snapshot) -> f64 {
    let is_it = |tag: u32| snapshot.tags[tag as usize] == "child";
    let sites = snapshot.sites.iter().filter(|site| site.tag.is_some_and(is_it));
    sites.map(|site| site.live.bytes).sum()
}

fn in_the_child(ready: libc::c_int) -> ! {
    // SAFETY: asks to be killed when the parent ends, however that comes.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let _scope = heap::scope("child");
    std::mem::forget(black_box(vec![1u8; 54321]));
    // SAFETY: a descriptor of ours, and one byte of ours.
    unsafe { libc::write(ready, [1u8].as_ptr().cast(), 1) };
    loop {
        // SAFETY: sleeps until a signal comes.
        unsafe { libc::pause() };
    }
}
