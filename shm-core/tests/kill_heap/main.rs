//! Every operation of a heap, killed at every instruction: what was published is there and whole,
//! what was not is free again, and no block, span or line is lost.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod ground;
mod pairs;

use ground::{KitBlock, KitLocal, attach, block, bytes, cell, dead, local, row};

/// Two of these fill a span, three of the others take two spans.
const HALF: usize = 32_000;
const RUN: usize = 100_000;

fn nothing(_: &crash_check::step::Region) {}

#[test]
fn kill_allocate_and_free() {
    let name = "shm_core::heap::Local::allocate";
    let allocate = |size| move |local: &mut KitLocal| drop(local.allocate(bytes(size)).unwrap());
    row(name, "no span yet").run(nothing, local, allocate(64));
    row(name, "warm").run(
        nothing,
        |r| {
            let local = local(r);
            drop(block(local, 64));
            local
        },
        allocate(64),
    );
    row(name, "large").run(nothing, local, allocate(RUN));
    row(name, "entries used up").run(
        nothing,
        |r| {
            let local = local(r);
            (0..62).for_each(|_| std::mem::forget(block(local, 16)));
            local
        },
        allocate(16),
    );
    row(name, "full, others have freed").run(
        nothing,
        |r| {
            let (local, other) = (local(r), local(r));
            let all: Vec<u64> =
                std::iter::from_fn(|| local.allocate_raw(bytes(HALF)).ok()).collect();
            // SAFETY: just allocated.
            all.into_iter().for_each(|one| unsafe { other.free_raw(one) }.unwrap());
            local
        },
        allocate(HALF),
    );
    row(name, "full of large ones that others have freed").run(
        nothing,
        |r| {
            let (local, other) = (local(r), local(r));
            let runs: Vec<u64> =
                std::iter::from_fn(|| local.allocate_raw(bytes(RUN)).ok()).collect();
            // SAFETY: just allocated.
            runs.into_iter().for_each(|run| unsafe { other.free_raw(run) }.unwrap());
            local
        },
        allocate(RUN),
    );
}

#[test]
fn kill_allocate_beside_the_dead() {
    let name = "shm_core::heap::Local::allocate";
    let allocate = |size| move |local: &mut KitLocal| drop(local.allocate(bytes(size)).unwrap());
    row(name, "an orphan of its size").published(1, 1, 1).run(
        |r| {
            let first = attach(r).local().unwrap();
            let mut kept = first.allocate(bytes(HALF)).unwrap();
            kept.bytes_mut()[..8].copy_from_slice(&ground::WHOLE.to_ne_bytes());
            kept.publish(first.heap().root("cell").unwrap()).unwrap();
            drop(first);
        },
        local,
        allocate(HALF),
    );
    row(name, "everything is a dead one's").published(1, 1, 1).run(
        |r| {
            let dead = dead(r);
            block(dead, HALF).publish(cell(dead, "cell")).unwrap();
            while let Ok(block) = dead.allocate(bytes(HALF)) {
                std::mem::forget(block);
            }
        },
        local,
        allocate(HALF),
    );
}

#[test]
fn kill_free() {
    let name = "shm_core::heap::Local::free_raw";
    for (state, size) in [("small", 64), ("large", RUN)] {
        row(name, state).raw(0, 1).run(
            nothing,
            move |r| {
                let local = local(r);
                (local, local.allocate_raw(bytes(size)).unwrap())
            },
            // SAFETY: just allocated.
            |(local, offset)| unsafe { local.free_raw(*offset) }.unwrap(),
        );
        row(name, if size == 64 { "another's, small" } else { "another's, large" }).raw(0, 1).run(
            nothing,
            move |r| {
                let (local, other) = (local(r), local(r));
                (local, other.allocate_raw(bytes(size)).unwrap())
            },
            // SAFETY: just allocated.
            |(local, offset)| unsafe { local.free_raw(*offset) }.unwrap(),
        );
    }
    let name = "shm_core::heap::Heap::free_raw";
    for (state, size) in [("small", 64), ("large", RUN)] {
        row(name, state).raw(0, 1).run(
            nothing,
            move |r| (attach(r), local(r).allocate_raw(bytes(size)).unwrap()),
            // SAFETY: just allocated.
            |(heap, offset)| unsafe { heap.free_raw(*offset) }.unwrap(),
        );
    }
    row("shm_core::heap::Block::drop", "another's").run(
        nothing,
        |r| {
            let (local, other) = (local(r), local(r));
            block(other, 64).publish(cell(other, "cell")).unwrap();
            Some(cell(local, "cell").take(local).unwrap().unwrap())
        },
        |block| drop(block.take()),
    );
    row("shm_core::heap::Block::into_raw", "small").raw(0, 1).run(
        nothing,
        |r| Some(block(local(r), 64)),
        |block| {
            let _ = block.take().unwrap().into_raw();
        },
    );
    row("shm_core::heap::Local::adopt_raw", "small").raw(0, 1).run(
        nothing,
        |r| {
            let local = local(r);
            (local, local.allocate_raw(bytes(64)).unwrap())
        },
        // SAFETY: just allocated.
        |(local, offset)| drop(unsafe { local.adopt_raw(*offset) }.unwrap()),
    );
}

