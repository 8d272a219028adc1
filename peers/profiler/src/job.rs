//! Memory of whole programs, with a memory cgroup around them as the witness: the combined peak of
//! an unmodified Python pool, as each tool reports it; what the sum of shared data takes beyond it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Target, Unit};
use profiling::Sampler;

/// The Python program.
fn job() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python/tree_job.py")
}

/// A memory cgroup for one run, which goes with it.
struct Group {
    folder: PathBuf,
    peak: &'static str,
}

impl Group {
    fn new() -> Outcome<Group> {
        let hierarchies = [
            ("/sys/fs/cgroup/memory", "memory.max_usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.peak"),
        ];
        let made = hierarchies.into_iter().find_map(|(root, peak)| {
            let folder = Path::new(root).join(format!("peers-job-{}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let group = Group { folder, peak };
            fs::metadata(group.folder.join(peak)).ok()?;
            Some(group)
        });
        made.ok_or_else(|| {
            "no memory cgroup can be made here, so that nobody knows the truth".into()
        })
    }

    /// Starts a command inside: it moves itself there before it runs.
    fn start(&self, command: &mut Command) -> Outcome<Child> {
        let procs = self.folder.join("cgroup.procs");
        let mut shell = Command::new("sh");
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        shell.args(["-c", script]).arg(procs).arg(command.get_program()).args(command.get_args());
        Ok(shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    fn peak(&self) -> Outcome<u64> {
        Ok(fs::read_to_string(self.folder.join(self.peak))?.trim().parse()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Helpers of the job may end a moment after it: a group goes when it is empty.
        for _ in 0..200 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn ended(mut child: Child, what: &str) -> Outcome<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{what} failed: {status}").into()) }
}

/// How far a figure is off, in percent of what the kernel charged.
fn off(figure: f64, truth: u64) -> Sample {
    eprintln!("    reported {:.1} MiB, charged {:.1} MiB", figure / MIB, truth as f64 / MIB);
    Sample::from(100.0 * (figure - truth as f64).abs() / truth as f64)
}

const MIB: f64 = (1 << 20) as f64;

fn ours() -> Outcome<Sample> {
    let group = Group::new()?;
    let child = group.start(Command::new("python3").arg(job()))?;
    let sampler = Sampler::builder(child.id()).interval(Duration::from_millis(5)).start()?;
    ended(child, "the job")?;
    let timeline = sampler.stop();
    Ok(off(timeline.peak_bytes() as f64, group.peak()?))
}

/// memory_profiler's `mprof run`: with `-C` the children are added to the parent, without it and
/// with `-M` each stands apart.
fn mprof(argument: &str) -> Outcome<Sample> {
    let group = Group::new()?;
    let left = std::env::temp_dir().join(format!("peers-mprof-{}.dat", std::process::id()));
    let mut command = Command::new("python3");
    command.args(["-m", "mprof", "run", argument, "-o"]).arg(&left).arg("python3").arg(job());
    let ran = ended(group.start(&mut command)?, "python3 -m mprof");
    let text = fs::read_to_string(&left);
    let _ = fs::remove_file(&left);
    ran?;
    Ok(off(highest(&text?)? * MIB, group.peak()?))
}

/// The highest of mprof's lines for the program itself, `MEM megabytes time`.
fn highest(text: &str) -> Outcome<f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("MEM "));
    let figures = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    figures.reduce(f64::max).ok_or_else(|| "mprof left no figure".into())
}

/// memray, which follows forked children only, a file each, and starts none of the spawned ones:
/// what it counts in the parent.
fn memray() -> Outcome<Sample> {
    let group = Group::new()?;
    let left = std::env::temp_dir().join(format!("peers-memray-{}.bin", std::process::id()));
    let mut command = Command::new("python3");
    command.args(["-m", "memray", "run", "--native", "--follow-fork", "-f", "-o"]).arg(&left);
    let ran = ended(group.start(command.arg(job()))?, "python3 -m memray");
    let figure = ran.and_then(|()| peak_of_memray(&left));
    let _ = fs::remove_file(&left);
    Ok(off(figure?, group.peak()?))
}

fn peak_of_memray(left: &Path) -> Outcome<f64> {
    let json = left.with_extension("json");
    let mut stats = Command::new("python3");
    stats.args(["-m", "memray", "stats", "--json", "-f", "-o"]).arg(&json).arg(left);
    let status = stats.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let text = fs::read_to_string(&json);
    let _ = fs::remove_file(&json);
    if !status.success() {
        return Err(format!("memray stats failed: {status}").into());
    }
    let stats: serde_json::Value = serde_json::from_str(&text?)?;
    let peak = &stats["metadata"]["peak_memory"];
    peak.as_f64().ok_or_else(|| "memray left no figure".into())
}

/// The cases.
pub fn run(arguments: &Arguments) {
    beyond_the_data(arguments);
    const UNIT: Unit = Unit { name: "% off", more_is_better: false };
    let inside = "the peak that is reported for four spawned Python workers that read one segment of \
                  200 MiB, beside what the kernel charged a memory cgroup around them (at its peak, \
                  the tool itself and ordinary files included)";
    let keeps = Promise::keeps("what was sampled is kept");
    Case::new("profiler", "peak of a Python pool", inside, UNIT, Calibration::Compute)
        .side(Side::new(crate::ours::NAME, keeps, ours))
        .side(Side::new("memory_profiler 0.61.0, mprof run -C", keeps, || mprof("-C")))
        .side(Side::new("memory_profiler 0.61.0, mprof run -M", keeps, || mprof("-M")))
        .side(Side::new("memray 1.20.0, --follow-fork", keeps, memray))
        .at_most(3)
        .run(arguments);
}

/// Where `xtask` says that our program of the sum is.
const NANSUM: &str = "PEERS_NANSUM";

/// Its records, of 24 bytes each.
const RECORDS: u64 = 10_000_000;

/// What a command was charged at its peak beyond the records, in MiB.
fn beyond(command: &mut Command) -> Outcome<Sample> {
    let group = Group::new()?;
    ended(group.start(command)?, "the sum")?;
    Ok(Sample::from((group.peak()? as f64 - (RECORDS * 24) as f64) / MIB))
}

fn our_sum() -> Outcome<Sample> {
    let program = std::env::var_os(NANSUM)
        .ok_or("start it by `cargo xtask peers profiler`, which builds `nansum` and says where")?;
    beyond(Command::new(program).args(["--scope", "shared", "--rows"]).arg(RECORDS.to_string()))
}

fn sum_of_python() -> Outcome<Sample> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/nansum.py");
    let mut python = Command::new("python3");
    beyond(python.arg(program).args(["--scope", "shared", "--rows"]).arg(RECORDS.to_string()))
}

/// The whole program, both sides: make the data in shared memory, sum it in four workers.
fn beyond_the_data(arguments: &Arguments) {
    const UNIT: Unit = Unit { name: "MiB", more_is_better: false };
    let inside = "what the kernel charged a memory cgroup around the whole program at its peak, less the \
                  240 MB of records that four workers sum where they are";
    let keeps = Promise::keeps("the records go with the last process");
    let may_lose = Promise::may_lose("the records stay when the program is killed");
    Case::new("profiler", "nansum: memory beyond the data", inside, UNIT, Calibration::Compute)
        .side(Side::new("proc-pool", keeps, our_sum))
        .side(Side::new("Python: SharedMemory, ProcessPoolExecutor", may_lose, sum_of_python))
        .target(Target::Absolute(16.0))
        .at_most(3)
        .run(arguments);
}
