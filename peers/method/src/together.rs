//! Two sides that start together, each on a processor of its own.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Release};
use std::thread;
use std::time::Instant;

use crate::cores::{Pinned, process_time, thread_time};
use crate::{Outcome, Sample};

/// What the two sides of a measurement are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// Two threads of this process.
    Threads,
    /// This process and a child of it.
    Processes,
}

/// What both sides see of each other beside the thing that is measured.
struct Start {
    ready: AtomicU32,
    /// Processor time that the other side used, in nanoseconds.
    used: AtomicU64,
}

/// Runs `there` on the second processor and `here` on the first, starting together; the value is
/// the nanoseconds of `here` divided by `count`.
///
/// Between processes, `there` runs in a forked child and must use nothing inherited but
/// descriptors and plain values; it must be called while this process has one thread.
///
/// # Errors
/// What either side returned, and what the system refused.
pub fn together(
    between: Between,
    count: u64,
    there: impl FnOnce() -> Outcome<()> + Send,
    here: impl FnOnce() -> Outcome<()>,
) -> Outcome<Sample> {
    match between {
        Between::Threads => of_threads(count, there, here),
        Between::Processes => of_processes(count, there, here),
    }
}

fn of_threads(
    count: u64,
    there: impl FnOnce() -> Outcome<()> + Send,
    here: impl FnOnce() -> Outcome<()>,
) -> Outcome<Sample> {
    let start = Start { ready: AtomicU32::new(0), used: AtomicU64::new(0) };
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let _pinned = Pinned::to(1)?;
            other_side(&start, || thread_time().as_nanos() as u64, there)
        });
        let sample = this_side(&start, count, here);
        other.join().map_err(|_| "the other side panicked")??;
        let (value, used, time) = sample?;
        Ok(of(value, used + start.used.load(Acquire), time))
    })
}

fn of_processes(
    count: u64,
    there: impl FnOnce() -> Outcome<()>,
    here: impl FnOnce() -> Outcome<()>,
) -> Outcome<Sample> {
    let start = shared_start()?;
    // SAFETY: this process has one thread here (see the documentation), so the child may do what
    // any program may; it ends by `_exit` below and never returns.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    if child == 0 {
        let done = Pinned::to(1)
            .and_then(|_pinned| other_side(start, || process_time().as_nanos() as u64, there));
        if let Err(error) = &done {
            eprintln!("the other side: {error}");
        }
        // SAFETY: ends the child without running what belongs to its parent.
        unsafe { libc::_exit(i32::from(done.is_err())) }
    }
    let sample = this_side(start, count, here);
    let mut status = 0;
    // SAFETY: `child` is our own child, not waited for yet, and `status` is ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    let (value, used, time) = sample?;
    if status != 0 {
        return Err("the other process failed".into());
    }
    let sample = of(value, used + start.used.load(Acquire), time);
    let start: *const Start = start;
    // SAFETY: mapped in `shared_start`, one page, and nobody uses it any more.
    unsafe { libc::munmap(start.cast_mut().cast(), PAGE) };
    Ok(sample)
}

const PAGE: usize = 4096;

fn shared_start() -> Outcome<&'static Start> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping of one page at an address of the system's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the page is zeroed and large enough, and zeros are valid atomics; it stays mapped
    // until the measurement ends.
    Ok(unsafe { &*page.cast::<Start>() })
}

/// Nanoseconds a step, processor time used, time passed; the last two in nanoseconds.
type Raw = (f64, u64, u64);

fn this_side(start: &Start, count: u64, here: impl FnOnce() -> Outcome<()>) -> Outcome<Raw> {
    let _pinned = Pinned::to(0)?;
    let waiting = Instant::now();
    // Acquire: pairs with the Release store in `other_side`; what it prepared is visible.
    while start.ready.load(Acquire) == 0 {
        if waiting.elapsed().as_secs() > 10 {
            return Err("the other side did not start".into());
        }
        thread::yield_now();
    }
    let (used, begun) = (thread_time(), Instant::now());
    here()?;
    let (used, time) = (thread_time() - used, begun.elapsed());
    let nanoseconds = time.as_nanos() as u64;
    Ok((nanoseconds as f64 / count as f64, used.as_nanos() as u64, nanoseconds))
}

fn other_side(
    start: &Start,
    clock: impl Fn() -> u64,
    there: impl FnOnce() -> Outcome<()>,
) -> Outcome<()> {
    let used = clock();
    // Release: pairs with the Acquire load in `this_side`.
    start.ready.store(1, Release);
    there()?;
    // Release: read after this side was joined or waited for, which orders it too.
    start.used.store(clock() - used, Release);
    Ok(())
}

fn of(value: f64, used: u64, time: u64) -> Sample {
    Sample { value, busy: Some(used as f64 / time as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn both_sides_run_and_what_either_says_is_heard() {
        let ran = AtomicBool::new(false);
        let there = || {
            // Release: the join orders it before the load below.
            ran.store(true, Release);
            Ok(())
        };
        together(Between::Threads, 1, there, || Ok(())).unwrap();
        assert!(ran.load(Acquire));
        assert!(together(Between::Threads, 1, || Err("no".into()), || Ok(())).is_err());
    }
}
