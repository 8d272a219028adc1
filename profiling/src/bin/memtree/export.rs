//! `memtree export`: stacks for other tools.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use profiling::recording::Recording;
use profiling::{Stacks, Symbols};

use crate::failure::{Failure, Result};

/// The formats, one of them at a time.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Format {
    /// For `go tool pprof` and the viewers of its format (gzipped protobuf).
    #[arg(long)]
    pprof: bool,
    /// For flamegraph tools: a line for each stack.
    #[arg(long)]
    folded: bool,
}

/// What is exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// The heap profiles near the combined peak, if there are any; else the tree.
    #[default]
    Best,
    /// Processes and segments at the combined peak.
    Tree,
    /// The heap profiles near the combined peak.
    HeapAtPeak,
    /// The heap profiles at the end of each process.
    HeapAtEnd,
}

fn stacks_of(recording: &Recording, what: What) -> Result<Stacks> {
    let capture = match what {
        What::Tree => None,
        What::Best | What::HeapAtPeak => recording.heap_at_peak.as_ref(),
        What::HeapAtEnd => recording.heap_at_end.as_ref(),
    };
    match (capture, what) {
        (Some(capture), _) => Ok(capture.stacks(&recording.timeline, &Symbols::new())),
        (None, What::Best | What::Tree) => Ok(Stacks::at_peak(&recording.timeline)),
        (None, What::HeapAtPeak | What::HeapAtEnd) => Err(Failure::NoHeap),
    }
}

/// Writes the stacks.
pub fn export(
    format: &Format,
    what: What,
    output: Option<&Path>,
    recording: &Path,
) -> Result<ExitCode> {
    let recording = Recording::read(recording)?;
    let stacks = stacks_of(&recording, what)?;
    let bytes = if format.folded {
        stacks.folded().into_bytes()
    } else {
        let taken = UNIX_EPOCH + Duration::from_secs(recording.began);
        stacks
            .to_pprof(taken, recording.timeline.duration)
            .map_err(|source| Failure::Output { source })?
    };
    match output {
        Some(path) => std::fs::write(path, bytes)
            .map_err(|source| Failure::Write { path: path.to_owned(), source })?,
        None => std::io::stdout()
            .lock()
            .write_all(&bytes)
            .map_err(|source| Failure::Output { source })?,
    }
    Ok(ExitCode::SUCCESS)
}
