//! Shared references. A bystander lives on in all rows: it holds one value, and has sent two
//! references to it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crash_check::step::{Region, Scenario};
use shm_core::Owner;
use shm_core::data::{Arc, Arcs, Flight};

use crate::ground::{Kit, KitHeap, SIZE, WHOLE, attach, create, dead, has_returned, returned, run};

type KitArcs = Arcs<Kit>;
type KitArc = Arc<AtomicU64, Kit>;

/// Where the bystander's flights stand, behind the words of the ground.
const FLIGHTS: usize = SIZE - 2048;

/// Attachments count the stays: the one that makes the heap is the first, the bystander the second.
fn bystander() -> Owner {
    Owner::from_bits(2 << 6 | 2).unwrap()
}

fn put(region: &Region, index: usize, flight: Flight) {
    // SAFETY: a flight is 16 plain bytes.
    let words: [u32; 4] = unsafe { std::mem::transmute(flight) };
    for (at, word) in words.into_iter().enumerate() {
        region.u32_at(FLIGHTS + index * 16 + at * 4).store(word, Relaxed);
    }
}

fn flight(region: &Region, index: usize) -> Flight {
    let word = |at: usize| region.u32_at(FLIGHTS + index * 16 + at * 4).load(Relaxed);
    // SAFETY: as in `put`.
    unsafe { std::mem::transmute([word(0), word(1), word(2), word(3)]) }
}

fn init(region: &Region) {
    create(region, false);
    let arcs = KitArcs::open_for(&attach(region)).unwrap();
    let value = Arc::new(&arcs, AtomicU64::new(WHOLE)).unwrap();
    put(region, 0, value.send(None).unwrap());
    put(region, 1, value.send(None).unwrap());
    std::mem::forget((arcs, value));
}

fn open(region: &Region) -> KitArcs {
    KitArcs::open_for(&attach(region)).unwrap()
}

/// What must be found: how many values besides the bystander's, and how many references on their way
/// of the three; at least and at most, and once the operation has returned.
#[derive(Clone, Copy)]
struct Found {
    values: [u64; 3],
    flights: [u64; 3],
}

const NOTHING: Found = Found { values: [0; 3], flights: [2; 3] };

fn row<S: 'static>(
    name: &'static str,
    state: &'static str,
    found: Found,
    prepare: impl Fn(&Region) -> S + 'static,
    act: impl Fn(&Region, &mut S) + 'static,
) {
    from(name, state, found, init, prepare, act);
}

fn from<S: 'static>(
    name: &'static str,
    state: &'static str,
    found: Found,
    init: impl Fn(&Region) + 'static,
    prepare: impl Fn(&Region) -> S + 'static,
    act: impl Fn(&Region, &mut S) + 'static,
) {
    let scenario = Scenario::new(name)
        .state(state)
        .init(init)
        .operation_with(prepare, move |r, state| {
            act(r, state);
            returned(r);
        })
        .recovery_with(open, |_, arcs| {
            arcs.recover();
        })
        .validate(|r| attach(r).validate_settled(0))
        .continuation(move |r| goes_on(r, found));
    run(scenario);
}

fn goes_on(region: &Region, found: Found) -> Result<(), Box<dyn std::error::Error>> {
    let heap: KitHeap = attach(region);
    let arcs = KitArcs::open_for(&heap)?;
    if !arcs.recover() {
        return Err("something is left to recover".into());
    }
    let stats = arcs.stats();
    let fits = |count: u64, [least, most, after]: [u64; 3]| {
        if has_returned(region) { count == after } else { (least..=most).contains(&count) }
    };
    if !fits(stats.values - 1, found.values) || !fits(stats.on_their_way, found.flights) {
        return Err(format!("{stats:?}").into());
    }
    if heap.stats().blocks != 1 + stats.values {
        return Err(format!("{:?}, {stats:?}", heap.stats()).into());
    }
    // The bystander's value is whole and shared by whoever receives it.
    let second = KitArc::receive(&arcs, flight(region, 1))?;
    if second.load(Relaxed) != WHOLE {
        return Err("the value is not whole".into());
    }
    drop(second);
    // Everything that is there can be used up and given back.
    let all: Vec<KitArc> =
        std::iter::from_fn(|| Arc::new(&arcs, AtomicU64::new(1)).ok()).take(200).collect();
    if all.len() as u64 != 128 - stats.values && all.len() != 200 {
        return Err(format!("{} more values", all.len()).into());
    }
    drop(all);
    if arcs.stats().values != stats.values {
        return Err("a value is lost".into());
    }
    Ok(())
}

