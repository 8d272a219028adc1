//! Profilers that watch a whole program: heaptrack, valgrind's dhat, and dial9, which is set up
//! once in a process.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use method::{Outcome, Promise, Sample, Side};

const HEAPTRACK: Promise =
    Promise::keeps("what was flushed survives; forked children are not seen");
const DIAL9: Promise =
    Promise::may_lose("the trace ends with what was last flushed; live blocks are not in it");
const VALGRIND: Promise = Promise::may_lose("writes its profile at the end only");

/// A program beside this one.
fn beside(name: &str) -> Outcome<Command> {
    Ok(Command::new(std::env::current_exe()?.with_file_name(name)))
}

/// The program that does the work.
fn bare(threads: usize) -> Outcome<Command> {
    let mut command = beside("peers-bare")?;
    command.arg(threads.to_string());
    Ok(command)
}

/// Nanoseconds a step, as the program printed them last.
fn ask(command: &mut Command) -> Outcome<f64> {
    let output = command.stderr(Stdio::null()).output();
    let name = command.get_program().to_string_lossy().into_owned();
    let output = output.map_err(|error| format!("{name}: {error}: `apt-get install {name}`"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.lines().filter_map(|line| line.trim().parse::<f64>().ok()).next_back();
    number.ok_or_else(|| format!("{name} ended without a figure: {}", output.status).into())
}

/// The profiler's arguments before the program's, and the profile that it leaves.
fn under(profiler: &str, threads: usize) -> Outcome<(Command, PathBuf)> {
    let left = std::env::temp_dir().join(format!("peers-{profiler}-{}", std::process::id()));
    let program = bare(threads)?;
    let mut command = Command::new(profiler);
    match profiler {
        "heaptrack" => command.arg("-o").arg(&left),
        _ => command.arg("--tool=dhat").arg(format!("--dhat-out-file={}", left.display())),
    };
    command.arg(program.get_program()).args(program.get_args());
    Ok((command, left))
}

fn sample(profiler: &str, threads: usize) -> Outcome<Sample> {
    let alone = ask(&mut bare(threads)?)?;
    let (mut command, left) = under(profiler, threads)?;
    let watched = ask(&mut command);
    // Whatever ending heaptrack gave it.
    for ending in ["", ".gz", ".zst"] {
        let _ = std::fs::remove_file(format!("{}{ending}", left.display()));
    }
    Ok(Sample::from(watched? - alone))
}

/// heaptrack 1.4, every allocation.
pub fn heaptrack<'a>(threads: usize) -> Side<'a> {
    Side::new("heaptrack", HEAPTRACK, move || sample("heaptrack", threads))
}

/// valgrind's dhat, every allocation; the program runs on a simulated processor.
pub fn valgrind<'a>(threads: usize) -> Side<'a> {
    Side::new("valgrind dhat", VALGRIND, move || sample("valgrind", threads))
}

/// dial9's memory profiler with its live set, one sample in `kib` KiB.
pub fn dial9<'a>(kib: u64, threads: usize) -> Side<'a> {
    Side::new(format!("dial9 0.5.7, one sample in {kib} KiB"), DIAL9, move || {
        let mut command = beside("peers-dial9")?;
        command.args([(kib << 10).to_string(), threads.to_string()]);
        ask(&mut command).map(Sample::from)
    })
}
