//! What one execution knows: its threads, which of them are dead or asleep, which faults are due,
//! and what happened so far.
//!
//! loom runs all threads of a model as coroutines of one operating-system thread, so this state is
//! an ordinary thread-local. It is touched only between two of loom's scheduling points, together
//! with the operation it belongs to; that makes both one step.

mod held;
mod robust;
mod sleep;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;

use super::schedule::{FaultKind, Occasions, Schedule};
use super::sync::AtomicU32;
use super::trace::{Action, Event};

use held::Held;
pub(super) use held::{are_overtaken, hold, holds, make_held};
pub(super) use robust::{
    add_robust, my_process, process, remove_robust, take_robust, threads_of, watch,
};
use sleep::Sleeper;
pub(super) use sleep::{
    Roused, Sleep, check_progress, dequeue, enqueue, fall_asleep, get_up, join, lie_down, rouse,
    roused,
};

/// Payload of the unwinding that stands for a death.
#[derive(Debug)]
pub(super) struct Death;

/// Whether an operation is made, or has no effect because its thread is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Live,
    Muted,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running,
    Asleep { at: &'static Location<'static>, timed: bool },
    Joining { at: &'static Location<'static>, other: usize },
    Ended,
}

#[derive(Debug)]
struct Thread {
    name: String,
    process: String,
    victim: bool,
    state: State,
    dead: bool,
    operations: usize,
    sleeps: usize,
    timed_sleeps: usize,
    /// Why the sleep now ending, or about to begin, is over.
    roused: Option<Roused>,
    /// To unpark it by.
    handle: Option<loom::thread::Thread>,
    /// Words the kernel stamps when this thread dies; `true`: whatever the word holds.
    robust: Vec<(AtomicU32, bool)>,
    /// Stores that an operation to come may overtake, the oldest first.
    held: VecDeque<Held>,
}

/// A process whose death can be proven.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) ended: AtomicU32,
}

/// State of one check on this operating-system thread.
#[derive(Debug, Default)]
pub(super) struct Run {
    schedule: Schedule,
    pub(super) seen: Occasions,
    pub(super) executions: usize,
    pub(super) executions_with_death: usize,
    pub(super) most_deaths: usize,
    deaths: usize,
    threads: Vec<Thread>,
    events: Vec<Event>,
    words: Vec<&'static Location<'static>>,
    queues: BTreeMap<usize, VecDeque<Sleeper>>,
    /// Words to stamp when a thread of this name dies, for threads not spawned yet.
    lives: BTreeMap<String, Vec<AtomicU32>>,
    processes: BTreeMap<String, Process>,
}

thread_local! {
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
    static MUTED: Cell<u32> = const { Cell::new(0) };
}

loom::thread_local! {
    static ME: Cell<usize> = Cell::new(0);
}

/// A dead thread may make this many operations while its destructors run. More means that a
/// destructor waits for somebody, which a dead thread must not: nothing could end it.
const MOST_MUTED: u32 = 1_000_000;

fn with<R>(f: impl FnOnce(&mut Run) -> R) -> R {
    RUN.with_borrow_mut(|run| match run {
        Some(run) => f(run),
        None => panic!(
            "types of `crash_check::death` work only inside `death::Model::check`: build and use \
             them within the closure given to it"
        ),
    })
}

/// Index of the thread that runs now.
pub(super) fn me() -> usize {
    ME.with(Cell::get)
}

pub(super) fn begin(schedule: Schedule) {
    RUN.set(Some(Run { schedule, ..Run::default() }));
}

/// Ends what [`begin`] began.
pub(super) fn finish() -> Run {
    RUN.take().unwrap_or_default()
}

/// Called first in every execution, on its main thread.
pub(super) fn begin_execution() {
    MUTED.set(0);
    // What the last execution left behind is dropped outside of the borrow.
    let left = with(|run| {
        run.executions += 1;
        run.deaths = 0;
        run.events.clear();
        run.words.clear();
        let main = new_thread("main", "main", false);
        (
            std::mem::replace(&mut run.threads, vec![main]),
            std::mem::take(&mut run.queues),
            std::mem::take(&mut run.lives),
            std::mem::take(&mut run.processes),
        )
    });
    drop(left);
}

