//! What makes a matrix pass, and what it must refuse.
#![cfg(feature = "mutate")]

mod mutate_subjects;

use std::rc::Rc;

use crash_check::death::sync::Ordering::{Acquire, Release};
use crash_check::death::sync::{AtomicU32, UnsafeCell};
use crash_check::death::{Error as DeathError, Model, Report};
use crash_check::mutate::{Error, Matrix, Mutations, Outcome};

/// A publish with an Acquire too much, a statement that matters, and a place nobody gets to.
struct Cell {
    ready: AtomicU32,
    value: UnsafeCell<u32>,
    swept: UnsafeCell<u32>,
}

impl Cell {
    fn publish(&self) {
        // SAFETY: the consumer waits for `ready`; the model checks that.
        self.value.with_mut(|value| unsafe { value.write(7) });
        self.ready.store(1, Release);
    }

    fn consume(&self) -> Option<u32> {
        if self.ready.load(Acquire) == 0 {
            return None;
        }
        self.ready.load(Acquire);
        // SAFETY: published before `ready`.
        Some(self.value.with(|value| unsafe { value.read() }))
    }

    fn recover(&self) {
        // SAFETY: called once all have ended.
        crash_check::statement!(self.swept.with_mut(|swept| unsafe { swept.write(1) }));
    }

    fn is_swept(&self) -> bool {
        // SAFETY: as above.
        self.swept.with(|swept| unsafe { swept.read() }) == 1
    }
}

#[allow(dead_code)]
fn nobody_calls_this(word: &AtomicU32) {
    word.store(1, Release);
}

fn check() -> Result<Report, DeathError> {
    Model::new().check(|world| {
        let (value, swept) = (UnsafeCell::new(0), UnsafeCell::new(0));
        let cell = Rc::new(Cell { ready: AtomicU32::new(0), value, swept });
        let theirs = Rc::clone(&cell);
        let producer = world.victim("producer", move || theirs.publish());
        assert!(cell.consume().is_none_or(|value| value == 7));
        let _ = producer.join();
        cell.recover();
        assert!(cell.is_swept());
    })
}

fn mutations() -> Mutations {
    Mutations::new()
        .source("tests/mutate_rules.rs", include_str!("mutate_rules.rs"))
        .model("publish", check)
}

/// With reasons for all but the surviving Acquire.
fn with_most_reasons() -> Mutations {
    mutations().reason("nobody_calls_this", "word.store", "unreached", "on purpose")
}

fn with_all_reasons() -> Mutations {
    with_most_reasons().reason("consume", "self.ready.load", "Acquire → Relaxed", "read twice")
}

fn outcome<'a>(matrix: &'a Matrix, function: &str, mutation: &str) -> Vec<&'a Outcome> {
    let of = |row: &&crash_check::mutate::Row| row.function == function && row.mutation == mutation;
    matrix.rows.iter().filter(of).map(|row| &row.outcome).collect()
}

#[test]
fn each_place_is_found_without_annotation_and_each_mutant_judged() {
    let matrix = mutations().run().unwrap();
    println!("{}", matrix.text());
    let killed = |outcomes: Vec<&Outcome>| {
        outcomes.iter().filter(|o| matches!(o, Outcome::Killed { .. })).count()
    };
    assert_eq!(killed(outcome(&matrix, "publish", "Release → Relaxed")), 1);
    assert_eq!(killed(outcome(&matrix, "recover", "dropped")), 1);
    let twice = outcome(&matrix, "consume", "Acquire → Relaxed");
    assert!(twice.iter().all(|outcome| matches!(outcome, Outcome::Survived)), "{twice:?}");
    let never = outcome(&matrix, "nobody_calls_this", "unreached");
    assert!(matches!(never[..], [Outcome::Unreached]), "{never:?}");
    assert_eq!((matrix.mutants(), matrix.survivors()), (4, 2));
}

/// The second store of `leave` would be as good before the first, but for the note.
#[test]
fn a_release_that_only_a_death_needs_is_found_by_making_the_store_too_early() {
    let matrix = Mutations::new()
        .source("tests/mutate_subjects/mod.rs", mutate_subjects::SOURCE)
        .model("taken", mutate_subjects::what_a_dead_one_took_is_given_back)
        .run()
        .unwrap();
    println!("{}", matrix.text());
    let took = outcome(&matrix, "take", "Release → Relaxed");
    let [Outcome::Killed { schedule, moved_up: 1, .. }] = took[..] else { panic!("{took:?}") };
    // Dead before the later store of the source, which is made by then.
    assert_eq!(schedule, "taker@2");
    let left = matrix.rows.iter().filter(|row| row.function == "leave");
    let verdicts: Vec<_> = left.map(|row| (row.source.as_str(), row.survives())).collect();
    assert_eq!(
        verdicts,
        [("self.taken.store(0, Release);", true), ("self.note.store(0, Release);", false)]
    );
}

#[test]
fn a_survivor_or_an_unreached_place_without_a_reason_is_refused() {
    let error = mutations().run().unwrap().check(1.0).unwrap_err();
    let Error::WithoutReason { rows } = &error else { panic!("{error}") };
    assert_eq!(rows.len(), 3, "{error}");
    assert!(error.to_string().contains("nobody_calls_this"), "{error}");
}

#[test]
fn too_many_survivors_are_refused_even_with_reasons() {
    let matrix = with_all_reasons().run().unwrap();
    matrix.check(0.5).unwrap();
    let error = matrix.check(0.1).unwrap_err();
    assert!(matches!(error, Error::TooManySurvivors { survivors: 2, mutants: 4, .. }), "{error}");
}

#[test]
fn a_reason_that_fits_nothing_is_refused() {
    let stale = with_all_reasons().reason("publish", "ready.store", "Release → Relaxed", "no");
    let error = stale.run().unwrap().check(1.0).unwrap_err();
    assert!(matches!(error, Error::StaleReasons { .. }), "{error}");
}

#[test]
fn a_model_that_fails_unchanged_is_refused() {
    let broken = || Model::new().victims(0).check(|_| panic!("broken from the start"));
    let error = mutations().model("broken", broken).run().unwrap_err();
    assert!(error.to_string().contains("broken from the start"), "{error}");
}

#[test]
fn sources_that_no_model_reaches_are_refused() {
    let error = Mutations::new().source("elsewhere.rs", "").model("publish", check).run();
    assert!(matches!(error, Err(Error::NothingToMutate)), "{error:?}");
}

#[test]
fn the_page_is_self_contained_and_has_a_row_for_each_mutant() {
    let matrix = with_all_reasons().run().unwrap();
    let page = matrix.html("Publish <and> consume");
    assert_eq!(page.matches("<tr class=").count(), matrix.rows.len());
    assert!(page.contains("<h1>Publish &lt;and&gt; consume</h1>"), "{page}");
    assert!(page.contains("read twice") && page.contains("killed by publish"), "{page}");
    for outside in ["http", "<script", "src="] {
        assert!(!page.contains(outside), "{outside}: {page}");
    }
}

#[test]
fn a_mutation_ends_with_its_run() {
    let _ = mutations().run().unwrap();
    check().unwrap();
}
