//! Shared references.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use shm_core::data::{Arc, Arcs, AtomicRecords, ColumnOf, Flight, ReadOnly, Slice, View, sent_to};
use shm_core::heap::{Heap, HeapOptions};
use shm_core::{Error, Group, Peers, Segment};

use super::heap;
use super::reexec::{Actor, listen, tell};

/// Blocks of the heap that are values, and not the first table.
fn values(heap: &Heap) -> u64 {
    heap.stats().blocks - 1
}

#[test]
fn a_value_lives_as_long_as_its_last_reference() {
    let heap = heap();
    let (here, there) = (Arcs::open_for(&heap).unwrap(), Arcs::open_for(&heap).unwrap());
    let first = Arc::new(&here, AtomicU64::new(7)).unwrap();
    let second = first.clone();
    assert_eq!(first.holders(), (1, 0));
    let flight = first.send(None).unwrap();
    assert_eq!(first.holders(), (1, 1));
    drop(first);
    drop(second);
    assert_eq!((values(&heap), here.stats().values), (1, 1), "it is on its way");
    let third = Arc::<AtomicU64>::receive(&there, flight).unwrap();
    assert_eq!((third.holders(), third.load(Ordering::Relaxed)), ((1, 0), 7));
    drop(third);
    assert_eq!((values(&heap), here.stats().values), (0, 0));
    heap.validate_settled(0).unwrap();
}

#[test]
fn a_reference_is_received_once_by_whom_it_was_sent_to_as_what_it_is() {
    let heap = heap();
    let (here, there) = (Arcs::open_for(&heap).unwrap(), Arcs::open_for(&heap).unwrap());
    let numbers = Arc::<[_]>::from_values(&here, (0..100u32).map(ReadOnly::new)).unwrap();
    let flight = numbers.send(None).unwrap();
    let wrong = Arc::<[AtomicU64]>::receive(&there, flight).unwrap_err();
    assert!(matches!(wrong, Error::WrongType { .. }), "{wrong}");
    let wrong = Arc::<ReadOnly<u32>>::receive(&there, flight).unwrap_err();
    assert!(matches!(wrong, Error::WrongType { .. }), "{wrong}");
    let theirs = Arc::<[ReadOnly<u32>]>::receive(&there, flight).unwrap();
    assert_eq!(ReadOnly::as_slice(&theirs)[99], 99);
    let again = Arc::<[ReadOnly<u32>]>::receive(&there, flight).unwrap_err();
    assert!(matches!(again, Error::NotOnItsWay), "{again}");
    // A second holder in the same process, made and dropped.
    let flight = numbers.send(None).unwrap();
    drop(Arc::<[ReadOnly<u32>]>::receive(&there, flight).unwrap());
    assert_eq!(theirs.holders(), (2, 0));
    // A stranger cannot receive what is addressed to another.
    let stranger = shm_core::Owner::from_bits(2 << 6 | 7).unwrap();
    let flight = numbers.send(Some(stranger)).unwrap();
    let refused = Arc::<[ReadOnly<u32>]>::receive(&there, flight).unwrap_err();
    assert!(matches!(refused, Error::NotOnItsWay), "{refused}");
    assert!(here.recall(flight).unwrap());
    assert!(!here.recall(flight).unwrap());
    assert_eq!(theirs.holders(), (2, 0));
    drop((numbers, theirs));
    assert_eq!(values(&heap), 0);
}

#[test]
fn at_most_sixteen_references_to_a_value_are_on_their_way() {
    let heap = heap();
    let arcs = Arcs::open_for(&heap).unwrap();
    let value = Arc::new(&arcs, AtomicU64::new(0)).unwrap();
    let flights: Vec<Flight> = (0..16).map(|_| value.send(None).unwrap()).collect();
    assert!(matches!(value.send(None), Err(Error::TooManyFlights { max: 16 })));
    for flight in flights {
        drop(Arc::<AtomicU64>::receive(&arcs, flight).unwrap());
    }
    assert_eq!(value.holders(), (1, 0));
}

