//! The thread that sleeps for all futures of its process.
//!
//! Under one lock: what is waited for, by whom, and whether the thread is asleep. The thread takes the
//! list under the lock, lets go, and sleeps on the list and on a word of its own, its *bell*; whoever
//! changes the list rings the bell. So the kernel may be looking at a list that is just out of date,
//! which costs a round: a future that is gone is not told, and its wake is passed on.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::kernel::{self, Slept};
use crate::Error;
use crate::futex::{Futex, Waited};
use crate::group::{Epoch, block_signals};
use crate::primitive::{self, Ordering};

/// The most words that one sleeper watches: one more is its bell.
pub(super) const MOST_WORDS: usize = 127;
/// Each wait ends by then.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The same where not all words are watched.
const LONGEST_UNWATCHED: Duration = Duration::from_millis(10);

/// How long a wait for so many words may take.
pub(super) fn bound(words: usize) -> Duration {
    if words > MOST_WORDS { LONGEST_UNWATCHED } else { LONGEST_WAIT }
}

/// A word, by its address, and what is expected of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Watched {
    address: usize,
    expected: u32,
}

impl Watched {
    pub fn new(word: &Futex, expected: u32) -> Watched {
        Watched { address: std::ptr::from_ref(word.word()).addr(), expected }
    }
}

/// What a future waits for.
#[derive(Debug)]
pub(super) struct Request {
    pub words: Vec<Watched>,
    pub until: Instant,
    pub times_out: bool,
    pub waker: Waker,
}

/// A future's place in the list.
#[derive(Debug)]
pub(super) struct Registration {
    engine: &'static Engine,
    sleeper: Arc<Sleeper>,
    id: u64,
}

impl Registration {
    /// `None`: there is no thread, and none can be started.
    pub fn new(request: Request) -> Option<Registration> {
        let engine = Engine::get().ok()?;
        let mut request = request;
        let mut sleepers = engine.lock();
        for sleeper in sleepers.iter() {
            match sleeper.add(request) {
                Ok(id) => return Some(Registration { engine, sleeper: Arc::clone(sleeper), id }),
                Err(back) => request = back,
            }
        }
        let sleeper = Sleeper::start()?;
        sleepers.push(Arc::clone(&sleeper));
        drop(sleepers);
        let id = sleeper.add(request).ok()?;
        Some(Registration { engine, sleeper, id })
    }

    /// What came of the wait, once it is over; until then `waker` is to be called.
    pub fn told(&self, waker: &Waker) -> Option<Waited> {
        if !self.engine.epoch.is_current() {
            // Inherited by `fork`: the thread that would have told us is not here.
            return None;
        }
        let waker = waker.clone();
        let mut list = self.sleeper.lock();
        if let Some(waited) = list.ended.remove(&self.id) {
            return Some(waited);
        }
        let before = list.waiting.get_mut(&self.id).map(|entry| {
            // Dropped after the lock: a waker may do anything.
            std::mem::replace(&mut entry.waker, waker)
        });
        drop(list);
        drop(before);
        None
    }

    /// Takes the wait back; whether it was over, and nobody had been told.
    pub fn cancel(&self) -> bool {
        if !self.engine.epoch.is_current() {
            return false;
        }
        let mut list = self.sleeper.lock();
        if list.ended.remove(&self.id).is_some() {
            return true;
        }
        let gone = list.remove(self.id);
        self.sleeper.ring(list);
        drop(gone);
        false
    }
}

/// This process's sleepers.
#[derive(Debug)]
struct Engine {
    epoch: Epoch,
    sleepers: Mutex<Vec<Arc<Sleeper>>>,
}

/// Never freed: a forked child, which finds its parent's, makes one of its own.
static ENGINE: AtomicPtr<Engine> = AtomicPtr::new(null_mut());

