//! A heap profiler that lives in shared memory.
//!
//! Wrap the program's allocator, and its whole live heap (a sample of it, or all) can be read from
//! outside while it runs, without a pause, and after it was killed:
//!
//! ```no_run
//! use std::alloc::System;
//! use profiling::heap::{Mode, Profile};
//!
//! // In the program:    #[global_allocator]
//! // static HEAP: Profiler<System> = Profiler::new(System, Mode::SAMPLED);
//!
//! // In any other process of the same user:
//! let profile = Profile::of_process(4711)?;     // keeps the profile, whatever happens to 4711
//! let snapshot = profile.snapshot()?;
//! for site in snapshot.sites.iter().take(10) {
//!     println!("{:.0} bytes in {:.0} blocks: {:x?}", site.live.bytes, site.live.blocks, site.frames);
//! }
//! # Ok::<(), profiling::Error>(())
//! ```
//!
//! # What is recorded
//!
//! Exact counts of bytes and blocks, per thread, in every [`Mode`] but off. Beside them the stacks
//! of all live blocks ([`Mode::Exact`]) or of a sample ([`Mode::Sampled`]): unbiased estimates with
//! their standard error. What [`scope()`] the thread was in, what could not be recorded whole
//! ([`Quality`]), and the profile's own memory. In the program itself: [`snapshot`](snapshot()),
//! [`Snapshot::compare`], [`current`], [`reset_peak`], [`measure()`], [`assert_no_allocation`].
//!
//! # Stacks need frame pointers
//!
//! Stacks are walked along frame pointers: nanoseconds a frame where an unwinder takes
//! microseconds. Rust keeps none on x86-64 unless it is told to:
//!
//! ```toml
//! # .cargo/config.toml
//! [build]
//! rustflags = ["-C", "force-frame-pointers=yes"]
//! ```
//!
//! The standard library is built with them since Rust 1.79. C code needs
//! `-fno-omit-frame-pointer`; a walk through code without ends there
//! ([`StackEnd::Broken`]) or leaves one caller out. A self-test at the start tells
//! ([`Quality::frame_pointers`]); without frame pointers all else works, and sites have no frames.
//!
//! # When a process is killed
//!
//! At any instruction: its profile reads, and is valid. Each thread may be in the middle of at most
//! one block, which is then counted and not recorded, or not counted. Readers take no lock and stop
//! nobody; nobody waits for a reader. In a forked child a profile of its own takes the place of the
//! parent's before its first record; what it inherited is in
//! [`Totals::inherited_bytes`], in no site. After an exec, the new program begins anew.
//!
//! # Limits
//!
//! - 512 threads have counters of their own; further ones are exact, too, but share one.
//! - 1.4 million live samples, 32,768 sites, 2 million frames, 1,000 names: what finds no room is
//!   counted in [`Quality`].
//! - A profile takes 0.7 to 1 MiB for a small program, and 60 MiB of addresses.
//! - Code that is loaded in the place of code that was unloaded has its own names if the two files
//!   have build ids. A block that was allocated at the same addresses and in the same scope by
//!   both counts with the later one.
//! - Linux. Tested on x86-64; the registers of aarch64 are known, but were not tried.
//! - A program that closes descriptors that are not its own closes the one that
//!   [`Profile::of_process`] looks for; use the folder.
//! - A child made by a raw `clone` inside a signal handler that interrupted the profiler may
//!   leave one block in its parent's profile.
//!
//! # How large is a value?
//!
//! The crate's `deep_size` (feature `deep-size`) asks the types for what they own. [`measure()`]
//! says to the byte what building or cloning a value allocates, keeps, and needs at most meanwhile.
//!
//! # Finding a profile
//!
//! - **A running process**: the profile is a memfd named `heap-profile`, that the process keeps
//!   open: [`Profile::of_process`] finds it under `/proc/PID/fd`. Whoever has opened it keeps it,
//!   also when the process is killed afterwards.
//! - **A process that may die unseen**: start it with [`DIRECTORY_VARIABLE`] in its environment, a
//!   folder (best on a tmpfs). Each process of the tree then makes `heap-PID-START-N.profile` in it
//!   and leaves it there; [`Profile::in_directory`] lists them. Whoever made the folder removes it.
//! - [`MODE_VARIABLE`] in the environment overrides the mode that the program was built with:
//!   `off`, `counters`, `sampled`, `sampled:BYTES`, `exact`.

#![allow(unsafe_code, reason = "an allocator, and memory that processes share")]

mod area;
mod compare;
mod control;
#[cfg(test)]
mod corrupt;
mod elf;
mod filter;
mod format;
#[cfg(test)]
mod kill;
mod live_table;
mod measure;
mod modules;
mod profiler;
mod reader;
mod recorder;
mod region;
mod sampling;
mod scope;
mod site_table;
mod slot;
mod snapshot;
mod stack;
mod tags;
mod text;
mod thread;

pub use compare::Difference;
pub use measure::{
    Usage, assert_allocates_at_most, assert_no_allocation, current, measure, reset_peak, set_mode,
    snapshot,
};
pub use profiler::Profiler;
pub use reader::Profile;
pub use scope::{Scope, scope};
pub use snapshot::{
    Activity, Estimate, Mode, Module, Process, Quality, Site, Snapshot, StackEnd, Thread, Totals,
};

/// Environment variable: a folder for profiles that outlive their process.
pub const DIRECTORY_VARIABLE: &str = "HEAP_PROFILE_DIR";
/// Environment variable: the mode, in place of the one that the program was built with.
pub const MODE_VARIABLE: &str = "HEAP_PROFILE";
/// Most frames of a stack.
pub const MAX_FRAMES: usize = 128;
/// How far a thread's part in [`Totals::peak_bytes`] may be off, in bytes.
pub const PEAK_SLACK: u64 = 64 << 10;
/// Name of the memfd that a profile lives in.
pub(crate) const FILE_NAME: &str = "heap-profile";
