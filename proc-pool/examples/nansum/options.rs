//! What the command line asks for.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::Error;

/// Sums a column of records in several processes: over shared memory, then over copies.
#[derive(Debug, Parser)]
#[command(name = "nansum", about)]
pub struct Options {
    /// A structured or plain array written by numpy.save; without it, records are generated
    #[arg(value_name = "FILE.npy")]
    pub file: Option<PathBuf>,
    /// The column to sum [default: the first column of floats]
    #[arg(long)]
    pub column: Option<String>,
    /// Worker processes
    #[arg(long, default_value_t = 4)]
    pub workers: usize,
    /// Records to generate
    #[arg(long, default_value_t = 10_000_000, conflicts_with = "file")]
    pub rows: usize,
    /// Divide the column over the workers instead of having each sum all of it
    #[arg(long)]
    pub split: bool,
    /// Print one JSON object on the last line
    #[arg(long)]
    pub json: bool,
    /// Where to write the HTML report
    #[arg(long, value_name = "PATH", default_value = "nansum-report.html")]
    pub report: PathBuf,
    /// Share the data under this name in /dev/shm instead of anonymously
    #[arg(long, value_name = "NAME")]
    pub named: Option<String>,
    /// Go one way only
    #[arg(long, value_enum)]
    pub only: Option<Way>,
    /// Time one scope only, for comparisons, without measuring memory
    #[arg(long, value_enum, conflicts_with_all = ["file", "named", "split", "only"])]
    pub scope: Option<Scope>,
}

/// How the data gets to the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Everybody reads the same memory
    Shared,
    /// Everybody gets a copy
    Copied,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Shared => "shared",
            Way::Copied => "copied",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Way::Shared => "shared view",
            Way::Copied => "a copy each",
        }
    }
}

/// What is inside the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// Make shared memory, copy the data in, start the pool, sum, end the pool
    Own,
    /// The data is shared already: start the pool, sum, end the pool
    Shared,
    /// Workers generate the data in place, each a part, and sum their part
    Generated,
    /// Start the pool, send each worker a copy, sum, end the pool
    Copied,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Scope::Own => "own",
            Scope::Shared => "shared",
            Scope::Generated => "generated",
            Scope::Copied => "copied",
        }
    }
}

impl Options {
    pub fn read() -> Options {
        Options::parse()
    }

    /// The ways to go, in order.
    pub fn ways(&self) -> Vec<Way> {
        self.only.map_or_else(|| vec![Way::Shared, Way::Copied], |way| vec![way])
    }

    pub fn check(&self) -> Result<(), Error> {
        if self.workers == 0 {
            return Err(proc_pool::PoolError::NoWorkers.into());
        }
        if self.rows == 0 {
            return Err("--rows 0: there is nothing to sum; give at least 1".into());
        }
        if self.report.is_dir() {
            return Err(
                format!("--report {}: it is a folder; name a file", self.report.display()).into()
            );
        }
        Ok(())
    }
}
