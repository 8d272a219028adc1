//! How a thread that waits moves things along, and the thread that does so while nobody waits.
//!
//! There is no dispatcher that everybody waits for: **whoever waits for a result drives the pool**
//! itself, taking answers and handing out tasks, so that a result needs one wake-up and not two. Of
//! several that wait one drives, by [turn](crate::turn). State, steps and why no wake-up is lost:
//! `docs/src/researchers/pool-waiting.md`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::nested;
use crate::shared::Shared;
use crate::spin::Spin;
use crate::turn::Turn;

/// Something that a thread waits for, and that is its alone or tells everybody who left a thread.
pub(crate) trait Awaited {
    /// Whether it has come.
    fn has_come(&mut self) -> bool;

    /// Has `thread` unparked once, when it comes or something does. What came before this call is
    /// found by [`has_come`](Awaited::has_come) after it.
    fn tell(&self, thread: &Thread);
}

/// Who drives.
#[derive(Debug, Default)]
pub(crate) struct Driving {
    turn: Turn,
    spin: Spin,
    /// Threads that drive just now.
    drivers: AtomicUsize,
    /// The pool's own, which drives while nobody else does.
    stand_in: OnceLock<Thread>,
    /// Whether it sleeps until somebody wakes it.
    asleep: AtomicBool,
    /// How often anybody came for results.
    visits: AtomicU64,
    /// Whether an executor or a callback waits for a result, which drives nothing itself.
    awaited: AtomicBool,
}

impl Driving {
    /// The thread that runs [`Shared::stand_in`].
    pub fn set_stand_in(&self, thread: Thread) {
        let _ = self.stand_in.set(thread);
    }

    /// Has the stand-in look at once.
    pub fn wake_stand_in(&self) {
        if let Some(thread) = self.stand_in.get() {
            thread.unpark();
        }
    }

    /// There is something to do: a stand-in that sleeps for good is woken. One that looks again
    /// soon is not; call this after the pool's lock was held for the change.
    pub fn wake_if_asleep(&self) {
        // Relaxed, both: the pool's lock orders this with the stand-in's look after it stored the
        // word in `will_sleep`.
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.wake_stand_in();
        }
    }

    /// The stand-in is about to look for something to do, and to park if there is nothing: it holds
    /// the pool's lock for that look, and so does whoever submits before it looks at this word.
    pub fn will_sleep(&self) {
        // Relaxed: the pool's lock orders it. Whichever holds it later sees what the other did.
        self.asleep.store(true, Ordering::Relaxed);
    }

    fn visits(&self) -> u64 {
        // Relaxed: a count, compared for difference only.
        self.visits.load(Ordering::Relaxed)
    }

    fn visit(&self) {
        // Relaxed: as above.
        self.visits.fetch_add(1, Ordering::Relaxed);
    }

    fn is_awaited(&self) -> bool {
        // Acquire: pairs with the Release swap in `drive_for_others`.
        self.awaited.load(Ordering::Acquire)
    }
}

/// A thread that drives, counted.
struct Driver<'a>(&'a Shared);

impl<'a> Driver<'a> {
    fn new(shared: &'a Shared) -> Driver<'a> {
        // Relaxed: see `Shared::pump`.
        shared.driving.drivers.fetch_add(1, Ordering::Relaxed);
        Driver(shared)
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        let driving = &self.0.driving;
        // Relaxed: as above.
        let last = driving.drivers.fetch_sub(1, Ordering::Relaxed) == 1;
        // Without anybody who relies on the stand-in, it comes by itself, soon.
        if last && driving.is_awaited() {
            driving.wake_stand_in();
        }
    }
}

impl Shared {
    /// Takes answers and hands out tasks, without waiting. Whether there was anything, and whether
    /// the workers that have something to do leave a processor.
    fn pump(&self) -> (bool, bool) {
        let mut state = self.lock();
        let progress = state.pump();
        let room = state.busy() < self.processors;
        drop(state);
        let progress = progress || nested::help(self);
        // Relaxed: a hint. A driver that is about to sleep has announced itself to the bell and
        // looks at its result once more after that.
        if progress && self.driving.drivers.load(Ordering::Relaxed) > 1 {
            self.bell.ring();
        }
        (progress, room)
    }

