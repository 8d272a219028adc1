//! The list, against std's; and from whatever a death has left beside its chain.

use std::collections::VecDeque;

use proptest::prelude::*;
use shm_core::ShmSafe;
use shm_core::data::List;

const MOST: usize = 8;

#[derive(Clone, Debug)]
enum Step {
    PushBack(u32),
    PushFront(u32),
    Insert(usize, u32),
    PopBack,
    PopFront,
    Remove(usize),
    Clear,
    Change(usize, u32),
    Repair,
}

fn step() -> impl Strategy<Value = Step> {
    let (value, index) = (any::<u32>(), 0..MOST + 2);
    prop_oneof![
        3 => value.prop_map(Step::PushBack),
        3 => value.prop_map(Step::PushFront),
        3 => (index.clone(), value).prop_map(|(index, value)| Step::Insert(index, value)),
        2 => Just(Step::PopBack),
        2 => Just(Step::PopFront),
        2 => index.clone().prop_map(Step::Remove),
        1 => Just(Step::Clear),
        1 => (index, value).prop_map(|(index, value)| Step::Change(index, value)),
        1 => Just(Step::Repair),
    ]
}

/// The words of a list: head, next, prev, tail, free, length.
fn words<T: ShmSafe, const N: usize>(list: &mut List<T, N>) -> &mut [u64] {
    let words = std::ptr::from_mut(list).cast::<u64>();
    // SAFETY: `repr(C)`, so many words at its beginning, borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(words, 2 * N + 4) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_list_does_what_the_standard_librarys_does(
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut ours = Box::new(List::<u32, MOST>::new());
        let mut theirs = VecDeque::new();
        for step in steps {
            let has_room = theirs.len() < MOST;
            match step {
                Step::PushBack(value) => {
                    assert_eq!(ours.push_back(value).is_ok(), has_room);
                    if has_room { theirs.push_back(value) }
                }
                Step::PushFront(value) => {
                    assert_eq!(ours.push_front(value).is_ok(), has_room);
                    if has_room { theirs.push_front(value) }
                }
                Step::Insert(index, value) => {
                    let fits = has_room && index <= theirs.len();
                    assert_eq!(ours.insert(index, value), if fits { Ok(()) } else { Err(value) });
                    if fits { theirs.insert(index, value) }
                }
                Step::PopBack => assert_eq!(ours.pop_back(), theirs.pop_back()),
                Step::PopFront => assert_eq!(ours.pop_front(), theirs.pop_front()),
                Step::Remove(index) => assert_eq!(ours.remove(index), theirs.remove(index)),
                Step::Clear => {
                    ours.clear();
                    theirs.clear();
                }
                Step::Change(index, value) => {
                    assert_eq!(ours.get(index), theirs.get(index));
                    if let (Some(ours), Some(theirs)) = (ours.get_mut(index), theirs.get_mut(index)) {
                        (*ours, *theirs) = (value, value);
                    }
                }
                Step::Repair => assert_eq!(ours.repair(), theirs.len()),
            }
            ours.validate().unwrap();
            assert!(ours.iter().eq(theirs.iter().copied()));
            assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
        }
    }

    #[test]
    fn whatever_stands_beside_the_chain_is_repaired(
        count in 0..=MOST,
        garbage in proptest::collection::vec(any::<u64>(), MOST + 3),
    ) {
        let mut list = Box::new(List::<u32, MOST>::new());
        (0..count).for_each(|value| list.push_back(value as u32).unwrap());
        words(&mut list)[1 + MOST..].copy_from_slice(&garbage);
        assert_eq!(list.repair(), count);
        list.validate().unwrap();
        assert!(list.iter().eq((0..count).map(|value| value as u32)));
    }

    #[test]
    fn overwritten_links_neither_hang_nor_lead_outside(
        garbage in proptest::collection::vec(0u64..MOST as u64 + 3, 2 * MOST + 4),
    ) {
        let mut list = Box::new(List::<u32, MOST>::new());
        words(&mut list).copy_from_slice(&garbage);
        let _ = (list.validate(), list.iter().count(), list.pop_back(), list.insert(3, 1));
        words(&mut list).copy_from_slice(&garbage);
        list.repair();
        list.validate().unwrap();
    }
}