#[test]
fn a_value_on_its_way_is_a_serde_value() {
    let segment = Segment::anonymous(4 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    let heap = Heap::create(&segment, &group, HeapOptions::default()).unwrap();
    let arcs = Arcs::open(&heap).unwrap();
    let me = group.me().unwrap();
    let value = Arc::new(&arcs, AtomicU64::new(3)).unwrap();
    let message = sent_to(me, || postcard::to_stdvec(&value).unwrap());
    let theirs: Arc<AtomicU64> = postcard::from_bytes(&message).unwrap();
    theirs.fetch_add(1, Ordering::Relaxed);
    assert_eq!(value.load(Ordering::Relaxed), 4);
    let spent = postcard::from_bytes::<Arc<AtomicU64>>(&message);
    assert!(spent.is_err());
    // Corrupted bytes are an error, whatever they say.
    for at in 0..message.len() {
        let mut broken = message.clone();
        broken[at] ^= 0x55;
        assert!(postcard::from_bytes::<Arc<AtomicU64>>(&broken).is_err());
    }
}

#[derive(Clone, Copy, Debug, shm_core::ShmSafe)]
#[repr(C)]
struct Tick {
    time: i64,
    price: f64,
}

#[test]
fn a_view_of_records_travels_and_keeps_them_alive() {
    let heap = heap();
    let arcs = Arcs::open(&heap).unwrap();
    let ticks = (0..10).map(|time| ReadOnly::new(Tick { time, price: time as f64 / 2.0 }));
    let all = View::of(Arc::<[_]>::from_values(&arcs, ticks).unwrap());
    let parts = all.split(3);
    assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [4, 3, 3]);
    let message = postcard::to_stdvec(&parts[2].slice(1..).unwrap()).unwrap();
    drop((all, parts));
    assert_eq!(values(&heap), 1, "it is on its way");
    let late: View<Tick> = postcard::from_bytes(&message).unwrap();
    assert_eq!(late.column::<i64>("time").unwrap().iter().collect::<Vec<_>>(), [8, 9]);
    assert_eq!((late[1].time, late.column::<f64>("price").unwrap().iter().sum::<f64>()), (9, 8.5));
    assert!(matches!(late.column::<f32>("price").err(), Some(Error::WrongColumnType { .. })));
    assert!(matches!(late.column::<f64>("size").err(), Some(Error::NoColumn { .. })));
    assert!(late.slice(1..4).is_err());
    // A range that is not there: the reference is received and given up.
    let mut message = postcard::to_stdvec(&late).unwrap();
    let last = message.len() - 1;
    message[last] = 9;
    assert!(postcard::from_bytes::<View<Tick>>(&message).is_err());
    assert_eq!(values(&heap), 1);
    drop(late);
    assert_eq!(values(&heap), 0);
}

