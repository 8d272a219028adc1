//! Values, vectors and strings in a heap: like std's, and handed over by cells.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use shm_core::data::{Box, FixedString, FixedVec};
use shm_core::heap::{Heap, HeapOptions};
use shm_core::{Error, Group, Segment};

fn heap() -> Heap {
    let segment = Segment::anonymous(2 << 20).unwrap();
    let group = Group::anonymous().unwrap();
    Heap::create(&segment, &group, HeapOptions::default().threads(4)).unwrap()
}

#[test]
fn a_value_is_handed_over_with_its_type() {
    let heap = heap();
    let (giver, taker) = (heap.local().unwrap(), heap.local().unwrap());
    let cell = heap.root("cell").unwrap();
    let mut value = Box::new(&giver, [1u32, 2]).unwrap();
    value[0] = 7;
    value.publish(cell).unwrap();
    let block = cell.take(&taker).unwrap().unwrap();
    let wrong = Box::<u64>::from_block(block).unwrap_err();
    assert!(matches!(wrong.error, Error::WrongType { .. }));
    let wrong = FixedVec::<[u32; 2]>::from_block(wrong.block).unwrap_err();
    let value = Box::<[u32; 2]>::from_block(wrong.block).unwrap();
    assert_eq!(*value, [7, 2]);
    drop(value);
    assert_eq!(heap.stats().blocks, 0);
}

#[test]
fn a_string_is_text_or_refused() {
    let heap = heap();
    let local = heap.local().unwrap();
    let mut text = FixedString::copy_of(&local, "straße").unwrap();
    assert_eq!((&*text, text.len()), ("straße", 7));
    let room = text.capacity() - text.len();
    assert_eq!(text.push_str(&"x".repeat(room + 1)), Err(room));
    text.push_str(" 5").unwrap();
    let cell = heap.root("cell").unwrap();
    text.publish(cell).unwrap();
    assert_eq!(&*FixedString::from_block(cell.take(&local).unwrap().unwrap()).unwrap(), "straße 5");
    let mut bytes = FixedVec::with_capacity(&local, 4).unwrap();
    bytes.extend_from_slice(&[0xffu8, 0xfe]).unwrap();
    assert!(FixedString::from_block(bytes.into_block()).is_err());
    assert_eq!(heap.stats().blocks, 0);
}

#[test]
fn a_length_that_does_not_fit_is_refused() {
    let heap = heap();
    let local = heap.local().unwrap();
    let mut block = FixedVec::<u64>::with_capacity(&local, 4).unwrap().into_block();
    block.bytes_mut()[8..16].copy_from_slice(&u64::MAX.to_ne_bytes());
    let refused = FixedVec::<u64>::from_block(block).unwrap_err();
    assert!(matches!(refused.error, Error::OutOfBounds { .. }));
    assert!(FixedVec::<u64>::with_capacity(&local, usize::MAX).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Pop,
    Truncate(usize),
    Extend(Vec<u64>),
    Sort,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u64>().prop_map(Step::Push),
        Just(Step::Pop),
        (0usize..40).prop_map(Step::Truncate),
        proptest::collection::vec(any::<u64>(), 0..10).prop_map(Step::Extend),
        Just(Step::Sort),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_vector_does_what_the_standard_librarys_does(
        capacity in 0usize..40,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let heap = heap();
        let local = heap.local().unwrap();
        let mut ours = FixedVec::with_capacity(&local, capacity).unwrap();
        let mut theirs = Vec::new();
        let capacity = ours.capacity();
        for step in steps {
            match step {
                Step::Push(value) => {
                    let fits = theirs.len() < capacity;
                    assert_eq!(ours.push(value).is_ok(), fits);
                    if fits {
                        theirs.push(value);
                    }
                }
                Step::Pop => assert_eq!(ours.pop(), theirs.pop()),
                Step::Truncate(len) => {
                    ours.truncate(len);
                    theirs.truncate(len);
                }
                Step::Extend(values) => {
                    let fits = theirs.len() + values.len() <= capacity;
                    assert_eq!(ours.extend_from_slice(&values).is_ok(), fits);
                    if fits {
                        theirs.extend_from_slice(&values);
                    }
                }
                Step::Sort => {
                    ours.sort_unstable();
                    theirs.sort_unstable();
                }
            }
            assert_eq!(&*ours, &*theirs);
        }
    }
}
