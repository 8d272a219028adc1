//! The memory of a process tree, beside the kernel's own figure and beside what summing does.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Target, Unit};
use profiling::Ledger;

/// The argument at which this program holds memory until its input ends.
const HOLD: &str = "hold-memory";

/// Bytes shared by all, and of each process alone.
const SHARED: usize = 128 << 20;
const PRIVATE: usize = 16 << 20;
const PROCESSES: usize = 4;

/// Holds memory, if that was asked for.
pub fn hold_if_asked() -> Outcome<bool> {
    let words: Vec<String> = std::env::args().collect();
    let [_, word, path] = words.as_slice() else { return Ok(false) };
    if word != HOLD {
        return Ok(false);
    }
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let sum: u64 = map(file.as_raw_fd())?.iter().step_by(4096).map(|byte| u64::from(*byte)).sum();
    let own = std::hint::black_box(vec![sum as u8 | 1; PRIVATE]);
    println!("{}", own.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(own);
    Ok(true)
}

fn map(fd: i32) -> Outcome<&'static mut [u8]> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of a file of that size, at an address of the system's choice.
    let at =
        unsafe { libc::mmap(std::ptr::null_mut(), SHARED, protection, libc::MAP_SHARED, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: mapped above and never unmapped; whoever writes does so before the others map it.
    Ok(unsafe { std::slice::from_raw_parts_mut(at.cast(), SHARED) })
}

/// Processes that share a segment, each with memory of its own.
struct Tree(Vec<Child>);

impl Tree {
    fn start() -> Outcome<Tree> {
        // SAFETY: a name that ends with a zero.
        let fd = unsafe { libc::memfd_create(c"tree".as_ptr(), libc::MFD_CLOEXEC) };
        // SAFETY: our own descriptor.
        if fd < 0 || unsafe { libc::ftruncate(fd, SHARED as libc::off_t) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        map(fd)?.fill(1);
        let path = format!("/proc/{}/fd/{fd}", std::process::id());
        let mut tree = Tree(Vec::new());
        for _ in 0..PROCESSES {
            let mut child = Command::new("/proc/self/exe")
                .args([HOLD, &path])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let output = child.stdout.take().ok_or("no output")?;
            tree.0.push(child);
            BufReader::new(output).read_line(&mut String::new())?;
        }
        Ok(tree)
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(Child::id).chain([std::process::id()])
    }

    /// What the kernel says: each page divided among those who map it, files left out.
    fn proportional(&self) -> Outcome<u64> {
        let mut sum = 0;
        for pid in self.pids() {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            sum += kib(&text, "Pss_Anon:") + kib(&text, "Pss_Shmem:");
        }
        Ok(sum << 10)
    }

    fn resident(&self) -> Outcome<u64> {
        let mut sum = 0;
        for pid in self.pids() {
            sum += kib(&std::fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:");
        }
        Ok(sum << 10)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// How far a figure is off, in percent of the kernel's.
fn off(figure: u64, truth: u64) -> Sample {
    Sample::from(100.0 * figure.abs_diff(truth) as f64 / truth as f64)
}

/// The case.
pub fn run(arguments: &Arguments) {
    const UNIT: Unit = Unit { name: "% off", more_is_better: false };
    let inside = "the memory of five processes, 128 MiB shared and 16 MiB each its own, beside what the \
                  kernel's proportional figures add up to (files left out)";
    let tree = Tree::start().map_err(|error| error.to_string());
    let with = |figure: fn(&Tree) -> Outcome<u64>| {
        let tree = &tree;
        move || {
            let tree = tree.as_ref().map_err(String::as_str)?;
            Ok(off(figure(tree)?, tree.proportional()?))
        }
    };
    Case::new("profiler", "total of a process tree", inside, UNIT, Calibration::Compute)
        .side(Side::new(
            crate::ours::NAME,
            Promise::keeps("files are left out"),
            with(|_| Ok(Ledger::of(std::process::id())?.quick().total())),
        ))
        .side(Side::new(
            "summed resident memory",
            Promise::keeps("shared counted often"),
            with(Tree::resident),
        ))
        .target(Target::Absolute(1.0))
        .at_most(7)
        .run(arguments);
}
