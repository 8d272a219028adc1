//! A place that is taken with a note of it written before: whoever clears up after a dead one reads
//! the note. Only the compiler could exchange the two stores, and only a death shows it.

use std::rc::Rc;

use crash_check::death::sync::AtomicU32;
use crash_check::death::sync::Ordering::{Relaxed, Release};
use crash_check::death::{Error, Model, Report};

pub const SOURCE: &str = include_str!("mod.rs");

#[derive(Default)]
struct Places {
    note: AtomicU32,
    taken: AtomicU32,
    unrelated: AtomicU32,
}

impl Places {
    fn take(&self) {
        self.note.store(1, Relaxed);
        // A look at another word keeps the two stores no further apart.
        let _ = self.unrelated.load(Relaxed);
        // Release: the note comes before.
        self.taken.store(1, Release);
    }

    fn leave(&self) {
        self.taken.store(0, Release);
        // Release: the place is free before. That of the store above is needed by nobody.
        self.note.store(0, Release);
    }

    fn recover(&self) {
        if self.note.load(Relaxed) == 1 {
            self.taken.store(0, Relaxed);
        }
    }
}

pub fn what_a_dead_one_took_is_given_back() -> Result<Report, Error> {
    Model::new().check(|world| {
        let places = Rc::new(Places::default());
        let proof = world.proof("taker");
        let theirs = Rc::clone(&places);
        let taker = world.victim("taker", move || {
            theirs.take();
            theirs.leave();
        });
        let died = taker.join().is_err();
        assert_eq!(died, proof.is_gone());
        places.recover();
        assert_eq!(places.taken.load(Relaxed), 0, "it is taken for ever");
    })
}
