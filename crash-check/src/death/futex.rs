//! `futex(2)` and `futex_waitv(2)` as the kernel keeps them.
//!
//! | rule | here |
//! |---|---|
//! | the check of a word and the queueing on it are one step | yes, word by word for `waitv` |
//! | a wake goes to those queued at that moment, first come first served | yes |
//! | a sleeper that is killed takes a wake it was given with it | yes: dying asleep is a kill point |
//! | a sleep may end for no reason | a fault of the schedule: [`Model::spurious`] |
//! | a timed sleep runs out | when nobody else can run; earlier: [`Model::timeouts`] |
//! | sleeping for ever | fails the model: a lost wake-up |
//! | memory ordering | a thread that was *really woken* sees what its waker did before; no other edge |
//!
//! The last row is what loom's own parking does, and Linux too. A protocol must not lean on it, since
//! the other three ways to return make no edge; they are explored, so leaning shows: by a changed
//! word always, by a spurious end with [`Model::spurious`].
//!
//! [`Model::spurious`]: super::Model::spurious
//! [`Model::timeouts`]: super::Model::timeouts

use std::panic::Location;

use super::run::{self, Roused, Sleep, Turn};
use super::site::{self, Operation, Site};
use super::sync::AtomicU32;
use super::trace::{Action, Event};

/// Why a sleep ended. Every protocol must treat the first three alike, and look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Woken through the word at this place of the list.
    Woken(usize),
    /// Did not sleep: the word at this place no longer held the expected value.
    Changed(usize),
    /// Nobody woke it.
    Spurious,
    /// Time is up. Never returned by a wait without a time-out.
    TimedOut,
}

/// `FUTEX_WAIT`: sleeps while `word` holds `expected`, until woken.
#[track_caller]
pub fn wait(word: &AtomicU32, expected: u32) -> Wake {
    sleep(&[(word, expected)], false, Location::caller())
}

/// `FUTEX_WAIT` with a time-out.
#[track_caller]
pub fn wait_timeout(word: &AtomicU32, expected: u32) -> Wake {
    sleep(&[(word, expected)], true, Location::caller())
}

/// `futex_waitv`: sleeps while every word holds its value, until woken through any of them.
///
/// A wake that arrives through a second word while the call returns for the first is spent as well:
/// the caller has to look at all of them and pass on what it does not use.
#[track_caller]
pub fn waitv(words: &[(&AtomicU32, u32)]) -> Wake {
    sleep(words, false, Location::caller())
}

/// `futex_waitv` with a time-out.
#[track_caller]
pub fn waitv_timeout(words: &[(&AtomicU32, u32)]) -> Wake {
    sleep(words, true, Location::caller())
}

/// `FUTEX_WAKE`: wakes at most `most` sleepers and returns how many.
#[track_caller]
pub fn wake(word: &AtomicU32, most: usize) -> usize {
    let at = Location::caller();
    if run::turn() == Turn::Muted {
        return 0;
    }
    if site::visit(Site::new(at, Operation::Wake), None, None).dropped {
        run::log(|me| Event::bare(me, Action::Dropped).at(at).on(word.id(), 0));
        return 0;
    }
    word.kernel_touch();
    let woken = run::rouse(word.id(), most);
    run::log(|me| Event::bare(me, Action::Wake { woken }).at(at).on(word.id(), 0));
    woken
}

fn sleep(words: &[(&AtomicU32, u32)], timed: bool, at: &'static Location<'static>) -> Wake {
    if run::turn() == Turn::Muted {
        return Wake::Spurious;
    }
    let _ = site::visit(Site::new(at, Operation::Wait), None, None);
    run::lie_down();
    let wake = match queue_on_all(words, at) {
        Some(changed) => changed,
        None => dream(words, at, timed),
    };
    run::get_up();
    let word = words.first().map_or(0, |(word, _)| word.id());
    let why = match wake {
        Wake::Woken(_) => "woken",
        Wake::Changed(_) => "a word had changed",
        Wake::Spurious => "for no reason",
        Wake::TimedOut => "time is up",
    };
    run::log(|me| Event::bare(me, Action::Roused { why }).at(at).on(word, 0));
    wake
}

/// Checks and queues word by word, as the kernel does; undoes it all if one has changed.
fn queue_on_all(words: &[(&AtomicU32, u32)], at: &'static Location<'static>) -> Option<Wake> {
    for (place, (word, expected)) in words.iter().enumerate() {
        // One step with the check, since no scheduling point lies between.
        if word.kernel_holds(*expected) {
            run::enqueue(word.id(), place);
            let value = u64::from(*expected);
            run::log(|me| Event::bare(me, Action::Slept).at(at).on(word.id(), value));
            continue;
        }
        let value = u64::from(*expected);
        run::log(|me| Event::bare(me, Action::NotSlept).at(at).on(word.id(), value));
        leave_queues(&words[..place]);
        // A wake that came through an earlier word meanwhile is reported, not lost.
        return Some(woken().unwrap_or(Wake::Changed(place)));
    }
    None
}

fn dream(words: &[(&AtomicU32, u32)], at: &'static Location<'static>, timed: bool) -> Wake {
    match run::fall_asleep(at, timed) {
        Sleep::Sound => sleep_soundly(words),
        Sleep::Killed => {
            rise_at_any_time(words);
            run::die()
        }
        Sleep::Spurious => rise_at_any_time(words).unwrap_or(Wake::Spurious),
        Sleep::TimedOut => rise_at_any_time(words).unwrap_or(Wake::TimedOut),
    }
}

/// Leaves the queues at a moment that loom chooses; says whether a wake came before it.
fn rise_at_any_time(words: &[(&AtomicU32, u32)]) -> Option<Wake> {
    loom::thread::yield_now();
    leave_queues(words);
    woken()
}

fn sleep_soundly(words: &[(&AtomicU32, u32)]) -> Wake {
    loop {
        if let Some(wake) = woken() {
            if words.len() > 1 || wake == Wake::TimedOut {
                leave_queues(words);
            }
            return wake;
        }
        run::check_progress();
        // Returns at once if the progress of others needed this thread to time out.
        loom::thread::park();
    }
}

fn woken() -> Option<Wake> {
    run::roused().map(|roused| match roused {
        Roused::By { place } => Wake::Woken(place),
        Roused::TimedOut => Wake::TimedOut,
    })
}

fn leave_queues(words: &[(&AtomicU32, u32)]) {
    for (word, _) in words {
        // A scheduling point of its own: a wake may still find us in this queue.
        word.kernel_touch();
        run::dequeue(word.id());
    }
}
