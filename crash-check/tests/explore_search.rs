//! What the search itself must do: see every state, find the shortest way to a failure, tell the
//! kinds of failure apart, and say so when it has not seen everything.
#![cfg(feature = "explore")]

use crash_check::explore::{Exit, Explorer, Flaw, Model, Process, Successors, Verdict};

/// Two counters that go up to a limit, each by its own process; what is wrong is up to the test.
struct Counters {
    limit: u8,
    forbidden: Option<[u8; 2]>,
    end: fn(&[u8; 2]) -> bool,
}

impl Counters {
    fn up_to(limit: u8) -> Self {
        Self { limit, forbidden: None, end: |_| true }
    }
}

impl Model for Counters {
    type State = [u8; 2];

    fn initial(&self) -> [u8; 2] {
        [0, 0]
    }

    fn successors(&self, s: &[u8; 2], out: &mut Successors<'_, [u8; 2]>) {
        for p in 0..2 {
            if s[p] < self.limit {
                out.step(p, "count", |n| n[p] += 1);
            }
        }
    }

    fn invariants(&self, s: &[u8; 2]) -> Result<(), String> {
        if Some(*s) == self.forbidden { Err(format!("{s:?} was reached")) } else { Ok(()) }
    }

    fn may_end(&self, s: &[u8; 2]) -> Result<(), String> {
        if (self.end)(s) { Ok(()) } else { Err("stuck".into()) }
    }
}

#[test]
fn every_interleaving_is_seen_once() {
    let report = Explorer::new().run(&Counters::up_to(9));
    assert!(report.holds(), "{report}");
    assert_eq!((report.states, report.steps, report.ends, report.depth), (100, 180, 1, 18));
    assert!(report.omission_probability() < 1e-12);
}

#[test]
fn the_shortest_way_to_a_broken_invariant_is_told() {
    let model = Counters { forbidden: Some([2, 3]), ..Counters::up_to(9) };
    let report = Explorer::new().run(&model);
    let found = report.counterexample().expect("it is reachable");
    assert_eq!(found.flaw, Flaw::Invariant("[2, 3] was reached".into()));
    assert_eq!(found.trace.len(), 5);
    let last = found.trace.last().expect("five steps");
    assert!(last.changes.len() == 1 && last.changes[0].contains(" → "), "{last}");
    assert!(report.to_string().contains("count"), "{report}");
}

#[test]
fn a_state_that_was_never_allowed_needs_no_step() {
    let model = Counters { forbidden: Some([0, 0]), ..Counters::up_to(1) };
    let report = Explorer::new().run(&model);
    assert_eq!(report.counterexample().map(|found| found.trace.len()), Some(0));
}

#[test]
fn a_deadlock_is_a_bad_end() {
    let model = Counters { end: |s| *s != [2, 2], ..Counters::up_to(2) };
    let report = Explorer::new().run(&model);
    let found = report.counterexample().expect("the only end is a bad one");
    assert_eq!(found.flaw, Flaw::BadEnd("stuck".into()));
}

#[test]
fn a_search_that_was_cut_says_so_and_claims_nothing() {
    let report = Explorer::new().budget(50).run(&Counters::up_to(99));
    assert!(matches!(report.verdict, Verdict::Cut) && !report.holds(), "{report}");
    assert!(report.states >= 50 && report.states < 60);
}

/// A process that may step into a circle it cannot leave, or into it with an emergency exit that
/// only the environment opens.
struct Circle {
    exit_by_event: bool,
}

impl Model for Circle {
    type State = u8;

    fn initial(&self) -> u8 {
        0
    }

    fn successors(&self, s: &u8, out: &mut Successors<'_, u8>) {
        match *s {
            0 => {
                out.step(0, "leave", |n| *n = 9);
                out.step(0, "enter the circle", |n| *n = 1);
            }
            1 => out.step(0, "turn", |n| *n = 2),
            2 => {
                out.step(0, "turn", |n| *n = 1);
                if self.exit_by_event {
                    out.event(0, "time-out", |n| *n = 9);
                }
            }
            _ => out.step(0, "poll", |_| {}),
        }
    }

    fn may_end(&self, _: &u8) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_circle_without_a_way_out_is_found() {
    for exit_by_event in [false, true] {
        let report = Explorer::new().run(&Circle { exit_by_event });
        let found = report.counterexample().expect("nothing may be relied upon to leave it");
        assert_eq!(found.flaw, Flaw::NoEndReachable, "exit by event: {exit_by_event}");
        assert_eq!(found.trace.len(), 1);
    }
}

/// One step that is wrong in itself.
struct Stumble;

impl Model for Stumble {
    type State = u8;

    fn initial(&self) -> u8 {
        0
    }

    fn successors(&self, s: &u8, out: &mut Successors<'_, u8>) {
        if *s < 3 {
            out.step(0, "walk", |n| *n += 1);
        } else {
            out.flaw(1, "store", "over a foreign word");
        }
    }

    fn may_end(&self, _: &u8) -> Result<(), String> {
        Ok(())
    }

    fn name_of(&self, who: usize) -> String {
        format!("thread {who}")
    }
}

#[test]
fn a_step_that_is_wrong_in_itself_ends_the_trace() {
    let report = Explorer::new().run(&Stumble);
    let found = report.counterexample().expect("the fourth step is wrong");
    assert_eq!(found.flaw, Flaw::Step("over a foreign word".into()));
    let last = found.trace.last().expect("four steps");
    assert_eq!((found.trace.len(), last.who.as_str(), last.label), (4, "thread 1", "store"));
}

#[test]
fn the_same_model_gives_the_same_trace_every_time() {
    let model = || Counters { forbidden: Some([3, 3]), ..Counters::up_to(5) };
    let once = Explorer::new().run(&model());
    let again = Explorer::new().run(&model());
    let trace = |report: &crash_check::explore::Report| {
        report.counterexample().map(|found| found.trace.clone())
    };
    assert_eq!(trace(&once), trace(&again));
}

#[test]
fn a_kill_becomes_three_events_and_the_locks_come_last() {
    let mut process = Process::running();
    assert_eq!(process.possible_exits().count(), 0);
    process.kill();
    let both: Vec<_> = process.possible_exits().collect();
    assert_eq!(both, [Exit::KeeperEnds, Exit::ThreadsEnd]);
    process.happen(Exit::ThreadsEnd);
    process.happen(Exit::KeeperEnds);
    assert!(!process.is_gone(), "the locks are still held");
    assert_eq!(process.possible_exits().collect::<Vec<_>>(), [Exit::LocksFree]);
    process.happen(Exit::LocksFree);
    assert!(process.is_gone() && process.possible_exits().count() == 0);
}
