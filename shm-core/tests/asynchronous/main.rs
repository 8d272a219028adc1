//! Waits as futures: woken, dropped, forgotten and forked, under two executors.
#![allow(clippy::unwrap_used)]

mod locks;
#[path = "../reexec/mod.rs"]
mod reexec;

use std::future::Future;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use reexec::{Actor, Places, places, role, tell};
use shm_core::asynchronous::{WaitOn, wait_on};
use shm_core::futex::{Futex, Waited};
use shm_core::lock::Mutex;
use shm_core::{Group, Shared};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A waker that unparks the thread that made it, and counts.
struct Unpark {
    thread: std::thread::Thread,
    woken: AtomicBool,
    wakes: AtomicUsize,
}

impl Unpark {
    fn new() -> Arc<Unpark> {
        let thread = std::thread::current();
        Arc::new(Unpark { thread, woken: AtomicBool::new(false), wakes: AtomicUsize::new(0) })
    }

    /// Until it is called.
    fn wait(&self) {
        while !self.woken.swap(false, SeqCst) {
            std::thread::park();
        }
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, SeqCst);
        self.woken.store(true, SeqCst);
        self.thread.unpark();
    }
}

/// The smallest executor.
fn block_on<F: Future>(future: F) -> F::Output {
    let unpark = Unpark::new();
    let waker = Waker::from(Arc::clone(&unpark));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => unpark.wait(),
        }
    }
}

/// Polls once.
fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn in_a_child() {
    let Some((role, argument)) = role() else { return };
    if role == "without futex_waitv" {
        reexec::refuse(&[libc::SYS_futex_waitv]);
        let word = Futex::new(0);
        std::thread::scope(|threads| {
            let waiter = threads.spawn(|| {
                while word.word().load(SeqCst) == 0 {
                    block_on(wait_on(&[(&word, 0)], None));
                }
            });
            change(&word, 1);
            word.wake(1);
            waiter.join().unwrap();
        });
        assert_eq!(block_on(wait_on(&[(&word, 1)], Some(Duration::ZERO))), Waited::TimedOut);
        return;
    }
    let mut places = Places::of(&argument);
    let group = Group::attach(places.open_place()).unwrap();
    let mutex = Shared::<Mutex<u64>>::attach(places.open()).unwrap();
    let _guard = mutex.lock(&group).unwrap();
    tell("ready");
    loop {
        std::thread::park();
    }
}

#[test]
fn where_the_kernel_refuses_to_watch_words_they_are_looked_at() {
    Actor::start("without futex_waitv", "").finish();
}

fn change(word: &Futex, to: u32) {
    word.word().store(to, SeqCst);
}

