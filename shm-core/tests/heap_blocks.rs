//! Blocks of a heap: sizes, alignment, freeing, handing over, running out.
#![allow(clippy::unwrap_used)]

use std::alloc::Layout;

use shm_core::heap::{Heap, HeapOptions, Local};
use shm_core::{Error, Group, Segment};

fn heap(size: usize) -> Heap {
    let segment = Segment::anonymous(size).unwrap();
    let group = Group::anonymous().unwrap();
    Heap::create(&segment, &group, HeapOptions::default().threads(8)).unwrap()
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// Frees what is not a block any more, or never was.
fn free(local: &Local, offset: u64) -> Result<(), Error> {
    // SAFETY: the tests use no block that they free.
    unsafe { local.free_raw(offset) }
}

#[test]
fn blocks_of_all_sizes_are_aligned_and_apart() {
    let heap = heap(16 << 20);
    let local = heap.local().unwrap();
    let mut blocks = Vec::new();
    for size in
        [0, 1, 15, 16, 17, 64, 100, 1000, 1025, 4096, 20_000, 32_000, 32_001, 70_000, 500_000]
    {
        for align in [1, 8, 16, 64, 128, 4096] {
            let layout = Layout::from_size_align(size, align).unwrap();
            let mut block = local.allocate(layout).unwrap();
            assert!(block.size() >= size);
            assert!(block.as_ptr().addr().get().is_multiple_of(align), "{size} {align}");
            let mark = blocks.len() as u8;
            block.bytes_mut().fill(mark);
            blocks.push(block);
        }
    }
    for (mark, block) in blocks.iter().enumerate() {
        assert!(block.bytes().iter().all(|&byte| byte == mark as u8), "{mark} was overwritten");
    }
    heap.validate_settled(0).unwrap();
    drop(blocks);
    heap.validate_settled(0).unwrap();
    assert_eq!(heap.stats().blocks, 0);
    drop(local);
    let stats = heap.stats();
    assert_eq!((stats.free_spans, stats.threads), (stats.spans, 0), "{stats:?}");
}

#[test]
fn what_was_freed_is_allocated_again_for_ever() {
    let heap = heap(2 << 20);
    let local = heap.local().unwrap();
    for round in 0..20 {
        let mut blocks = Vec::new();
        let size = [16, 64, 1000, 30_000, 100_000][round % 5];
        while let Ok(block) = local.allocate(layout(size)) {
            blocks.push(block);
        }
        assert!(blocks.len() * size > 900_000, "{} blocks of {size}", blocks.len());
        drop(blocks);
    }
    heap.validate_settled(0).unwrap();
}

#[test]
fn a_full_heap_says_how_much_there_was() {
    let heap = heap(1 << 20);
    let local = heap.local().unwrap();
    let error = local.allocate(layout(2 << 20)).unwrap_err();
    let Error::HeapFull { size, free, heap } = error else { panic!("{error}") };
    assert_eq!((size, heap), (2 << 20, 1 << 20));
    assert!(free > 900_000, "{free}");
}

#[test]
fn mistakes_are_refused() {
    let heap = heap(4 << 20);
    let local = heap.local().unwrap();
    let offset = local.allocate_raw(layout(100)).unwrap();
    for wrong in [0, 1, offset + 16, offset + 8, 3 << 20, 1 << 40, u64::MAX] {
        let error = free(&local, wrong).unwrap_err();
        assert!(matches!(error, Error::NotABlock { .. }), "{wrong}: {error}");
    }
    let elsewhere = heap.local().unwrap();
    free(&elsewhere, offset).unwrap();
    for local in [&elsewhere, &local] {
        let error = free(local, offset).unwrap_err();
        assert!(matches!(error, Error::NotAllocated { .. }), "{error}");
    }
    let large = local.allocate_raw(layout(1 << 20)).unwrap();
    free(&local, large).unwrap();
    assert!(free(&local, large).is_err());
    let error = local.allocate(Layout::from_size_align(8, 8192).unwrap()).unwrap_err();
    assert!(matches!(error, Error::BadAlignment { .. }), "{error}");
    heap.validate_settled(0).unwrap();
}

#[test]
fn what_others_free_comes_back_to_its_owner() {
    let heap = heap(1 << 20);
    let (owner, other) = (heap.local().unwrap(), heap.local().unwrap());
    for size in [64, 100_000] {
        for _ in 0..50 {
            let mut offsets = Vec::new();
            while let Ok(offset) = owner.allocate_raw(layout(size)) {
                offsets.push(offset);
            }
            assert!(offsets.len() * size > 400_000, "{} of {size}", offsets.len());
            offsets.into_iter().for_each(|offset| free(&other, offset).unwrap());
        }
        heap.validate_settled(0).unwrap();
        owner.trim();
    }
}

#[test]
fn what_an_ended_thread_has_allocated_is_used_by_the_next() {
    let heap = heap(1 << 20);
    let first = heap.local().unwrap();
    let kept: Vec<u64> = (0..100).map(|_| first.allocate_raw(layout(64)).unwrap()).collect();
    drop(first);
    assert_eq!(heap.stats().orphans, 1);
    let second = heap.local().unwrap();
    let mut blocks = Vec::new();
    while let Ok(block) = second.allocate(layout(64)) {
        assert!(!kept.contains(&block.offset()));
        blocks.push(block);
    }
    assert_eq!(heap.stats().orphans, 0);
    drop(blocks);
    kept.into_iter().for_each(|offset| free(&second, offset).unwrap());
    heap.validate_settled(0).unwrap();
    assert_eq!(heap.stats().blocks, 0);
}

#[test]
fn a_published_block_is_taken_once_with_what_was_written() {
    let heap = heap(1 << 20);
    let (giver, taker) = (heap.local().unwrap(), heap.local().unwrap());
    let cell = heap.root("cell").unwrap();
    assert!(cell.is_empty() && cell.take(&taker).unwrap().is_none());
    let mut block = giver.allocate(layout(8)).unwrap();
    block.bytes_mut()[0] = 7;
    block.publish(cell).unwrap();
    assert!(heap.root("cell").unwrap().is_full());
    let refused = giver.allocate(layout(8)).unwrap().publish(cell);
    drop(refused.unwrap_err());
    let taken = cell.take(&taker).unwrap().unwrap();
    assert_eq!(taken.bytes()[0], 7);
    assert!(cell.take(&giver).unwrap().is_none());
    drop(taken);
    heap.validate_settled(0).unwrap();
    assert_eq!(heap.stats().blocks, 0);
}

#[test]
fn a_lease_is_given_back_acknowledged_or_kept() {
    let heap = heap(1 << 20);
    let local = heap.local().unwrap();
    let cell = heap.root("cell").unwrap();
    local.allocate(layout(8)).unwrap().publish(cell).unwrap();
    let lease = cell.lease(&local).unwrap().unwrap();
    assert!(cell.lease(&local).unwrap().is_none() && !cell.is_full());
    drop(lease);
    cell.lease(&local).unwrap().unwrap().acknowledge().unwrap();
    assert!(cell.is_empty());
    assert_eq!(heap.stats().blocks, 0);
    local.allocate(layout(8)).unwrap().publish(cell).unwrap();
    let kept = cell.lease(&local).unwrap().unwrap().take().unwrap();
    assert!(cell.is_empty());
    heap.validate_settled(0).unwrap();
    drop(kept);
    assert_eq!(heap.stats().blocks, 0);
}

#[test]
fn a_block_moves_through_many_cells_and_many_hands() {
    let heap = heap(1 << 20);
    let local = heap.local().unwrap();
    let cells: Vec<_> = (0..100).map(|n| heap.root(&format!("{n}")).unwrap()).collect();
    for round in 0..100u8 {
        for cell in &cells {
            let mut block = local.allocate(layout(40)).unwrap();
            block.bytes_mut()[0] = round;
            block.publish(*cell).unwrap();
        }
        let held: Vec<_> = cells.iter().map(|cell| cell.take(&local).unwrap().unwrap()).collect();
        assert!(held.iter().all(|block| block.bytes()[0] == round));
        heap.validate_settled(0).unwrap();
    }
    assert_eq!(heap.stats().blocks, 0);
}

/// Bytes of memory that the segment's file takes.
fn memory_of(segment: &Segment) -> i64 {
    rustix::fs::fstat(segment).unwrap().st_blocks * 512
}

#[test]
fn freed_memory_goes_back_to_the_system() {
    let segment = Segment::anonymous(16 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    let heap = Heap::create(&segment, &group, HeapOptions::default()).unwrap();
    let (local, other) = (heap.local().unwrap(), heap.local().unwrap());
    for freer in [&local, &other] {
        let mut large = local.allocate(layout(4 << 20)).unwrap();
        large.bytes_mut().fill(1);
        assert!(memory_of(&segment) > 4 << 20);
        free(freer, large.into_raw()).unwrap();
        assert!(memory_of(&segment) < 1 << 20, "{}", memory_of(&segment));
    }
    let mut blocks: Vec<_> = (0..200).map(|_| local.allocate(layout(20_000)).unwrap()).collect();
    blocks.iter_mut().for_each(|block| block.bytes_mut().fill(1));
    drop(blocks);
    assert!(memory_of(&segment) > 3 << 20);
    assert!(local.trim() > 3 << 20);
    assert!(memory_of(&segment) < 2 << 20, "{}", memory_of(&segment));
    heap.validate_settled(0).unwrap();
}

#[test]
fn a_heap_in_a_named_segment_keeps_its_memory() {
    let name = format!("heap-test-{}", std::process::id());
    let segment = Segment::create(&name, 4 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    let heap = Heap::create(&segment, &group, HeapOptions::default()).unwrap();
    let local = heap.local().unwrap();
    for _ in 0..3 {
        let mut large = local.allocate(layout(3 << 20)).unwrap();
        large.bytes_mut().fill(0xff);
        drop(large);
        heap.validate_settled(0).unwrap();
        let blocks: Vec<_> = (0..1000).map(|_| local.allocate(layout(1000)).unwrap()).collect();
        drop(blocks);
        assert_eq!(local.trim(), 0);
    }
    heap.validate_settled(0).unwrap();
}

#[test]
fn a_forked_child_can_neither_use_nor_release_what_it_inherits() {
    let heap = heap(1 << 20);
    let local = heap.local().unwrap();
    let cell = heap.root("cell").unwrap();
    local.allocate(layout(8)).unwrap().publish(cell).unwrap();
    let block = local.allocate(layout(8)).unwrap();
    // SAFETY: the child touches no lock that a thread of the parent could hold, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = matches!(local.allocate_raw(layout(8)), Err(Error::Inherited))
            && matches!(cell.take(&local), Err(Error::Inherited))
            && heap.recover() == 0;
        drop(block);
        drop(local);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: our own child, and a live variable for its status.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    assert_eq!((heap.stats().blocks, heap.stats().threads), (2, 1));
    heap.validate_settled(0).unwrap();
    drop(block);
}

#[test]
fn names_run_out_and_not_before() {
    let heap = heap(1 << 20);
    for round in 0..2 {
        for n in 0..128 {
            heap.root(&format!("{n}")).unwrap_or_else(|error| panic!("{round} {n}: {error}"));
        }
    }
    assert!(matches!(heap.root("another"), Err(Error::TooManyRoots { max: 128 })));
}

#[test]
fn places_for_threads_run_out_and_come_back() {
    let heap = heap(1 << 20);
    let locals: Vec<_> = (0..8).map(|_| heap.local().unwrap()).collect();
    assert!(matches!(heap.local(), Err(Error::TooManyThreads { max: 8 })));
    drop(locals);
    assert!(heap.local().is_ok());
}

#[test]
fn attach_refuses_what_is_not_that_heap() {
    let (segment, group) = (Segment::anonymous(2 << 20).unwrap(), Group::anonymous().unwrap());
    let refused = |result: Result<Heap, Error>| matches!(result, Err(Error::BadHeap { .. }));
    assert!(refused(Heap::attach(&segment, &group, 0)));
    let options = HeapOptions::default().offset(4096).size(1 << 20);
    let heap = Heap::create(&segment, &group, options.clone()).unwrap();
    assert!(refused(Heap::create(&segment, &group, options)));
    assert!(refused(Heap::attach(&segment, &group, 0)));
    assert!(refused(Heap::attach(&segment, &group, 4097)));
    assert!(Heap::attach(&segment, &group, 2 << 20).is_err());
    assert!(refused(Heap::attach(&segment, &Group::anonymous().unwrap(), 4096)));
    let again = Heap::attach(&segment, &group, 4096).unwrap();
    let local = again.local().unwrap();
    drop(local.allocate(layout(64)).unwrap());
    // Every single word of the header is checked: none of these may crash or attach.
    let header = segment.data().as_ptr().wrapping_add(4096).cast::<u64>();
    for word in 0..6 {
        for value in [0, 1, u64::MAX, 1 << 40] {
            let place = header.wrapping_add(word);
            // SAFETY: within the segment, and this is the only thread.
            let before = unsafe { place.replace(value) };
            if before != value {
                assert!(Heap::attach(&segment, &group, 4096).is_err(), "word {word} as {value}");
            }
            // SAFETY: as above.
            unsafe { place.write(before) };
        }
    }
    heap.validate().unwrap();
    let tiny = Segment::anonymous(4096).unwrap();
    assert!(Heap::create(&tiny, &group, HeapOptions::default()).is_err());
}

#[test]
fn the_place_where_a_block_is_about_to_be_noted_is_not_given_up() {
    let heap = heap(1 << 20);
    let local = heap.local().unwrap();
    // The line's own places are taken, and one span is free: it becomes one of places.
    let held: Vec<_> = (0..62).map(|_| local.allocate(layout(16)).unwrap()).collect();
    let all: Vec<u64> = std::iter::from_fn(|| local.allocate_raw(layout(40_000)).ok()).collect();
    let (last, rest) = all.split_last().unwrap();
    free(&local, *last).unwrap();
    for _ in 0..3 {
        let error = local.allocate(layout(20_000)).unwrap_err();
        assert!(matches!(error, Error::HeapFull { .. }), "{error}");
        heap.validate_settled(rest.len() as u64).unwrap();
    }
    drop(held);
}

#[test]
fn collections_live_in_the_heap_and_leave_nothing() {
    let heap = heap(8 << 20);
    let local = heap.local().unwrap();
    let mut vector = allocator_api2::vec::Vec::new_in(&local);
    let mut map = hashbrown::HashMap::new_in(&local);
    for number in 0..10_000u64 {
        vector.push(number);
        map.insert(number, number * number);
    }
    vector.retain(|number| number % 3 == 0);
    vector.shrink_to_fit();
    assert!(vector.iter().all(|number| map[number] == number * number));
    assert!(heap.offset_of(std::ptr::NonNull::from(&vector[7]).cast()).is_some());
    assert!(heap.stats().blocks > 0);
    heap.validate_settled(0).unwrap();
    drop((vector, map));
    assert_eq!(heap.stats().blocks, 0);
}

#[test]
fn what_a_collection_holds_can_be_handed_over() {
    let heap = heap(4 << 20);
    let (local, other) = (heap.local().unwrap(), heap.local().unwrap());
    let mut vector = allocator_api2::vec::Vec::with_capacity_in(100, &local);
    vector.extend(0..100u32);
    let (pointer, ..) = vector.into_raw_parts_with_alloc();
    // SAFETY: the vector's, which is no more.
    let block = unsafe { local.block_of(std::ptr::NonNull::new(pointer).unwrap().cast()) };
    block.unwrap().publish(heap.root("numbers").unwrap()).unwrap();
    let taken = heap.root("numbers").unwrap().take(&other).unwrap().unwrap();
    let number = |at: usize| u32::from_ne_bytes(taken.bytes()[at * 4..][..4].try_into().unwrap());
    assert!((0..100).all(|at| number(at) == at as u32));
}

#[test]
fn memory_by_address_is_freed_once_and_by_whom_it_belongs_to() {
    let heap = heap(4 << 20);
    let (local, other) = (heap.local().unwrap(), heap.local().unwrap());
    for size in [0, 1, 100, 5000, 100_000] {
        let layout = layout(size);
        let pointer = local.alloc(layout).unwrap();
        // SAFETY: what is refused is not freed, and the rest is freed once.
        let freed = |local: &Local, at: usize, layout| unsafe {
            local
                .dealloc(std::ptr::NonNull::new(pointer.as_ptr().wrapping_add(at)).unwrap(), layout)
        };
        assert!(matches!(freed(&other, 0, layout), Err(Error::NotAllocated { .. })));
        assert!(matches!(freed(&local, 8, layout), Err(Error::NotABlock { .. })));
        assert!(matches!(freed(&local, 1 << 30, layout), Err(Error::NotABlock { .. })));
        let larger = Layout::from_size_align(size + 100_000, 8).unwrap();
        assert!(matches!(freed(&local, 0, larger), Err(Error::NotABlock { .. })));
        freed(&local, 0, layout).unwrap();
        assert!(freed(&local, 0, layout).is_err());
    }
    assert_eq!(heap.stats().blocks, 0);
}

fn hardened() -> Heap {
    let segment = Segment::anonymous(4 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    let heap = Heap::create(&segment, &group, HeapOptions::default().hardened(true)).unwrap();
    drop(heap);
    Heap::attach(&segment, &group, 0).unwrap()
}

#[test]
fn a_hardened_heap_finds_stale_handles_also_when_the_block_is_anothers() {
    let heap = hardened();
    let local = heap.local().unwrap();
    for size in [16, 100, 5000, 200_000] {
        let first = local.allocate_raw(layout(size)).unwrap();
        let place = heap.pointer(first).unwrap();
        assert_eq!(
            heap.pointer(first + size as u64 - 1).unwrap().addr().get(),
            place.addr().get() + size - 1
        );
        free(&local, first).unwrap();
        // Until the block is somebody's again.
        let mut second = local.allocate_raw(layout(size)).unwrap();
        let mut others = Vec::new();
        while heap.pointer(second) != Some(place) {
            others.push(second);
            second = local.allocate_raw(layout(size)).unwrap();
        }
        assert_ne!(first, second);
        assert!(matches!(free(&local, first), Err(Error::StaleBlock { .. })));
        // SAFETY: refused.
        let adopted = unsafe { local.adopt_raw(first) };
        assert!(matches!(adopted, Err(Error::StaleBlock { .. })));
        assert_eq!((heap.pointer(first), heap.pointer(first + 8)), (None, None));
        assert!(heap.pointer(second).is_some());
        let plain = heap.offset_of(place).unwrap();
        assert!(matches!(free(&local, plain), Err(Error::NotABlock { .. })));
        for wrong in [0, second + 16, second + 1, second ^ 1 << 34, second | 1 << 60, u64::MAX] {
            assert!(free(&local, wrong).is_err(), "{wrong:#x}");
        }
        free(&local, second).unwrap();
        others.into_iter().for_each(|other| free(&local, other).unwrap());
        let block = local.allocate(layout(size)).unwrap();
        // SAFETY: just made nobody's.
        let block = unsafe { local.adopt_raw(block.into_raw()) }.unwrap();
        drop(block);
    }
    assert_eq!(heap.stats().blocks, 0);
    heap.validate_settled(0).unwrap();
}

#[test]
fn of_two_threads_that_free_a_block_of_a_hardened_heap_one_is_told() {
    let heap = hardened();
    let local = heap.local().unwrap();
    for _ in 0..200 {
        let handle = local.allocate_raw(layout(64)).unwrap();
        let freed = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                // SAFETY: nobody uses the block.
                unsafe { heap.free_raw(handle) }.is_ok()
            });
            let ours = free(&local, handle).is_ok();
            [ours, other.join().unwrap()]
        });
        assert!(freed[0] != freed[1], "{freed:?}");
    }
    assert_eq!(heap.stats().blocks, 0);
}

#[test]
fn a_hardened_heap_finds_a_corrupted_cell() {
    let heap = hardened();
    let local = heap.local().unwrap();
    let mut around = local.allocate(layout(64)).unwrap();
    around.bytes_mut().fill(0);
    // SAFETY: zeroed, and used as this cell only, but for the corruption.
    let cell = unsafe { heap.cell_at(around.offset()) }.unwrap();
    local.allocate(layout(64)).unwrap().publish(cell).unwrap();
    let (other, whole) = (local.allocate(layout(64)).unwrap(), around.bytes()[..8].to_vec());
    let word = u64::from_ne_bytes(whole[..].try_into().unwrap());
    for wrong in [word + 1, word ^ 4 << 22, word ^ (other.offset() / 16) << 22] {
        around.bytes_mut()[..8].copy_from_slice(&wrong.to_ne_bytes());
        assert!(matches!(cell.take(&local), Err(Error::NotABlock { .. })), "{wrong:#x}");
        assert!(cell.lease(&local).is_err());
    }
    around.bytes_mut()[..8].copy_from_slice(&whole);
    drop(cell.take(&local).unwrap().unwrap());
    heap.validate_settled(0).unwrap();
}
