//! Size classes: which sizes there are, and how a span is cut into blocks of one size.
//!
//! ```text
//! span   0      64            448              832         ...
//!        | hint | A, 48 words | F, 48 words    | home words | blocks ... |
//! ```

use super::words::BlockId;

/// Bytes of a span.
pub(crate) const SPAN: u64 = 1 << SPAN_SHIFT;
pub(crate) const SPAN_SHIFT: u32 = 16;
/// Where A begins in a span.
pub(crate) const A_AT: u64 = 64;
/// Where F begins, on cache lines that its owner does not write while it allocates.
pub(crate) const F_AT: u64 = 448;
/// Where the home words begin. All before it is zero in a free span.
pub(crate) const HOMES_AT: u64 = 832;
/// Words of A and of F.
pub(crate) const WORDS: usize = 48;

/// How many sizes there are.
pub(crate) const CLASSES: usize = SIZES.len();
/// In place of a class: a run of spans with a single block.
pub(crate) const LARGE: usize = 62;
/// In place of a class: a span of entries.
pub(crate) const ENTRIES: usize = 63;
/// Where the block of a large run begins: on a page of its own.
pub(crate) const LARGE_AT: u64 = 4096;

/// Steps of at most a quarter; above 1024 multiples of 256, because sizes are looked up so.
const SIZES: [u32; 36] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024,
    1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7936, 10496, 12800, 15872, 21248,
    32000,
];
/// The largest size that is cut from a span.
pub(crate) const LARGEST: usize = SIZES[CLASSES - 1] as usize;

/// How a span is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class {
    /// Bytes of a block.
    pub size: u32,
    /// Blocks in a span.
    pub count: u32,
    /// Words of A and F in use.
    pub words: u32,
    /// Where the first block begins.
    pub start: u32,
    /// 2³² divided by the size, rounded up: exact for every offset in a span.
    reciprocal: u64,
}

impl Class {
    const fn new(size: u32) -> Class {
        let room = (SPAN - HOMES_AT) as u32;
        let mut count = room / (size + 8);
        loop {
            // Blocks lie at the end, so that sizes that are multiples of 64 are aligned to it.
            let start = (SPAN as u32 - count * size) / 64 * 64;
            if HOMES_AT as u32 + 8 * count <= start {
                let reciprocal = (1u64 << 32).div_ceil(size as u64);
                return Class { size, count, words: count.div_ceil(64), start, reciprocal };
            }
            count -= 1;
        }
    }

    /// The bits of this word of A that stand for blocks.
    pub fn valid(&self, word: u32) -> u64 {
        let rest = self.count - word * 64;
        if rest >= 64 { u64::MAX } else { (1 << rest) - 1 }
    }

    /// Which block this offset in the span lies in, if it does, and how far in it.
    pub fn index_and_rest(&self, offset: u64) -> Option<(u32, u64)> {
        let distance = offset.wrapping_sub(self.start.into());
        if distance >= SPAN {
            return None;
        }
        let index = ((distance * self.reciprocal) >> 32) as u32;
        let within = distance - u64::from(index) * u64::from(self.size);
        (index < self.count).then_some((index, within))
    }
}

/// What finds the block that begins at an offset in a span that is cut into blocks: whatever class a
/// descriptor names, without a branch on it, and with only one multiplication.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Finder {
    /// 2³² divided by the size, rounded up; the fraction of a product with it is smaller than it
    /// exactly for multiples of the size (Lemire, Kaser, Kurz: Faster remainder by direct computation).
    reciprocal: u32,
    /// Where the first block begins.
    start: u32,
    /// How many may be found.
    count: u32,
}

impl Finder {
    /// Of what is no class: finds none.
    const NONE: Finder = Finder { reciprocal: 0, start: 0, count: 0 };

    /// Which block begins at this offset in the span, if one does.
    #[inline(always)]
    fn index_of(&self, offset: u32) -> Option<u32> {
        // An offset before the first block is a very large distance, and so behind the last.
        let product = u64::from(offset.wrapping_sub(self.start)) * u64::from(self.reciprocal);
        let index = (product >> 32) as u32;
        (index < self.count && (product as u32) < self.reciprocal).then_some(index)
    }
}

/// By the six bits of a descriptor.
static FINDERS: [Finder; 64] = {
    let mut finders = [Finder::NONE; 64];
    let mut class = 0;
    while class < CLASSES {
        let Class { count, start, reciprocal, .. } = TABLE[class];
        finders[class] = Finder { reciprocal: reciprocal as u32, start, count };
        class += 1;
    }
    finders
};

