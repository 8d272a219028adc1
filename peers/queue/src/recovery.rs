//! From the proof of a death until a survivor that slept in a receive goes on.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::thread;
use std::time::{Duration, Instant};

use ipc_queue::{Monitor, RecvError, Side as QueueSide, spsc};
use method::{Arguments, Calibration, Case, Outcome, Sample, Side, Target, Unit};
use shm_core::Segment;

/// A child that holds `keep` until it is killed.
struct Victim(libc::pid_t);

impl Victim {
    fn fork(hold: impl FnOnce() -> Outcome<()>) -> Outcome<Victim> {
        // SAFETY: the child makes its own end and sleeps; it ends by `_exit` or by being killed.
        let child = unsafe { libc::fork() };
        if child < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        if child == 0 {
            let _ = hold();
            // SAFETY: ends the child without running what belongs to its parent.
            unsafe { libc::_exit(0) }
        }
        Ok(Victim(child))
    }

    /// Kills it and waits: afterwards its death is proven.
    fn kill(self) {
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // SAFETY: as above; nothing is asked about its end.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }
}

fn sleep_for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// The slowest of a hundred, or of all when there are fewer, in microseconds.
fn slowest(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let place = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or(f64::NAN)
}

/// Nanoseconds since `origin`.
fn since(origin: Instant) -> u64 {
    origin.elapsed().as_nanos() as u64
}

fn ours(deaths: usize) -> Outcome<Sample> {
    let mut times = Vec::new();
    for _ in 0..deaths {
        let segment = Segment::anonymous(spsc::required_size::<u64>(64)?)?;
        spsc::create::<u64>(&segment, 0, 64)?;
        let fd = segment.as_fd();
        let (read, write) = rustix::pipe::pipe()?;
        let victim = Victim::fork(|| {
            let segment = Segment::attach(fd.try_clone_to_owned()?)?;
            let mut producer = spsc::attach_producer::<u64>(&segment, 0)?;
            producer.send(1)?;
            rustix::io::write(&write, &[1])?;
            sleep_for_ever()
        })?;
        drop(write);
        wait_for_byte(read.as_fd())?;
        let mut consumer = spsc::attach_consumer::<u64>(&segment, 0)?;
        consumer.set_spin_limit(0);
        let monitor = Monitor::attach(&segment, 0)?;
        let origin = Instant::now();
        let woke = AtomicU64::new(0);
        let proven = thread::scope(|scope| {
            let survivor = scope.spawn(|| {
                let first = consumer.recv();
                let second = consumer.recv();
                // Release: read after the join.
                woke.store(since(origin), Release);
                (first, second)
            });
            // Long enough for the survivor to fall asleep; if it has not, the time is shorter.
            thread::sleep(Duration::from_millis(3));
            victim.kill();
            let proven = since(origin);
            monitor
                .disconnect(monitor.holder(QueueSide::Producer).ok_or("nobody holds it")?)
                .map_err(|error| error.to_string())?;
            match survivor.join() {
                Ok((Ok(1), Err(RecvError::PeerDead))) => Ok(proven),
                other => Err(format!("the survivor saw {other:?}")),
            }
        })?;
        times.push((woke.load(Acquire) - proven) as f64 / 1e3);
    }
    Ok(Sample::from(slowest(&mut times)))
}

fn kernel(deaths: usize) -> Outcome<Sample> {
    let mut times = Vec::new();
    for _ in 0..deaths {
        let (read, write) = rustix::pipe::pipe()?;
        let victim = Victim::fork(|| {
            rustix::io::write(&write, &[1])?;
            sleep_for_ever()
        })?;
        drop(write);
        wait_for_byte(read.as_fd())?;
        let origin = Instant::now();
        let woke = AtomicU64::new(0);
        let killed = thread::scope(|scope| {
            let survivor = scope.spawn(|| {
                let end = std::fs::File::from(read).read(&mut [0]);
                // Release: read after the join.
                woke.store(since(origin), Release);
                end
            });
            thread::sleep(Duration::from_millis(3));
            let killed = since(origin);
            victim.kill();
            match survivor.join() {
                Ok(Ok(0)) => Ok(killed),
                other => Err(format!("the survivor saw {other:?}")),
            }
        })?;
        times.push((woke.load(Acquire) - killed) as f64 / 1e3);
    }
    Ok(Sample::from(slowest(&mut times)))
}

fn wait_for_byte(read: BorrowedFd<'_>) -> Outcome<()> {
    match rustix::io::read(read, &mut [0])? {
        1 => Ok(()),
        _ => Err("the victim ended before it was killed".into()),
    }
}

/// The case.
pub fn run(arguments: &Arguments) {
    let deaths = arguments.pick(20, 100);
    let inside = "from the proof of a SIGKILLed producer's death until its sleeping consumer, having \
                  received what was sent, is told; the slowest of a hundred (of all, where there \
                  are fewer). The pipe's time runs from the kill itself: there the kernel is told first";
    Case::new(
        "queue",
        "survivor goes on after a death, p99",
        inside,
        Unit::MICROSECONDS,
        Calibration::CompareAndSwap,
    )
    .side(Side::new("ipc-queue spsc", crate::ours::PROMISE, move || ours(deaths)))
    .side(Side::new("pipe(2), end of file", crate::streams::KERNEL, move || kernel(deaths)))
    .target(Target::Absolute(1000.0))
    .at_most(7)
    .run(arguments);
}