#[test]
fn threads_share_a_value_and_the_last_frees_it() {
    let heap = heap();
    let arcs = Arcs::open_for(&heap).unwrap();
    let value = Arc::new(&arcs, AtomicU64::new(0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (value, arcs) = (value.clone(), arcs.clone());
            scope.spawn(move || {
                for _ in 0..200 {
                    let again = value.clone();
                    let flight = again.send(None).unwrap();
                    drop(again);
                    let back = Arc::<AtomicU64>::receive(&arcs, flight).unwrap();
                    back.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((value.load(Ordering::Relaxed), value.holders()), (800, (1, 0)));
    drop(value);
    assert_eq!(values(&heap), 0);
}

#[test]
fn a_reference_is_received_while_the_last_one_here_goes() {
    let heap = heap();
    let (here, there) = (Arcs::open_for(&heap).unwrap(), Arcs::open_for(&heap).unwrap());
    let value = Arc::new(&here, AtomicU64::new(0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (value, there) = (value.clone(), there.clone());
            scope.spawn(move || {
                for _ in 0..500 {
                    let received = Arc::<AtomicU64>::receive(&there, value.send(None).unwrap());
                    received.unwrap().fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((value.load(Ordering::Relaxed), value.holders()), (2000, (1, 0)));
    drop(value);
    assert_eq!((values(&heap), here.stats()), (0, Default::default()));
    // Its place is used again by whoever gave it up, and by the other.
    let again: Vec<_> =
        [&there, &here, &there].map(|a| Arc::new(a, AtomicU64::new(1)).unwrap()).into();
    assert_eq!(values(&heap), 3);
    drop(again);
    heap.validate_settled(0).unwrap();
}

#[test]
fn more_values_than_the_first_table_holds() {
    let segment = Segment::anonymous(16 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    let heap = Heap::create(&segment, &group, HeapOptions::default()).unwrap();
    let arcs = Arcs::open_for(&heap).unwrap();
    let all: Vec<_> = (0..1500).map(|n| Arc::new(&arcs, AtomicU64::new(n)).unwrap()).collect();
    assert!(all.iter().zip(0..).all(|(value, n)| value.load(Ordering::Relaxed) == n));
    assert_eq!(arcs.stats().values, 1500);
    drop(all);
    assert_eq!((arcs.stats().values, heap.stats().blocks), (0, 3));
    heap.validate_settled(0).unwrap();
}

#[test]
fn there_are_forty_eight_holders_and_places_are_used_again() {
    let heap = heap();
    let mut all: Vec<_> = (0..48).map(|_| Arcs::open_for(&heap).unwrap()).collect();
    assert!(matches!(Arcs::open_for(&heap), Err(Error::TooManyHolders { max: 48 })));
    all.pop();
    Arcs::open_for(&heap).unwrap();
}

/// The other process: attaches to the heap, and does as it is told.
pub fn play(role: &str, argument: &str) {
    assert_eq!(role, "holder");
    let (segment, group) = argument.split_once(' ').unwrap();
    let file = |number: &str| {
        // SAFETY: inherited for this purpose, and owned by nobody else here.
        unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) }
    };
    let segment = Segment::attach(file(segment)).unwrap();
    let group = Group::attach(file(group)).unwrap();
    let heap = Heap::attach(&segment, &group, 0).unwrap();
    let arcs = Arcs::open(&heap).unwrap();
    tell(&group.me().unwrap().to_bits().to_string());
    let hear = || -> Vec<u8> { postcard_hex(&listen()) };
    let value: Arc<AtomicU64> = postcard::from_bytes(&hear()).unwrap();
    value.fetch_add(1, Ordering::Relaxed);
    let prices: ColumnOf<Arc<AtomicRecords<Tick>>, f64> = postcard::from_bytes(&hear()).unwrap();
    prices.atomic().unwrap()[1].fetch_add(0.5);
    let own = Arc::new(&arcs, AtomicU64::new(5)).unwrap();
    let parent = shm_core::Owner::from_bits(listen().parse().unwrap()).unwrap();
    tell(&hex(&sent_to(parent, || postcard::to_stdvec(&own).unwrap())));
    tell(&hex(&postcard::to_stdvec(&own).unwrap()));
    listen();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn postcard_hex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn inherited(file: impl AsFd) -> OwnedFd {
    let file = file.as_fd().try_clone_to_owned().unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    file
}

#[test]
fn what_a_killed_process_held_is_released_and_what_it_sent_to_another_stays() {
    let segment = Segment::anonymous(4 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    let heap = Heap::create(&segment, &group, HeapOptions::default()).unwrap();
    let arcs = Arcs::open(&heap).unwrap();
    let value = Arc::new(&arcs, AtomicU64::new(1)).unwrap();
    let (memory, place) = (inherited(&segment), inherited(&group));
    let argument = format!("{} {}", memory.as_raw_fd(), place.as_raw_fd());
    let mut holder = Actor::start("holder", &argument);
    let theirs = shm_core::Owner::from_bits(holder.hear().parse().unwrap()).unwrap();
    holder.say(&hex(&sent_to(theirs, || postcard::to_stdvec(&value).unwrap())));
    // A column of a part of some records.
    let records: Arc<AtomicRecords<Tick>> = Arc::zeroed(&arcs, 10).unwrap();
    let prices = Slice::of(records.clone()).slice(4..6).unwrap().column::<f64>("price").unwrap();
    holder.say(&hex(&sent_to(theirs, || postcard::to_stdvec(&prices).unwrap())));
    drop(prices);
    // One that it will never receive, and so goes with it.
    let lost = sent_to(theirs, || postcard::to_stdvec(&value).unwrap());
    holder.say(&group.me().unwrap().to_bits().to_string());
    let (to_us, to_anybody) = (postcard_hex(&holder.hear()), postcard_hex(&holder.hear()));
    assert_eq!((value.holders(), value.load(Ordering::Relaxed)), ((2, 1), 2));
    assert_eq!((records.load(5).unwrap().price, records.holders()), (0.5, (2, 0)));
    holder.kill();
    drop(lost);
    // The keeper recovers; the group tells it of the death in its own time.
    let end = Instant::now() + Duration::from_secs(20);
    while (value.holders(), records.holders()) != ((1, 0), (1, 0)) && Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!((value.holders(), records.holders()), ((1, 0), (1, 0)));
    let received: Arc<AtomicU64> = postcard::from_bytes(&to_us).unwrap();
    assert_eq!(received.load(Ordering::Relaxed), 5);
    while received.holders() != (1, 0) && Instant::now() < end {
        std::thread::yield_now();
    }
    assert!(
        postcard::from_bytes::<Arc<AtomicU64>>(&to_anybody).is_err(),
        "it went with its sender"
    );
    drop((received, value, records));
    assert_eq!(arcs.stats().values, 0);
    assert!(arcs.recover());
    heap.validate_settled(0).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    New(usize),
    Clone(usize),
    Drop(usize),
    Send(usize),
    Receive { place: usize, which: usize },
    Recall(usize),
    Add(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (any, place) = (any::<usize>(), 0..PLACES);
    prop_oneof![
        place.clone().prop_map(Step::New),
        any.prop_map(Step::Clone),
        any.prop_map(Step::Drop),
        any.prop_map(Step::Drop),
        any.prop_map(Step::Send),
        (place, any).prop_map(|(place, which)| Step::Receive { place, which }),
        any.prop_map(Step::Recall),
        any.prop_map(Step::Add),
    ]
}

const PLACES: usize = 3;
type Twin = std::sync::Arc<AtomicU64>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn references_do_what_the_standard_librarys_do(
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let heap = heap();
        let places: Vec<Arcs> = (0..PLACES).map(|_| Arcs::open_for(&heap).unwrap()).collect();
        let mut held: Vec<(Arc<AtomicU64>, Twin)> = Vec::new();
        let mut sent: Vec<(Flight, Twin)> = Vec::new();
        let mut all: Vec<std::sync::Weak<AtomicU64>> = Vec::new();
        for step in steps {
            let pick = |which: usize, len: usize| (len > 0).then(|| which % len.max(1));
            match step {
                Step::New(place) => {
                    let twin = Twin::new(AtomicU64::new(all.len() as u64));
                    all.push(std::sync::Arc::downgrade(&twin));
                    let value = AtomicU64::new(twin.load(Ordering::Relaxed));
                    held.push((Arc::new(&places[place], value).unwrap(), twin));
                }
                Step::Clone(which) => {
                    if let Some(which) = pick(which, held.len()) {
                        held.push(held[which].clone());
                    }
                }
                Step::Drop(which) => {
                    if let Some(which) = pick(which, held.len()) {
                        drop(held.swap_remove(which));
                    }
                }
                Step::Send(which) => {
                    if let Some(which) = pick(which, held.len())
                        && let Ok(flight) = held[which].0.send(None)
                    {
                        sent.push((flight, held[which].1.clone()));
                    }
                }
                Step::Receive { place, which } => {
                    if let Some(which) = pick(which, sent.len()) {
                        let (flight, twin) = sent.swap_remove(which);
                        held.push((Arc::receive(&places[place], flight).unwrap(), twin));
                    }
                }
                Step::Recall(which) => {
                    if let Some(which) = pick(which, sent.len()) {
                        assert!(places[0].recall(sent.swap_remove(which).0).unwrap());
                    }
                }
                Step::Add(which) => {
                    if let Some(which) = pick(which, held.len()) {
                        held[which].0.fetch_add(3, Ordering::Relaxed);
                        held[which].1.fetch_add(3, Ordering::Relaxed);
                    }
                }
            }
            let living = all.iter().filter(|twin| twin.strong_count() > 0).count() as u64;
            assert_eq!((values(&heap), places[0].stats().values), (living, living));
            assert_eq!(places[0].stats().on_their_way, sent.len() as u64);
            for (ours, theirs) in &held {
                assert_eq!(ours.load(Ordering::Relaxed), theirs.load(Ordering::Relaxed));
            }
        }
        drop((held, sent));
    }
}
