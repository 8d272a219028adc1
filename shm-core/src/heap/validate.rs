//! Checking every invariant of a heap, and counting what is in it.

// Orderings: Relaxed throughout: counts for people, and checks while nobody uses the heap.

use super::Heap;
use super::class::{A_AT, CLASSES, ENTRIES, F_AT, HOMES_AT, LARGE, Place, SPAN, TABLE, WORDS};
use super::memory::{Ground, Memory, ROOTS};
use super::words::{BlockId, CellId, Desc, Home, Kind, Line, Slot, State};
use crate::primitive::Ordering;
use crate::{Error, Peers};

/// What is in a heap: [`Heap::stats`]. Counts of a moment, while others go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapStats {
    /// Bytes of the heap, its words included.
    pub size: u64,
    /// Bytes of blocks in use, as large as they are and not as they were asked for.
    pub used: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// Spans of 64 KiB.
    pub spans: u64,
    /// Those that are free.
    pub free_spans: u64,
    /// Those whose process has ended or given them up, and that hold blocks in use or freed since.
    pub orphans: u64,
    /// Threads that have a place in the heap.
    pub threads: u64,
    /// Threads that their processes' death left, and that nobody has cleared up after yet.
    pub unrecovered: u64,
}

impl<P: Peers + Clone> Heap<P> {
    /// What is in the heap. Cost: a look at every span's bits.
    #[must_use]
    pub fn stats(&self) -> HeapStats {
        let memory = self.memory();
        let (size, spans) = (memory.geometry.len, memory.spans());
        let mut stats = HeapStats { size, spans, ..HeapStats::default() };
        for span in 0..spans {
            let desc = desc_of(memory, span);
            stats.free_spans += u64::from(desc.state() == State::Free);
            stats.orphans += u64::from(desc.state() == State::Orphan);
            if desc.has_blocks() && desc.class() != ENTRIES {
                let words = TABLE.get(desc.class()).map_or(1, |cut| cut.words);
                let bits = bits(memory, span).take(words as usize);
                let blocks = bits.map(|(a, f)| u64::from((a & !f).count_ones()));
                let blocks: u64 = blocks.sum();
                let size = TABLE.get(desc.class()).map(|cut| cut.size.into());
                stats.blocks += blocks;
                stats.used += blocks * size.unwrap_or(desc.argument() * SPAN);
            }
        }
        for line in 0..memory.lines() {
            // Relaxed: a count for people.
            match Line::of(memory.line(line).load(Ordering::Relaxed)) {
                Line::Free => {}
                Line::Live(_) => stats.threads += 1,
                Line::Recovering { .. } => stats.unrecovered += 1,
            }
        }
        stats
    }

    /// Checks every invariant, and names the first that is broken. Nobody may use the heap
    /// meanwhile; what a death has left is allowed.
    ///
    /// # Errors
    /// [`Error::HeapBroken`].
    pub fn validate(&self) -> Result<(), Error> {
        let memory = self.memory();
        let check = || {
            (0..memory.spans()).try_for_each(|span| span_holds(memory, span))?;
            (0..memory.lines()).try_for_each(|line| line_holds(memory, line))?;
            (0..ROOTS).try_for_each(|root| cell_holds(memory, CellId::at(memory.root(root).1)))
        };
        check().map_err(|what| Error::HeapBroken { what })
    }

    /// Checks, besides, what must be so once every dead process has been cleared up after: no
    /// block is in use that no cell and no thread holds, but for `raw` ones.
    ///
    /// # Errors
    /// [`Error::HeapBroken`].
    pub fn validate_settled(&self, raw: u64) -> Result<(), Error> {
        self.validate()?;
        let memory = self.memory();
        let broken = |what| Err(Error::HeapBroken { what });
        let mut unheld = 0;
        for span in 0..memory.spans() {
            let desc = desc_of(memory, span);
            if !desc.has_blocks() || desc.class() == ENTRIES {
                continue;
            }
            for (block, place) in blocks_in_use(memory, span, desc) {
                let home = Home(memory.at(place.home).load(Ordering::Relaxed));
                if !is_held(memory, block, home) {
                    unheld += 1;
                }
            }
        }
        for line in 0..memory.lines() {
            if let Line::Recovering { dead, .. } = line_of(memory, line) {
                return broken(format!("line {line} is not recovered of {dead:#x}"));
            }
        }
        if unheld == raw {
            Ok(())
        } else {
            broken(format!("{unheld} blocks are nobody's, not {raw}"))
        }
    }
}

fn is_held(memory: &Memory, block: BlockId, home: Home) -> bool {
    let Some(cell) = memory.cell(home.cell()) else { return false };
    let slot = Slot(cell.load(Ordering::Relaxed));
    slot.kind() != Kind::Empty && slot.block() == block && slot.stamp() == home.stamp()
}

fn desc_of(memory: &Memory, span: u64) -> Desc {
    // Relaxed here and below: a look for people, or while nobody uses the heap.
    Desc(memory.desc(span).load(Ordering::Relaxed))
}

fn line_of(memory: &Memory, line: usize) -> Line {
    Line::of(memory.line(line).load(Ordering::Relaxed))
}

