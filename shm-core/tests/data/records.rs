//! Arrays that many change: under locks, and number by number; their slices and columns.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use shm_core::data::{Arc, Arcs, AtomicRecords, ColumnOf, LockedArray, ReadOnly, Slice, Value};
use shm_core::lock::{Cause, LockError};
use shm_core::{Error, Group, Segment, Shared, ShmSafe};

use super::heap;

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
struct Bin {
    count: u64,
    sum: f64,
    small: i16,
    bytes: [u8; 2],
    last: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C, packed)]
struct Packed {
    side: u8,
    price: f64,
    bins: [Bin; 2],
}

fn bin(n: u64) -> Bin {
    let (small, last) = (-(n as i16), n as i32 * 7);
    Bin { count: n, sum: n as f64 / 4.0, small, bytes: [n as u8, 1], last }
}

const STRIPES: usize = 4;
type Locked = LockedArray<u64, STRIPES>;

#[test]
fn whoever_works_on_other_stripes_does_not_wait() {
    let group = Group::anonymous().unwrap();
    let array = Shared::<Locked>::from_values(0..10).unwrap();
    let parts: Vec<usize> = array.stripes().map(|stripe| stripe.len()).collect();
    assert_eq!(parts, [3, 3, 2, 2]);
    let mut middle = array.range(2..4).unwrap().lock(&group).unwrap();
    assert_eq!(*middle, [2, 3]);
    middle[1] = 30;
    for (index, stripe) in array.stripes().enumerate() {
        assert_eq!(stripe.try_lock(&group).is_ok(), index >= 2, "{index}");
    }
    assert!(matches!(array.try_lock(&group), Err(LockError::WouldBlock)));
    let waited = array.all().lock_timeout(&group, std::time::Duration::from_millis(1));
    assert!(matches!(waited, Err(LockError::TimedOut)));
    drop(middle);
    assert_eq!(*array.lock(&group).unwrap(), [0, 1, 2, 30, 4, 5, 6, 7, 8, 9]);
    assert!(array.range(5..5).unwrap().lock(&group).unwrap().is_empty());
    assert!(matches!(array.range(9..11).err(), Some(Error::OutOfBounds { .. })));
}

#[test]
fn every_element_is_in_the_stripe_whose_lock_it_takes() {
    let group = Group::anonymous().unwrap();
    for len in 0..14 {
        let array = Shared::<Locked>::from_values(0..len).unwrap();
        let mut first = 0;
        for stripe in array.stripes() {
            let held = stripe.lock(&group).unwrap();
            for index in 0..len as usize {
                let inside = (first..first + held.len()).contains(&index);
                let free = array.range(index..=index).unwrap().try_lock(&group).is_ok();
                assert_eq!(free, !inside, "{index} of {len}");
            }
            first += held.len();
        }
        assert_eq!(first, len as usize);
    }
}

#[test]
fn no_increment_of_four_threads_is_lost() {
    let heap = heap();
    let (arcs, group) = (Arcs::open_for(&heap).unwrap(), Group::anonymous().unwrap());
    let locked: Arc<Locked> = Arc::zeroed(&arcs, 9).unwrap();
    let bins: Arc<AtomicRecords<Bin>> = Arc::zeroed(&arcs, 9).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (locked, bins, group) = (locked.clone(), bins.clone(), &group);
            scope.spawn(move || {
                let (counts, sums) = (bins.column::<u64>("count"), bins.column::<f64>("sum"));
                let (counts, sums) = (counts.unwrap(), sums.unwrap());
                for round in 0..500 {
                    let from = (thread + round) % 6;
                    let mut range = locked.range(from..from + 4).unwrap().lock(group).unwrap();
                    range.iter_mut().for_each(|number| *number += 1);
                    drop(range);
                    counts[from].fetch_add(1);
                    sums[from].fetch_add(0.5);
                }
            });
        }
    });
    assert_eq!(locked.lock(&group).unwrap().iter().sum::<u64>(), 4 * 500 * 4);
    let (counts, sums) = (bins.column::<u64>("count").unwrap(), bins.column::<f64>("sum").unwrap());
    assert_eq!(counts.iter().map(Value::load).sum::<u64>(), 2000);
    assert_eq!(sums.iter().map(Value::load).sum::<f64>(), 1000.0);
}