impl Engine {
    fn get() -> Result<&'static Engine, Error> {
        let epoch = Epoch::now()?;
        loop {
            // Acquire: pairs with the Release below: the engine is whole.
            let known = ENGINE.load(Ordering::Acquire);
            // SAFETY: null, or from `Box::into_raw` below, and never freed.
            if let Some(engine) = unsafe { known.as_ref() }
                && engine.epoch.is_current()
            {
                return Ok(engine);
            }
            let new = Box::into_raw(Box::new(Engine { epoch, sleepers: Mutex::default() }));
            // Release: pairs with the Acquire above. Relaxed on failure: looked at again.
            let set = ENGINE.compare_exchange(known, new, Ordering::Release, Ordering::Relaxed);
            if set.is_err() {
                // SAFETY: ours alone: it was not published.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Sleeper>>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Sleeper {
    /// Counts the changes of the list.
    bell: Futex,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    /// The thread has taken the list, and may be asleep.
    asleep: bool,
    next: u64,
    waiting: HashMap<u64, Request>,
    /// Over, and the future does not know it yet.
    ended: HashMap<u64, Waited>,
    /// How many wait for each word.
    words: HashMap<Watched, usize>,
}

impl List {
    fn has_room(&self, request: &Request) -> bool {
        let new = request.words.iter().filter(|word| !self.words.contains_key(word)).count();
        self.words.len() + new <= MOST_WORDS
    }

    fn insert(&mut self, request: Request) -> u64 {
        let id = self.next;
        self.next += 1;
        for word in &request.words {
            *self.words.entry(*word).or_default() += 1;
        }
        self.waiting.insert(id, request);
        id
    }

    fn remove(&mut self, id: u64) -> Option<Request> {
        let request = self.waiting.remove(&id)?;
        for word in &request.words {
            if let Some(count) = self.words.get_mut(word) {
                *count -= 1;
                if *count == 0 {
                    self.words.remove(word);
                }
            }
        }
        Some(request)
    }

    /// Ends those waits that `how` says something about.
    fn end(&mut self, how: impl Fn(&Request) -> Option<Waited>) -> Vec<Waker> {
        let over = self.waiting.iter().filter_map(|(id, request)| Some((*id, how(request)?)));
        let over: Vec<(u64, Waited)> = over.collect();
        let mut wakers = Vec::with_capacity(over.len());
        for (id, waited) in over {
            if let Some(request) = self.remove(id) {
                self.ended.insert(id, waited);
                wakers.push(request.waker);
            }
        }
        wakers
    }
}

/// The list as the thread took it.
#[derive(Debug)]
struct Round {
    bell: u32,
    words: Vec<Watched>,
    until: Option<Instant>,
}

impl Sleeper {
    fn start() -> Option<Arc<Sleeper>> {
        let sleeper = Arc::new(Sleeper { bell: Futex::new(0), list: Mutex::default() });
        let theirs = Arc::clone(&sleeper);
        let thread = std::thread::Builder::new().name("group-sleeper".to_owned());
        thread.spawn(move || theirs.run()).ok().map(|_| sleeper)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request back where there is no room.
    fn add(&self, request: Request) -> Result<u64, Request> {
        let mut list = self.lock();
        if !list.has_room(&request) {
            return Err(request);
        }
        let id = list.insert(request);
        self.ring(list);
        Ok(id)
    }

    /// The list has changed.
    fn ring(&self, mut list: MutexGuard<'_, List>) {
        // Relaxed: changed and read under the lock; the kernel compares it.
        self.bell.word().fetch_add(1, Ordering::Relaxed);
        let asleep = std::mem::take(&mut list.asleep);
        drop(list);
        if asleep {
            self.bell.wake(1);
        }
    }

    fn run(&self) {
        block_signals();
        loop {
            let round = self.begin();
            let slept = self.sleep(&round);
            for waker in self.end(&round, slept) {
                // A panic of one executor is that one's.
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }

    fn begin(&self) -> Round {
        let mut list = self.lock();
        list.asleep = true;
        Round {
            // Relaxed: under the lock.
            bell: self.bell.word().load(Ordering::Relaxed),
            words: list.words.keys().copied().collect(),
            until: list.waiting.values().map(|request| request.until).min(),
        }
    }

    fn sleep(&self, round: &Round) -> Slept {
        let bell = Watched::new(&self.bell, round.bell);
        let words = std::iter::once(&bell).chain(&round.words);
        let words = words.map(|word| (word.address, word.expected));
        let left = round.until.map(|until| until.saturating_duration_since(Instant::now()));
        let slept = Slept::from(primitive::wait_any_at(words, left));
        if slept == Slept::Refused {
            let bound = left.unwrap_or(Duration::MAX).min(LONGEST_UNWATCHED);
            self.bell.wait(round.bell, (!round.words.is_empty()).then_some(bound));
        }
        slept
    }

    /// Ends the waits that are over: their wakers, to be called without the lock.
    fn end(&self, round: &Round, slept: Slept) -> Vec<Waker> {
        let mut list = self.lock();
        list.asleep = false;
        // Relaxed: under the lock. A round whose list is out of date tells nothing by a change.
        let rung = self.bell.word().load(Ordering::Relaxed) != round.bell;
        let differs = |word: &Watched| !kernel::holds(word.address, word.expected);
        let changed: Vec<Watched> = match slept {
            Slept::Woken(index) => {
                for gone in round.words.iter().filter(|word| !list.words.contains_key(word)) {
                    kernel::pass_on(gone.address);
                }
                // One is reported, and others may have been woken through as well: told now, under
                // the lock, or a future that is dropped next would not know that it owes a wake.
                let reported = index.checked_sub(1).and_then(|at| round.words.get(at));
                let others = |word: &&Watched| Some(*word) == reported || differs(word);
                round.words.iter().filter(others).copied().collect()
            }
            Slept::Changed if rung => Vec::new(),
            // Refused: looked at instead. A wake without a change is nobody's loss.
            Slept::Changed | Slept::Refused => {
                round.words.iter().filter(|word| differs(word)).copied().collect()
            }
            Slept::Over => Vec::new(),
        };
        let now = Instant::now();
        list.end(|request| {
            if request.words.iter().any(|word| changed.contains(word)) {
                return Some(Waited::Woken);
            }
            // In the same round it may have been woken through a word that was not reported.
            let same =
                || request.words.iter().all(|word| kernel::holds(word.address, word.expected));
            let told =
                || if request.times_out && same() { Waited::TimedOut } else { Waited::Woken };
            (request.until <= now).then(told)
        })
    }
}
