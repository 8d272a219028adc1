//! Named segments: a user is killed behind every system call of what it does with a name.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crash_check::step::Scenario;
use shm_core::{Error, NamedFrozen, Segment, sweep};

use crate::ground::{Said, run};
use crate::reexec::{Actor, tell};

const SIZE: usize = 5000;
/// What a living user's memory begins with.
const MARK: u8 = 77;

/// Everybody's sweep takes away everybody's dead names, so these rows are run one after another:
/// else another row could clean up what this one is about to meet.
fn alone() -> MutexGuard<'static, ()> {
    static ROWS: Mutex<()> = Mutex::new(());
    ROWS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name that only this row uses.
fn name(row: &str) -> String {
    format!("test-step-{row}-{}", std::process::id())
}

fn file_of(name: &str) -> PathBuf {
    PathBuf::from(format!("/dev/shm/shm-core.{name}"))
}

/// The living user's whole life.
pub fn use_until_told(name: &str) {
    let segment = Segment::create(name, SIZE).unwrap();
    // SAFETY: the first of the segment's bytes, which nobody else writes.
    unsafe { segment.data().write(MARK) };
    tell("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// A living user of `name`.
fn user(name: &str) -> Actor {
    let mut user = Actor::start("user", name);
    assert_eq!(user.hear(), "ready");
    user
}

/// Leaves a name behind as a killed process does.
fn leave_a_dead_ones(name: &str) {
    // SAFETY: this process has one thread; the child goes without running any destructor.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let made = Segment::create(name, SIZE);
        std::mem::forget(made);
        // SAFETY: takes an integer, and does not return.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for the child just made; no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
}

/// An operation on a name, killed; then the one sweep of a fresh process.
fn row(operation: &str, state: &str) -> Scenario {
    Scenario::new(operation).state(state).each_system_call().recovery(|_| sweep().map(drop))
}

/// For a name that nobody living uses.
fn of_the_dead(scenario: Scenario, name: &str) -> Scenario {
    let (swept, again) = (name.to_owned(), name.to_owned());
    scenario
        .validate(move |_| match file_of(&swept).exists() {
            true => Err("the sweep leaves the name of the dead"),
            false => Ok(()),
        })
        .continuation(move |_| {
            let made = Segment::create(&again, SIZE)?;
            let opened = Segment::open(&again)?;
            drop((made, opened));
            match file_of(&again).exists() {
                true => Err("the name outlives its users".into()),
                false => Said::Ok(()),
            }
        })
}

/// For a name that somebody living uses.
fn of_the_living(scenario: Scenario, name: &str) -> Scenario {
    let name = name.to_owned();
    scenario.validate(move |_| {
        let opened = Segment::open(&name).map_err(|error| format!("a living name: {error}"))?;
        // SAFETY: the first of the segment's bytes, which nobody writes any more.
        match unsafe { opened.data().read() } {
            MARK => Said::Ok(()),
            other => Err(format!("another's memory under a living name: {other}").into()),
        }
    })
}

#[test]
fn kill_create() {
    let _alone = alone();
    for state in ["free name", "name of the dead"] {
        let name = name(&state.replace(' ', "-"));
        let (before, made) = (name.clone(), name.clone());
        let scenario = row("shm_core::Segment::create", state).operation_with(
            move |_| {
                if state == "name of the dead" {
                    leave_a_dead_ones(&before);
                }
                None
            },
            move |_, kept| Segment::create(&made, SIZE).map(|made| *kept = Some(made)),
        );
        run(of_the_dead(scenario, &name));
    }
    let name = name("taken");
    let user = user(&name);
    let taken = name.clone();
    let scenario = row("shm_core::Segment::create", "name in use");
    let scenario = scenario.operation(move |_| match Segment::create(&taken, SIZE) {
        Err(Error::AlreadyExists { .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    run(of_the_living(scenario, &name));
    user.finish();
}

#[test]
fn kill_open() {
    let _alone = alone();
    let name_in_use = name("open");
    let user = user(&name_in_use);
    let opened = name_in_use.clone();
    let scenario = row("shm_core::Segment::open", "name in use").operation_with(
        |_| None,
        move |_, kept| Segment::open(&opened).map(|opened| *kept = Some(opened)),
    );
    run(of_the_living(scenario, &name_in_use));
    user.finish();

    let name = name("open-dead");
    let (before, opened) = (name.clone(), name.clone());
    let scenario = row("shm_core::Segment::open", "name of the dead").operation_with(
        move |_| leave_a_dead_ones(&before),
        move |_, ()| match Segment::open(&opened) {
            Err(Error::NotFound { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    run(of_the_dead(scenario, &name));
}

#[test]
fn kill_leave() {
    let _alone = alone();
    let last = name("last");
    let made = last.clone();
    let scenario = row("shm_core::Segment::drop", "last user").operation_with(
        move |_| Some(Segment::create(&made, SIZE).unwrap()),
        |_, kept| drop(kept.take()),
    );
    run(of_the_dead(scenario, &last));

    let shared = name("shared");
    let user = user(&shared);
    let opened = shared.clone();
    let scenario = row("shm_core::Segment::drop", "another user lives").operation_with(
        move |_| Some(Segment::open(&opened).unwrap()),
        |_, kept| drop(kept.take()),
    );
    run(of_the_living(scenario, &shared));
    user.finish();
}

#[test]
fn kill_sweep() {
    let _alone = alone();
    let (living, dead) = (name("beside"), name("swept"));
    let user = user(&living);
    let before = dead.clone();
    let scenario = row("shm_core::sweep", "a name of the dead beside one in use")
        .operation_with(move |_| leave_a_dead_ones(&before), |_, ()| sweep().map(drop));
    run(of_the_living(of_the_dead(scenario, &dead), &living));
    user.finish();
}

#[test]
fn kill_publish_and_open_frozen() {
    let _alone = alone();
    let published = name("frozen");
    let made = published.clone();
    let scenario = row("shm_core::NamedFrozen::publish", "free name").operation_with(
        |_| None,
        move |_, kept| NamedFrozen::publish(&made, &[1_u64, 2, 3]).map(|made| *kept = Some(made)),
    );
    run(of_the_dead(scenario, &published));

    let opened = name("frozen-open");
    let kept_here = NamedFrozen::publish(&opened, &[1_u64, 2, 3]).unwrap();
    let (victims, survivors) = (opened.clone(), opened.clone());
    let scenario = row("shm_core::NamedFrozen::open", "name in use").operation_with(
        |_| None,
        move |_, kept| NamedFrozen::<u64>::open(&victims).map(|opened| *kept = Some(opened)),
    );
    run(scenario.validate(move |_| match NamedFrozen::<u64>::open(&survivors)?[..] {
        [1, 2, 3] => Said::Ok(()),
        _ => Err("other data under a living name".into()),
    }));
    drop(kept_here);
}
