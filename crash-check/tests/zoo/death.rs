//! Specimens for the `death` tool: orderings, wakes and recoveries that go wrong when a thread dies
//! between two of its operations, or when a read is stale.

use std::rc::Rc;

use crash_check::death::robust::{OWNER_DIED, WAITERS, robust_list_add, thread_id};
use crash_check::death::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crash_check::death::sync::{AtomicU32, UnsafeCell, heavy_barrier, light_barrier};
use crash_check::death::{Error, Life, Model, Report, World, futex};

use crate::{Specimen, judge};

/// Whether the bug is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twin {
    Broken,
    Fixed,
}
use Twin::{Broken, Fixed};

fn verdict(result: Result<Report, Error>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

fn write(cell: &UnsafeCell<u32>, value: u32) {
    // SAFETY: the model checks that accesses do not overlap.
    cell.with_mut(|cell| unsafe { cell.write(value) });
}

fn read(cell: &UnsafeCell<u32>) -> u32 {
    // SAFETY: as in `write`.
    cell.with(|cell| unsafe { cell.read() })
}

// Publish and wake.

fn publish(twin: Twin) -> Result<(), String> {
    verdict(Model::new().check(move |world| {
        let shared = Rc::new((UnsafeCell::new(0), AtomicU32::new(0)));
        let theirs = Rc::clone(&shared);
        world.victim("producer", move || {
            write(&theirs.0, 7);
            theirs.1.store(1, if twin == Broken { Relaxed } else { Release });
        });
        if shared.1.load(Acquire) == 1 {
            assert_eq!(read(&shared.0), 7);
        }
    }))
}

#[test]
fn missing_release() {
    judge(
        "death",
        &Specimen {
            name: "missing release",
            bug: "the index is stored Relaxed, so the payload may come after it",
            broken: || publish(Broken),
            fixed: || publish(Fixed),
        },
    );
}

/// A count of items, one sleeper with a bell, a flag that says that it sleeps.
struct Park {
    items: AtomicU32,
    bell: AtomicU32,
    asleep: AtomicU32,
}

/// Both rules of parking, each of which can be broken.
#[derive(Clone, Copy)]
struct Rules {
    bell_first: bool,
    heavy_barrier: bool,
}

impl Park {
    fn new() -> Rc<Self> {
        let word = || AtomicU32::new(0);
        Rc::new(Self { items: word(), bell: word(), asleep: word() })
    }

    fn send(&self) {
        self.items.fetch_add(1, Release);
        light_barrier();
        if self.asleep.load(Relaxed) == 1 && self.asleep.swap(0, Relaxed) == 1 {
            self.bell.fetch_add(1, Release);
            futex::wake(&self.bell, 1);
        }
    }

    fn take(&self) -> bool {
        let less = |items: u32| items.checked_sub(1);
        self.items.fetch_update(Acquire, Acquire, less).is_ok()
    }

    fn receive(&self, rules: Rules) {
        while !self.take() {
            let early = self.bell.load(Acquire);
            self.asleep.store(1, Relaxed);
            let bell = if rules.bell_first { early } else { self.bell.load(Acquire) };
            if rules.heavy_barrier {
                heavy_barrier();
            }
            if self.items.load(Acquire) == 0 {
                futex::wait(&self.bell, bell);
            }
            self.asleep.store(0, Relaxed);
        }
    }
}

/// Two items; one of them may be taken by somebody who never parks.
fn bell(rules: Rules) -> Result<(), String> {
    verdict(Model::new().victims(0).preemption_bound(Some(2)).check(move |world| {
        let park = Park::new();
        let (theirs, others) = (Rc::clone(&park), Rc::clone(&park));
        world.spawn("producer", move || {
            theirs.send();
            theirs.send();
        });
        world.spawn("passer-by", move || others.take());
        park.receive(rules);
    }))
}

fn barrier(rules: Rules) -> Result<(), String> {
    verdict(Model::new().victims(0).check(move |world| {
        let park = Park::new();
        let theirs = Rc::clone(&park);
        world.spawn("producer", move || theirs.send());
        park.receive(rules);
    }))
}

const BOTH_RULES: Rules = Rules { bell_first: true, heavy_barrier: true };

#[test]
fn lost_wakeup_by_a_bell_read_late() {
    judge(
        "death",
        &Specimen {
            name: "lost wake-up (bell read after registering)",
            bug: "a ring in between is taken for the old value: asleep, and no longer registered",
            broken: || bell(Rules { bell_first: false, ..BOTH_RULES }),
            fixed: || bell(BOTH_RULES),
        },
    );
}

#[test]
fn lost_wakeup_without_a_barrier() {
    judge(
        "death",
        &Specimen {
            name: "lost wake-up (no heavy barrier)",
            bug: "the sleeper's flag and the producer's item pass each other in their store buffers",
            broken: || barrier(Rules { heavy_barrier: false, ..BOTH_RULES }),
            fixed: || barrier(BOTH_RULES),
        },
    );
}

/// Two consumers of one item; the fixed one sleeps on the other's life word as well.
fn consume(item: &AtomicU32, peer: &Life, twin: Twin) {
    while item.compare_exchange(1, 2, Acquire, Acquire) == Err(0) {
        let life = peer.word().load(Acquire);
        match twin {
            Broken => futex::wait(item, 0),
            Fixed if life & OWNER_DIED != 0 => futex::wait(item, 0),
            Fixed => futex::waitv(&[(item, 0), (peer.word(), life)]),
        };
    }
    // It is over for the other one, too.
    futex::wake(item, 2);
}

fn swallowed(twin: Twin) -> Result<(), String> {
    verdict(Model::new().preemption_bound(Some(2)).check(move |world| {
        let item = Rc::new(AtomicU32::new(0));
        let (first_life, second_life) = (world.life("first"), world.life("second"));
        let (one, two) = (Rc::clone(&item), Rc::clone(&item));
        world.victim("first", move || consume(&one, &second_life, twin));
        world.spawn("second", move || consume(&two, &first_life, twin));
        item.store(1, Release);
        futex::wake(&item, 1);
    }))
}

#[test]
fn wake_swallowed_by_a_killed_waiter() {
    judge(
        "death",
        &Specimen {
            name: "wake swallowed by a killed waiter",
            bug: "the only wake goes to a waiter that is killed before it takes the item",
            broken: || swallowed(Broken),
            fixed: || swallowed(Fixed),
        },
    );
}

// Recovery.

/// A dead holder's permits come back, once.
fn permits(twin: Twin) -> Result<(), String> {
    verdict(Model::new().preemption_bound(Some(2)).check(move |world| {
        let permits = Rc::new(AtomicU32::new(1));
        let claim = Rc::new(AtomicU32::new(0));
        let life = world.life("holder");
        let theirs = Rc::clone(&permits);
        let holder = world.victim("holder", move || {
            theirs.fetch_sub(1, AcqRel);
            theirs.fetch_add(1, AcqRel);
        });
        let recover = {
            let (permits, claim) = (Rc::clone(&permits), Rc::clone(&claim));
            move || {
                if life.is_dead() && is_first(&claim, twin) && permits.load(Acquire) == 0 {
                    permits.fetch_add(1, AcqRel);
                }
            }
        };
        let other = world.spawn("other", recover.clone());
        recover();
        let _ = (holder.join(), other.join());
        assert!(permits.load(Acquire) <= 1, "a permit out of nothing");
    }))
}

fn is_first(claim: &AtomicU32, twin: Twin) -> bool {
    match twin {
        Broken => {
            let free = claim.load(Acquire) == 0;
            claim.store(1, Release);
            free
        }
        Fixed => claim.compare_exchange(0, 1, AcqRel, Relaxed).is_ok(),
    }
}

#[test]
fn double_recovery() {
    judge(
        "death",
        &Specimen {
            name: "double recovery",
            bug: "two survivors both hold the claim of a recovery and give one permit back twice",
            broken: || permits(Broken),
            fixed: || permits(Fixed),
        },
    );
}

/// A participant's life word, and one slot that its index may be written in.
struct Seat {
    life: AtomicU32,
    slot: AtomicU32,
}

const SEAT_FREE: u32 = WAITERS;
const CLAIMED: u32 = 1;

impl Seat {
    fn attach(&self, seen: u32) -> bool {
        robust_list_add(&self.life);
        self.life.compare_exchange(seen, WAITERS | thread_id(), AcqRel, Relaxed).is_ok()
    }

    /// Gives back what a dead owner of the index held, then frees the index.
    fn recover(&self) {
        let stamped = WAITERS | OWNER_DIED;
        if self.life.load(Acquire) == stamped {
            let _ = self.slot.compare_exchange(CLAIMED, 0, AcqRel, Relaxed);
            let _ = self.life.compare_exchange(stamped, SEAT_FREE, AcqRel, Relaxed);
        }
    }
}

fn reuse(twin: Twin) -> Result<(), String> {
    verdict(Model::new().preemption_bound(Some(2)).check(move |world| {
        let seat = Rc::new(Seat { life: AtomicU32::new(SEAT_FREE), slot: AtomicU32::new(0) });
        let (olds, news) = (Rc::clone(&seat), Rc::clone(&seat));
        let old = world.victim("old", move || {
            if olds.attach(SEAT_FREE) {
                olds.slot.store(CLAIMED, Release);
            }
        });
        let newcomer = world.spawn("newcomer", move || {
            // The fixed one takes a free index only; the other takes a dead one's as well.
            if twin == Broken && news.attach(WAITERS | OWNER_DIED) {
                return;
            }
            news.attach(SEAT_FREE);
        });
        seat.recover();
        let old_died = old.join().is_err();
        let _ = newcomer.join();
        seat.recover();
        let claimed = seat.slot.load(Acquire) == CLAIMED;
        assert!(!(old_died && claimed), "a slot is held in the name of a newcomer");
    }))
}

#[test]
fn participant_index_reused() {
    judge(
        "death",
        &Specimen {
            name: "participant index reused",
            bug: "a newcomer takes a dead one's index before the sweep, so its slots look alive",
            broken: || reuse(Broken),
            fixed: || reuse(Fixed),
        },
    );
}

/// A buffer lent to a process: its keeper thread dies, its worker is still writing.
fn suspicion(twin: Twin) -> Result<(), String> {
    verdict(Model::new().check(move |world: &World| {
        let buffer = Rc::new(UnsafeCell::new(0));
        let (hint, proof) = (world.life("keeper"), world.proof("peer"));
        let process = world.process("peer");
        process.victim("keeper", || ());
        let theirs = Rc::clone(&buffer);
        process.spawn("worker", move || write(&theirs, 1));
        // Revoked only from the dead.
        let dead = if twin == Broken { hint.is_dead() } else { proof.is_gone() };
        if dead {
            write(&buffer, 2);
        }
    }))
}

#[test]
fn false_suspicion() {
    judge(
        "death",
        &Specimen {
            name: "false suspicion",
            bug: "a thread's stamp is taken for its process's death while another thread still writes",
            broken: || suspicion(Broken),
            fixed: || suspicion(Fixed),
        },
    );
}

/// A heap span: the owner's bitmap of blocks in use, and the one in which others free.
struct Span {
    in_use: AtomicU32,
    freed: AtomicU32,
}

impl Span {
    fn drain(&self, twin: Twin) {
        let freed = match twin {
            Broken => self.freed.swap(0, AcqRel),
            Fixed => self.freed.load(Acquire),
        };
        // Relaxed: only the owner, and after its death its adopter, get here.
        let in_use = self.in_use.load(Relaxed);
        self.in_use.store(in_use & !freed, Relaxed);
        if twin == Fixed {
            self.freed.fetch_and(!freed, AcqRel);
        }
    }
}

fn drain(twin: Twin) -> Result<(), String> {
    verdict(Model::new().check(move |world| {
        let span = Rc::new(Span { in_use: AtomicU32::new(1), freed: AtomicU32::new(0) });
        let theirs = Rc::clone(&span);
        let owner = world.victim("owner", move || theirs.drain(twin));
        span.freed.fetch_or(1, AcqRel);
        let _ = owner.join();
        // Adopted, or asked to drain once more: the block is free.
        span.drain(twin);
        assert_eq!(span.in_use.load(Relaxed), 0, "a freed block is lost for ever");
    }))
}

#[test]
fn drain_by_swap() {
    judge(
        "death",
        &Specimen {
            name: "drain by swap",
            bug: "the owner empties the bitmap of freed blocks and dies before it notes them as free",
            broken: || drain(Broken),
            fixed: || drain(Fixed),
        },
    );
}

/// Recovery reads what the dead wrote without having learned of its death.
fn unlearned(twin: Twin) -> Result<(), String> {
    verdict(Model::new().check(move |world| {
        let record = Rc::new(UnsafeCell::new(0));
        let life = world.life("writer");
        let theirs = Rc::clone(&record);
        world.victim("writer", move || write(&theirs, 1));
        let word = life.word().load(if twin == Broken { Relaxed } else { Acquire });
        if word & OWNER_DIED != 0 {
            let _ = read(&record);
        }
    }))
}

#[test]
fn death_learned_without_an_edge() {
    judge(
        "death",
        &Specimen {
            name: "death learned without an edge",
            bug: "the stamp is loaded Relaxed, so the dead one's last stores may not be seen",
            broken: || unlearned(Broken),
            fixed: || unlearned(Fixed),
        },
    );
}
