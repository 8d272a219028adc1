//! Sleeping and waking, and the end of all progress.
//!
//! Every function on queues runs in one step with an operation on the word itself, which tells loom
//! of the dependence.

use std::panic::Location;

use super::{Run, State, Thread, me, with};
use crate::death::schedule::FaultKind;

/// Why a sleeper woke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::death) enum Roused {
    By { place: usize },
    TimedOut,
}

/// What becomes of a thread that has just gone to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::death) enum Sleep {
    Sound,
    Killed,
    Spurious,
    TimedOut,
}

/// A place in a word's queue: who, and the word's place in that sleeper's list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sleeper {
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

impl Run {
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
}

/// Puts the running thread to the end of the queue of `word`.
pub(in crate::death) fn enqueue(word: usize, place: usize) {
    let me = me();
    with(|run| run.queues.entry(word).or_default().push_back(Sleeper { thread: me, place }));
}

/// Takes the running thread out of the queue of `word`, if it is still in it.
pub(in crate::death) fn dequeue(word: usize) {
    let me = me();
    with(|run| {
        if let Some(queue) = run.queues.get_mut(&word) {
            queue.retain(|sleeper| sleeper.thread != me);
        }
    });
}

/// The running thread begins to queue: from now on it can be woken.
pub(in crate::death) fn lie_down() {
    let (me, handle) = (me(), loom::thread::current());
    with(|run| {
        run.threads[me].roused = None;
        run.threads[me].handle = Some(handle);
    });
}

/// The running thread has checked and queued on all its words: consults the schedule.
pub(in crate::death) fn fall_asleep(at: &'static Location<'static>, timed: bool) -> Sleep {
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
pub(in crate::death) fn roused() -> Option<Roused> {
    let me = me();
    with(|run| run.threads[me].roused)
}

/// The running thread is awake again.
pub(in crate::death) fn get_up() {
    let me = me();
    with(|run| run.threads[me].state = State::Running);
}

/// Wakes up to `most` sleepers of `word` and says how many.
pub(in crate::death) fn rouse(word: usize, most: usize) -> usize {
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
pub(in crate::death) fn check_progress() {
    match with(Run::let_time_pass) {
        Ok(Some(thread)) => thread.unpark(),
        Ok(None) => {}
        Err(deadlock) => panic!("{deadlock}"),
    }
}

/// The running thread waits for another to end.
pub(in crate::death) fn join(at: &'static Location<'static>, other: usize) {
    let me = me();
    with(|run| run.threads[me].state = State::Joining { at, other });
    check_progress();
}