    /// Waits for `awaited`, driving if it is this thread's turn; `false` when `deadline` came first.
    pub fn wait_for(&self, deadline: Option<Instant>, awaited: &mut impl Awaited) -> bool {
        self.driving.visit();
        if awaited.has_come() {
            return true;
        }
        if nested::is_own(self) {
            // What it waits for runs on this very thread: it never follows.
            return self.drive_until(deadline, &mut || awaited.has_come());
        }
        let mut place = self.driving.turn.enter();
        loop {
            if place.drives() {
                return self.drive_until(deadline, &mut || awaited.has_come());
            }
            awaited.tell(place.thread());
            if awaited.has_come() {
                return true;
            }
            match left(deadline) {
                None => std::thread::park(),
                Some(Duration::ZERO) => return false,
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }

    /// Drives until `done`, which is about the pool as a whole, beside whoever has the turn;
    /// `false` when `deadline` came first.
    pub fn drive(&self, deadline: Option<Instant>, mut done: impl FnMut() -> bool) -> bool {
        self.driving.visit();
        done() || self.drive_until(deadline, &mut done)
    }

    fn drive_until(&self, deadline: Option<Instant>, done: &mut impl FnMut() -> bool) -> bool {
        let _counted = Driver::new(self);
        let spin = &self.driving.spin;
        let mut looking = None;
        loop {
            let (progress, room) = self.pump();
            if progress && looking.take().is_some() {
                spin.helped();
            }
            if done() {
                return true;
            }
            if room && looking.get_or_insert_with(|| spin.begin()).again() {
                continue;
            }
            if looking.take().is_some() {
                spin.did_not_help();
            }
            let left = left(deadline);
            if left == Some(Duration::ZERO) {
                return false;
            }
            let ticket = self.bell.listen();
            // Whatever happened before `listen` is found by this look; what happens after it
            // rings.
            if !self.pump().0 && !done() {
                self.bell.wait(ticket, left);
            }
        }
    }

    /// Has the stand-in at work at once: somebody's executor or callback waits.
    pub fn drive_for_others(&self) {
        // Release: pairs with the Acquire load in `is_awaited` and the swap in
        // `has_nothing_to_do`.
        if !self.driving.awaited.swap(true, Ordering::Release) {
            self.driving.wake_stand_in();
        }
    }

    /// The pool's own thread: drives while nobody waits for results.
    ///
    /// A thread that takes one result after another is away between two of them, for a moment; the
    /// stand-in lets such moments pass, since workers pay for everybody who listens. It starts at
    /// once when nobody else will come: for executors and callbacks.
    pub fn stand_in(&self) {
        let (mut patience, mut idle_looks) = (PATIENCE, 0);
        while !self.is_ending() {
            let visits = self.driving.visits();
            if self.has_nothing_to_do() {
                if idle_looks < IDLE_LOOKS {
                    idle_looks += 1;
                    std::thread::park_timeout(MOST_PATIENCE);
                } else {
                    self.fall_asleep();
                }
                if self.driving.visits() != visits {
                    idle_looks = 0;
                }
                continue;
            }
            idle_looks = 0;
            // Relaxed: a hint; this thread looks again soon.
            if self.driving.drivers.load(Ordering::Relaxed) > 0 {
                // Whoever leaves last wakes this thread if anybody relies on it.
                std::thread::park_timeout(MOST_PATIENCE);
                continue;
            }
            if !self.driving.is_awaited() {
                std::thread::park_timeout(patience);
                if self.driving.visits() != visits {
                    patience = (patience * 2).min(MOST_PATIENCE);
                    continue;
                }
            }
            patience = PATIENCE;
            self.drive_until_visited(visits);
        }
    }

    /// Whether every task is done; then nobody relies on the stand-in any more.
    fn has_nothing_to_do(&self) -> bool {
        let awaited = &self.driving.awaited;
        // Acquire: pairs with the Release swap in `drive_for_others`: the task of whoever set it is
        // found by the look that follows, and then it is set again.
        let was_awaited = awaited.swap(false, Ordering::Acquire);
        let idle = self.lock().is_idle();
        if was_awaited && !idle {
            // Relaxed: only this thread takes it away.
            awaited.store(true, Ordering::Relaxed);
        }
        idle
    }

    /// Sleeps until there is something to do, if there is nothing now.
    fn fall_asleep(&self) {
        self.driving.will_sleep();
        if self.lock().is_idle() && !self.is_ending() {
            std::thread::park();
        }
        // Relaxed: whoever took it away before has unparked this thread once more than needed.
        self.driving.asleep.store(false, Ordering::Relaxed);
    }

    /// Drives until everything is done, or somebody else comes.
    fn drive_until_visited(&self, visits: u64) {
        let _counted = Driver::new(self);
        loop {
            let visited = self.driving.visits() != visits && !self.driving.is_awaited();
            if visited || self.is_ending() || self.lock().is_idle() {
                return;
            }
            if self.pump().0 {
                continue;
            }
            let ticket = self.bell.listen();
            if !self.pump().0 && !self.is_ending() {
                self.bell.wait(ticket, None);
            }
        }
    }
}

/// How long until then; zero when it is over, `None` for ever.
fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|at| at.saturating_duration_since(Instant::now()))
}

/// How long the stand-in leaves it to others, at first.
const PATIENCE: Duration = Duration::from_micros(200);
/// And at most, while others keep coming.
const MOST_PATIENCE: Duration = Duration::from_millis(2);
/// Looks at a pool without work, one each `MOST_PATIENCE`, before it sleeps for good: a submit that
/// finds it asleep pays for waking it.
const IDLE_LOOKS: u32 = 8;
