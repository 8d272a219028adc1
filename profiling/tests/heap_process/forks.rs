//! Forked children: a profile of their own from their first record on.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use profiling::heap::{self, Profile, Snapshot};

use super::live_in;

/// Whole processes are compared: one of these at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Forks; the child runs `body`, says so, and waits to be killed.
struct Fork {
    pid: libc::pid_t,
}

impl Fork {
    fn start(fork: impl FnOnce() -> libc::pid_t, body: impl FnOnce()) -> Fork {
        let mut pipe = [0; 2];
        // SAFETY: the place is ours.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        let pid = fork();
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: asks to be killed when the parent ends, however that comes.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            body();
            // SAFETY: a descriptor of ours, and one byte of ours.
            unsafe { libc::write(pipe[1], [1u8].as_ptr().cast(), 1) };
            loop {
                // SAFETY: sleeps until a signal comes.
                unsafe { libc::pause() };
            }
        }
        // SAFETY: our own descriptor, closed once.
        unsafe { libc::close(pipe[1]) };
        let mut byte = [0u8];
        // SAFETY: our own descriptor, and one byte of ours.
        assert_eq!(unsafe { libc::read(pipe[0], byte.as_mut_ptr().cast(), 1) }, 1);
        // SAFETY: our own descriptor, closed once.
        unsafe { libc::close(pipe[0]) };
        Fork { pid }
    }

    fn snapshot(&self) -> Snapshot {
        let profile = Profile::of_process(self.pid.cast_unsigned()).unwrap();
        // It stands still now.
        profile.validate().unwrap();
        profile.snapshot().unwrap()
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        // SAFETY: our own child, which has not been waited for.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // SAFETY: our own child; no status is wanted.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
    }
}

fn libc_fork() -> libc::pid_t {
    // SAFETY: the child only allocates, which the C library allows after a fork, and writes.
    unsafe { libc::fork() }
}

/// A fork that the C library does not know of: no handler runs in the child.
fn raw_fork() -> libc::pid_t {
    // SAFETY: as `fork`, without its handlers; no memory is shared.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    libc::pid_t::try_from(pid).unwrap()
}

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|broken| broken.into_inner())
}

fn checks_a_child(fork: fn() -> libc::pid_t, name: &'static str) {
    let before = heap::current().unwrap();
    let child = Fork::start(fork, || {
        let _scope = heap::scope(name);
        std::mem::forget(black_box(vec![1u8; 777_777]));
    });
    let its = child.snapshot();
    let ours = heap::snapshot().unwrap();
    assert_eq!(live_in(&its, name), 777_777.0);
    assert_eq!(live_in(&ours, name), 0.0, "the child wrote into its parent's profile");
    assert_eq!(its.process.parent, std::process::id());
    // What the parent held at the fork, the child holds too; no site of its own says so.
    let inherited = its.totals.inherited_bytes;
    assert!(inherited.abs_diff(before.live_bytes()) < 1 << 20, "{inherited}, {before:?}");
    assert!(its.totals.live_bytes() >= 777_777);
    assert!(its.modules.len() >= ours.modules.len().min(1));
}

#[test]
fn a_forked_child_has_a_profile_of_its_own() {
    let _alone = alone();
    checks_a_child(libc_fork, "forked");
}

#[test]
fn so_has_one_that_the_c_library_knows_nothing_of() {
    let _alone = alone();
    checks_a_child(raw_fork, "cloned");
}

#[test]
fn a_child_of_a_child_too() {
    let _alone = alone();
    let child = Fork::start(libc_fork, || {
        std::mem::forget(black_box(vec![1u8; 1 << 20]));
        checks_a_child(libc_fork, "grandchild");
    });
    assert!(child.snapshot().totals.live_bytes() > 1 << 20);
}

#[test]
fn a_child_that_frees_what_it_inherited_is_counted_right() {
    let _alone = alone();
    let inherited = black_box(vec![1u8; 5 << 20]);
    let child = Fork::start(libc_fork, || {
        let before = heap::current().unwrap().live_bytes();
        drop(inherited);
        assert_eq!(before - heap::current().unwrap().live_bytes(), 5 << 20);
    });
    let totals = child.snapshot().totals;
    assert_eq!(
        totals.freed_bytes - totals.freed_bytes.min(5 << 20),
        totals.freed_bytes - (5 << 20)
    );
    assert!(totals.inherited_bytes >= 5 << 20);
}

#[test]
fn forks_in_the_middle_of_other_threads_allocations_harm_nobody() {
    let _alone = alone();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut kept = Vec::new();
                for round in 0usize.. {
                    kept.push(vec![0u8; 1 + round % 2000]);
                    if kept.len() > 300 {
                        kept.swap_remove(round % 300);
                    }
                    if stop.load(Relaxed) {
                        return;
                    }
                }
            });
        }
        for _ in 0..40 {
            let child = Fork::start(libc_fork, || {
                let _scope = heap::scope("child");
                std::mem::forget(black_box(vec![1u8; 4321]));
            });
            assert_eq!(live_in(&child.snapshot(), "child"), 4321.0);
        }
        stop.store(true, Relaxed);
    });
    assert_eq!(live_in(&heap::snapshot().unwrap(), "child"), 0.0);
}
