//! The profile's layout in its file: what the profiler writes and the reader reads.
//!
//! A file of 64-bit words in the machine's own byte order. Page 0 is the header; the sections
//! follow, each at a page boundary, at offsets that follow from the [`Shape`] alone: the reader
//! computes them again and compares. The file is sparse; a section that is not used costs nothing.
//!
//! | section | record | written by |
//! |---|---|---|
//! | slots | 128 bytes a thread: exact counters, scope, sampling state | the slot's thread only |
//! | tags | 64 bytes a name of a scope | claimed by a compare-and-swap, never changed |
//! | modules | 64 bytes a mapped piece of code | one thread at a time, never changed |
//! | strings | paths of modules | as modules |
//! | index | one word a site: `hash \| site + 1`, in cache lines of eight | compare-and-swap |
//! | sites | 16 bytes: where the frames are, how many, tag, how the walk ended | before the index |
//! | totals | 16 bytes a site and stripe: bytes and blocks ever allocated | `fetch_add` |
//! | frames | one word a return address | before the site |
//! | filter | one byte a class of addresses: sampled live blocks in it | `fetch_add` |
//! | live | levels of hash tables: a key word, then three words of payload a block | see `live` |

/// `HEAPPROF` in the byte order of the machine that wrote it.
pub(crate) const MAGIC: u64 = u64::from_ne_bytes(*b"HEAPPROF");
/// Version of the layout; another version is refused.
pub(crate) const VERSION: u64 = 1;
/// Pages of the layout, whatever the machine's own are.
pub(crate) const PAGE: usize = 4096;
/// Blocks (count) are kept in units of 1/256, since a sample stands for a fraction of blocks too.
pub(crate) const BLOCK_UNIT: f64 = 256.0;

/// Header words, as byte offsets.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 8;
    /// The shape, two words: see [`super::Shape::to_words`].
    pub(crate) const SHAPE: usize = 16;
    /// Length of the file that the shape asks for.
    pub(crate) const LENGTH: usize = 32;
    /// 0 while the profile is being made, [`READY`] once it may be read.
    pub(crate) const STATE: usize = 40;
    pub(crate) const READY: u64 = 1;
    /// Process id, in the writer's own pid namespace.
    pub(crate) const PID: usize = 48;
    /// The parent's process id.
    pub(crate) const PARENT: usize = 56;
    /// Start of the process in clock ticks since the machine's start (`/proc/PID/stat`, field 22).
    pub(crate) const STARTED: usize = 64;
    /// When the profile was made: nanoseconds since 1970.
    pub(crate) const CREATED: usize = 72;
    /// The mode now, see [`super::super::Mode`].
    pub(crate) const MODE: usize = 80;
    /// The mean distance of samples in bytes.
    pub(crate) const MEAN: usize = 88;
    /// Counts the times that tracking was switched off: a live entry of another era is void.
    pub(crate) const ERA: usize = 96;
    /// Live at the fork that made this process, by the parent's counters.
    pub(crate) const INHERITED_BYTES: usize = 104;
    pub(crate) const INHERITED_BLOCKS: usize = 112;
    /// What the self-test of the frame-pointer walk said: 0 not run, 1 works, 2 does not.
    pub(crate) const FRAME_POINTERS: usize = 120;
    /// Used up of each section.
    pub(crate) const SITES_USED: usize = 128;
    pub(crate) const FRAMES_USED: usize = 136;
    pub(crate) const MODULES_USED: usize = 144;
    pub(crate) const STRINGS_USED: usize = 152;
    pub(crate) const LEVELS_USED: usize = 160;
    /// A try-lock of those who add modules.
    pub(crate) const MODULES_LOCK: usize = 176;
    /// Sites and frames that have memory behind them: more is made before they are reached.
    pub(crate) const SITES_LIMIT: usize = 184;
    pub(crate) const FRAMES_LIMIT: usize = 192;
    /// Live bytes by the threads' last word (signed), and the highest that this has been. A cache
    /// line of their own.
    pub(crate) const PUBLISHED: usize = 256;
    pub(crate) const PEAK: usize = 264;
    /// What was lost or cut short, see [`super::Loss`].
    pub(crate) const LOSSES: usize = 320;
    /// Path of the program: length, then bytes.
    pub(crate) const PROGRAM_LENGTH: usize = 1024;
    pub(crate) const PROGRAM: usize = 1032;
    pub(crate) const PROGRAM_MAX: usize = 1016;
}

/// What is counted when something could not be recorded whole. The order is that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Loss {
    /// A block that no table of live blocks had room for.
    LiveFull,
    /// A stack that no table of sites had room for; its block counts, at site 0.
    SitesFull,
    /// A block allocated inside the profiler, or by a signal handler that interrupted it.
    Reentrant,
    /// A thread that found no slot and shares one.
    Threads,
    /// A scope whose name found no room.
    Tags,
    /// A module that found no room.
    Modules,
    /// A site that two threads made at once; one of the two is never used.
    Races,
}

