//! What stands in the heap's words: encodings, and nothing that touches memory.

use std::fmt;

/// Bits of a block's number: its offset in units of [`GRANULE`].
const BLOCK_BITS: u32 = 30;
/// Bytes that a block's offset is counted in.
pub(crate) const GRANULE: u64 = 16;
/// The largest heap: every block has a number.
pub(crate) const MAX_LEN: u64 = GRANULE << BLOCK_BITS;
/// Lines that a word can name.
pub(crate) const MAX_LINES: usize = 1 << LINE_BITS;

const LINE_BITS: u32 = 9;
const COUNT_BITS: u32 = 16;
const EPOCH_BITS: u32 = 6;
const STAMP_BITS: u32 = COUNT_BITS + EPOCH_BITS;
const KIND_SHIFT: u32 = STAMP_BITS + BLOCK_BITS + LINE_BITS;

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Where a block begins, in units of [`GRANULE`] from the heap's start. Never 0 for a real block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockId(pub u32);

impl BlockId {
    #[inline(always)]
    pub fn at(offset: u64) -> BlockId {
        BlockId((offset / GRANULE) as u32)
    }

    #[inline(always)]
    pub fn offset(self) -> u64 {
        u64::from(self.0) * GRANULE
    }
}

/// Where a cell or an entry lies, in units of 8 bytes from the heap's start; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CellId(pub u32);

impl CellId {
    pub const NONE: CellId = CellId(0);

    #[inline(always)]
    pub fn at(offset: u64) -> CellId {
        CellId((offset / 8) as u32)
    }

    #[inline(always)]
    pub fn offset(self) -> u64 {
        u64::from(self.0) * 8
    }
}

/// Tells one placement of a block from every other: the claim epoch of its span, and a count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp(u32);

impl Stamp {
    /// The stamp of the next placement, in the same use of the span.
    #[inline(always)]
    pub fn next(self) -> Stamp {
        self.next_in(u64::from(self.0 >> COUNT_BITS))
    }

    /// The stamp of the next placement, in a use of the span with this epoch.
    #[inline(always)]
    pub fn next_in(self, epoch: u64) -> Stamp {
        let count = u64::from(self.0).wrapping_add(1) & mask(COUNT_BITS);
        Stamp(((epoch & mask(EPOCH_BITS)) << COUNT_BITS | count) as u32)
    }

    /// Whether it was given in a use of the span with this epoch.
    pub fn is_of(self, epoch: u64) -> bool {
        u64::from(self.0 >> COUNT_BITS) == epoch & mask(EPOCH_BITS)
    }
}

/// A block's home word: `cell 32 | unused 10 | stamp 22`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Home(pub u64);

impl Home {
    #[inline(always)]
    pub fn new(cell: CellId, stamp: Stamp) -> Home {
        Home(u64::from(cell.0) << 32 | u64::from(stamp.0))
    }

    #[inline(always)]
    pub fn stamp(self) -> Stamp {
        Stamp((self.0 & mask(STAMP_BITS)) as u32)
    }

    /// The cell or entry that the block belongs to.
    pub fn cell(self) -> CellId {
        CellId((self.0 >> 32) as u32)
    }
}

/// What a hardened heap gives out in place of an offset: `set 1 | unused 7 | stamp 22 | offset 34`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Handle(pub u64);

const OFFSET_BITS: u32 = 34;
const IS_HANDLE: u64 = 1 << 63;

impl Handle {
    pub fn new(offset: u64, stamp: Stamp) -> Handle {
        Handle(IS_HANDLE | u64::from(stamp.0) << OFFSET_BITS | offset)
    }

    /// The offset and the stamp in it, if it is one.
    pub fn parts(self) -> Option<(u64, Stamp)> {
        let stamp = Stamp((self.0 >> OFFSET_BITS & mask(STAMP_BITS)) as u32);
        let offset = self.0 & mask(OFFSET_BITS);
        (Handle::new(offset, stamp) == self).then_some((offset, stamp))
    }
}

/// State of a cell or an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Empty = 0,
    /// A published block: whoever leases it first has it.
    Full = 1,
    /// In use by the line.
    Leased = 2,
    /// Used up by the line, and perhaps freed already.
    Done = 3,
    /// On its way in, by the line.
    Incoming = 4,
    /// An entry that names a cell which its line has leased, or is about to.
    Lease = 5,
    /// An entry that holds a block.
    Held = 6,
    /// No such word is ever written.
    Strange = 7,
}

