//! Joining and leaving: steps A1 to A5, V1 to V6 and D0 to D3, all by the keeper thread.

use super::control::{Control, FREE, Life};
use super::owner::{MAX_MEMBERS, Owner};
use super::recover::{self, Scan};
use super::robust::{self, List};
use crate::primitive::Ordering;
use crate::{Error, origin};

/// The index kept back for a newcomer who finds every other one taken, some of them by the dead.
const RESERVE: usize = MAX_MEMBERS;
/// How often to begin anew when others are at the same index at the same time.
const ATTEMPTS: usize = 1_000;

/// Takes an index for this process, armed with the calling thread.
///
/// # Safety
///
/// - As for [`robust::arm`]; the control file stays mapped until the thread has ended.
pub(crate) unsafe fn join(control: &Control, list: *mut List) -> Result<Owner, Error> {
    for _ in 0..ATTEMPTS {
        // A1.
        let mut all_taken = true;
        for index in 0..MAX_MEMBERS {
            if life(control, index) != Life::Free {
                continue;
            }
            all_taken = false;
            // SAFETY: passed on to the caller.
            if let Some(owner) = unsafe { take(control, list, index) }? {
                return Ok(owner);
            }
        }
        if !all_taken {
            continue;
        }
        // SAFETY: passed on to the caller.
        if !unsafe { clear_from_reserve(control, list) }? {
            return Err(Error::GroupFull { max: MAX_MEMBERS });
        }
    }
    Err(Error::GroupFull { max: MAX_MEMBERS })
}

fn life(control: &Control, index: usize) -> Life {
    // Acquire: pairs with the Release of whoever freed the index.
    Life::of(control.words().lines[index].life.word().load(Ordering::Acquire))
}

/// A2 to A5 at one index; `None` if somebody else has it.
///
/// # Safety
///
/// - As for [`robust::arm`]; the control file stays mapped until the thread has ended.
unsafe fn take(control: &Control, list: *mut List, index: usize) -> Result<Option<Owner>, Error> {
    // A2: the lock comes before the word. An armed word with a free lock would be a dead one.
    if !control.lock_byte(index)? {
        return Ok(None);
    }
    announce(control, index);
    // SAFETY: passed on to the caller.
    let armed = unsafe { arm(control, list, index, FREE) };
    if !matches!(armed, Ok(true)) {
        control.unlock_byte(index);
    }
    if !armed? {
        return Ok(None);
    }
    let owner = owner_at(control, index);
    introduce(control, index);
    Ok(Some(owner))
}

/// A3 and A4: whoever is parked without watching this index is woken, always. The one who raised
/// the mark may have died before it woke anybody.
fn announce(control: &Control, index: usize) {
    let roster = &control.words().roster.0;
    let word = roster.word();
    // Relaxed: only compared again by the exchange.
    let mut seen = word.load(Ordering::Relaxed);
    loop {
        let mark = (seen & 0xff).max(index as u32 + 1);
        // The count of changes above the mark lets a sleep that is about to begin fail.
        let raised = (seen & !0xff).wrapping_add(0x100) | mark;
        // Release: pairs with the Acquire in `recover::mark`.
        match word.compare_exchange(seen, raised, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    roster.wake_all();
}

/// A5: the exchange that attaches.
///
/// # Safety
///
/// - As for [`robust::arm`]; the control file stays mapped until the thread has ended.
unsafe fn arm(control: &Control, list: *mut List, index: usize, from: u32) -> Result<bool, Error> {
    let word = control.words().lines[index].life.word();
    // SAFETY: passed on to the caller, who keeps the control file mapped.
    unsafe { robust::arm(list, word, from) }.map_err(Error::system("set_robust_list"))
}

fn owner_at(control: &Control, index: usize) -> Owner {
    // Relaxed: nobody else changes it while the word is ours; the exchange that armed it acquired.
    Owner::new(index, control.words().lines[index].generation.load(Ordering::Relaxed))
}

/// Who we are, for people.
fn introduce(control: &Control, index: usize) {
    let line = &control.words().lines[index];
    let namespace = std::fs::metadata("/proc/self/ns/pid").map(|meta| inode(&meta)).unwrap_or(0);
    // Relaxed everywhere: shown, never relied on.
    line.start_time.store(origin::own_start(), Ordering::Relaxed);
    line.namespace.store(namespace, Ordering::Relaxed);
    line.pid.store(std::process::id(), Ordering::Relaxed);
}

fn inode(meta: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(meta)
}

/// V1 to V6: from the index kept in reserve, recovers whoever is dead. `false`: nobody is.
///
/// # Safety
///
/// - As for [`robust::arm`]; the control file stays mapped until the thread has ended.
unsafe fn clear_from_reserve(control: &Control, list: *mut List) -> Result<bool, Error> {
    if !(0..MAX_MEMBERS).any(|index| life(control, index).is_stamped()) {
        return Ok(false);
    }
    // V1.
    if !control.lock_byte(RESERVE)? {
        std::thread::yield_now();
        return Ok(true);
    }
    // SAFETY: passed on to the caller.
    let armed = unsafe { arm_reserve(control, list) };
    if matches!(armed, Ok(true)) {
        // V6. Whoever is stamped without proof now is met again by the next attempt.
        let me = owner_at(control, RESERVE);
        let scan = recover::scan(control, me);
        leave_word(control, me, &scan);
    }
    control.unlock_byte(RESERVE);
    armed.map(|_| true)
}

/// V2 to V5.
///
/// # Safety
///
/// - As for [`robust::arm`]; the control file stays mapped until the thread has ended.
unsafe fn arm_reserve(control: &Control, list: *mut List) -> Result<bool, Error> {
    let line = &control.words().lines[RESERVE];
    // V2. Acquire: as in `life`.
    let seen = line.life.word().load(Ordering::Acquire);
    if let Life::Claimed(by) = Life::of(seen)
        && by.index() != RESERVE
        && !control.is_proven_gone(by.index())
        // Acquire: pairs with the Release of the raise.
        && by.is_of(control.words().lines[by.index()].generation.load(Ordering::Acquire))
    {
        return Ok(false);
    }
    // V3. AcqRel: what an earlier holder had claimed is told apart from what we shall claim.
    line.generation.fetch_add(1, Ordering::AcqRel);
    announce(control, RESERVE);
    // V5. SAFETY: passed on to the caller.
    unsafe { arm(control, list, RESERVE, seen) }
}

/// D0 to D3: gives the index back. Nothing may name this stay any more.
pub(crate) fn leave(control: &Control, me: Owner, last: &Scan) {
    leave_word(control, me, last);
    control.unlock_byte(me.index());
}

fn leave_word(control: &Control, me: Owner, last: &Scan) {
    if last.unproven {
        // D0: the kernel may have woken us, and nobody else, for that death.
        control.ring_all();
    }
    let line = &control.words().lines[me.index()];
    // D1. Release: what we did in this stay is seen by whoever sees that it is over.
    line.generation.fetch_add(1, Ordering::Release);
    let word = line.life.word();
    // Relaxed: compared by the exchange.
    let mut seen = word.load(Ordering::Relaxed);
    // D2. Whatever it holds by now, a claim on a false proof included. The loop ends: while our
    // lock is held, a claimant only goes back to the stamp.
    while Life::of(seen) != Life::Free {
        // AcqRel: pairs with the Acquire of the next holder and of claimants.
        match word.compare_exchange(seen, FREE, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
}
