//! What a sample costs, in microseconds: quick and full, for a tree that shares one segment.
//!
//! ```text
//! cargo run --release -p profiling --example cost -- [MEBIBYTES] [PROCESSES]
//! ```
//!
//! Starts that many processes (4), each of which maps and touches one segment of that size (240),
//! and samples them. Processor time is shown beside the time on the clock, which on a busy machine
//! contains waiting.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use memmap2::MmapMut;
use profiling::{Ledger, Snapshot};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, path] = arguments.as_slice()
        && mode == "touch"
    {
        return touch_and_wait(path);
    }
    let number = |index: usize, usual| arguments.get(index).map_or(Ok(usual), |text| text.parse());
    let (mebibytes, processes) = (number(0, 240u64)?, number(1, 4u64)?);
    let memfd = rustix::fs::memfd_create("column", rustix::fs::MemfdFlags::empty())?;
    let file = File::from(memfd);
    file.set_len(mebibytes << 20)?;
    let path =
        format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&file));
    let children: Vec<Child> = (0..processes).map(|_| start(&path)).collect::<Outcome<_>>()?;

    let mut ledger = Ledger::of(std::process::id())?;
    let snapshot = ledger.full();
    println!(
        "{} processes, one segment of {mebibytes} MiB: total {:.1} MiB, summed RSS {:.1} MiB",
        snapshot.processes.len(),
        snapshot.total() as f64 / 1048576.0,
        snapshot.resident_sum() as f64 / 1048576.0
    );
    measure("quick", 2000, || ledger.quick());
    measure("full", 20, || ledger.full());
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

fn start(path: &str) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.args(["touch", path]).stdout(Stdio::piped()).spawn()?;
    let mut ready = [0];
    child.stdout.as_mut().ok_or("no pipe")?.read_exact(&mut ready)?;
    Ok(child)
}

/// A child: maps the segment, touches every page, says so, and waits to be killed.
fn touch_and_wait(path: &str) -> Outcome<()> {
    let file = File::options().read(true).write(true).open(path)?;
    // SAFETY: the parent keeps the file at its length as long as we live.
    let mut memory = unsafe { MmapMut::map_mut(&file) }?;
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    println!();
    loop {
        std::thread::park();
    }
}

fn measure(name: &str, times: u32, mut sample: impl FnMut() -> Snapshot) {
    let (began, used) = (Instant::now(), processor_time());
    let processes: usize = (0..times).map(|_| sample().processes.len()).sum();
    let (elapsed, used) = (began.elapsed(), processor_time() - used);
    let each = |whole: Duration| whole.as_secs_f64() * 1e6 / f64::from(times);
    println!(
        "{name:>6}: {:8.1} us a sample, {:6.1} us a process ({:.1} us on the clock)",
        each(used),
        each(used) * f64::from(times) / processes as f64,
        each(elapsed)
    );
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