/// A cell or an entry: `kind 3 | line 9 | block 30 | stamp 22`, or for [`Kind::Lease`] a cell's
/// number in the lowest 32 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub u64);

impl Slot {
    pub const EMPTY: Slot = Slot(0);

    #[inline(always)]
    pub fn new(kind: Kind, line: usize, block: BlockId, stamp: Stamp) -> Slot {
        Slot(
            (kind as u64) << KIND_SHIFT
                | (line as u64) << (STAMP_BITS + BLOCK_BITS)
                | u64::from(block.0) << STAMP_BITS
                | u64::from(stamp.0),
        )
    }

    #[inline(always)]
    pub fn held(block: BlockId, stamp: Stamp) -> Slot {
        Slot::new(Kind::Held, 0, block, stamp)
    }

    pub fn lease(cell: CellId) -> Slot {
        Slot((Kind::Lease as u64) << KIND_SHIFT | u64::from(cell.0))
    }

    /// The same block and stamp in another state.
    #[inline(always)]
    pub fn become_of(self, kind: Kind, line: usize) -> Slot {
        Slot::new(kind, line, self.block(), self.stamp())
    }

    #[inline(always)]
    pub fn kind(self) -> Kind {
        match self.0 >> KIND_SHIFT {
            0 => Kind::Empty,
            1 => Kind::Full,
            2 => Kind::Leased,
            3 => Kind::Done,
            4 => Kind::Incoming,
            5 => Kind::Lease,
            6 => Kind::Held,
            _ => Kind::Strange,
        }
    }

    /// Whether it is in this state by this line.
    pub fn is(self, kind: Kind, line: usize) -> bool {
        self.kind() == kind && self.line() == line
    }

    #[inline(always)]
    pub fn line(self) -> usize {
        (self.0 >> (STAMP_BITS + BLOCK_BITS) & mask(LINE_BITS)) as usize
    }

    #[inline(always)]
    pub fn block(self) -> BlockId {
        BlockId((self.0 >> STAMP_BITS & mask(BLOCK_BITS)) as u32)
    }

    #[inline(always)]
    pub fn stamp(self) -> Stamp {
        Stamp((self.0 & mask(STAMP_BITS)) as u32)
    }

    /// The cell that a [`Kind::Lease`] names.
    pub fn cell(self) -> CellId {
        CellId(self.0 as u32)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Empty => f.write_str("Empty"),
            Kind::Lease => write!(f, "Lease({:?})", self.cell()),
            kind => write!(f, "{kind:?}({}, {:?}, {:?})", self.line(), self.block(), self.stamp()),
        }
    }
}

/// State of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Free = 0,
    /// A line allocates in it.
    Owned = 1,
    /// In use by blocks, and nobody's: whoever claims it drains it first.
    Orphan = 2,
    /// Head of a run that is being claimed.
    Build = 3,
    /// A further span of a run.
    Cont = 4,
    /// Head of a run that is being given back.
    Freeing = 5,
    Strange = 7,
}

/// A span's descriptor: `argument 20 | epoch 16 | line 9 | class 6 | state 3`, from bit 53 down. The
/// argument is a run's length in spans in its head, and the head's number in the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Desc(pub u64);

const CLASS_SHIFT: u32 = 3;
const DESC_LINE_SHIFT: u32 = 9;
const DESC_EPOCH_SHIFT: u32 = 18;
const ARGUMENT_SHIFT: u32 = 34;

impl Desc {
    /// State and line.
    pub const WHOSE: u64 = mask(CLASS_SHIFT) | mask(LINE_BITS) << DESC_LINE_SHIFT;

    pub fn new(state: State, class: usize, line: usize, epoch: u64, argument: u64) -> Desc {
        Desc(
            state as u64
                | (class as u64) << CLASS_SHIFT
                | (line as u64) << DESC_LINE_SHIFT
                | (epoch & mask(16)) << DESC_EPOCH_SHIFT
                | argument << ARGUMENT_SHIFT,
        )
    }

    pub fn free(epoch: u64) -> Desc {
        Desc::new(State::Free, 0, 0, epoch, 0)
    }

    /// The same span in another state.
    pub fn become_of(self, state: State, line: usize) -> Desc {
        Desc::new(state, self.class(), line, self.epoch(), self.argument())
    }