pub(crate) const TABLE: [Class; CLASSES] = {
    let mut table = [Class::new(16); CLASSES];
    let mut class = 0;
    while class < CLASSES {
        table[class] = Class::new(SIZES[class]);
        assert!(table[class].words as usize <= WORDS);
        class += 1;
    }
    table
};

/// Class by size in units of 16 bytes, up to 1024.
const SMALL: [u8; 65] = lookup::<65>(16);
/// Class by size in units of 256 bytes.
const MEDIUM: [u8; LARGEST / 256 + 1] = lookup::<{ LARGEST / 256 + 1 }>(256);

const fn lookup<const N: usize>(unit: usize) -> [u8; N] {
    let mut table = [0; N];
    let (mut units, mut class) = (0, 0);
    while units < N {
        while (SIZES[class] as usize) < units * unit {
            class += 1;
        }
        table[units] = class as u8;
        units += 1;
    }
    table
}

/// The class of a size, if it is not too large for one.
#[inline(always)]
pub(crate) fn of_size(size: usize) -> Option<usize> {
    if size <= 1024 {
        Some(SMALL[size.div_ceil(16)].into())
    } else {
        MEDIUM.get(size.div_ceil(256)).map(|&class| class.into())
    }
}

/// Where the words of one block lie, in bytes from the start of the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub a: u64,
    pub f: u64,
    pub home: u64,
    /// Its bit in A and F.
    pub bit: u64,
}

impl Place {
    /// Of block `index` in the span at `span`.
    #[inline(always)]
    pub fn new(span: u64, index: u32) -> Place {
        let word = u64::from(index / 64) * 8;
        Place {
            a: span + A_AT + word,
            f: span + F_AT + word,
            home: span + HOMES_AT + u64::from(index) * 8,
            bit: 1 << (index % 64),
        }
    }

    /// Of the block whose home word lies at `home`, in the span at `span`.
    #[inline(always)]
    pub fn of_home(span: u64, home: u64) -> Place {
        Place::new(span, (home.wrapping_sub(span + HOMES_AT) / 8) as u32)
    }

    /// Of the block that begins there, in the span at `span` of this class (or [`LARGE`]); the block
    /// is known to lie in that span.
    #[inline(always)]
    pub fn find(span: u64, class: usize, block: BlockId) -> Option<Place> {
        if class == LARGE {
            return (block.offset() == span + LARGE_AT).then(|| Place::new(span, 0));
        }
        Place::at(span, class, block.offset())
    }

    /// The same of a class, by an offset that need not be a multiple of anything.
    #[inline(always)]
    pub fn at(span: u64, class: usize, offset: u64) -> Option<Place> {
        let finder = &FINDERS[class % FINDERS.len()];
        finder.index_of(offset.wrapping_sub(span) as u32).map(|index| Place::new(span, index))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::words::GRANULE;
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_class_that_its_lookup_allows() {
        for size in 1..=LARGEST {
            let class = of_size(size).unwrap();
            assert!(TABLE[class].size as usize >= size, "{size}");
            assert!(class == 0 || size > 1024 || (TABLE[class - 1].size as usize) < size, "{size}");
            assert!(TABLE[class].size as usize <= (size + size / 2 + 256), "{size}");
        }
        assert_eq!(of_size(LARGEST + 1), None);
    }

    #[test]
    fn blocks_of_a_span_do_not_overlap_its_words_or_each_other() {
        for (number, class) in TABLE.iter().enumerate() {
            assert!(HOMES_AT + u64::from(class.count) * 8 <= class.start.into());
            assert!(u64::from(class.start + class.count * class.size) <= SPAN);
            assert!(!class.size.is_multiple_of(64) || class.start.is_multiple_of(64));
            for offset in 0..SPAN {
                let inside = offset.checked_sub(class.start.into()).filter(|distance| {
                    distance.is_multiple_of(class.size.into())
                        && distance / u64::from(class.size) < class.count.into()
                });
                let index = inside.map(|distance| (distance / u64::from(class.size)) as u32);
                let found = FINDERS[number].index_of(offset as u32);
                assert_eq!(found, index, "{offset} of {}", class.size);
            }
        }
    }

    #[test]
    fn a_run_has_one_block_and_what_is_no_class_has_none() {
        for offset in (0..SPAN).step_by(GRANULE as usize) {
            let found = |class| Place::find(SPAN, class, BlockId::at(SPAN + offset));
            assert_eq!(found(LARGE).is_some(), offset == LARGE_AT);
            assert_eq!((found(ENTRIES), found(CLASSES)), (None, None));
        }
    }
}
