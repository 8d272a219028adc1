//! The memory of a process tree: each shared segment counted once, combined peak, timeline, report.

#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("this crate reads Linux's /proc and works on Linux only");

mod error;
mod ledger;
mod proc_files;
mod process;
mod report;
mod sampler;
mod segment;
mod snapshot;
mod timeline;
mod units;

pub use error::{Error, Result};
pub use ledger::Ledger;
pub use process::{ProcessDetail, ProcessMemory, ProcessState};
pub use report::{Report, Summary};
pub use sampler::{Sampler, SamplerBuilder};
pub use segment::{SegmentId, SegmentMemory};
pub use snapshot::Snapshot;
pub use timeline::{Charge, Mark, Overhead, Peak, ProcessRecord, Sample, SegmentRecord, Timeline};
