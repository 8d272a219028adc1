//! `memtree export`: stacks for other tools.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use profiling::Stacks;
use profiling::recording::Recording;

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

/// Writes the stacks at the combined peak.
pub fn export(format: &Format, output: Option<&Path>, recording: &Path) -> Result<ExitCode> {
    let recording = Recording::read(recording)?;
    let stacks = Stacks::at_peak(&recording.timeline);
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
