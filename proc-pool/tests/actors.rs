//! Single processes, and workers that hold state behind typed handles.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod parent;

use std::time::Duration;

use proc_pool::{
    ActorOptions, Death, Pool, PoolError, Process, Restart, TaskError, task, worker_state,
};
use rustix::process::{Signal, kill_process};

use parent::{becomes, runs};

const LONG: Duration = Duration::from_secs(20);

#[task]
fn add(a: u32, b: u32) -> u32 {
    a + b
}

#[task]
fn exit_with(code: i32) {
    std::process::exit(code);
}

#[task]
fn panics() {
    panic!("in a process of its own");
}

#[task]
fn for_ever() {
    loop {
        std::thread::park();
    }
}

/// Says that it has begun by making the file.
#[task]
fn for_ever_from(file: String) {
    std::fs::write(file, "").expect("a file");
    loop {
        std::thread::park();
    }
}

#[proc_pool::test]
fn a_process_gives_its_result_and_its_exit_status() {
    let mut process = Process::spawn(add, (2, 3)).unwrap();
    assert_ne!(process.pid(), std::process::id());
    assert_eq!(process.join().unwrap(), 5);
    assert_eq!(process.exit_status(), Some(Death::Exit(0)));
    assert!(!process.is_alive() && !runs(process.pid()));
    assert!(process.join().is_err(), "the result is given once");
}

#[proc_pool::test]
fn a_process_that_ends_otherwise_says_how() {
    let mut exits = Process::spawn(exit_with, 3).unwrap();
    assert!(matches!(exits.join(), Err(TaskError::WorkerDied { death: Death::Exit(3), .. })));
    assert_eq!(exits.exit_status(), Some(Death::Exit(3)));
    let mut unwound = Process::spawn(panics, ()).unwrap();
    assert!(matches!(unwound.join(), Err(TaskError::Panicked { .. })));
    assert_eq!(unwound.exit_status(), Some(Death::Exit(101)));
}

#[proc_pool::test]
fn a_process_can_be_waited_for_a_while_asked_to_end_and_killed() {
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let mut process = Process::spawn(for_ever_from, begun.to_str().unwrap().to_owned()).unwrap();
    // Asked before its task has begun it would end as well, with another error.
    while !begun.exists() {
        assert!(process.join_timeout(Duration::from_millis(20)).is_none());
    }
    assert!(process.join_timeout(Duration::from_millis(20)).is_none());
    assert!(process.is_alive() && runs(process.pid()));
    process.terminate();
    match process.join_timeout(LONG) {
        Some(Err(TaskError::WorkerDied { death, .. })) => assert_eq!(death, Death::Signal(15)),
        other => panic!("{other:?}"),
    }
    let mut process = Process::spawn(for_ever, ()).unwrap();
    process.kill();
    assert!(process.join().is_err());
    assert_eq!(process.exit_status(), Some(Death::Signal(9)));
    let process = Process::spawn(for_ever, ()).unwrap();
    let pid = process.pid();
    drop(process);
    assert!(!runs(pid), "a dropped process runs on");
}

/// Counts, and does what can go wrong.
struct Counter {
    total: u64,
}

#[proc_pool::actor]
impl Counter {
    fn new(start: u64) -> Self {
        Counter { total: start }
    }

    /// Adds to the total, and gives it.
    pub fn add(&mut self, n: u64) -> u64 {
        self.total += n;
        self.total
    }

    #[pure]
    pub fn die_unless(&self, marker: String) -> u64 {
        if std::fs::File::create_new(marker).is_ok() {
            let _ = kill_process(rustix::process::getpid(), Signal::KILL);
        }
        self.total
    }

    pub fn die(&mut self) {
        std::process::abort();
    }

    pub fn panic(&mut self) {
        self.total = 1000;
        panic!("after a change");
    }

    pub fn number_and_total(&self) -> (usize, u64) {
        (worker_state::number().expect("a worker"), self.total)
    }
}

struct Picky;

#[proc_pool::actor]
impl Picky {
    fn new(word: String, other: u32) -> Result<Self, String> {
        if word.len() as u32 == other { Ok(Picky) } else { Err(format!("{word} is not {other}")) }
    }

    pub fn nothing(&self) {}
}

#[proc_pool::test]
fn an_actor_keeps_its_state_from_call_to_call() {
    let counter = Counter::spawn(5).unwrap();
    let calls: Vec<_> = (1..=100).map(|n| counter.add(n)).collect();
    let totals: Vec<u64> = calls.into_iter().map(|call| call.wait().unwrap()).collect();
    let mut expected = 5;
    for (n, total) in (1..).zip(totals) {
        expected += n;
        assert_eq!(total, expected, "calls are made in order");
    }
    assert_eq!(counter.clone().add(0).wait().unwrap(), 5055);
    let pid = counter.pid().unwrap();
    drop(counter);
    assert!(!runs(pid), "the actor outlived its last handle");
}

#[proc_pool::test]
fn a_panic_in_a_method_is_the_call_s_and_the_actor_lives_on() {
    let counter = Counter::spawn(1).unwrap();
    assert!(matches!(counter.panic().wait(), Err(TaskError::Panicked { .. })));
    assert_eq!(counter.add(1).wait().unwrap(), 1001);
}

