//! The heap against a reference model: any history of allocating, freeing, handing over and ending
//! threads leaves blocks apart, their content whole, and nothing lost.
#![allow(clippy::unwrap_used)]

use std::alloc::Layout;
use std::collections::BTreeMap;

use proptest::prelude::*;
use shm_core::heap::{Heap, HeapOptions, Local};
use shm_core::{Group, Segment};

const THREADS: usize = 3;
const CELLS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Allocate { thread: usize, size: usize, align: usize },
    Free { thread: usize, which: usize },
    Publish { thread: usize, which: usize, cell: usize },
    Take { thread: usize, cell: usize },
    Acknowledge { thread: usize, cell: usize },
    End { thread: usize },
    Trim { thread: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (thread, cell, which) = (0..THREADS, 0..CELLS, any::<usize>());
    let size = prop_oneof![0usize..200, 0usize..5000, 20_000usize..40_000, 60_000usize..300_000];
    let align = (0u32..8).prop_map(|bits| 1usize << bits);
    let step = prop_oneof![
        6 => (thread.clone(), size, align)
            .prop_map(|(thread, size, align)| Step::Allocate { thread, size, align }),
        5 => (thread.clone(), which).prop_map(|(thread, which)| Step::Free { thread, which }),
        2 => (thread.clone(), which, cell.clone())
            .prop_map(|(thread, which, cell)| Step::Publish { thread, which, cell }),
        1 => (thread.clone(), cell.clone()).prop_map(|(thread, cell)| Step::Take { thread, cell }),
        1 => (thread.clone(), cell).prop_map(|(thread, cell)| Step::Acknowledge { thread, cell }),
        1 => thread.clone().prop_map(|thread| Step::End { thread }),
        1 => thread.prop_map(|thread| Step::Trim { thread }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// What the model knows: the blocks in use by offset, with size and mark, and what is in the cells.
struct World {
    heap: Heap,
    locals: Vec<Option<Local>>,
    blocks: BTreeMap<u64, (usize, u8)>,
    cells: [Option<(u64, usize, u8)>; CELLS],
    next: u8,
}

impl World {
    fn new() -> World {
        let segment = Segment::anonymous(3 << 20).unwrap();
        let group = Group::anonymous().unwrap();
        let heap = Heap::create(&segment, &group, HeapOptions::default().threads(4)).unwrap();
        let locals = (0..THREADS).map(|_| None).collect();
        World { heap, locals, blocks: BTreeMap::new(), cells: [None; CELLS], next: 0 }
    }

    fn local(&mut self, thread: usize) -> &Local {
        let heap = &self.heap;
        self.locals[thread].get_or_insert_with(|| heap.local().unwrap())
    }

    fn choose(&self, which: usize) -> Option<u64> {
        let count = self.blocks.len();
        if count == 0 { None } else { self.blocks.keys().nth(which % count).copied() }
    }

    fn bytes(&self, offset: u64, size: usize) -> &[u8] {
        let pointer = self.heap.pointer(offset).unwrap().as_ptr();
        // SAFETY: a block in use of the model's, which nobody writes meanwhile.
        unsafe { std::slice::from_raw_parts(pointer, size) }
    }

    fn check(&self, offset: u64, size: usize, mark: u8) {
        assert!(self.bytes(offset, size).iter().all(|&byte| byte == mark), "{offset} overwritten");
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Allocate { thread, size, align } => self.allocate(thread, size, align),
            Step::Free { thread, which } => {
                if let Some(offset) = self.choose(which) {
                    let (size, mark) = self.blocks.remove(&offset).unwrap();
                    self.check(offset, size, mark);
                    // SAFETY: in use, and the model forgets it.
                    unsafe { self.local(thread).free_raw(offset) }.unwrap();
                }
            }
            Step::Publish { thread, which, cell } => self.publish(thread, which, cell),
            Step::Take { thread, cell } => {
                let raw = {
                    let name = format!("{cell}");
                    let local = self.local(thread);
                    let taken = local.heap().root(&name).unwrap().take(local).unwrap();
                    taken.map(shm_core::heap::Block::into_raw)
                };
                assert_eq!(raw, self.cells[cell].map(|(offset, ..)| offset));
                if let Some((offset, size, mark)) = self.cells[cell].take() {
                    self.check(offset, size, mark);
                    self.blocks.insert(offset, (size, mark));
                }
            }
            Step::Acknowledge { thread, cell } => {
                let name = format!("{cell}");
                let local = self.local(thread);
                let lease = local.heap().root(&name).unwrap().lease(local).unwrap();
                let was = lease.map(|lease| lease.acknowledge().unwrap()).is_some();
                assert_eq!(was, self.cells[cell].take().is_some());
            }
            Step::End { thread } => self.locals[thread] = None,
            Step::Trim { thread } => {
                self.local(thread).trim();
            }
        }
    }

    fn allocate(&mut self, thread: usize, size: usize, align: usize) {
        let layout = Layout::from_size_align(size, align).unwrap();
        let Ok(offset) = self.local(thread).allocate_raw(layout) else { return };
        assert!((self.heap.pointer(offset).unwrap().addr().get()).is_multiple_of(align));
        let before =
            self.blocks.range(..=offset).next_back().map(|(at, (size, _))| at + *size as u64);
        assert!(before.is_none_or(|end| end <= offset || size == 0), "it overlaps the one before");
        let after = self.blocks.range(offset..).next().map(|(at, _)| *at);
        assert!(after.is_none_or(|at| offset + size as u64 <= at), "it overlaps the next");
        self.next = self.next.wrapping_add(1);
        let pointer = self.heap.pointer(offset).unwrap().as_ptr();
        // SAFETY: just allocated with this size.
        unsafe { pointer.write_bytes(self.next, size) };
        self.blocks.insert(offset, (size, self.next));
    }

    fn publish(&mut self, thread: usize, which: usize, cell: usize) {
        let Some(offset) = self.choose(which) else { return };
        let local = self.local(thread);
        let name = format!("{cell}");
        // SAFETY: in use, and the model's.
        let Ok(block) = (unsafe { local.adopt_raw(offset) }) else { return };
        let published = match block.publish(local.heap().root(&name).unwrap()) {
            Ok(()) => true,
            Err(block) => {
                assert_eq!(block.into_raw(), offset);
                false
            }
        };
        assert_eq!(published, self.cells[cell].is_none());
        if published {
            let (size, mark) = self.blocks.remove(&offset).unwrap();
            self.cells[cell] = Some((offset, size, mark));
        }
    }

    /// Everything is whole and accounted for; at the end nothing is left.
    fn end(mut self) {
        self.heap.validate_settled(self.blocks.len() as u64).unwrap();
        let left: Vec<_> = self.blocks.clone().into_iter().collect();
        for (offset, (size, mark)) in left {
            self.check(offset, size, mark);
            // SAFETY: in use, and freed once.
            unsafe { self.local(0).free_raw(offset) }.unwrap();
        }
        for cell in 0..CELLS {
            self.run(Step::Acknowledge { thread: 1, cell });
        }
        self.heap.validate_settled(0).unwrap();
        assert_eq!(self.heap.stats().blocks, 0);
        // Whatever is orphaned is collected by whoever runs out of room.
        let too_much = Layout::from_size_align(3 << 20, 8).unwrap();
        self.locals.iter_mut().for_each(|local| *local = None);
        assert!(self.local(0).allocate_raw(too_much).is_err());
        let most = Layout::from_size_align(44 * 65536, 8).unwrap();
        let all = self.local(0).allocate_raw(most).unwrap();
        // SAFETY: just allocated.
        unsafe { self.local(1).free_raw(all) }.unwrap();
        self.locals.clear();
        let stats = self.heap.stats();
        assert!(stats.blocks == 0 && stats.threads == 0, "{stats:?}");
        self.heap.validate_settled(0).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_history_leaves_blocks_apart_and_nothing_lost(steps in steps()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.run(step));
        world.end();
    }
}

/// A small generator (xorshift): the same history each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

/// Fragmentation: a full heap of all sizes, of which again and again a third is freed and allocated
/// anew, stays as full; and is in one piece when all is freed.
#[test]
fn holes_are_used_again() {
    let segment = Segment::anonymous(8 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    let heap = Heap::create(&segment, &group, HeapOptions::default().threads(4)).unwrap();
    let local = heap.local().unwrap();
    let (mut random, mut blocks, mut bytes) = (Random(0x5eed), Vec::new(), 0);
    let layout = |size: usize| Layout::from_size_align(size, 8).unwrap();
    loop {
        let most = [64, 400, 3000, 30_000][random.below(4)];
        let size = 1 + random.below(most);
        let Ok(block) = local.allocate(layout(size)) else { break };
        blocks.push((size, block));
        bytes += size;
    }
    // Sizes are rounded up by a quarter at most, and a span of each size is not full.
    assert!(bytes > 5 << 20, "{bytes} bytes fit");
    for round in 0..100 {
        let mut freed = Vec::new();
        for _ in 0..blocks.len() / 3 {
            let (size, block) = blocks.swap_remove(random.below(blocks.len()));
            drop(block);
            freed.push(size);
        }
        while !freed.is_empty() {
            let size = freed.swap_remove(random.below(freed.len()));
            match local.allocate(layout(size)) {
                Ok(block) => blocks.push((size, block)),
                Err(_) => bytes -= size,
            }
        }
        assert!(bytes > 9 << 19, "{bytes} bytes are left of it after {round} rounds");
    }
    heap.validate_settled(0).unwrap();
    drop(blocks);
    drop(local);
    let (local, spans) = (heap.local().unwrap(), heap.stats().spans);
    drop(local.allocate(layout((spans as usize - 1) * 65536)).unwrap());
}