#[test]
fn kill_what_is_nobodys() {
    let name = "shm_core::heap::Local::allocate_raw";
    for (state, size) in [("small", 64), ("large", RUN)] {
        row(name, state).raw(0, 1).run(nothing, local, move |local| {
            local.allocate_raw(bytes(size)).unwrap();
        });
    }
    // By handles: the exchange on the home word comes before.
    let name = "shm_core::heap::Local::free_raw";
    row(name, "small, hardened").hardened().raw(0, 1).run(
        nothing,
        |r| {
            let local = local(r);
            (local, local.allocate_raw(bytes(64)).unwrap())
        },
        // SAFETY: just allocated.
        |(local, handle)| unsafe { local.free_raw(*handle) }.unwrap(),
    );
    row("shm_core::heap::Local::adopt_raw", "small, hardened").hardened().raw(0, 1).run(
        nothing,
        |r| {
            let local = local(r);
            (local, local.allocate_raw(bytes(64)).unwrap())
        },
        // SAFETY: just allocated.
        |(local, handle)| drop(unsafe { local.adopt_raw(*handle) }.unwrap()),
    );
}

#[test]
fn kill_by_address() {
    row("shm_core::heap::Local::alloc", "warm").run(nothing, local, |local| {
        local.alloc(bytes(64)).unwrap();
    });
    row("shm_core::heap::Local::dealloc", "small").run(
        nothing,
        |r| {
            let local = local(r);
            (local, local.alloc(bytes(64)).unwrap())
        },
        // SAFETY: just allocated.
        |(local, pointer)| unsafe { local.dealloc(*pointer, bytes(64)) }.unwrap(),
    );
    row("shm_core::heap::Local::block_of", "and published").published(0, 1, 1).run(
        nothing,
        |r| {
            let local = local(r);
            let block = block(local, 64);
            let pointer = block.as_ptr();
            std::mem::forget(block);
            (local, pointer)
        },
        |(local, pointer)| {
            // SAFETY: held, and by nobody else.
            let block = unsafe { local.block_of(*pointer) }.unwrap();
            block.publish(cell(local, "cell")).unwrap();
        },
    );
}

#[test]
fn kill_publish() {
    let name = "shm_core::heap::Block::publish";
    let publish = |(local, block): &mut (KitLocal, Option<KitBlock>)| {
        drop(block.take().unwrap().publish(cell(local, "cell")));
    };
    let holding = |size| {
        move |r: &crash_check::step::Region| {
            let local = local(r);
            (local, Some(block(local, size)))
        }
    };
    row(name, "small").published(0, 1, 1).run(nothing, holding(64), publish);
    row(name, "large").published(0, 1, 1).run(nothing, holding(RUN), publish);
    row(name, "the cell is full").published(1, 1, 1).run(
        |r| {
            let dead = dead(r);
            block(dead, 64).publish(cell(dead, "cell")).unwrap();
        },
        holding(64),
        publish,
    );
    row(name, "another's block").published(0, 1, 1).run(
        nothing,
        |r| {
            let (local, other) = (local(r), local(r));
            block(other, 64).publish(cell(other, "other")).unwrap();
            (local, cell(local, "other").take(local).unwrap())
        },
        publish,
    );
}