#[proc_pool::test]
fn a_constructor_that_fails_is_an_error_of_spawn() {
    assert!(Picky::spawn("four".to_owned(), 4).unwrap().nothing().wait().is_ok());
    match Picky::spawn("four".to_owned(), 5) {
        Err(PoolError::InitializerFailed { reason }) => {
            assert!(reason.contains("four is not 5"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[proc_pool::test]
fn calls_to_a_dead_actor_fail_with_its_death_notice() {
    let counter = Counter::spawn(1).unwrap();
    let (before, dying, after) = (counter.add(1), counter.die(), counter.add(1));
    assert_eq!(before.wait().unwrap(), 2);
    for error in [dying.wait().unwrap_err(), after.wait().unwrap_err()] {
        match error {
            TaskError::WorkerDied { death, .. } => assert_eq!(death, Death::Signal(6)),
            other => panic!("{other}"),
        }
    }
    assert!(matches!(counter.add(1).wait(), Err(TaskError::WorkerDied { .. })));
    assert_eq!(counter.death().unwrap().death, Death::Signal(6));
    assert_eq!(counter.pid(), None);
}

#[proc_pool::test]
fn a_restarted_actor_is_what_its_constructor_makes() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("died").to_str().unwrap().to_owned();
    let options = ActorOptions::new().restart(Restart::Always);
    let counter = Counter::spawn_with(options, 5).unwrap();
    assert_eq!(counter.add(1).wait().unwrap(), 6);
    let (dying, after) = (counter.die(), counter.add(2));
    assert!(matches!(dying.wait(), Err(TaskError::WorkerDied { .. })));
    assert_eq!(after.wait().unwrap(), 7, "from 5 again");
    // A pure method runs again, on the new state.
    assert_eq!(counter.die_unless(marker).wait().unwrap(), 5);
    let pid = counter.pid();
    counter.kill();
    assert!(becomes(LONG, || counter.pid().is_some_and(|now| Some(now) != pid)));
    assert_eq!(counter.add(3).wait().unwrap(), 8);
    assert_eq!(counter.death(), None);
}

#[proc_pool::test]
fn a_group_is_called_together_and_its_results_are_combined() {
    let group = Counter::spawn_group(ActorOptions::new(), 3, 10).unwrap();
    assert_eq!(group.len(), 3);
    assert_eq!(group.get(1).unwrap().add(5).wait().unwrap(), 15);
    assert_eq!(group.add(1).wait().unwrap(), [11, 16, 11]);
    assert_eq!(group.add(0).reduce(|a, b| a + b).unwrap(), Some(38));
    let all = group.number_and_total().wait().unwrap();
    assert_eq!(all, [(0, 11), (1, 16), (2, 11)]);
    assert!(group.get(3).is_none());
    assert_eq!(group.iter().count(), 3);
    // One dies; the others do not notice.
    group.get(0).unwrap().die().wait().unwrap_err();
    assert!(group.add(1).wait().is_err());
    assert_eq!(group.get(2).unwrap().add(0).wait().unwrap(), 12);
    let none = Counter::spawn_group(ActorOptions::new(), 0, 10);
    assert!(matches!(none, Err(PoolError::NoWorkers)));
}

#[task]
fn actor_in_a_worker(start: u64) -> u64 {
    let counter = Counter::spawn(start).expect("an actor");
    counter.add(1).wait().expect("a total")
}

#[proc_pool::test]
fn a_task_may_have_actors() {
    let pool = Pool::builder().workers(1).nested_processes(1).build().unwrap();
    assert_eq!(pool.submit(actor_in_a_worker, 4).wait().unwrap(), 5);
}

struct Shelf(Vec<u32>);

/// Parameters may have any names, those that the macro uses among them.
#[proc_pool::actor]
impl Shelf {
    fn new(size: usize, options: u32, actor: u32) -> Result<Self, String> {
        Ok(Shelf(vec![options + actor; size]))
    }

    pub fn total(&self, state: u32, actor: u32, task: u32, input: u32) -> u32 {
        self.0.iter().sum::<u32>() + state + actor + task + input
    }
}

#[allow(non_upper_case_globals, reason = "a name that a macro might take")]
const ENTRY: u32 = 5;

#[task]
fn with_names_of_its_own(crosses: u32, argument_0: u32) -> u32 {
    crosses + argument_0 + ENTRY
}

#[proc_pool::test]
fn a_macro_takes_no_names_from_its_user() {
    let shelf = Shelf::spawn(3, 1, 2).unwrap();
    assert_eq!(shelf.total(1, 2, 3, 4).wait().unwrap(), 19);
    let group = Shelf::spawn_group(proc_pool::ActorOptions::new(), 2, 1, 1, 1).unwrap();
    assert_eq!(group.total(0, 0, 0, 1).wait().unwrap(), [3, 3]);
    let pool = proc_pool::Pool::builder().workers(1).build().unwrap();
    assert_eq!(pool.submit(with_names_of_its_own, (1, 2)).wait().unwrap(), 8);
}
