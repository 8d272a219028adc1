//! Models of the turns of an array's parts and of the two-sided barrier, in which a process may die
//! at each of its shared operations: the functions that run here are the ones the crate calls.
//!
//! Run by `RUSTFLAGS="--cfg loom" cargo test -p shm-core --release --lib loom`.

mod locks;
pub(crate) mod matrix;

use std::rc::Rc;

use crash_check::death::{Error, Model, Report, World};

use crate::barrier::{heavy_barrier, light_barrier};
use crate::primitive::{AtomicU32, AtomicU64, Ordering, System, UnsafeCell, on_a_system_where};
use crate::turn::{COUNT_AT, Turns};

/// Makes a test of each model, and the list that the mutation matrix runs.
macro_rules! models {
    ($($name:ident),* $(,)?) => {
        pub(super) const MODELS: &[(&str, fn() -> Result<Report, Error>)] = &[$((stringify!($name), $name)),*];

        mod loom {
            $(
                #[test]
                fn $name() -> Result<(), Box<crash_check::death::Error>> {
                    let report = super::$name()?;
                    println!("{report}");
                    Ok(())
                }
            )*
        }
    };
}

pub(crate) use models;

models![
    a_publisher_and_a_sleeper_never_miss_each_other,
    a_handle_is_redeemed_by_one_of_two,
    a_redeemer_sees_what_was_written_into_the_part_and_into_how_many_it_is_cut,
    what_a_receiver_hands_on_is_seen_by_the_next,
    a_part_is_recalled_from_a_dead_receiver_for_the_next,
    a_maker_that_dies_hands_over_a_part_or_keeps_it,
];

const PART: usize = 0;
/// In place of a turn: the handle is good again.
const RECALLED: u64 = 99;

/// The header area of an array with one word a turn, and the part itself.
#[repr(C, align(8))]
struct Array {
    header: [u8; COUNT_AT],
    count: AtomicU64,
    turns: [AtomicU64; 2],
    element: UnsafeCell<u32>,
    /// How a handle travels; Relaxed, so that it brings no order with it. 0: not sent yet.
    handle: AtomicU64,
}

// A turn is reached by its offset.
const _: () = assert!(size_of::<AtomicU64>() == 8);

impl Array {
    fn new() -> Rc<Self> {
        Rc::new(Array {
            header: [0; COUNT_AT],
            count: AtomicU64::new(0),
            turns: [AtomicU64::new(0), AtomicU64::new(0)],
            element: UnsafeCell::new(0),
            handle: AtomicU64::new(0),
        })
    }

    fn turns(&self) -> Turns<'_> {
        // SAFETY: `repr(C)` puts the words where the turns are looked for, they are atomics, and
        // no model has a part beyond the two.
        unsafe { Turns::at(std::ptr::from_ref(self).cast_mut().cast()) }
    }

    /// Writes the element and hands the part over.
    fn hand_over(&self, held: u64, element: u32) -> u64 {
        // SAFETY: the caller holds the part; the model checks that.
        self.element.with_mut(|place| unsafe { place.write(element) });
        let sent = self.turns().hand_over(PART, held).unwrap();
        self.handle.store(sent, Ordering::Relaxed);
        sent
    }

    fn redeem(&self, sent: u64) -> Option<u64> {
        self.turns().redeem(PART, sent).ok()
    }

    fn element(&self) -> u32 {
        // SAFETY: the caller holds the part; the model checks that.
        self.element.with(|place| unsafe { place.read() })
    }

    /// Redeems the handle, if it has arrived.
    fn receive(&self, sent: u64) -> Option<u64> {
        (self.handle.load(Ordering::Relaxed) == sent).then(|| self.redeem(sent).unwrap())
    }
}

fn check(victims: usize, f: impl Fn(&World) + Send + Sync + 'static) -> Result<Report, Error> {
    let asked = std::env::var("LOOM_MAX_PREEMPTIONS").ok();
    let bound = asked.and_then(|bound| bound.parse().ok()).unwrap_or(3);
    Model::new().victims(victims).preemption_bound(Some(bound)).check(f)
}

/// Explores a model in which nobody sleeps, so that no barrier orders anything.
fn check_awake(
    victims: usize,
    f: impl Fn(&World) + Send + Sync + 'static,
) -> Result<Report, Error> {
    on_a_system_where(System::NobodySleeps, || check(victims, f))
}

