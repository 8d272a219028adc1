//! The thread that stands for its process: it holds the armed life word, watches the others', and
//! clears up after the dead. Steps W1 to W5.
//!
//! It sleeps on every other member's life word, and the kernel wakes exactly one sleeper for each
//! death; if that one dies before it has rung everybody, its own stamp wakes the next. Only a
//! keeper may sleep on those words: any other thread could take the one wake into its grave.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::attach;
use super::control::Control;
use super::owner::{INDICES, Owner};
use super::recover::{self, Scan};
use super::robust::{self, List};
use super::shared::Shared;
use crate::Error;
use crate::futex::{self, Futex};
use crate::primitive::Ordering;

/// After a stamp without proof: the process is about to end, or only its keeper has ended.
const FIRST_LOOK: Duration = Duration::from_micros(20);
const LONGEST_LOOK: Duration = Duration::from_millis(5);
/// A keeper that cannot watch many words at once looks this often.
const UNWATCHED: Duration = Duration::from_millis(1);

/// The robust list, on the heap until the thread has ended.
#[derive(Debug)]
pub(crate) struct ListBox(pub *mut List);

// SAFETY: the pointer is used by the keeper thread, and freed after its end.
unsafe impl Send for ListBox {}
// SAFETY: as above.
unsafe impl Sync for ListBox {}

/// How the keeper comes by its index.
pub(crate) enum Entry {
    /// A newcomer's.
    Join,
    /// In place of a keeper that ended alone.
    Rearm(Owner),
}

/// The whole life of a keeper. Tells through `joined` what became of the entry, and its thread id.
pub(crate) fn run(
    shared: &Arc<Shared>,
    list: &ListBox,
    entry: Entry,
    joined: &Sender<Result<(Owner, u32), Error>>,
) {
    block_signals();
    let control = &shared.control;
    let me = match entry {
        // SAFETY: the list lives on until this thread has been joined; `shared` keeps the control
        // file mapped.
        Entry::Join => unsafe { attach::join(control, list.0) },
        Entry::Rearm(me) => {
            // SAFETY: as above.
            unsafe { rearm(control, list, me) }.map(|()| me)
        }
    };
    let owner = match me {
        Ok(owner) => owner,
        Err(error) => {
            let _ = joined.send(Err(error));
            return;
        }
    };
    let mut known = Known::new(control);
    let _ = joined.send(Ok((owner, robust::thread_id())));
    let last = watch(shared, list, owner, &mut known);
    attach::leave(control, owner, &last);
}

/// Handlers of the program's signals run on the program's threads.
pub(crate) fn block_signals() {
    // SAFETY: an all-zero set is a valid argument of `sigfillset`, which makes it full.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a live variable.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: a full set, and nothing to be written back.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) };
}

/// Until the process leaves the group.
fn watch(shared: &Shared, list: &ListBox, me: Owner, known: &mut Known) -> Scan {
    let control = &shared.control;
    let words = control.words();
    let mut patience = FIRST_LOOK;
    loop {
        // W1 and W2. Acquire: what the ringer did comes before.
        let events = words.events.0.word().load(Ordering::Acquire);
        let roster = words.roster.0.word().load(Ordering::Acquire);
        // W3, which is W5 of the round before.
        // SAFETY: as in `run`.
        let _ = unsafe { rearm(control, list, me) };
        let scan = recover::scan(control, me);
        known.report(shared);
        // Acquire: pairs with the Release of whoever asks us to end.
        if shared.stop.word().load(Ordering::Acquire) != 0 {
            return scan;
        }
        let mut sleep: Vec<(&Futex, u32)> = Vec::with_capacity(INDICES + 3);
        sleep.push((&shared.stop, 0));
        sleep.push((&words.events.0, events));
        sleep.push((&words.roster.0, roster));
        let others = (0..scan.mark).filter(|index| *index != me.index());
        sleep.extend(others.map(|index| (&words.lines[index].life, scan.seen[index])));
        patience = if scan.unproven { patience } else { FIRST_LOOK };
        let bound = scan.unproven.then_some(patience);
        if scan.unproven {
            patience = (patience * 2).min(LONGEST_LOOK);
        }
        // W4.
        if futex::wait_any(&sleep, bound).is_none() {
            futex::Futex::wait(&shared.stop, 0, Some(UNWATCHED));
        }
    }
}

/// Takes the own word back, if it is stamped or claimed.
///
/// # Safety
///
/// As for [`robust::arm`].
unsafe fn rearm(control: &Control, list: &ListBox, me: Owner) -> Result<(), Error> {
    use super::control::Life;
    let word = control.words().lines[me.index()].life.word();
    loop {
        // Relaxed: compared by the exchange that arms.
        let seen = word.load(Ordering::Relaxed);
        if !Life::of(seen).is_stamped() {
            return Ok(());
        }
        // SAFETY: passed on to the caller.
        unsafe { robust::arm(list.0, word, seen) }.map_err(Error::system("set_robust_list"))?;
    }
}

/// The stays that this keeper has told its process about.
#[derive(Debug)]
struct Known([u32; INDICES]);

impl Known {
    fn new(control: &Control) -> Known {
        // Relaxed: whoever was gone before we came is no news.
        Known(std::array::from_fn(|index| {
            control.words().lines[index].generation.load(Ordering::Relaxed)
        }))
    }

    /// Calls the process's watchers for every stay that has ended by death.
    fn report(&mut self, shared: &Shared) {
        for (index, known) in self.0.iter_mut().enumerate() {
            let line = &shared.control.words().lines[index];
            // Acquire: pairs with the Release of the raise: all of the dead one's stores.
            let now = line.generation.load(Ordering::Acquire);
            if now == *known {
                continue;
            }
            // Relaxed: written before the raise that was acquired.
            let died = line.died.load(Ordering::Relaxed);
            while *known != now {
                let ended = *known;
                *known = known.wrapping_add(1);
                // Of several stays between two looks, only the last is known to have ended in
                // order; the others are reported too.
                if *known == died || *known != now {
                    shared.watchers.tell(Owner::new(index, ended));
                }
            }
        }
    }
}
