//! A lock whose word names its owner, over a record of two fields; a survivor takes it from the
//! dead and repairs the record.

use std::rc::Rc;

use crash_check::death::sync::Ordering::{Acquire, Relaxed, Release};
use crash_check::death::sync::{AtomicU32, UnsafeCell};
use crash_check::death::{Error, Life, Model, Report, World};

const FREE: u32 = 0;

/// What the broken twins do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    Correct,
    /// Takes the lock from the dead and believes the record.
    WithoutRepair,
    /// Gives the lock back by a Relaxed store.
    RelaxedUnlock,
}

/// `owner` is `FREE` or a participant's number; `left == right` whenever nobody holds the lock.
struct Pair {
    owner: AtomicU32,
    left: UnsafeCell<u32>,
    right: UnsafeCell<u32>,
    /// Participant `i + 1`'s.
    lives: Vec<Life>,
}

impl Pair {
    fn new(world: &World, participants: &[&str]) -> Rc<Self> {
        let (left, right) = (UnsafeCell::new(0), UnsafeCell::new(0));
        let lives = participants.iter().map(|thread| world.life(thread)).collect();
        Rc::new(Self { owner: AtomicU32::new(FREE), left, right, lives })
    }

    /// `Some(true)`: taken from a dead owner.
    fn try_lock(&self, me: u32) -> Option<bool> {
        // Acquire: pairs with the Release store in `unlock`.
        let Err(owner) = self.owner.compare_exchange(FREE, me, Acquire, Relaxed) else {
            return Some(false);
        };
        if owner == me || !self.lives[owner as usize - 1].is_dead() {
            return None;
        }
        // Relaxed: the edge from the dead owner is the Acquire load of its life word.
        let taken = self.owner.compare_exchange(owner, me, Relaxed, Relaxed);
        taken.is_ok().then_some(true)
    }

    /// Locks, repairs if need be, updates, unlocks; or not, if another holds the lock.
    fn try_update(&self, me: u32, twin: Twin) {
        let Some(from_the_dead) = self.try_lock(me) else { return };
        if from_the_dead && twin != Twin::WithoutRepair {
            self.recover();
        }
        self.assert_whole();
        self.update();
        self.unlock(twin);
    }

    fn unlock(&self, twin: Twin) {
        let order = if twin == Twin::RelaxedUnlock { Relaxed } else { Release };
        // Release: pairs with the Acquire exchange in `try_lock`.
        self.owner.store(FREE, order);
    }

    fn recover(&self) {
        let left = get(&self.left);
        set(&self.right, left);
    }

    fn update(&self) {
        let next = get(&self.left) + 1;
        set(&self.left, next);
        set(&self.right, next);
    }

    fn assert_whole(&self) {
        assert_eq!(get(&self.left), get(&self.right), "the record is torn");
    }
}

#[track_caller]
fn get(cell: &UnsafeCell<u32>) -> u32 {
    // SAFETY: the lock's holder is the only one to reach the cells; the model checks that.
    cell.with(|value| unsafe { value.read() })
}

#[track_caller]
fn set(cell: &UnsafeCell<u32>, new: u32) {
    // SAFETY: as in `get`.
    cell.with_mut(|value| unsafe { value.write(new) });
}

/// The victim updates the record; the survivor tries twice to do the same.
pub fn check(twin: Twin) -> Result<Report, Error> {
    Model::new().check(move |world| {
        let pair = Pair::new(world, &["victim", "main"]);
        let theirs = Rc::clone(&pair);
        world.victim("victim", move || theirs.try_update(1, twin));
        pair.try_update(2, twin);
        pair.try_update(2, twin);
    })
}

/// Two survivors find the same dead owner.
pub fn check_two_survivors() -> Result<Report, Error> {
    Model::new().preemption_bound(Some(2)).check(move |world| {
        let pair = Pair::new(world, &["victim", "main", "other"]);
        let (theirs, others) = (Rc::clone(&pair), Rc::clone(&pair));
        world.victim("victim", move || theirs.try_update(1, Twin::Correct));
        world.spawn("other", move || others.try_update(3, Twin::Correct));
        pair.try_update(2, Twin::Correct);
    })
}

/// The survivor waits for the lock with all patience: a dead owner must not keep it for ever.
pub fn check_progress() -> Result<Report, Error> {
    Model::new().preemption_bound(Some(3)).check(move |world| {
        let pair = Pair::new(world, &["victim", "main"]);
        let theirs = Rc::clone(&pair);
        world.victim("victim", move || theirs.try_update(1, Twin::Correct));
        let from_the_dead = loop {
            match pair.try_lock(2) {
                Some(from_the_dead) => break from_the_dead,
                None => crash_check::death::hint::spin_loop(),
            }
        };
        if from_the_dead {
            pair.recover();
        }
        pair.assert_whole();
    })
}