fn a_publisher_and_a_sleeper_never_miss_each_other() -> Result<Report, Error> {
    check(0, |world| {
        let words = Rc::new((AtomicU32::new(0), AtomicU32::new(0)));
        let theirs = Rc::clone(&words);
        let publisher = world.spawn("publisher", move || {
            theirs.0.store(1, Ordering::Release);
            light_barrier();
            theirs.1.load(Ordering::Relaxed) == 1
        });
        words.1.store(1, Ordering::Relaxed);
        let _ = heavy_barrier();
        let sees_work = words.0.load(Ordering::Acquire) == 1;
        assert!(publisher.join().unwrap() || sees_work, "both missed the other");
    })
}

fn a_handle_is_redeemed_by_one_of_two() -> Result<Report, Error> {
    check_awake(1, |world| {
        let array = Array::new();
        let sent = array.hand_over(0, 7);
        let (theirs, others) = (Rc::clone(&array), Rc::clone(&array));
        let first = world.victim("first", move || theirs.redeem(sent));
        let second = world.spawn("second", move || others.redeem(sent));
        match (first.join(), second.join().unwrap()) {
            (Ok(first), second) => assert!(first.is_some() != second.is_some()),
            (Err(_), second) => assert!(second.is_some() || array.redeem(sent).is_none()),
        }
    })
}

fn a_redeemer_sees_what_was_written_into_the_part_and_into_how_many_it_is_cut()
-> Result<Report, Error> {
    check_awake(0, |world| {
        let array = Array::new();
        let theirs = Rc::clone(&array);
        world.spawn("maker", move || {
            theirs.turns().set_count(2);
            theirs.hand_over(theirs.turns().held(PART), 7);
        });
        if array.receive(1).is_some() {
            assert_eq!((array.element(), array.turns().count()), (7, 2));
        }
    })
}

fn what_a_receiver_hands_on_is_seen_by_the_next() -> Result<Report, Error> {
    check_awake(0, |world| {
        let array = Array::new();
        let theirs = Rc::clone(&array);
        world.spawn("maker", move || theirs.hand_over(0, 7));
        let theirs = Rc::clone(&array);
        world.spawn("receiver", move || {
            if let Some(held) = theirs.receive(1) {
                assert_eq!((held, theirs.turns().held(PART)), (2, 2));
                theirs.hand_over(held, theirs.element() + 1);
            }
        });
        if array.receive(3).is_some() {
            assert_eq!(array.element(), 8);
            assert!(array.redeem(1).is_none(), "the first handle is spent for ever");
        }
    })
}

fn a_part_is_recalled_from_a_dead_receiver_for_the_next() -> Result<Report, Error> {
    check_awake(1, |world| {
        let array = Array::new();
        let sent = array.hand_over(0, 7);
        let (proof, theirs) = (world.proof("receiver"), Rc::clone(&array));
        world.victim("receiver", move || {
            if theirs.redeem(sent).is_some() {
                // SAFETY: the part is ours; the model checks that.
                theirs.element.with_mut(|place| unsafe { place.write(8) });
            }
        });
        let theirs = Rc::clone(&array);
        let supervisor = world.spawn("supervisor", move || {
            let gone = proof.is_gone();
            if gone {
                theirs.turns().recall(PART, sent);
                theirs.handle.store(RECALLED, Ordering::Relaxed);
            }
            gone
        });
        let told = array.handle.load(Ordering::Relaxed) == RECALLED;
        let redeemed = told && array.redeem(sent).is_some();
        if redeemed {
            assert!([7, 8].contains(&array.element()));
        }
        if supervisor.join().unwrap() && !redeemed {
            assert!(array.redeem(sent).is_some(), "a recalled part can be redeemed");
            assert!([7, 8].contains(&array.element()));
        }
    })
}

fn a_maker_that_dies_hands_over_a_part_or_keeps_it() -> Result<Report, Error> {
    check_awake(1, |world| {
        let array = Array::new();
        let (proof, theirs) = (world.proof("maker"), Rc::clone(&array));
        world.victim("maker", move || theirs.hand_over(0, 7));
        let before = array.redeem(1);
        if before.is_some() {
            assert_eq!(array.element(), 7, "a part that was handed over is whole");
        } else if proof.is_gone() {
            let held = array.turns().held(PART);
            assert!(held == 0 || array.redeem(held).is_some(), "on its way, or never sent");
        }
    })
}
