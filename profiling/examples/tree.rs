//! Runs a command, watches the memory of its whole process tree, and writes a report. Several
//! commands, set apart by `--`, run one after another and stand side by side in it.
//!
//! ```text
//! cargo run --release -p profiling --example tree -- python3 job.py
//! cargo run --release -p profiling --example tree -- python3 one.py -- python3 other.py
//! ```
//!
//! The report goes to `tree.html`, or where the environment variable `REPORT` says.

use std::process::{Command, ExitCode};
use std::time::Duration;

use profiling::{Report, Sampler, Summary, Timeline};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let commands: Vec<&[String]> =
        arguments.split(|word| word == "--").filter(|command| !command.is_empty()).collect();
    if commands.is_empty() {
        eprintln!("usage: tree COMMAND [ARGUMENT]... [-- COMMAND [ARGUMENT]...]...");
        return Ok(ExitCode::from(2));
    }
    let mut report = Report::new("Memory of process trees");
    let mut columns = Vec::new();
    let mut seconds = Vec::new();
    for command in commands {
        let name = command.join(" ");
        let timeline = watch(command)?;
        eprint!("{name}\n{timeline}");
        seconds.push(format!("{:.2} s", timeline.duration.as_secs_f64()));
        columns.push(name.clone());
        report = report.timeline(name, timeline);
    }
    let path = std::env::var("REPORT").unwrap_or_else(|_| "tree.html".to_owned());
    report.summary(Summary::new(columns).row("Time", seconds)).write(&path)?;
    eprintln!("report: {path}");
    Ok(ExitCode::SUCCESS)
}

/// Runs one command to its end.
fn watch(command: &[String]) -> Result<Timeline, Box<dyn std::error::Error>> {
    let mut child = Command::new(&command[0]).args(&command[1..]).spawn()?;
    // The root is the command and not we, so that what we need does not count.
    let sampler = Sampler::builder(child.id()).interval(Duration::from_millis(5)).start();
    let status = child.wait()?;
    if !status.success() {
        eprintln!("{} ended with {status}", command[0]);
    }
    Ok(sampler?.stop())
}
