//! The memory of a process tree: private, shared and proportional bytes of every process, each
//! shared segment **counted once**, the **combined peak** with everybody's state at that instant,
//! what fork copied, a timeline, heap profiles by call stack, and a report in one HTML file.
//! The program `memtree` does all of this for any command.
//!
//! Adding up resident sizes counts a segment as many times as there are processes that touched it;
//! adding up everyone's own peak gives a figure that the tree never had at any instant. This crate
//! does neither. It watches any Linux program from outside, or a program from within:
//!
//! ```
//! use profiling::{Report, Sampler};
//!
//! let sampler = Sampler::builder(std::process::id()).start()?;   // this process and its children
//! let column = vec![1.0f64; 1_000_000];
//! sampler.mark("column made");
//! let sum: f64 = column.iter().sum();
//! let timeline = sampler.stop();
//! println!("{sum}, peak {} bytes\n{timeline}", timeline.peak_bytes());
//! let path = std::env::temp_dir().join(format!("report-{}.html", std::process::id()));
//! Report::new("Summing a column").timeline("one process", timeline).write(&path)?;
//! # std::fs::remove_file(path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises when a process is killed
//!
//! A process of the tree may come, go or be killed at any instruction, also while it is being read:
//! the sampler goes on, nobody waits, and the dead process's last sample stays in the record. A
//! segment is measured without holding it open, so that watching never keeps its memory alive. If
//! the *sampling* process is killed, what it saw so far is lost: the record is in its own memory.
//! (`memtree` writes it down every five seconds.) A heap profile outlives its process.
//!
//! # What is counted, and what is not
//!
//! The [total](Snapshot::total) is everyone's anonymous memory, pages shared since a `fork` once,
//! page tables, and every segment's resident pages once. It is tested to agree, within 1 % or
//! 4 MiB, with what the kernel charges a memory cgroup around the tree. [`Snapshot::total`] lists
//! what is left out (above all: pages of ordinary files), [`ProcessMemory`] and [`SegmentMemory`]
//! define each figure by the kernel's own field.
//!
//! - A spike between two samples is missed; [`Timeline::high_water_bound`] bounds it by the kernel's
//!   own high-water marks.
//! - Pages shared by a fork and then written to are taken off what a process is charged by the next
//!   full sample only.
//! - Processes of other users: who touched a segment, and figures that need a walk, are missing.
//!   Without privilege, a segment that no process has a descriptor of and that has no path is
//!   measured in full samples only, by the process that has touched the most of it.
//! - Which mounts are tmpfs is read once, from the root process: a tmpfs that is mounted later, or
//!   that only a descendant sees, is taken for ordinary files. Memfds and shared anonymous memory
//!   do not depend on it.
//!
//! # Heap profiles
//!
//! Which code allocated what is in the module `heap` (feature of the same name): a profiler around
//! the program's own allocator, whose profile lives in shared memory.
//!
//! # Features
//!
//! `heap` and `cli` (the program `memtree`) are on by default. A library that depends on this crate
//! turns them off, and asks for what it wants: `heap`, `serde`, `symbols` (names for heap profiles),
//! `recording` (recordings as files), `pprof`, `deep-size` (a value with all that it owns).

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("this crate reads Linux's /proc and works on Linux only");

#[cfg(feature = "deep-size")]
mod deep_size;
mod error;
#[cfg(feature = "heap")]
pub mod heap;
mod ledger;
mod proc_files;
mod process;
mod processor_time;
#[cfg(feature = "recording")]
pub mod recording;
mod report;
mod sampler;
mod segment;
mod snapshot;
mod stacks;
mod timeline;
pub mod units;

#[cfg(feature = "deep-size")]
pub use deep_size::{GetSize, deep_size};
pub use error::{Error, Result};
pub use ledger::Ledger;
pub use process::{Denied, ForkCopies, ProcessDetail, ProcessMemory, ProcessState, start_ticks};
pub use report::{Report, Summary};
pub use sampler::{Sampler, SamplerBuilder, Seen};
pub use segment::{SegmentId, SegmentMemory};
pub use snapshot::Snapshot;
#[cfg(feature = "symbols")]
pub use stacks::Symbols;
pub use stacks::{Frame, LineBytes, Stacks, WeightedStack, is_own_source};
pub use timeline::{Charge, Mark, Overhead, Peak, ProcessRecord, Sample, SegmentRecord, Timeline};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
