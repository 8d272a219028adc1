//! `memtree report`: recordings as one HTML file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use profiling::Report;
use profiling::recording::Recording;

use crate::failure::Result;

/// Writes one report on all recordings.
pub fn report(output: &Path, recordings: &[PathBuf]) -> Result<ExitCode> {
    let recordings: Vec<Recording> =
        recordings.iter().map(Recording::read).collect::<profiling::Result<_>>()?;
    Report::of_recordings(&recordings).write(output)?;
    eprintln!("report: {}", output.display());
    Ok(ExitCode::SUCCESS)
}