#[test]
fn kill_open() {
    let name = "shm_core::data::Arcs::open_for";
    let open = |_: &Region, heap: &mut KitHeap| drop(KitArcs::open_for(heap).unwrap());
    row(name, "a table is there", NOTHING, attach, open);
}

#[test]
fn kill_new() {
    let one = Found { values: [0, 1, 0], ..NOTHING };
    row("shm_core::data::Arc::new", "first slots taken", one, open, |_, arcs| {
        std::mem::forget(Arc::new(arcs, AtomicU64::new(2)).unwrap());
    });
    row("shm_core::data::Arc::from_values", "and dropped", one, open, |_, arcs| {
        drop(Arc::<[AtomicU64], Kit>::from_values(arcs, (0..3).map(AtomicU64::new)).unwrap());
    });
}

#[test]
fn kill_drop() {
    let name = "shm_core::data::Arc::drop";
    let own = |r: &Region| {
        let arcs = open(r);
        let value = Arc::new(&arcs, AtomicU64::new(2)).unwrap();
        (arcs, Some(value))
    };
    let one = Found { values: [0, 1, 0], ..NOTHING };
    row(name, "the last", one, own, |_, (_, value)| drop(value.take()));
    row(
        name,
        "one of two holders",
        Found { flights: [1; 3], ..NOTHING },
        |r| {
            let arcs = open(r);
            let value = KitArc::receive(&arcs, flight(r, 0)).unwrap();
            (arcs, Some(value))
        },
        |_, (_, value)| drop(value.take()),
    );
    row(
        name,
        "the last, but for one on its way to another",
        Found { values: [1; 3], flights: [3; 3] },
        move |r| {
            let (arcs, value) = own(r);
            let _ = value.as_ref().unwrap().send(Some(bystander())).unwrap();
            (arcs, value)
        },
        |_, (_, value)| drop(value.take()),
    );
}

#[test]
fn kill_send() {
    let name = "shm_core::data::Arc::send";
    let own = |r: &Region| {
        let arcs = open(r);
        let value = Arc::new(&arcs, AtomicU64::new(2)).unwrap();
        (arcs, value)
    };
    row(name, "to anybody", NOTHING, own, |_, (_, value)| {
        value.send(None).unwrap();
    });
    let sent = Found { values: [0, 1, 1], flights: [2, 3, 3] };
    row(name, "to another", sent, own, |_, (_, value)| {
        value.send(Some(bystander())).unwrap();
    });
    row(
        "shm_core::data::Arcs::recall",
        "sent to another",
        sent_back(),
        move |r| {
            let (arcs, value) = own(r);
            let flight = value.send(Some(bystander())).unwrap();
            drop(value);
            (arcs, flight)
        },
        |_, (arcs, flight)| assert!(arcs.recall(*flight).unwrap()),
    );
}

const fn sent_back() -> Found {
    Found { values: [0, 1, 0], flights: [2, 3, 2] }
}

#[test]
fn kill_receive() {
    let name = "shm_core::data::Arc::receive";
    let received = Found { flights: [1, 2, 1], ..NOTHING };
    row(name, "another's", received, open, |r, arcs| {
        std::mem::forget(KitArc::receive(arcs, flight(r, 0)).unwrap());
    });
    row(
        name,
        "one's own, the last",
        Found { values: [0, 1, 0], ..NOTHING },
        |r| {
            let arcs = open(r);
            let value = Arc::new(&arcs, AtomicU64::new(2)).unwrap();
            let sent = value.send(None).unwrap();
            drop(value);
            (arcs, sent)
        },
        |_, (arcs, sent)| {
            drop(KitArc::receive(arcs, *sent).unwrap());
        },
    );
}

/// Somebody died in possession of everything; whoever clears up after it is killed.
#[test]
fn kill_recover() {
    let name = "shm_core::data::Arcs::recover";
    let left = |r: &Region| {
        init(r);
        let arcs = KitArcs::open_for(dead(r).heap()).unwrap();
        let value = Arc::new(&arcs, AtomicU64::new(2)).unwrap();
        let (first, second) = (value.send(None).unwrap(), value.send(Some(bystander())).unwrap());
        let shared = KitArc::receive(&arcs, flight(r, 0)).unwrap();
        std::mem::forget((first, second, shared, value, arcs));
    };
    let found = Found { values: [1; 3], flights: [2; 3] };
    from(name, "one dead, holding and sending", found, left, open, |_, arcs| {
        arcs.recover();
    });
}
