//! What one execution knows: its threads, which of them are dead or asleep, which faults are due,
//! and what happened so far.
//!
//! loom runs all threads of a model as coroutines of one operating-system thread, so this state is
//! an ordinary thread-local. It is touched only between two of loom's scheduling points, together
//! with the operation it belongs to; that makes both one step.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;

use super::schedule::{FaultKind, Occasions, Schedule};
use super::sync::AtomicU32;
use super::trace::{Action, Event};

/// Payload of the unwinding that stands for a death.
#[derive(Debug)]
pub(super) struct Death;

/// Whether an operation is made, or has no effect because its thread is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Live,
    Muted,
}

/// Why a sleeper woke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roused {
    By { place: usize },
    TimedOut,
}

/// What becomes of a thread that has just gone to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sleep {
    Sound,
    Killed,
    Spurious,
    TimedOut,
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

#[derive(Debug, Clone, Copy)]
struct Sleeper {
    thread: usize,
    place: usize,
}

impl Thread {
    /// Marks it as woken; returns what to unpark, if it sleeps already.
    fn rouse(&mut self, sleeper: Sleeper) -> Option<loom::thread::Thread> {
        // The first word that woke it is the one it reports; both wakes are spent.
        self.roused.get_or_insert(Roused::By { place: sleeper.place });
        let asleep = matches!(self.state, State::Asleep { .. });
        if asleep { self.handle.clone() } else { None }
    }
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

    fn is_stuck(&self, thread: &Thread) -> bool {
        match thread.state {
            State::Running => false,
            State::Asleep { .. } => thread.roused.is_none(),
            State::Joining { other, .. } => !matches!(self.threads[other].state, State::Ended),
            State::Ended => true,
        }
    }

    /// If nobody can run, time passes: the first timed sleeper times out. None left: a deadlock.
    fn let_time_pass(&mut self) -> Result<Option<loom::thread::Thread>, String> {
        let all_ended = self.threads.iter().all(|t| matches!(t.state, State::Ended));
        if all_ended || !self.threads.iter().all(|thread| self.is_stuck(thread)) {
            return Ok(None);
        }
        for thread in &mut self.threads {
            if matches!(thread.state, State::Asleep { timed: true, .. }) {
                thread.roused = Some(Roused::TimedOut);
                return Ok(thread.handle.clone());
            }
        }
        Err(self.describe_deadlock())
    }