#[test]
fn a_future_is_woken_by_a_change_and_a_wake() {
    let word = Futex::new(0);
    std::thread::scope(|threads| {
        let waits = |executor: fn(WaitOn<'_>) -> Waited| {
            let word = &word;
            threads.spawn(move || {
                while word.word().load(SeqCst) == 0 {
                    executor(wait_on(&[(word, 0)], None));
                }
            })
        };
        let waiters = [waits(|wait| block_on(wait)), waits(|wait| pollster::block_on(wait))];
        change(&word, 1);
        word.wake_all();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn a_change_before_the_first_poll_is_seen() {
    let word = Futex::new(0);
    let wait = wait_on(&[(&word, 0)], None);
    change(&word, 1);
    assert_eq!(block_on(wait), Waited::Woken);
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    let word = Futex::new(0);
    assert_eq!(block_on(wait_on(&[(&word, 0)], Some(Duration::from_millis(2)))), Waited::TimedOut);
    assert_eq!(block_on(wait_on(&[], Some(Duration::ZERO))), Waited::TimedOut);
}

#[test]
fn one_wake_is_told_to_all_who_wait_for_the_word() {
    let word = Futex::new(0);
    let unparks: Vec<_> = (0..5).map(|_| Unpark::new()).collect();
    let wakers: Vec<Waker> = unparks.iter().cloned().map(Waker::from).collect();
    let mut waits: Vec<_> = wakers.iter().map(|_| wait_on(&[(&word, 0)], None)).collect();
    for (wait, waker) in waits.iter_mut().zip(&wakers) {
        assert!(poll(wait, waker).is_pending());
    }
    change(&word, 1);
    word.wake(1);
    for ((wait, waker), unpark) in waits.iter_mut().zip(&wakers).zip(&unparks) {
        unpark.wait();
        assert_eq!(poll(wait, waker), Poll::Ready(Waited::Woken));
    }
}

#[test]
fn the_last_waker_is_the_one_that_is_called() {
    let word = Futex::new(0);
    let (first, last) = (Unpark::new(), Unpark::new());
    let mut wait = wait_on(&[(&word, 0)], None);
    assert!(poll(&mut wait, &Waker::from(Arc::clone(&first))).is_pending());
    assert!(poll(&mut wait, &Waker::from(Arc::clone(&last))).is_pending());
    change(&word, 1);
    word.wake(1);
    last.wait();
    assert_eq!(first.wakes.load(SeqCst), 0);
    assert!(poll(&mut wait, Waker::noop()).is_ready());
}

/// One wake, for one of two: a future that is dropped, and a thread. Whoever of them the kernel
/// picks, the thread goes on.
#[test]
fn a_dropped_future_passes_its_wake_on() {
    let (word, elsewhere) = (Futex::new(0), Futex::new(0));
    let unpark = Unpark::new();
    for round in 0..2_000_u32 {
        std::thread::scope(|threads| {
            let waker = Waker::from(Arc::clone(&unpark));
            let mut wait = wait_on(&[(&word, round)], None);
            assert!(poll(&mut wait, &waker).is_pending());
            let thread = threads.spawn(|| word.wait(round, Some(PATIENCE)));
            // Others come and go, so that the sleeper wakes for two reasons at once.
            threads
                .spawn(|| poll(&mut wait_on(&[(&elsewhere, 0)], None), Waker::noop()).is_ready());
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            change(&word, round + 1);
            let woken = word.wake(1);
            if round % 3 == 0 && woken == 1 && !thread.is_finished() {
                // Until the sleeper has heard of it, if it was woken.
                std::thread::yield_now();
            }
            drop(wait);
            assert_ne!(thread.join().unwrap(), Waited::TimedOut, "round {round}: swallowed");
        });
    }
}

#[test]
fn hundreds_of_words_are_watched_at_once() {
    let words: Vec<Futex> = (0..300).map(|_| Futex::new(0)).collect();
    let common = Futex::new(7);
    let unparks: Vec<_> = words.iter().map(|_| Unpark::new()).collect();
    let wakers: Vec<Waker> = unparks.iter().cloned().map(Waker::from).collect();
    let mut waits: Vec<_> =
        words.iter().map(|word| wait_on(&[(word, 0), (&common, 7)], None)).collect();
    // A second that may pass meanwhile ends a wait for no reason; then it is begun anew.
    for (index, (wait, waker)) in waits.iter_mut().zip(&wakers).enumerate() {
        while poll(wait, waker).is_ready() {
            *wait = wait_on(&[(&words[index], 0), (&common, 7)], None);
        }
    }
    for (index, word) in words.iter().enumerate() {
        change(word, 1);
        word.wake(1);
        unparks[index].wait();
        assert!(poll(&mut waits[index], &wakers[index]).is_ready());
    }
}

#[test]
fn more_words_than_one_sleep_can_watch_are_looked_at_again_and_again() {
    let words: Vec<Futex> = (0..200).map(|_| Futex::new(0)).collect();
    let all: Vec<_> = words.iter().map(|word| (word, 0)).collect();
    change(&words[199], 1);
    while words[199].word().load(SeqCst) == 0 {
        assert_eq!(block_on(wait_on(&all, None)), Waited::Woken);
    }
    change(&words[0], 1);
    assert_eq!(block_on(wait_on(&all, Some(PATIENCE))), Waited::Woken);
}

/// A page of its own, holding a zero word.
struct Page(*mut libc::c_void);

impl Page {
    fn new() -> Page {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let page = unsafe { libc::mmap(null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        Page(page)
    }

    fn word(&self) -> &Futex {
        // SAFETY: mapped as long as `self`, aligned, and zero is a valid one.
        unsafe { &*self.0.cast::<Futex>() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody uses any more but a forgotten future's sleeper, by
        // its address alone.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

#[test]
fn a_forgotten_future_whose_word_is_gone_disturbs_nobody() {
    let word = Futex::new(0);
    for _ in 0..20 {
        let page = Page::new();
        let mut lost = wait_on(&[(page.word(), 0)], None);
        assert!(poll(&mut lost, Waker::noop()).is_pending());
        std::mem::forget(lost);
        drop(page);
        let unpark = Unpark::new();
        let waker = Waker::from(Arc::clone(&unpark));
        let mut wait = wait_on(&[(&word, 0)], None);
        assert!(poll(&mut wait, &waker).is_pending());
        change(&word, 1);
        word.wake(1);
        unpark.wait();
        assert_eq!(poll(&mut wait, &waker), Poll::Ready(Waited::Woken));
        change(&word, 0);
    }
}

#[test]
fn a_panicking_waker_hurts_nobody_else() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
    let word = Futex::new(0);
    let mut first = wait_on(&[(&word, 0)], None);
    assert!(poll(&mut first, &Waker::from(Arc::new(Panics))).is_pending());
    change(&word, 1);
    word.wake(1);
    assert_eq!(block_on(wait_on(&[(&word, 0)], None)), Waited::Woken);
    while poll(&mut first, Waker::noop()).is_pending() {
        std::thread::yield_now();
    }
}

#[test]
fn a_forked_child_has_a_sleeper_of_its_own() {
    let word = Futex::new(0);
    let mut ours = wait_on(&[(&word, 0)], Some(PATIENCE));
    assert!(poll(&mut ours, Waker::noop()).is_pending());
    // SAFETY: the child uses what no other thread of ours holds, starts a thread, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let waits = poll(&mut ours, Waker::noop()).is_pending();
        drop(ours);
        let own = block_on(wait_on(&[(&word, 0)], Some(Duration::from_millis(1))));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!waits || own != Waited::TimedOut)) };
    }
    let mut status = 0;
    // SAFETY: our own child, and a live variable for its status.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
}