    #[inline(always)]
    pub fn state(self) -> State {
        match self.0 & mask(CLASS_SHIFT) {
            0 => State::Free,
            1 => State::Owned,
            2 => State::Orphan,
            3 => State::Build,
            4 => State::Cont,
            5 => State::Freeing,
            _ => State::Strange,
        }
    }

    /// Whether its blocks may be in use.
    #[inline(always)]
    pub fn has_blocks(self) -> bool {
        matches!(self.state(), State::Owned | State::Orphan)
    }

    #[inline(always)]
    pub fn class(self) -> usize {
        (self.0 >> CLASS_SHIFT & mask(6)) as usize
    }

    #[inline(always)]
    pub fn line(self) -> usize {
        (self.0 >> DESC_LINE_SHIFT & mask(LINE_BITS)) as usize
    }

    #[inline(always)]
    pub fn epoch(self) -> u64 {
        self.0 >> DESC_EPOCH_SHIFT & mask(16)
    }

    #[inline(always)]
    pub fn argument(self) -> u64 {
        self.0 >> ARGUMENT_SHIFT & mask(20)
    }
}

/// A line's word: `state 2 | by 30 | owner 30`. Owners are [`Owner`](crate::Owner) bits; 0 is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Free,
    /// A living process's, as far as is known.
    Live(u32),
    /// A dead one's, being cleared up by another.
    Recovering {
        dead: u32,
        by: u32,
    },
}

const OWNER_BITS: u32 = 30;

impl Line {
    pub fn of(word: u64) -> Line {
        let (dead, by) = (word & mask(OWNER_BITS), word >> OWNER_BITS & mask(OWNER_BITS));
        let (dead, by) = (dead as u32, by as u32);
        match word >> (2 * OWNER_BITS) {
            0 => Line::Free,
            1 => Line::Live(dead),
            _ => Line::Recovering { dead, by },
        }
    }

    pub fn word(self) -> u64 {
        match self {
            Line::Free => 0,
            Line::Live(owner) => 1 << (2 * OWNER_BITS) | u64::from(owner),
            Line::Recovering { dead, by } => {
                2 << (2 * OWNER_BITS) | u64::from(by) << OWNER_BITS | u64::from(dead)
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_parts_at_their_limits() {
        for line in [0, 1, MAX_LINES - 1] {
            for block in [BlockId(1), BlockId((1 << BLOCK_BITS) - 1)] {
                let stamp = Stamp(mask(STAMP_BITS) as u32);
                let slot = Slot::new(Kind::Held, line, block, stamp);
                assert_eq!((slot.kind(), slot.line()), (Kind::Held, line));
                assert_eq!((slot.block(), slot.stamp()), (block, stamp));
            }
        }
        assert_eq!(Slot::lease(CellId(u32::MAX)).cell(), CellId(u32::MAX));
    }

    #[test]
    fn a_stamp_counts_within_its_epoch() {
        let last = Stamp(mask(STAMP_BITS) as u32);
        assert!(last.next().is_of(mask(EPOCH_BITS)) && last.next() != last);
        assert!(last.next_in(3).is_of(3) && !last.next_in(3).is_of(4));
        assert_eq!(Home::new(CellId(u32::MAX), last).stamp(), last);
    }

    #[test]
    fn a_handle_keeps_its_parts_and_an_offset_is_none() {
        let stamp = Stamp(mask(STAMP_BITS) as u32);
        for offset in [0, 16, MAX_LEN - 1] {
            assert_eq!(Handle::new(offset, stamp).parts(), Some((offset, stamp)));
            assert_eq!(Handle(offset).parts(), None);
        }
        assert_eq!(Handle(u64::MAX).parts(), None);
    }

    #[test]
    fn a_descriptor_keeps_its_parts_at_their_limits() {
        let desc = Desc::new(State::Freeing, 63, MAX_LINES - 1, 0xffff, mask(20));
        assert_eq!((desc.state(), desc.class(), desc.line()), (State::Freeing, 63, MAX_LINES - 1));
        assert_eq!((desc.epoch(), desc.argument()), (0xffff, mask(20)));
    }

    #[test]
    fn a_line_keeps_its_parts() {
        let recovering = Line::Recovering { dead: (1 << 30) - 1, by: 1 };
        for line in [Line::Free, Line::Live(7), recovering] {
            assert_eq!(Line::of(line.word()), line);
        }
    }
}