impl Loss {
    /// Byte offset of its word.
    pub(crate) const fn at(self) -> usize {
        header::LOSSES + 8 * self as usize
    }
}

/// Words of a thread's slot, as byte offsets.
pub(crate) mod slot {
    pub(crate) const SIZE: usize = 128;
    /// Thread id of the owner, 0 when free.
    pub(crate) const OWNER: usize = 0;
    pub(crate) const ALLOCATED_BYTES: usize = 8;
    pub(crate) const ALLOCATED_BLOCKS: usize = 16;
    pub(crate) const FREED_BYTES: usize = 24;
    pub(crate) const FREED_BLOCKS: usize = 32;
    /// Bytes allocated at which the slow path looks again; bytes freed at which it does.
    pub(crate) const LOOK_AT: usize = 40;
    pub(crate) const TELL_AT: usize = 48;
    /// Bytes allocated when it looked last.
    pub(crate) const LOOKED_AT: usize = 56;
    /// Bytes that were to go until the next sample then (signed).
    pub(crate) const SAMPLE: usize = 64;
    /// State of the random numbers.
    pub(crate) const RANDOM: usize = 72;
    /// The scope that the thread is in: a tag's index.
    pub(crate) const TAG: usize = 80;
    /// The live bytes that the thread last told the header (signed).
    pub(crate) const TOLD: usize = 88;
    /// Which operation the owner is in: see [`super::Step`].
    pub(crate) const STEP: usize = 96;
    /// The mean distance that `SAMPLE` was drawn with.
    pub(crate) const MEAN: usize = 104;
}

/// Which part of the recording a thread is in, for people who look at a killed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Step {
    Idle,
    Stack,
    Site,
    Insert,
    Remove,
}

/// Words of a tag, as byte offsets.
pub(crate) mod tag {
    pub(crate) const SIZE: usize = 64;
    /// `hash` with the two lowest bits: 0 free, 1 being written, 2 ready.
    pub(crate) const STATE: usize = 0;
    pub(crate) const WRITING: u64 = 1;
    pub(crate) const READY: u64 = 2;
    /// Length of the name, then the name, cut off at [`NAME_MAX`].
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const NAME: usize = 16;
    pub(crate) const NAME_MAX: usize = 48;
}

/// Words of a module, as byte offsets.
pub(crate) mod module {
    pub(crate) const SIZE: usize = 64;
    pub(crate) const START: usize = 0;
    pub(crate) const END: usize = 8;
    /// What was added to the file's own addresses.
    pub(crate) const BIAS: usize = 16;
    /// `offset << 32 | length` of the path in the strings.
    pub(crate) const PATH: usize = 24;
    pub(crate) const BUILD_ID_LENGTH: usize = 32;
    pub(crate) const BUILD_ID: usize = 40;
    pub(crate) const BUILD_ID_MAX: usize = 24;
}

/// Words of a site, as byte offsets.
pub(crate) mod site {
    pub(crate) const SIZE: usize = 16;
    pub(crate) const HASH: usize = 0;
    /// `first frame << 32 | tag << 16 | how the walk ended << 12 | frames`.
    pub(crate) const PLACE: usize = 8;
    pub(crate) const TOTAL_SIZE: usize = 16;
    /// Copies of the totals. The first belong to the threads of slots 1, 2, ... alone; the other
    /// threads share the rest.
    pub(crate) const STRIPES: usize = 12;
    pub(crate) const OWN_STRIPES: usize = 8;
}

/// How a walk ended, in a site's `PLACE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum WalkEnd {
    /// No walk: a stack that is not the thread's own, no frame pointers, no room.
    None,
    /// At a frame pointer of zero, as the first function of a thread has it.
    Zero,
    /// At a frame pointer that does not lead up the thread's stack.
    Outside,
    /// At the limit of depth.
    Deep,
}

/// A site's second word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the innermost frame in the section of frames.
    pub(crate) first: usize,
    pub(crate) frames: usize,
    pub(crate) tag: usize,
    pub(crate) end: WalkEnd,
}

impl Place {
    pub(crate) fn to_word(self) -> u64 {
        let (first, tag) = (self.first as u64, self.tag as u64);
        first << 32 | tag << 16 | (self.end as u64) << 12 | self.frames as u64
    }

    pub(crate) fn from_word(word: u64) -> Option<Place> {
        let end = match word >> 12 & 0xf {
            0 => WalkEnd::None,
            1 => WalkEnd::Zero,
            2 => WalkEnd::Outside,
            3 => WalkEnd::Deep,
            _ => return None,
        };
        Some(Place {
            first: (word >> 32) as usize,
            frames: (word & 0xfff) as usize,
            tag: (word >> 16 & 0xffff) as usize,
            end,
        })
    }
}