/// A block of a process that lives on waits in the cell; a bystander's, so that its line stays.
fn waiting(size: usize) -> impl Fn(&crash_check::step::Region) -> KitLocal {
    move |r| {
        let (local, other) = (local(r), local(r));
        block(other, size).publish(cell(other, "cell")).unwrap();
        local
    }
}

#[test]
fn kill_take() {
    let name = "shm_core::heap::Cell::take";
    for (state, size) in [("small", 64), ("large", RUN)] {
        row(name, state).published(0, 1, 0).run(nothing, waiting(size), |local| {
            drop(cell(local, "cell").take(local).unwrap().unwrap());
        });
    }
    row(name, "and published elsewhere").published(0, 1, 1).run(nothing, waiting(64), |local| {
        let block = cell(local, "cell").take(local).unwrap().unwrap();
        block.publish(cell(local, "other")).unwrap();
    });
}

#[test]
fn kill_lease() {
    row("shm_core::heap::Lease::acknowledge", "small").published(0, 1, 0).run(
        nothing,
        waiting(64),
        |local| cell(local, "cell").lease(local).unwrap().unwrap().acknowledge().unwrap(),
    );
    row("shm_core::heap::Lease::acknowledge", "large").published(0, 1, 0).run(
        nothing,
        waiting(RUN),
        |local| cell(local, "cell").lease(local).unwrap().unwrap().acknowledge().unwrap(),
    );
    row("shm_core::heap::Lease::drop", "small").published(1, 1, 1).run(
        nothing,
        waiting(64),
        |local| drop(cell(local, "cell").lease(local).unwrap().unwrap()),
    );
    row("shm_core::heap::Lease::take", "small").published(0, 1, 0).run(
        nothing,
        waiting(64),
        |local| drop(cell(local, "cell").lease(local).unwrap().unwrap().take().unwrap()),
    );
}

#[test]
fn kill_a_lease_in_hand() {
    row("shm_core::heap::Cell::lease", "small").published(1, 1, 1).run(
        nothing,
        waiting(64),
        |local| std::mem::forget(cell(local, "cell").lease(local).unwrap()),
    );
}

#[test]
fn kill_lines() {
    row("shm_core::heap::Local::drop", "spans in use and empty ones").published(1, 1, 1).run(
        nothing,
        |r| {
            let mine = attach(r).local().unwrap();
            drop((mine.allocate(bytes(64)).unwrap(), mine.allocate(bytes(HALF)).unwrap()));
            let mut kept = mine.allocate(bytes(300)).unwrap();
            kept.bytes_mut()[..8].copy_from_slice(&ground::WHOLE.to_ne_bytes());
            kept.publish(mine.heap().root("cell").unwrap()).unwrap();
            Some(mine)
        },
        |mine| drop(mine.take()),
    );
    row("shm_core::heap::Heap::local", "free lines").run(nothing, attach, |heap| {
        drop(heap.local().unwrap());
    });
    row("shm_core::heap::Heap::local", "all lines are dead ones'").run(
        |r| (0..4).for_each(|_| std::mem::forget(block(dead(r), 64))),
        attach,
        |heap| drop(heap.local().unwrap()),
    );
    row("shm_core::heap::Local::trim", "two spans").run(
        nothing,
        |r| {
            let local = local(r);
            drop((block(local, 64), block(local, HALF)));
            local
        },
        |local| {
            local.trim();
        },
    );
}

/// A process died in the middle of everything; whoever clears up after it is killed.
#[test]
fn kill_recover() {
    row("shm_core::heap::Heap::recover", "one dead, holding, leasing, publishing")
        .published(1, 1, 1)
        .run(
            |r| {
                let (dead, other) = (dead(r), dead(r));
                // Several of one word, which go in one step, and others.
                std::mem::forget([block(dead, 64), block(dead, 64), block(dead, 64)]);
                std::mem::forget((block(dead, HALF), block(dead, RUN)));
                block(other, 64).publish(cell(other, "cell")).unwrap();
                std::mem::forget(cell(dead, "cell").lease(dead).unwrap().unwrap());
            },
            attach,
            |heap| {
                heap.recover();
            },
        );
}
