//! One look at a heap profile: plain data, no longer tied to the process.

use std::path::PathBuf;

/// How much a profiler records.
///
/// Costs are those of one allocation with its free, beside the allocator's own; the example
/// `heap_cost` measures yours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Mode {
    /// Nothing: one predictable branch.
    Off,
    /// Exact counts of bytes and blocks, no stacks.
    Counters,
    /// The counts, and the stacks of a sample: each *byte* allocated is drawn with equal chance,
    /// one in `mean_bytes` on average, so that large blocks are all but always in it.
    Sampled {
        /// Mean distance of two samples in bytes.
        mean_bytes: u64,
    },
    /// The counts, and the stack of every block.
    Exact,
}

impl Mode {
    /// Sampling with a mean of 16 KiB: a site that holds 10 MiB is known to about 4 %.
    pub const SAMPLED: Mode = Mode::Sampled { mean_bytes: 16 << 10 };

    /// The mode that a text names: `off`, `counters`, `sampled`, `sampled:BYTES`, `exact`.
    pub(crate) fn parse(text: &str) -> Option<Mode> {
        match text.split_once(':') {
            None => match text {
                "off" => Some(Mode::Off),
                "counters" => Some(Mode::Counters),
                "sampled" => Some(Mode::SAMPLED),
                "exact" => Some(Mode::Exact),
                _ => None,
            },
            Some(("sampled", mean)) => {
                let mean_bytes = mean.parse().ok().filter(|mean| *mean > 0)?;
                Some(Mode::Sampled { mean_bytes })
            }
            Some(_) => None,
        }
    }

    /// The word that stands for the mode in a profile.
    pub(crate) const fn to_word(self) -> u64 {
        match self {
            Mode::Off => 1,
            Mode::Counters => 2,
            Mode::Sampled { .. } => 3,
            Mode::Exact => 4,
        }
    }

    pub(crate) fn from_word(word: u64, mean_bytes: u64) -> Option<Mode> {
        match word {
            1 => Some(Mode::Off),
            2 => Some(Mode::Counters),
            3 if mean_bytes > 0 => Some(Mode::Sampled { mean_bytes }),
            4 => Some(Mode::Exact),
            _ => None,
        }
    }
}

/// A heap profile at one instant.
///
/// Sampled figures are unbiased estimates: repeated often enough, their mean is the truth. Exact
/// ones are in [`totals`](Self::totals).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Whose heap it is.
    pub process: Process,
    /// What was being recorded.
    pub mode: Mode,
    /// The exact counts of all threads together.
    pub totals: Totals,
    /// Where memory was allocated: a stack and a scope, the most live bytes first.
    pub sites: Vec<Site>,
    /// The code that the frames point into, in the order in which it was seen.
    pub modules: Vec<Module>,
    /// Names of scopes, each once and none empty; [`Site::tag`] and [`Thread::tag`] are indices.
    pub tags: Vec<String>,
    /// The threads that have a counter of their own and are (or died) running.
    pub threads: Vec<Thread>,
    /// What could not be recorded whole.
    pub quality: Quality,
    /// Memory of the profile itself in bytes, as the kernel counts the file's pages.
    pub own_bytes: u64,
}

/// Whose heap a profile shows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Process {
    /// Process id, as the process itself saw it.
    pub pid: u32,
    /// The parent's process id, when the profile was made.
    pub parent: u32,
    /// Start of the process in clock ticks since the machine's start, as in `/proc/PID/stat`: with
    /// the pid it tells two processes apart that had the same pid one after the other.
    pub started_ticks: u64,
    /// When the profile was made, in nanoseconds since 1970.
    pub created_ns: u64,
    /// The program.
    pub program: PathBuf,
}

/// Exact counts: every block of every thread, sampled or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Totals {
    /// Bytes ever allocated, as asked for (not as rounded up by the allocator). A reallocation
    /// counts as a free of the old size and an allocation of the new.
    pub allocated_bytes: u64,
    /// Blocks ever allocated.
    pub allocated_blocks: u64,
    /// Bytes ever freed.
    pub freed_bytes: u64,
    /// Blocks ever freed.
    pub freed_blocks: u64,
    /// Bytes that were live in the parent when this process was forked: its copy of them is in
    /// [`live_bytes`](Self::live_bytes), but in no site.
    pub inherited_bytes: u64,
    /// Blocks that were live in the parent when this process was forked.
    pub inherited_blocks: u64,
    /// The most bytes that were live at one time, since the start or the last
    /// [`reset_peak`](super::reset_peak): true within
    /// [`PEAK_SLACK`](super::PEAK_SLACK) bytes a thread.
    pub peak_bytes: u64,
}