/// Words of a live block's payload, as byte offsets. The key lies in a line of eight keys.
pub(crate) mod live {
    pub(crate) const KEY_SIZE: usize = 8;
    pub(crate) const PAYLOAD_SIZE: usize = 24;
    pub(crate) const LINE: usize = 8;
    /// Key of a place that is free.
    pub(crate) const EMPTY: u64 = 0;
    /// Key of a place that is being written. No allocator returns it.
    pub(crate) const CLAIMED: u64 = 1;
    pub(crate) const BYTES: usize = 0;
    /// How many blocks the sample stands for: the bits of an `f64`.
    pub(crate) const WEIGHT: usize = 8;
    /// `generation << 48 | era << 32 | site`, and [`FILTERED`].
    pub(crate) const PLACE: usize = 16;
    /// The filter counts the block.
    pub(crate) const FILTERED: u64 = 1 << 31;
    pub(crate) const SITE: u64 = FILTERED - 1;
}

/// How large the sections are. All sizes of a profile follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Threads with a slot of their own; slot 0 is shared by the rest.
    pub(crate) threads: u16,
    pub(crate) tags_log2: u8,
    pub(crate) modules: u16,
    /// Pages of strings.
    pub(crate) string_pages: u16,
    pub(crate) sites_log2: u8,
    pub(crate) frames_log2: u8,
    pub(crate) filter_log2: u8,
    /// Blocks in the first live level; each further one has four times as many.
    pub(crate) live_log2: u8,
    pub(crate) live_levels: u8,
}

impl Shape {
    /// What every profiler makes. Some 60 MiB of addresses, of which little is ever touched.
    pub(crate) const DEFAULT: Shape = Shape {
        threads: 512,
        tags_log2: 10,
        modules: 512,
        string_pages: 16,
        sites_log2: 15,
        frames_log2: 21,
        filter_log2: 18,
        live_log2: 12,
        live_levels: 5,
    };

    pub(crate) fn to_words(self) -> [u64; 2] {
        let first = [
            u64::from(self.threads),
            u64::from(self.modules) << 16,
            u64::from(self.string_pages) << 32,
            u64::from(self.tags_log2) << 48,
            u64::from(self.sites_log2) << 56,
        ];
        let second = [
            u64::from(self.frames_log2),
            u64::from(self.filter_log2) << 8,
            u64::from(self.live_log2) << 16,
            u64::from(self.live_levels) << 24,
        ];
        [first.iter().sum(), second.iter().sum()]
    }

    /// The shape, if no size is out of bounds: a file can say anything.
    pub(crate) fn from_words(words: [u64; 2]) -> Option<Shape> {
        let [first, second] = words;
        let shape = Shape {
            threads: (first & 0xffff) as u16,
            modules: (first >> 16 & 0xffff) as u16,
            string_pages: (first >> 32 & 0xffff) as u16,
            tags_log2: (first >> 48 & 0xff) as u8,
            sites_log2: (first >> 56) as u8,
            frames_log2: (second & 0xff) as u8,
            filter_log2: (second >> 8 & 0xff) as u8,
            live_log2: (second >> 16 & 0xff) as u8,
            live_levels: (second >> 24 & 0xff) as u8,
        };
        let within = shape.to_words() == words
            && (1..=4096).contains(&shape.threads)
            && (1..=4096).contains(&shape.modules)
            && (1..=1024).contains(&shape.string_pages)
            && (3..=16).contains(&shape.tags_log2)
            && (3..=24).contains(&shape.sites_log2)
            && (7..=28).contains(&shape.frames_log2)
            && (12..=24).contains(&shape.filter_log2)
            && (4..=20).contains(&shape.live_log2)
            && (1..=MAX_LEVELS).contains(&usize::from(shape.live_levels))
            && shape.live_log2 + 2 * shape.live_levels <= 28;
        within.then_some(shape)
    }
}

/// Most live levels of a shape.
pub(crate) const MAX_LEVELS: usize = 8;
/// Levels of the index of sites.
pub(crate) const INDEX_LEVELS: usize = 3;

/// Where one level of the live table lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) keys: usize,
    pub(crate) payloads: usize,
    /// Cache lines of eight keys.
    pub(crate) lines_log2: u32,
}

impl Level {
    const NONE: Level = Level { keys: 0, payloads: 0, lines_log2: 0 };

    pub(crate) const fn places(self) -> usize {
        live::LINE << self.lines_log2
    }
}