#[test]
fn a_panic_makes_the_stripes_it_held_suspect_and_no_others() {
    let group = Group::anonymous().unwrap();
    let array = Shared::<Locked>::zeroed(8).unwrap();
    let panicked = std::thread::scope(|scope| {
        let held = || {
            let _held = array.range(3..5).unwrap().lock(&group).unwrap();
            std::panic::panic_any(());
        };
        scope.spawn(held).join()
    });
    assert!(panicked.is_err());
    let whole: Vec<bool> = array.stripes().map(|stripe| stripe.lock(&group).is_ok()).collect();
    assert_eq!(whole, [true, false, false, true]);
    match array.lock(&group) {
        Err(LockError::Poisoned(poisoned)) => {
            assert_eq!((poisoned.cause(), poisoned.get_ref().len()), (Cause::Panicked, 8));
            array.all().clear_poison();
        }
        other => panic!("{other:?}"),
    }
    assert!(array.lock(&group).is_ok());
}

#[test]
fn a_column_is_found_by_name_and_type_and_is_aligned() {
    let bins = Shared::<AtomicRecords<Bin>>::copy_of(&[bin(1), bin(2), bin(3)]).unwrap();
    let smalls = bins.column::<i16>("small").unwrap();
    smalls[1].store(9);
    assert_eq!(smalls.iter().rev().map(Value::load).collect::<Vec<_>>(), [-3, 9, -1]);
    let last = smalls.slice(1..).unwrap();
    assert_eq!(
        (last.len(), last.get(1).map(Value::load), last.get(2).is_none()),
        (2, Some(-3), true)
    );
    assert!(matches!(bins.column::<u64>("sum"), Err(Error::WrongColumnType { .. })));
    assert!(matches!(bins.column::<u8>("bytes"), Err(Error::WrongColumnType { .. })));
    assert!(matches!(bins.column::<u8>("size"), Err(Error::NoColumn { .. })));
    let parts: Vec<usize> = bins.split(2).map(AtomicRecords::len).collect();
    assert_eq!(parts, [2, 1]);
    let packed = Packed { side: 3, price: 0.5, bins: [bin(4), bin(5)] };
    let shared = Shared::<AtomicRecords<Packed>>::zeroed(3).unwrap();
    assert!(shared.store(1, &packed));
    assert!(!shared.store(3, &packed));
    assert_eq!((shared.load(1), shared.load(3)), (Some(packed), None));
    let refused = shared.column::<f64>("price").unwrap_err().to_string();
    assert!(refused.contains("aligned"), "{refused}");
    assert_eq!(shared.column::<u8>("side").unwrap()[1].load(), 3);
}

type Ticks = Arc<[ReadOnly<Bin>]>;
type Bins = Shared<AtomicRecords<Bin>>;

#[test]
fn slices_and_columns_travel() {
    let heap = heap();
    let arcs = Arcs::open(&heap).unwrap();
    let values: Vec<Bin> = (0..10).map(bin).collect();
    let ticks: Ticks = Arc::copy_of(&arcs, ReadOnly::from_slice(&values)).unwrap();
    let sums: ColumnOf<Ticks, f64> = Slice::of(ticks).slice(3..).unwrap().column("sum").unwrap();
    let parts = sums.split(2);
    let message = postcard::to_stdvec(&parts[1]).unwrap();
    drop((sums, parts));
    let received: ColumnOf<Ticks, f64> = postcard::from_bytes(&message).unwrap();
    assert_eq!(received.iter().collect::<Vec<_>>(), [1.75, 2.0, 2.25]);
    assert_eq!((received.get(2), received.get(3), received.rows().start()), (Some(2.25), None, 7));
    drop(received);
    assert_eq!(arcs.stats(), Default::default());

    let bins = Bins::copy_of(&values).unwrap();
    let late = Slice::of(bins.clone()).slice(6..9).unwrap();
    let message = postcard::to_stdvec(&late.column::<i32>("last").unwrap()).unwrap();
    let theirs: ColumnOf<Bins, i32> = postcard::from_bytes(&message).unwrap();
    theirs.atomic().unwrap()[0].fetch_add(1);
    assert_eq!(bins.load(6).unwrap().last, 43);
    // Another type of number, another record, a range that is not there.
    assert!(postcard::from_bytes::<ColumnOf<Bins, u32>>(&message).is_err());
    assert!(postcard::from_bytes::<Slice<Shared<AtomicRecords<u64>>>>(&message).is_err());
    let slice = postcard::to_stdvec(&late).unwrap();
    assert_eq!(postcard::from_bytes::<Slice<Bins>>(&slice).unwrap().len(), 3);
    for at in 0..slice.len() {
        let mut broken = slice.clone();
        broken[at] = 0x7f;
        if let Ok(read) = postcard::from_bytes::<Slice<Bins>>(&broken) {
            assert!(read.start() + read.len() <= 10, "{at}");
        }
    }
}