/// The words of A and F of a span.
fn bits(memory: &Memory, span: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    let span_at = memory.span_at(span);
    (0..WORDS as u64 * 8).step_by(8).map(move |at| {
        let load = |start| memory.at(span_at + start + at).load(Ordering::Relaxed);
        (load(A_AT), load(F_AT))
    })
}

fn blocks_in_use(
    memory: &Memory,
    span: u64,
    desc: Desc,
) -> impl Iterator<Item = (BlockId, Place)> + '_ {
    let span_at = memory.span_at(span);
    let cut = TABLE.get(desc.class());
    let (start, size, count) = cut.map_or((super::class::LARGE_AT, 0, 1), |cut| {
        (u64::from(cut.start), u64::from(cut.size), cut.count)
    });
    (0..count).filter_map(move |index| {
        let place = Place::new(span_at, index);
        let load = |at| memory.at(at).load(Ordering::Relaxed);
        let block = BlockId::at(span_at + start + size * u64::from(index));
        (load(place.a) & !load(place.f) & place.bit != 0).then_some((block, place))
    })
}

fn span_holds(memory: &Memory, span: u64) -> Result<(), String> {
    let desc = desc_of(memory, span);
    let wrong = |what: &str| Err(format!("span {span} ({:?}): {what}", desc.state()));
    let owner = || line_of(memory, desc.line().min(memory.lines() - 1)) != Line::Free;
    let clean = || (0..HOMES_AT).step_by(8).skip(1);
    match desc.state() {
        State::Free
            if clean()
                .any(|at| memory.at(memory.span_at(span) + at).load(Ordering::Relaxed) != 0) =>
        {
            wrong("a free span has bits set")
        }
        State::Owned | State::Build | State::Freeing if desc.line() >= memory.lines() => {
            wrong("its line does not exist")
        }
        State::Owned | State::Build | State::Freeing if !owner() => wrong("its line is free"),
        State::Owned | State::Orphan if desc.class() == ENTRIES => Ok(()),
        State::Owned | State::Orphan if desc.class() < CLASSES || desc.class() == LARGE => {
            blocks_hold(memory, span, desc)
        }
        State::Owned | State::Orphan => wrong("its class does not exist"),
        State::Cont => {
            let head = desc.argument();
            let head_desc = if head < span { desc_of(memory, head) } else { Desc::free(0) };
            let in_run = head_desc.class() == LARGE
                && head_desc.state() != State::Free
                && span - head < head_desc.argument();
            if in_run { Ok(()) } else { wrong("it is not in the run of its head") }
        }
        State::Strange => wrong("its descriptor has no meaning"),
        State::Free | State::Build | State::Freeing => Ok(()),
    }
}

fn blocks_hold(memory: &Memory, span: u64, desc: Desc) -> Result<(), String> {
    let count = TABLE.get(desc.class()).map_or(1, |cut| cut.count);
    for (word, (a, f)) in (0u32..).zip(bits(memory, span)) {
        let here = count.saturating_sub(word * 64).min(64);
        let valid = if here == 64 { u64::MAX } else { (1 << here) - 1 };
        if (a | f) & !valid != 0 {
            return Err(format!("span {span}: a bit is set behind its {count} blocks"));
        }
    }
    if desc.class() != LARGE {
        return Ok(());
    }
    let tails = span + 1..span + desc.argument();
    let is_tail = |tail| {
        let tail = desc_of(memory, tail);
        tail.state() == State::Cont && tail.argument() == span
    };
    let whole = tails.end <= memory.spans() && tails.clone().all(is_tail);
    if whole { Ok(()) } else { Err(format!("span {span}: its run is not whole")) }
}

fn line_holds(memory: &Memory, line: usize) -> Result<(), String> {
    let free = line_of(memory, line) == Line::Free;
    for offset in memory.entries(line).step_by(8) {
        let slot = Slot(memory.at(offset).load(Ordering::Relaxed));
        let fits = matches!(slot.kind(), Kind::Empty | Kind::Held | Kind::Lease);
        if !fits {
            return Err(format!("line {line}: an entry is {slot:?}"));
        }
        if free && slot != Slot::EMPTY {
            return Err(format!("line {line} is free and holds {slot:?}"));
        }
    }
    Ok(())
}

fn cell_holds(memory: &Memory, id: CellId) -> Result<(), String> {
    let Some(cell) = memory.cell(id) else { return Ok(()) };
    let slot = Slot(cell.load(Ordering::Relaxed));
    match slot.kind() {
        Kind::Empty => Ok(()),
        Kind::Full if !in_use(memory, slot) => Err(format!("the cell {id:?} holds a free block")),
        Kind::Full => Ok(()),
        Kind::Leased | Kind::Done | Kind::Incoming => {
            let free = line_of(memory, slot.line().min(memory.lines() - 1)) == Line::Free;
            if free { Err(format!("the cell {id:?} is in a free line's name")) } else { Ok(()) }
        }
        kind => Err(format!("the cell {id:?} is {kind:?}")),
    }
}

fn in_use(memory: &Memory, slot: Slot) -> bool {
    let place = super::steps::place_of(memory, slot.block());
    place.is_some_and(|place| {
        let load = |at| memory.at(at).load(Ordering::Relaxed);
        load(place.a) & !load(place.f) & place.bit != 0
    })
}
