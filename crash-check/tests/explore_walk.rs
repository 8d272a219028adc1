//! Random walks: seeded, replayable, and able to find what is far away.
#![cfg(feature = "explore")]

use crash_check::explore::{Flaw, Model, Successors, Walker};

/// Two processes add to a counter by load and store: an update gets lost.
struct LostUpdate {
    atomic: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    counter: u8,
    loaded: [Option<u8>; 2],
    left: [u8; 2],
}

impl Model for LostUpdate {
    type State = State;

    fn initial(&self) -> State {
        State { counter: 0, loaded: [None; 2], left: [5; 2] }
    }

    fn successors(&self, s: &State, out: &mut Successors<'_, State>) {
        for p in 0..2 {
            match s.loaded[p] {
                None if s.left[p] == 0 => {}
                None if self.atomic => out.step(p, "fetch_add", |n| {
                    n.counter += 1;
                    n.left[p] -= 1;
                }),
                None => out.step(p, "load", |n| n.loaded[p] = Some(n.counter)),
                Some(value) => out.step(p, "store", |n| {
                    n.counter = value + 1;
                    n.loaded[p] = None;
                    n.left[p] -= 1;
                }),
            }
        }
    }

    fn may_end(&self, s: &State) -> Result<(), String> {
        if s.counter == 10 { Ok(()) } else { Err(format!("counted {} of 10", s.counter)) }
    }
}

#[test]
fn a_walk_finds_the_lost_update_and_its_seed_gives_the_same_walk() {
    let walker = Walker::new(1).walks(200).steps(100);
    let report = walker.run(&LostUpdate { atomic: false });
    let walk = report.failed.expect("most walks lose an update");
    assert!(matches!(walk.found.flaw, Flaw::BadEnd(_)), "{}", walk.found);
    let again = walker.replay(&LostUpdate { atomic: false }, walk.seed).expect("the same walk");
    assert_eq!(again.trace, walk.found.trace);
    assert_eq!(again.flaw, walk.found.flaw);
}

#[test]
fn walks_of_the_correct_form_find_nothing() {
    let report = Walker::new(1).walks(200).steps(100).run(&LostUpdate { atomic: true });
    assert!(report.failed.is_none() && report.walks == 200);
    assert_eq!(report.steps, 200 * 10);
}

#[test]
fn different_seeds_walk_differently() {
    let seed_of = |seed| {
        let report = Walker::new(seed).walks(50).run(&LostUpdate { atomic: false });
        report.failed.map(|walk| walk.found.trace)
    };
    assert_ne!(seed_of(1), seed_of(1_000_000));
}
