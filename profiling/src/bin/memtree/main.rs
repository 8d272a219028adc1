//! `memtree`: the memory of a process tree, for any program, from a terminal.

mod attach;
mod diff;
mod export;
mod failure;
mod heaps;
mod leaks;
mod live;
mod report;
mod run;
mod signals;
mod table;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use failure::Result;

/// The memory of a process tree: every process, each shared segment once, and the combined peak.
#[derive(Debug, Parser)]
#[command(name = "memtree", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command and record the memory of its process tree. The exit status is the command's.
    /// The recording is written every five seconds, at the end, and on SIGUSR1.
    Run {
        #[command(flatten)]
        recording: RecordingOptions,
        /// The command and its arguments, after `--`.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        words: Vec<String>,
    },
    /// Record the tree of a process that runs already, until it ends or Ctrl-C.
    Attach {
        #[command(flatten)]
        recording: RecordingOptions,
        /// Stop after so many seconds.
        #[arg(long = "for", value_name = "SECONDS")]
        seconds: Option<f64>,
        /// The process at the root of the tree.
        pid: u32,
    },
    /// Show the tree of a running process, anew every second; `q` ends it. Where standard output
    /// is no terminal, each view is printed below the last.
    Live {
        /// Milliseconds between two views.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
        interval: u64,
        /// Stop after so many views.
        #[arg(long, value_name = "VIEWS")]
        count: Option<u64>,
        /// The process at the root of the tree.
        pid: u32,
    },
    /// Make one HTML file of one or several recordings.
    Report {
        /// Where it goes.
        #[arg(short, long, default_value = "memtree.html")]
        output: PathBuf,
        /// The recordings.
        #[arg(required = true, value_name = "RECORDING")]
        recordings: Vec<PathBuf>,
    },
    /// Compare two recordings at their combined peaks.
    Diff {
        /// The one before.
        before: PathBuf,
        /// The one after.
        after: PathBuf,
    },
    /// List what a recording's tree left behind; exit status 1 if there is anything.
    Leaks {
        /// The recording.
        recording: PathBuf,
    },
    /// Write a recording's stacks for other tools.
    Export {
        #[command(flatten)]
        format: export::Format,
        /// Which stacks: processes and segments at the combined peak, or heap profiles there or
        /// at the end.
        #[arg(long, value_enum, default_value_t)]
        what: export::What,
        /// Where it goes; standard output by default.
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// The recording.
        recording: PathBuf,
    },
}

/// How to record, for `run` and `attach`.
#[derive(Debug, Args)]
struct RecordingOptions {
    /// Where the recording goes.
    #[arg(short, long, default_value = "memtree.json")]
    output: PathBuf,
    /// Make the HTML report at once, here.
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    /// Milliseconds between two samples.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// Print nothing unless something goes wrong.
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match obey(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("memtree: {failure}{}", failure.cause());
            failure.exit_code()
        }
    }
}

fn obey(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { recording, words } => run::run(&recording, words),
        Command::Attach { recording, seconds, pid } => attach::attach(&recording, seconds, pid),
        Command::Live { interval, count, pid } => live::live(interval, count, pid),
        Command::Report { output, recordings } => report::report(&output, &recordings),
        Command::Diff { before, after } => diff::diff(&before, &after),
        Command::Leaks { recording } => leaks::leaks(&recording),
        Command::Export { format, what, output, recording } => {
            export::export(&format, what, output.as_deref(), &recording)
        }
    }
}
