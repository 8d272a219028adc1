//! Two processes at once in one heap, instruction by instruction, under many schedules; the first
//! may be killed at any point of each. `KILL_LONG=1` tries more schedules.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use crash_check::step::{Interleaving, Region, Scenario, is_permitted};

use super::ground::{self, HEAP, KitLocal, SIZE, attach, block, bytes, cell, dead, local};
use super::{HALF, RUN};

/// Where raw blocks are told to the other process.
const OFFSETS: usize = HEAP + 1024;
/// How many blocks of [`HALF`] the heap has.
const ALL: usize = 10;

fn tell(region: &Region, offsets: &[u64]) {
    for (place, &offset) in offsets.iter().enumerate() {
        // Release: pairs with the Acquire in `told`.
        region.u64_at(OFFSETS + place * 8).store(offset, Release);
    }
}

fn told(region: &Region, place: usize) -> u64 {
    // Acquire: pairs with the Release in `tell`.
    region.u64_at(OFFSETS + place * 8).load(Acquire)
}

/// Takes every block of [`HALF`], as nobody's, and tells where they are.
fn take_all(region: &Region, local: &KitLocal) {
    let all: Vec<u64> = std::iter::from_fn(|| local.allocate_raw(bytes(HALF)).ok()).collect();
    assert_eq!(all.len(), ALL);
    tell(region, &all);
}

fn free(region: &Region, local: KitLocal, place: usize) {
    // SAFETY: allocated as nobody's, and freed by this process alone.
    unsafe { local.free_raw(told(region, place)) }.unwrap();
}

/// What must be found when both have ended, or the first is dead: how many blocks wait in cells, and
/// how many are nobody's.
struct Found {
    published: [usize; 2],
    raw: [u64; 2],
}

fn run(scenario: impl Fn() -> Scenario, found: Found) {
    if is_permitted().is_err() {
        eprintln!("ptrace is not permitted here: not checked");
        return;
    }
    let ways = match std::env::var_os("KILL_LONG") {
        Some(_) => vec![
            Interleaving::bounded(2).runs(4000),
            Interleaving::random(11).runs(1000),
            Interleaving::pct(7, 3).runs(1000),
        ],
        None => vec![Interleaving::random(11).runs(4), Interleaving::pct(7, 3).runs(4)],
    };
    for how in ways {
        let report = whole(scenario(), &found).interleave(how.with_a_death()).unwrap();
        println!("{report}");
        assert!(report.failure().is_none(), "{}", report.failure().unwrap());
    }
}

fn whole(scenario: Scenario, &Found { published, raw }: &Found) -> Scenario {
    scenario
        .recovery_with(attach, |_, heap| {
            heap.recover();
        })
        .validate(move |r| {
            // Both have ended: what they leave in their names is cleared up as a death's.
            ground::all_gone(r);
            let heap = attach(r);
            heap.recover();
            (raw[0]..=raw[1])
                .map(|raw| heap.validate_settled(raw))
                .find(Result::is_ok)
                .unwrap_or_else(|| heap.validate_settled(raw[0]))
        })
        .continuation(move |r| ground::goes_on(r, published, raw))
        .region(SIZE)
        .max_instructions(3_000_000)
        .watchdog(Duration::from_secs(60))
}

fn init(make: impl Fn(&Region) + 'static) -> impl Fn(&Region) + 'static {
    move |r| {
        ground::create(r, false);
        make(r);
    }
}

#[test]
fn pair_an_owner_that_allocates_and_another_that_frees() {
    let scenario = || {
        Scenario::new("allocation beside a remote free")
            .init(init(|_| ()))
            .operation_with(
                |r| {
                    let local = local(r);
                    take_all(r, &local);
                    local
                },
                |_, local| drop(local.allocate(bytes(HALF))),
            )
            .against_with(local, |r, local| {
                if told(r, 3) != 0 {
                    free(r, local, 3);
                }
            })
    };
    run(scenario, Found { published: [0, 0], raw: [ALL as u64 - 1, ALL as u64] });
}

#[test]
fn pair_an_adopter_and_another_that_frees() {
    let scenario = || {
        Scenario::new("adoption beside a remote free")
            .init(init(|r| {
                let first = dead(r);
                take_all(r, &first);
                attach(r).recover();
            }))
            .operation_with(local, |_, local| drop(local.allocate(bytes(HALF))))
            .against_with(local, |r, local| {
                free(r, local, 3);
                free(r, local, 2);
            })
    };
    run(scenario, Found { published: [0, 0], raw: [ALL as u64 - 2; 2] });
}

#[test]
fn pair_a_publisher_and_a_taker() {
    for size in [64, RUN] {
        let scenario = || {
            Scenario::new("publishing beside a take")
                .state(format!("{size} bytes"))
                .init(init(|_| ()))
                .operation_with(
                    move |r| {
                        let local = local(r);
                        (local, Some(block(local, size)))
                    },
                    |_, (local, block)| {
                        block.take().unwrap().publish(cell(local, "cell")).unwrap();
                    },
                )
                .against_with(local, |_, local| {
                    drop(cell(local, "cell").take(local).unwrap());
                })
        };
        run(scenario, Found { published: [0, 1], raw: [0, 0] });
    }
}

#[test]
fn pair_two_that_take() {
    let waits = |r: &Region| {
        let first = dead(r);
        block(first, 64).publish(cell(first, "cell")).unwrap();
    };
    let scenario = || {
        Scenario::new("a take beside a lease")
            .init(init(waits))
            .operation_with(local, |_, local| drop(cell(local, "cell").take(local).unwrap()))
            .against_with(local, |_, local| {
                if let Some(lease) = cell(local, "cell").lease(local).unwrap() {
                    lease.acknowledge().unwrap();
                }
            })
    };
    run(scenario, Found { published: [0, 1], raw: [0, 0] });
}

/// A process that died in the middle of everything.
fn remains(r: &Region) {
    let (first, other) = (dead(r), dead(r));
    std::mem::forget((block(first, 64), block(first, HALF), block(first, RUN)));
    block(other, 64).publish(cell(other, "cell")).unwrap();
    std::mem::forget(cell(first, "cell").lease(first).unwrap().unwrap());
    tell(r, &[first.allocate_raw(bytes(64)).unwrap()]);
}

#[test]
fn pair_two_that_recover_and_the_first_is_killed() {
    let recover = |_: &Region, heap: &mut ground::KitHeap| {
        heap.recover();
    };
    let scenario = || {
        Scenario::new("recovery beside recovery")
            .init(init(remains))
            .operation_with(attach, recover)
            .against_with(attach, recover)
    };
    run(scenario, Found { published: [1, 1], raw: [1, 1] });
}

#[test]
fn pair_a_recoverer_and_another_that_frees_and_allocates() {
    let scenario = || {
        Scenario::new("recovery beside a free and an allocation")
            .init(init(remains))
            .operation_with(attach, |_, heap| {
                heap.recover();
            })
            .against_with(local, |r, local| {
                free(r, local, 0);
                // What the dead one held may not be free yet.
                drop(local.allocate(bytes(64)));
            })
    };
    run(scenario, Found { published: [1, 1], raw: [0, 0] });
}
