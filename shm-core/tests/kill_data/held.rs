//! What one thread holds: killed, its block is free again, whatever it was doing.

use crash_check::step::Region;
use shm_core::data::{Box as HeapBox, FixedString, FixedVec};

use crate::ground::{Kit, KitLocal, local, row};

type Numbers = FixedVec<'static, u64, Kit>;

fn nothing(_: &Region) {}

fn three(region: &Region) -> Option<Numbers> {
    let mut numbers = Numbers::with_capacity(local(region), 6).unwrap();
    numbers.extend_from_slice(&[1, 2, 3]).unwrap();
    Some(numbers)
}

#[test]
fn kill_held() {
    row("shm_core::data::Box::new", "no span yet").run(nothing, local, |local: &mut KitLocal| {
        drop(HeapBox::new(local, [1u64; 4]).unwrap());
    });
    let name = "shm_core::data::FixedVec::with_capacity";
    row(name, "no span yet").run(nothing, local, |local: &mut KitLocal| {
        drop(Numbers::with_capacity(local, 6).unwrap());
    });
    let change = |name, change: fn(&mut Numbers)| {
        row(name, "three in it").run(nothing, three, move |numbers| {
            change(numbers.as_mut().unwrap());
            drop(numbers.take());
        });
    };
    change("shm_core::data::FixedVec::push", |numbers| numbers.push(4).unwrap());
    change("shm_core::data::FixedVec::pop", |numbers| assert_eq!(numbers.pop(), Some(3)));
    change("shm_core::data::FixedVec::truncate", |numbers| numbers.truncate(1));
    change("shm_core::data::FixedVec::extend_from_slice", |numbers| {
        numbers.extend_from_slice(&[4, 5]).unwrap();
    });
    let text = |region: &Region| local(region);
    row("shm_core::data::FixedString::copy_of", "no span yet").run(nothing, text, |local| {
        drop(FixedString::copy_of(local, "text").unwrap());
    });
    row("shm_core::data::FixedString::push_str", "empty").run(nothing, text, |local| {
        let mut text = FixedString::with_capacity(local, 16).unwrap();
        text.push_str("text").unwrap();
    });
}
