//! Two sides that start together, each on a processor of its own.

use std::sync::atomic::{
    AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release,
};
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
#[derive(Debug)]
struct Start {
    /// Sides that are prepared.
    ready: AtomicU32,
    /// Processor time that the other side used, in nanoseconds.
    used: AtomicU64,
}

/// Where a side, prepared and warm, meets the other; its time begins there.
#[derive(Debug)]
pub struct Gate<'a> {
    start: &'a Start,
    clock: fn() -> u64,
    begun: Option<(u64, Instant)>,
}

impl Gate<'_> {
    /// Waits until the other side is here too, and begins the time.
    ///
    /// # Errors
    /// When the other side does not come within ten seconds: it failed, and says why itself.
    pub fn pass(&mut self) -> Outcome<()> {
        // AcqRel: pairs with the same of the other side; what each prepared is visible to both.
        self.start.ready.fetch_add(1, AcqRel);
        let waiting = Instant::now();
        // Acquire: as above.
        while self.start.ready.load(Acquire) < 2 {
            if waiting.elapsed().as_secs() > 10 {
                return Err("the other side did not start".into());
            }
            thread::yield_now();
        }
        self.begun = Some(((self.clock)(), Instant::now()));
        Ok(())
    }

    /// Processor time used and time passed since the gate, in nanoseconds.
    fn passed(&self) -> Outcome<(u64, u64)> {
        let (used, begun) = self.begun.ok_or("a side that never passed its gate")?;
        let passed = begun.elapsed();
        Ok(((self.clock)() - used, passed.as_nanos() as u64))
    }
}

/// Runs `there` on the second processor and `here` on the first; the value is the nanoseconds from
/// the [`Gate`], which both pass when they are prepared, to the end of `here`, divided by `count`.
///
/// Between processes, `there` runs in a forked child and must use nothing inherited but
/// descriptors and plain values; no thread of this process may hold a lock that it needs.
///
/// # Errors
/// What either side returned, and what the system refused.
pub fn together(
    between: Between,
    count: u64,
    there: impl FnOnce(&mut Gate<'_>) -> Outcome<()> + Send,
    here: impl FnOnce(&mut Gate<'_>) -> Outcome<()>,
) -> Outcome<Sample> {
    match between {
        Between::Threads => of_threads(count, there, here),
        Between::Processes => of_processes(count, there, here),
    }
}

fn of_threads(
    count: u64,
    there: impl FnOnce(&mut Gate<'_>) -> Outcome<()> + Send,
    here: impl FnOnce(&mut Gate<'_>) -> Outcome<()>,
) -> Outcome<Sample> {
    let start = Start { ready: AtomicU32::new(0), used: AtomicU64::new(0) };
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let _pinned = Pinned::to(1)?;
            other_side(&start, thread_nanoseconds, there)
        });
        let sample = this_side(&start, count, here);
        other.join().map_err(|_| "the other side panicked")??;
        let (value, used, time) = sample?;
        // Acquire: stored before the thread was joined.
        Ok(of(value, used + start.used.load(Acquire), time))
    })
}

fn of_processes(
    count: u64,
    there: impl FnOnce(&mut Gate<'_>) -> Outcome<()>,
    here: impl FnOnce(&mut Gate<'_>) -> Outcome<()>,
) -> Outcome<Sample> {
    let start = shared_start()?;
    // SAFETY: what the child uses is its own (see the documentation); it ends by `_exit` below and
    // never returns.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    if child == 0 {
        let done = Pinned::to(1).and_then(|_pinned| other_side(start, process_nanoseconds, there));
        if let Err(error) = &done {
            eprintln!("the other side: {error}");
        }
        // SAFETY: ends the child without running what belongs to its parent.
        unsafe { libc::_exit(i32::from(done.is_err())) }
    }
    let sample = this_side(start, count, here);
    if sample.is_err() {
        // It may wait for us for ever.
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    let mut status = 0;
    // SAFETY: `child` is our own child, not waited for yet, and `status` is ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    let (value, used, time) = sample?;
    if status != 0 {
        return Err("the other process failed".into());
    }
    // Acquire: stored before the process ended.
    let sample = of(value, used + start.used.load(Acquire), time);
    let start: *const Start = start;
    // SAFETY: mapped in `shared_start`, one page, and nobody uses it any more.
    unsafe { libc::munmap(start.cast_mut().cast(), PAGE) };
    Ok(sample)
}

fn thread_nanoseconds() -> u64 {
    thread_time().as_nanos() as u64
}

fn process_nanoseconds() -> u64 {
    process_time().as_nanos() as u64
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

fn this_side(
    start: &Start,
    count: u64,
    here: impl FnOnce(&mut Gate<'_>) -> Outcome<()>,
) -> Outcome<Raw> {
    let _pinned = Pinned::to(0)?;
    let mut gate = Gate { start, clock: thread_nanoseconds, begun: None };
    here(&mut gate)?;
    let (used, time) = gate.passed()?;
    Ok((time as f64 / count as f64, used, time))
}

fn other_side(
    start: &Start,
    clock: fn() -> u64,
    there: impl FnOnce(&mut Gate<'_>) -> Outcome<()>,
) -> Outcome<()> {
    let mut gate = Gate { start, clock, begun: None };
    there(&mut gate)?;
    // Release: read after this side was joined or waited for, which orders it too.
    start.used.store(gate.passed()?.0, Release);
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
        let there = |gate: &mut Gate<'_>| {
            // Release: the join orders it before the load below.
            ran.store(true, Release);
            gate.pass()
        };
        together(Between::Threads, 1, there, |gate| gate.pass()).unwrap();
        assert!(ran.load(Acquire));
        let fails = |gate: &mut Gate<'_>| gate.pass().and(Err("no".into()));
        assert!(together(Between::Threads, 1, fails, |gate| gate.pass()).is_err());
        assert!(together(Between::Processes, 1, fails, |gate| gate.pass()).is_err());
        assert!(together(Between::Processes, 1, |gate| gate.pass(), |gate| gate.pass()).is_ok());
    }
}