impl Totals {
    /// Bytes that are live: allocated or inherited, and not freed.
    ///
    /// If recording was switched on late, blocks from before may be freed now: never below zero.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        (self.inherited_bytes + self.allocated_bytes).saturating_sub(self.freed_bytes)
    }

    /// Blocks that are live.
    #[must_use]
    pub fn live_blocks(&self) -> u64 {
        (self.inherited_blocks + self.allocated_blocks).saturating_sub(self.freed_blocks)
    }
}

/// Where memory was allocated: a stack, and the scope that the thread was in.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Site {
    /// Return addresses, innermost first. Empty if stacks could not be taken.
    pub frames: Vec<u64>,
    /// How the walk over the stack ended.
    pub end: StackEnd,
    /// Index of the scope in [`Snapshot::tags`].
    pub tag: Option<u32>,
    /// What is live.
    pub live: Estimate,
    /// What was ever allocated, live or not. [`Estimate::samples`] and
    /// [`Estimate::bytes_variance`] are not known for it, and 0.
    pub allocated: Estimate,
}

/// A number of bytes and blocks, estimated from samples without bias.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Estimate {
    /// Bytes.
    pub bytes: f64,
    /// Blocks.
    pub blocks: f64,
    /// How many samples it rests on.
    pub samples: u64,
    /// Estimated variance of [`bytes`](Self::bytes); its root is the standard error. 0 in exact
    /// mode, and for blocks far larger than the sampling distance.
    pub bytes_variance: f64,
}

impl Estimate {
    /// Standard error of [`bytes`](Self::bytes), in bytes.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        self.bytes_variance.max(0.0).sqrt()
    }
}

/// How a walk over a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum StackEnd {
    /// At the outermost frame.
    Complete,
    /// At the limit of depth ([`MAX_FRAMES`](super::MAX_FRAMES)): the outer frames are missing.
    Deep,
    /// Before the outermost frame: some code keeps no frame pointers (see the module's page).
    /// Code of the C library that starts a thread is such code, so that a whole stack may say so.
    Broken,
    /// At once: not the thread's own stack, or no frame pointers at all.
    Unknown,
}

impl Snapshot {
    /// The code that an address lies in. Where code was unloaded and other code loaded in its
    /// place, both are in [`modules`](Self::modules), and the later one is right.
    #[must_use]
    pub fn module_at(&self, address: u64) -> Option<&Module> {
        let mut latest_first = self.modules.iter().rev();
        latest_first.find(|module| (module.start..module.end).contains(&address))
    }
}

/// A piece of executable code in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Module {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// What was added to the file's own addresses: `address - bias` is what its symbols say.
    pub bias: u64,
    /// The file.
    pub path: PathBuf,
    /// Its build id (`NT_GNU_BUILD_ID`), empty if it has none.
    pub build_id: Vec<u8>,
}

/// A thread with counters of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// The scope that it is in, or died in: an index in [`Snapshot::tags`].
    pub tag: Option<u32>,
    /// The part of the profiler that it is in, or died in, if any.
    pub inside: Option<Activity>,
}

/// What a thread is doing inside the profiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Activity {
    /// Walking its stack.
    Stack,
    /// Looking up or making a site.
    Site,
    /// Entering a block.
    Insert,
    /// Taking out a block.
    Remove,
}

/// What could not be recorded whole, in counts since the start unless said. All 0 in a perfect
/// profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Quality {
    /// Does the program keep frame pointers? `None`: not tried yet.
    pub frame_pointers: Option<bool>,
    /// Samples that found no room among the live blocks.
    pub dropped_blocks: u64,
    /// Samples whose stack found no room; they count at a site without frames.
    pub dropped_stacks: u64,
    /// Live samples with a stack deeper than [`MAX_FRAMES`](super::MAX_FRAMES).
    pub deep_stacks: u64,
    /// Live samples whose walk ended before the outermost frame.
    pub broken_stacks: u64,
    /// Live samples without a stack: taken on a stack that is not the thread's own (a signal
    /// stack, a coroutine), or in a program without frame pointers.
    pub unknown_stacks: u64,
    /// Samples given up since a signal handler interrupted the profiler. They are in the totals.
    pub reentrant: u64,
    /// Times that a thread found no slot: it is counted exactly, but more slowly.
    pub shared_threads: u64,
    /// Scopes whose name found no room: their blocks have no tag.
    pub dropped_tags: u64,
    /// Modules that found no room: frames in them have no name.
    pub dropped_modules: u64,
    /// Blocks that were being recorded at that instant, or when the process was killed.
    pub in_flight: u64,
    /// Entries that changed faster than they could be read, left out of this snapshot.
    pub unstable: u64,
}