#[test]
fn an_object_of_many_elements_is_found_as_what_it_is_or_refused() {
    let numbers = Shared::<[AtomicU32]>::from_values((0..5).map(AtomicU32::new)).unwrap();
    let file = || numbers.as_fd().try_clone_to_owned().unwrap();
    let theirs = Shared::<[AtomicU32]>::attach(file()).unwrap();
    theirs[4].fetch_add(1, Ordering::Relaxed);
    assert_eq!((numbers.len(), numbers[4].load(Ordering::Relaxed)), (5, 5));
    let wrong = [
        Shared::<AtomicU32>::attach(file()).err(),
        Shared::<[AtomicU32; 5]>::attach(file()).err(),
        Shared::<AtomicRecords<u32>>::attach(file()).err(),
        Shared::<LockedArray<u32>>::attach(file()).err(),
        Shared::<[Value<u32>]>::attach(file()).err(),
    ];
    for error in wrong {
        assert!(matches!(error, Some(Error::WrongType { .. })), "{error:?}");
    }
    // A number of elements that does not fit into the file.
    let segment = Segment::attach(file()).unwrap();
    let prefix = segment.data().cast::<[u64; 5]>();
    // SAFETY: the segment begins with five words, and nobody else uses it.
    unsafe { (*prefix.as_ptr())[4] = 5000 };
    assert!(matches!(Shared::<[AtomicU32]>::attach(file()), Err(Error::OutOfBounds { .. })));
    // SAFETY: as above.
    unsafe { (*prefix.as_ptr())[4] = u64::MAX };
    assert!(Shared::<[AtomicU32]>::attach(file()).is_err());
    assert!(Shared::<[AtomicU32]>::zeroed(usize::MAX).is_err());
    assert!(Shared::<[AtomicU32]>::zeroed(0).unwrap().is_empty());
    let name = format!("test-records-{}", std::process::id());
    let ours = Shared::<LockedArray<u16>>::create_zeroed(&name, 7).unwrap();
    assert_eq!(Shared::<LockedArray<u16>>::open(&name).unwrap().len(), 7);
    drop(ours);
}

#[derive(Clone, Debug)]
enum Step {
    Add { at: usize, by: i32 },
    Write { at: usize, n: u64 },
    Fill { from: usize, to: usize, n: u64 },
    Sum,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..20usize;
    prop_oneof![
        (at.clone(), any::<i32>()).prop_map(|(at, by)| Step::Add { at, by }),
        (at.clone(), 0..1000u64).prop_map(|(at, n)| Step::Write { at, n }),
        (at.clone(), at, 0..1000u64).prop_map(|(from, to, n)| Step::Fill { from, to, n }),
        Just(Step::Sum),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn locked_and_atomic_records_do_what_a_vector_does(
        len in 0usize..20,
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let group = Group::anonymous().unwrap();
        let mut twin: Vec<Bin> = (0..len as u64).map(bin).collect();
        let locked = Shared::<LockedArray<Bin, 3>>::copy_of(&twin).unwrap();
        let atomic = Shared::<AtomicRecords<Bin>>::copy_of(&twin).unwrap();
        let lasts = atomic.column::<i32>("last").unwrap();
        for step in steps {
            match step {
                Step::Add { at, by } => {
                    let ours = locked.range(at..=at).ok();
                    assert_eq!(ours.is_some(), at < len);
                    assert_eq!(lasts.get(at).is_some(), at < len);
                    let Some(ours) = ours else { continue };
                    ours.lock(&group).unwrap()[0].last = twin[at].last.wrapping_add(by);
                    assert_eq!(lasts[at].fetch_add(by), twin[at].last);
                    twin[at].last = twin[at].last.wrapping_add(by);
                }
                Step::Write { at, n } => {
                    assert_eq!(atomic.store(at, &bin(n)), at < len);
                    if at < len {
                        locked.lock(&group).unwrap()[at] = bin(n);
                        twin[at] = bin(n);
                    }
                }
                Step::Fill { from, to, n } => {
                    let ours = locked.range(from..to);
                    assert_eq!(ours.is_ok(), from <= to && to <= len);
                    assert_eq!(atomic.slice(from..to).is_ok(), ours.is_ok());
                    if let Ok(ours) = ours {
                        ours.lock(&group).unwrap().fill(bin(n));
                        let part = atomic.slice(from..to).unwrap();
                        (0..part.len()).for_each(|at| assert!(part.store(at, &bin(n))));
                        twin[from..to].fill(bin(n));
                    }
                }
                Step::Sum => {
                    let sum: f64 = twin.iter().map(|bin| bin.sum).sum();
                    let sums = atomic.column::<f64>("sum").unwrap();
                    assert_eq!(sums.iter().map(Value::load).sum::<f64>(), sum);
                }
            }
            assert_eq!(*locked.lock(&group).unwrap(), *twin);
            let read: Vec<Bin> = (0..len).map_while(|at| atomic.load(at)).collect();
            assert_eq!(read, twin);
        }
    }
}
