//! What attaching costs, beside the bare system calls, in the same run.
//!
//! ```console
//! cargo run --release -p shm-core --example bench_attach
//! ```
//!
//! Each row is the median over alternating rounds; the ratio is the median of the rounds' ratios,
//! and its spread the middle half of them. The bare calls are those without which nothing could be
//! mapped or cleaned up at all; they check nothing.

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use shm_core::{Frozen, Segment};

const ROUNDS: usize = 41;
const CALLS: u32 = 500;
const SIZE: usize = 64 << 10;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    if let (Some("hold"), Some(name)) =
        (std::env::args().nth(1).as_deref(), std::env::args().nth(2))
    {
        return hold(&name);
    }
    println!("{SIZE} bytes; µs a call, median of {ROUNDS} alternating rounds of {CALLS}");
    println!("{:<28} {:>7} {:>7}   ratio (middle half)", "", "ours", "bare");

    compare("create + drop, anonymous", create_ours, create_bare)?;

    let segment = Segment::anonymous(SIZE)?;
    let plain = segment.as_fd();
    compare("attach + detach, read-write", || attach_ours(plain), || attach_bare(plain, true))?;

    let frozen = Frozen::copy_of(&vec![1u8; SIZE])?;
    let sealed = frozen.as_fd();
    compare("attach + detach, frozen", || frozen_ours(sealed), || attach_bare(sealed, false))?;

    open_and_leave()
}

/// A name is held by another process: what this one opens, it opens anew each time.
fn open_and_leave() -> Outcome {
    let name = format!("bench-attach-{}", std::process::id());
    let mut holder = Command::new(std::env::current_exe()?)
        .args(["hold", &name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let ready = holder.stdout.take().ok_or("no output")?;
    BufReader::new(ready).read_line(&mut String::new())?;
    let path = format!("/dev/shm/shm-core.{name}");
    compare("open + leave, named", || open_ours(&name), || open_bare(Path::new(&path)))?;
    // Its input ends: it leaves.
    drop(holder.stdin.take());
    holder.wait()?;
    Ok(())
}

fn hold(name: &str) -> Outcome {
    let _segment = Segment::create(name, SIZE)?;
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Runs both in turn, and prints a row.
fn compare(
    what: &str,
    mut ours: impl FnMut() -> Outcome,
    mut bare: impl FnMut() -> Outcome,
) -> Outcome {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS + 1 {
        // Who begins alternates as well; the first round warms up.
        let (a, b) = if round % 2 == 0 {
            let a = time(&mut ours)?;
            (a, time(&mut bare)?)
        } else {
            let b = time(&mut bare)?;
            (time(&mut ours)?, b)
        };
        if round > 0 {
            rounds.push((a, b));
        }
    }
    let ours = quantile(rounds.iter().map(|(a, _)| *a), 0.5);
    let bare = quantile(rounds.iter().map(|(_, b)| *b), 0.5);
    let ratio = |q| quantile(rounds.iter().map(|(a, b)| a / b), q);
    let (low, middle, high) = (ratio(0.25), ratio(0.5), ratio(0.75));
    println!("{what:<28} {ours:>7.2} {bare:>7.2}   {middle:.2} ({low:.2} to {high:.2})");
    Ok(())
}

/// Microseconds a call.
fn time(call: &mut impl FnMut() -> Outcome) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    for _ in 0..CALLS {
        call()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS))
}

fn quantile(values: impl Iterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q) as usize]
}

/// Reads one byte, so that a page is really there.
fn touch(map: &MmapRaw) {
    // SAFETY: the mapping is not empty, and nobody writes it during the benchmark.
    black_box(unsafe { map.as_ptr().read_volatile() });
}

fn create_ours() -> Outcome {
    black_box(Segment::anonymous(SIZE)?);
    Ok(())
}

fn create_bare() -> Outcome {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("bench", flags)?);
    rustix::fs::ftruncate(&file, SIZE as u64)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
    black_box(MmapOptions::new().len(SIZE).map_raw(&file)?);
    Ok(())
}

fn attach_ours(fd: BorrowedFd<'_>) -> Outcome {
    let segment = Segment::attach(fd.try_clone_to_owned()?)?;
    // SAFETY: the segment is not empty, and nobody writes it during the benchmark.
    black_box(unsafe { segment.data().read_volatile() });
    Ok(())
}

fn frozen_ours(fd: BorrowedFd<'_>) -> Outcome {
    let frozen = Frozen::<u8>::attach(fd.try_clone_to_owned()?)?;
    black_box(frozen[0]);
    Ok(())
}

/// As if the descriptor had just arrived: `fstat` for the size, map, touch, unmap, close.
fn attach_bare(fd: BorrowedFd<'_>, write: bool) -> Outcome {
    let fd: OwnedFd = fd.try_clone_to_owned()?;
    let size = rustix::fs::fstat(&fd)?.st_size as usize;
    let data = size - SIZE;
    let mut options = MmapOptions::new();
    options.offset(data as u64).len(SIZE);
    let map = if write { options.map_raw(&fd)? } else { options.map_raw_read_only(&fd)? };
    touch(&map);
    Ok(())
}

fn open_ours(name: &str) -> Outcome {
    let segment = Segment::open(name)?;
    // SAFETY: the segment is not empty, and nobody writes it during the benchmark.
    black_box(unsafe { segment.data().read_volatile() });
    Ok(())
}

fn open_bare(path: &Path) -> Outcome {
    let fd = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    attach_bare(fd.as_fd(), true)
}