fn new_thread(name: &str, process: &str, victim: bool) -> Thread {
    Thread {
        name: name.to_owned(),
        process: process.to_owned(),
        victim,
        state: State::Running,
        dead: false,
        operations: 0,
        sleeps: 0,
        timed_sleeps: 0,
        roused: None,
        handle: None,
        robust: Vec::new(),
        held: VecDeque::new(),
    }
}

/// Registers a thread about to be spawned and returns its index.
pub(super) fn add_thread(name: Option<&str>, process: Option<&str>, victim: bool) -> usize {
    with(|run| {
        let index = run.threads.len();
        let name = name.map_or_else(|| format!("t{index}"), str::to_owned);
        assert!(
            run.threads.iter().all(|thread| thread.name != name),
            "two threads are called `{name}`: a schedule names threads, so give each its own name"
        );
        let mut thread = new_thread(&name, process.unwrap_or(&name), victim);
        let lives = run.lives.remove(&name).unwrap_or_default();
        thread.robust.extend(lives.into_iter().map(|word| (word, true)));
        run.threads.push(thread);
        index
    })
}

/// Called first on a spawned thread.
pub(super) fn become_thread(index: usize) {
    ME.with(|me| me.set(index));
}

/// The tick before every shared operation. Does not return if the thread dies here.
pub(super) fn turn() -> Turn {
    make_held();
    tick()
}

/// The same, while stores that were due before may wait on.
pub(super) fn tick() -> Turn {
    if std::thread::panicking() {
        return muted();
    }
    let me = me();
    let dies = with(|run| {
        let thread = &mut run.threads[me];
        if thread.dead {
            return None;
        }
        let index = thread.operations;
        thread.operations += 1;
        let victim = thread.victim;
        Some(victim && run.occasion(me, FaultKind::Kill, index))
    });
    match dies {
        None => muted(),
        Some(false) => Turn::Live,
        Some(true) => die(),
    }
}

/// Is the running thread dead, or is a panic on its way? Not a tick.
pub(super) fn is_muted() -> bool {
    if std::thread::panicking() {
        return true;
    }
    let me = me();
    with(|run| run.threads[me].dead)
}

fn muted() -> Turn {
    let count = MUTED.get() + 1;
    MUTED.set(count);
    if count > MOST_MUTED {
        eprintln!(
            "crash-check: a destructor of a dead or failed thread goes on for ever; a destructor \
             must not wait for others"
        );
        std::process::abort();
    }
    Turn::Muted
}

/// The running thread dies here: no later operation of it has an effect.
pub(super) fn die() -> ! {
    let me = me();
    // Overtaken by the last operation: never made.
    drop(with(|run| std::mem::take(&mut run.threads[me].held)));
    with(|run| {
        run.threads[me].dead = true;
        run.deaths += 1;
        run.most_deaths = run.most_deaths.max(run.deaths);
        run.executions_with_death += usize::from(run.deaths == 1);
        run.events.push(Event::bare(me, Action::Died));
    });
    std::panic::resume_unwind(Box::new(Death));
}

/// Is this the payload of a death?
pub(super) fn is_death(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Death>()
}

impl Run {
    /// Notes that a fault could happen here, and says whether the schedule has it happen.
    fn occasion(&mut self, thread: usize, kind: FaultKind, index: usize) -> bool {
        let name = &self.threads[thread].name;
        let times = index + 1;
        match self.seen.get_mut(&(name.clone(), kind)) {
            Some(most) => *most = times.max(*most),
            None => {
                self.seen.insert((name.clone(), kind), times);
            }
        }
        self.schedule.has(&self.threads[thread].name, kind, index)
    }

    /// The trace of the current execution, one operation a line.
    pub(super) fn trace(&self) -> String {
        let names: Vec<&str> = self.threads.iter().map(|thread| thread.name.as_str()).collect();
        super::trace::render(&names, &self.words, &self.events)
    }
}

/// Appends to the trace of this execution.
pub(super) fn log(event: impl FnOnce(usize) -> Event) {
    let me = me();
    with(|run| run.events.push(event(me)));
}

/// A number for a new word; the same in every execution that creates its words in the same order.
pub(super) fn new_word(created: &'static Location<'static>) -> usize {
    with(|run| {
        run.words.push(created);
        run.words.len() - 1
    })
}

/// The running thread is over: it returned, or the kernel has finished with it.
pub(super) fn end(dead: bool) {
    let me = me();
    with(|run| {
        run.threads[me].state = State::Ended;
        if !dead {
            run.events.push(Event::bare(me, Action::Returned));
        }
    });
    check_progress();
}
