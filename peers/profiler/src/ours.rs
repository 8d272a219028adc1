//! Our side: the heap profiler of `profiling`, wrapped around the system's allocator.

use std::alloc::System;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use method::{Outcome, Promise, Sample, Side};
use peers_profiler::{Churn, LIVE, STEPS};
use profiling::heap::{self, Mode, Profile, Profiler};

#[global_allocator]
static HEAP: Profiler<System> = Profiler::new(System, Mode::Off);

/// What ours keeps.
pub const PROMISE: Promise =
    Promise::keeps("the whole profile can be read after the process was killed");

/// Our name in rows.
pub const NAME: &str = "profiling";

/// How ours records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recording {
    /// Nothing.
    Off,
    /// Counters alone.
    Counters,
    /// One sample in this many bytes.
    Sampled(u64),
    /// Every block.
    Exact,
}

impl Recording {
    fn mode(self) -> Mode {
        match self {
            Recording::Off => Mode::Off,
            Recording::Counters => Mode::Counters,
            Recording::Sampled(mean_bytes) => Mode::Sampled { mean_bytes },
            Recording::Exact => Mode::Exact,
        }
    }
}

/// Records while `run` runs.
fn recording<T>(recording: Recording, run: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    heap::set_mode(recording.mode())?;
    let done = run();
    heap::set_mode(Mode::Off)?;
    done
}

/// What recording adds to a step, nanoseconds.
pub fn added<'a>(how: Recording, threads: usize, live: usize) -> Side<'a> {
    Side::new(NAME, PROMISE, move || {
        recording(how, || {
            let value = peers_profiler::added(&System, &HEAP, threads, live);
            if matches!(how, Recording::Sampled(_) | Recording::Exact) {
                let quality = heap::snapshot()?.quality;
                if quality.frame_pointers != Some(true) {
                    return Err("no stacks: build with frame pointers".into());
                }
            }
            Ok(Sample::from(value))
        })
    })
}

/// What being read adds to a step, nanoseconds.
pub fn while_read<'a>() -> Side<'a> {
    Side::new(NAME, PROMISE, || recording(Recording::Sampled(16 << 10), read_meanwhile))
}

fn read_meanwhile() -> Outcome<Sample> {
    const TURNS: usize = 25;
    let profile = Profile::of_process(std::process::id())?;
    let mut churn = Churn::new(&HEAP, LIVE, 1);
    let mut turns = || (0..TURNS).map(|_| churn.run(STEPS)).collect::<Vec<f64>>();
    let alone = method::median(&turns());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read = 0;
            // Relaxed: a flag, nothing else is passed on.
            while !stop.load(Relaxed) {
                profile.snapshot()?;
                read += 1;
            }
            Outcome::Ok(read)
        });
        let read = method::median(&turns());
        // Relaxed: the reader is joined next.
        stop.store(true, Relaxed);
        match reader.join().map_err(|_| "the reader panicked")?? {
            0 => Err("the profile was not read".into()),
            _ => Ok(Sample::from((read - alone).max(0.0))),
        }
    })
}

/// The argument at which this program is a worker with a profile.
const WORKER: &str = "allocate-and-wait";

/// Allocates and waits, if that was asked for.
pub fn be_a_worker_if_asked() -> bool {
    if std::env::args().nth(1).as_deref() != Some(WORKER) {
        return false;
    }
    if heap::set_mode(Mode::SAMPLED).is_ok() {
        let churn = Churn::new(&HEAP, LIVE, 7);
        println!("ready");
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(churn);
    }
    true
}

struct Workers(Vec<Child>);

impl Workers {
    fn start(count: usize) -> Outcome<Workers> {
        let mut workers = Workers(Vec::new());
        for _ in 0..count {
            let mut child = Command::new("/proc/self/exe")
                .arg(WORKER)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let output = child.stdout.take().ok_or("no output")?;
            workers.0.push(child);
            BufReader::new(output).read_line(&mut String::new())?;
        }
        Ok(workers)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// Milliseconds until the profiles of eight processes have been read.
pub fn eight_read<'a>() -> Side<'a> {
    let mut workers = None;
    Side::new(NAME, PROMISE, move || {
        if workers.is_none() {
            workers = Some(Workers::start(8)?);
        }
        let start = Instant::now();
        let mut sites = 0;
        for child in workers.iter().flat_map(|workers| &workers.0) {
            sites += Profile::of_process(child.id())?.snapshot()?.sites.len();
        }
        let time = start.elapsed();
        if sites == 0 {
            Err("profiles without sites".into())
        } else {
            Ok(Sample::from(time.as_secs_f64() * 1e3))
        }
    })
}
