//! Numbers that many change at once.

use proptest::prelude::*;
use shm_core::Shared;
use shm_core::data::{Arc, Arcs, ReadOnly, Value};
use shm_core::lock::Mutex;

use super::heap;

#[test]
fn no_addition_of_four_threads_is_lost() {
    let heap = heap();
    let arcs = Arcs::open_for(&heap).unwrap();
    let sums = Arc::<[Value<f64>]>::from_values(&arcs, [Value::new(0.0), Value::new(1.0)]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let sums = sums.clone();
            scope.spawn(move || {
                (0..1000).for_each(|_| {
                    let _ = sums[1].fetch_add(1.0);
                })
            });
        }
    });
    assert_eq!((sums[0].load(), sums[1].load()), (0.0, 4001.0));
}

#[test]
fn a_slice_in_a_heap_has_the_discipline_of_its_type() {
    let heap = heap();
    let arcs = Arcs::open_for(&heap).unwrap();
    let locked = Arc::new(&arcs, Mutex::new([0u32; 8])).unwrap();
    let group = shm_core::Group::anonymous().unwrap();
    locked.lock(&group).unwrap()[3] += 1;
    assert_eq!(locked.lock(&group).unwrap()[3], 1);
    let frozen = Arc::<[_]>::from_values(&arcs, (0..8u16).map(ReadOnly::new)).unwrap();
    assert_eq!(ReadOnly::as_slice(&frozen).iter().sum::<u16>(), 28);
    let empty = Arc::<[Value<u8>]>::from_values(&arcs, []).unwrap();
    assert!(empty.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_number_does_what_a_plain_one_does(
        start in any::<i32>(),
        steps in proptest::collection::vec((0u8..4, any::<i32>()), 0..40),
    ) {
        let shared = Shared::new(Value::new(start)).unwrap();
        let mut plain = start;
        for (step, value) in steps {
            match step {
                0 => {
                    assert_eq!(shared.fetch_add(value), plain);
                    plain = plain.wrapping_add(value);
                }
                1 => {
                    shared.store(value);
                    plain = value;
                }
                2 => {
                    let found = shared.compare_exchange(value, 5);
                    assert_eq!(found, if value == plain { Ok(()) } else { Err(plain) });
                    plain = if value == plain { 5 } else { plain };
                }
                _ => {
                    assert_eq!(shared.fetch_update(|seen| seen ^ value), plain);
                    plain ^= value;
                }
            }
            assert_eq!(shared.load(), plain);
        }
    }
}