    fn describe_deadlock(&self) -> String {
        let mut text = String::from("deadlock: nobody who is alive can go on");
        for thread in &self.threads {
            let line = match thread.state {
                State::Asleep { at, .. } => format!("asleep at {at}"),
                State::Joining { at, other } => {
                    format!("waits at {at} for `{}` to end", self.threads[other].name)
                }
                State::Ended if thread.dead => "dead".to_owned(),
                State::Ended => "has returned".to_owned(),
                State::Running => "runs".to_owned(),
            };
            text.push_str(&format!("\n  `{}` {line}", thread.name));
        }
        text
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

// Sleeping and waking. Every function here runs in one step with an operation on the word itself.

/// Puts the running thread to the end of the queue of `word`.
pub(super) fn enqueue(word: usize, place: usize) {
    let me = me();
    with(|run| run.queues.entry(word).or_default().push_back(Sleeper { thread: me, place }));
}

/// Takes the running thread out of the queue of `word`, if it is still in it.
pub(super) fn dequeue(word: usize) {
    let me = me();
    with(|run| {
        if let Some(queue) = run.queues.get_mut(&word) {
            queue.retain(|sleeper| sleeper.thread != me);
        }
    });
}

/// The running thread begins to queue: from now on it can be woken.
pub(super) fn lie_down() {
    let (me, handle) = (me(), loom::thread::current());
    with(|run| {
        run.threads[me].roused = None;
        run.threads[me].handle = Some(handle);
    });
}

/// The running thread has checked and queued on all its words: consults the schedule.
pub(super) fn fall_asleep(at: &'static Location<'static>, timed: bool) -> Sleep {
    let me = me();
    with(|run| {
        let thread = &mut run.threads[me];
        let (operation, sleep, timed_sleep) =
            (thread.operations, thread.sleeps, thread.timed_sleeps);
        thread.operations += 1;
        thread.sleeps += 1;
        thread.timed_sleeps += usize::from(timed);
        if thread.victim && run.occasion(me, FaultKind::Kill, operation) {
            return Sleep::Killed;
        }
        if run.occasion(me, FaultKind::Spurious, sleep) {
            return Sleep::Spurious;
        }
        if timed && run.occasion(me, FaultKind::TimeOut, timed_sleep) {
            return Sleep::TimedOut;
        }
        run.threads[me].state = State::Asleep { at, timed };
        Sleep::Sound
    })
}

/// Has the running thread been woken?
pub(super) fn roused() -> Option<Roused> {
    let me = me();
    with(|run| run.threads[me].roused)
}

/// The running thread is awake again.
pub(super) fn get_up() {
    let me = me();
    with(|run| run.threads[me].state = State::Running);
}

/// Wakes up to `most` sleepers of `word` and says how many.
pub(super) fn rouse(word: usize, most: usize) -> usize {
    let woken = with(|run| {
        let queue = run.queues.entry(word).or_default();
        let woken: Vec<Sleeper> = queue.drain(..most.min(queue.len())).collect();
        woken.iter().map(|sleeper| run.threads[sleeper.thread].rouse(*sleeper)).collect::<Vec<_>>()
    });
    for thread in woken.iter().flatten() {
        thread.unpark();
    }
    woken.len()
}

/// Fails the model if nobody can go on. Called whenever a thread stops running.
pub(super) fn check_progress() {
    match with(Run::let_time_pass) {
        Ok(Some(thread)) => thread.unpark(),
        Ok(None) => {}
        Err(deadlock) => panic!("{deadlock}"),
    }
}

/// The running thread waits for another to end.
pub(super) fn join(at: &'static Location<'static>, other: usize) {
    let me = me();
    with(|run| run.threads[me].state = State::Joining { at, other });
    check_progress();
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

// Death as the kernel sees it.

/// Notes a word that the kernel stamps when the thread of that name dies.
pub(super) fn watch(thread: &str, word: AtomicU32) {
    with(|run| match run.threads.iter_mut().find(|t| t.name == thread) {
        Some(thread) => thread.robust.push((word, true)),
        None => run.lives.entry(thread.to_owned()).or_default().push(word),
    });
}

/// Adds a word to the robust list of the running thread.
pub(super) fn add_robust(word: AtomicU32) {
    let me = me();
    with(|run| run.threads[me].robust.push((word, false)));
}

/// Takes a word off the robust list of the running thread; dropped by the caller.
pub(super) fn remove_robust(word: usize) -> Vec<(AtomicU32, bool)> {
    let me = me();
    with(|run| {
        let list = &mut run.threads[me].robust;
        let (off, on) = std::mem::take(list).into_iter().partition(|(w, _)| w.id() == word);
        *list = on;
        off
    })
}

/// The robust list of the running thread, for the kernel to walk.
pub(super) fn take_robust() -> Vec<(AtomicU32, bool)> {
    let me = me();
    with(|run| std::mem::take(&mut run.threads[me].robust))
}

/// The count of ended threads of a process, made by `new` if nobody asked before.
pub(super) fn process(name: &str, new: impl FnOnce() -> AtomicU32) -> AtomicU32 {
    if let Some(word) = with(|run| run.processes.get(name).map(|p| p.ended.share())) {
        return word;
    }
    let word = new();
    let kept = word.share();
    with(|run| run.processes.insert(name.to_owned(), Process { ended: kept }));
    word
}

/// The word of the running thread's process, if somebody may ask for a proof.
pub(super) fn my_process() -> Option<AtomicU32> {
    let me = me();
    with(|run| {
        let name = &run.threads[me].process;
        run.processes.get(name).map(|process| process.ended.share())
    })
}

/// How many threads a process has.
pub(super) fn threads_of(process: &str) -> u32 {
    with(|run| {
        let count = run.threads.iter().filter(|thread| thread.process == process).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    })
}