/// Where everything lies: byte offsets, computed from a [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) shape: Shape,
    pub(crate) slots: usize,
    pub(crate) tags: usize,
    pub(crate) modules: usize,
    pub(crate) strings: usize,
    /// Offset and log2 of cache lines of each level of the index.
    pub(crate) index: [(usize, u32); INDEX_LEVELS],
    pub(crate) sites: usize,
    pub(crate) totals: usize,
    pub(crate) frames: usize,
    pub(crate) filter: usize,
    pub(crate) live: [Level; MAX_LEVELS],
    pub(crate) length: usize,
}

impl Layout {
    pub(crate) const fn new(shape: Shape) -> Layout {
        let sites = 1 << shape.sites_log2;
        let mut at = PAGE;
        let slots = take(&mut at, shape.threads as usize * slot::SIZE);
        let tags = take(&mut at, tag::SIZE << shape.tags_log2);
        let modules = take(&mut at, shape.modules as usize * module::SIZE);
        let strings = take(&mut at, shape.string_pages as usize * PAGE);
        // Small tables first, so that a small program touches few pages.
        let mut index = [(0, 0); INDEX_LEVELS];
        let less = [6, 3, 0];
        let mut level = 0;
        while level < INDEX_LEVELS {
            let log2 = (shape.sites_log2 as u32).saturating_sub(less[level] + 2);
            index[level] = (take(&mut at, 64 << log2), log2);
            level += 1;
        }
        let sites_at = take(&mut at, sites * site::SIZE);
        let totals = take(&mut at, sites * site::TOTAL_SIZE * site::STRIPES);
        let frames = take(&mut at, 8 << shape.frames_log2);
        let filter = take(&mut at, 1 << shape.filter_log2);
        let mut live_levels = [Level::NONE; MAX_LEVELS];
        let mut level = 0;
        while level < shape.live_levels as usize {
            let lines_log2 = shape.live_log2 as u32 - 3 + 2 * level as u32;
            let places = live::LINE << lines_log2;
            let keys = take(&mut at, places * live::KEY_SIZE);
            let payloads = take(&mut at, places * live::PAYLOAD_SIZE);
            live_levels[level] = Level { keys, payloads, lines_log2 };
            level += 1;
        }
        Layout {
            shape,
            slots,
            tags,
            modules,
            strings,
            index,
            sites: sites_at,
            totals,
            frames,
            filter,
            live: live_levels,
            length: at,
        }
    }

    pub(crate) const fn slot(&self, nth: usize) -> usize {
        self.slots + nth * slot::SIZE
    }

    pub(crate) const fn tag(&self, nth: usize) -> usize {
        self.tags + nth * tag::SIZE
    }

    pub(crate) const fn module(&self, nth: usize) -> usize {
        self.modules + nth * module::SIZE
    }

    pub(crate) const fn site(&self, nth: usize) -> usize {
        self.sites + nth * site::SIZE
    }

    pub(crate) const fn total(&self, stripe: usize, nth: usize) -> usize {
        self.totals + ((stripe << self.shape.sites_log2) + nth) * site::TOTAL_SIZE
    }

    pub(crate) const fn max_tags(&self) -> usize {
        1 << self.shape.tags_log2
    }

    pub(crate) const fn max_sites(&self) -> usize {
        1 << self.shape.sites_log2
    }

    pub(crate) const fn max_frames(&self) -> usize {
        1 << self.shape.frames_log2
    }

    pub(crate) fn levels(&self) -> &[Level] {
        &self.live[..usize::from(self.shape.live_levels)]
    }
}

/// The next section of so many bytes, at a page boundary.
const fn take(at: &mut usize, bytes: usize) -> usize {
    let start = *at;
    *at = start + bytes.next_multiple_of(PAGE);
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_survives_its_words() {
        assert_eq!(Shape::from_words(Shape::DEFAULT.to_words()), Some(Shape::DEFAULT));
    }

    #[test]
    fn sizes_out_of_bounds_are_no_shape() {
        let [first, second] = Shape::DEFAULT.to_words();
        assert_eq!(Shape::from_words([0, second]), None);
        assert_eq!(Shape::from_words([first, 0]), None);
        assert_eq!(Shape::from_words([first, second | 1 << 40]), None);
        assert_eq!(Shape::from_words([u64::MAX, u64::MAX]), None);
    }

    #[test]
    fn sections_follow_one_another() {
        let layout = Layout::new(Shape::DEFAULT);
        let mut starts = vec![layout.slots, layout.tags, layout.modules, layout.strings];
        starts.extend(layout.index.map(|(at, _)| at));
        starts.extend([layout.sites, layout.totals, layout.frames, layout.filter]);
        starts.extend(layout.levels().iter().flat_map(|level| [level.keys, level.payloads]));
        assert!(starts.is_sorted() && starts[0] == PAGE);
        assert!(starts.iter().all(|at| at.is_multiple_of(PAGE) && *at < layout.length));
    }
}
