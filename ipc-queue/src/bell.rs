//! A bell in shared memory: many ring it, whoever waits for any of them sleeps on it.
//!
//! A bell carries no data and no count of events. It answers one question: "did anybody who
//! changed something ring since I began to listen?" The use is always the same:
//!
//! ```
//! use ipc_queue::bell::Bell;
//! use std::sync::atomic::{AtomicBool, Ordering::{Acquire, Release}};
//!
//! let (bell, work) = (Bell::new(), AtomicBool::new(false));
//! std::thread::scope(|threads| {
//!     threads.spawn(|| {
//!         work.store(true, Release); // first change something,
//!         bell.ring(); // then ring
//!     });
//!     while !work.load(Acquire) {
//!         let ticket = bell.listen(); // first listen,
//!         if work.load(Acquire) {
//!             break; // then look again,
//!         }
//!         bell.wait(ticket, None); // then sleep
//!     }
//! });
//! ```
//!
//! # Why no wake-up is lost
//! One word holds an epoch and a bit that says that somebody listens. `listen` begins a new epoch
//! with the bit set, or joins one in which somebody listens and nobody has rung yet; it passes a
//! heavy barrier, and only then its caller looks for work. `ring`
//! comes after the change, passes a light barrier, and looks at the bit. The barriers leave two
//! cases (see [`shm_core::barrier`]): either the ringer sees the bit, or the listener sees the
//! change. A ringer that sees the bit begins a new epoch (so that a listener on its way to sleep
//! does not fall asleep), marked as rung (so that nobody joins it), wakes everybody, and takes the
//! bit away only if nobody began to listen
//! meanwhile. So at every instant: *whoever sleeps and is not yet woken, sleeps under the bit.*
//! And listeners do not disturb each other: they share an epoch.
//!
//! # When a process is killed
//! | killed | what is left | what follows |
//! |---|---|---|
//! | ringer after its change, before it looked at the bit | the bit is set, a listener may sleep beside the change | the next ring by anybody wakes it; a supervisor rings after it proved the death; at the latest the bounded sleep (one second) ends |
//! | ringer between the new epoch and the wake | the same | the same |
//! | ringer between the wake and clearing the bit | the bit is set, nobody sleeps | one wake too many |
//! | listener anywhere | the bit is set | one wake too many |
//!
//! A wake may be spurious everywhere.

use std::ptr::NonNull;
use std::time::Duration;

use shm_core::barrier::{Mode, heavy_barrier, light_barrier};
use shm_core::futex::{Futex, Waited};
use shm_core::primitive::Ordering;
use shm_core::{Peers, Segment};

use crate::Error;

/// Set while somebody may sleep, or is about to.
const LISTENING: u32 = 1;
/// The epoch was begun by a ringer, who takes `LISTENING` away if nobody begins another.
const RUNG: u32 = 1 << 1;
/// One epoch, in the bits above the two.
const EPOCH: u32 = 1 << 2;
/// More sleepers than there can be; the kernel takes a signed count.
const EVERYBODY: u32 = i32::MAX.unsigned_abs();

/// A sleep never lasts longer than this without a look: it bounds what a killed ringer costs.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// The same where membarrier is refused: a ringer of another process may rely on it.
const LONGEST_SLEEP_WITHOUT_MEMBARRIER: Duration = Duration::from_millis(10);

/// A bell: four bytes in shared memory; zeroed memory is a valid one, and so is any other value.
///
/// Usually reached through a [`Doorbell`], which keeps the memory alive.
#[derive(Debug)]
#[repr(C)]
pub struct Bell {
    /// `epoch << 2 | RUNG | LISTENING`. An epoch ends when somebody rings; one that was rung also
    /// when somebody begins to listen.
    state: Futex,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Bell>() == 4 && align_of::<Bell>() == 4);

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Bell::listen`] gives: pass it to [`Bell::wait`].
///
/// A ticket is stale after 2³⁰ epochs (rings that found a listener, or calls of `listen`).
#[derive(Debug)]
#[must_use = "whoever listens should wait, or everybody who rings pays for a wake"]
pub struct Ticket {
    state: u32,
    longest_sleep: Duration,
}

impl Ticket {
    fn bound(&self, timeout: Option<Duration>) -> Duration {
        timeout.map_or(self.longest_sleep, |limit| limit.min(self.longest_sleep))
    }

    /// Only the end of the caller's own time is one.
    fn told(&self, waited: Waited, timeout: Option<Duration>) -> Waited {
        match waited {
            Waited::TimedOut if timeout.is_none_or(|limit| limit > self.longest_sleep) => {
                Waited::Woken
            }
            waited => waited,
        }
    }
}

impl Bell {
    /// A bell that nobody listens to.
    pub fn new() -> Self {
        Bell { state: Futex::new(0) }
    }

    /// Wakes everybody who listens; true if somebody did. Call it *after* the change that they
    /// wait for. Costs one load while nobody listens, one system call when somebody does.
    #[inline(always)]
    pub fn ring(&self) -> bool {
        light_barrier();
        // Relaxed: the barrier above pairs with the heavy one in `listen`; nothing is read on the
        // strength of this value.
        let state = self.state.word().load(Ordering::Relaxed);
        state & LISTENING != 0 && self.wake_listeners(state, EVERYBODY)
    }

    /// Whether [`ring`](Self::ring) would have to wake somebody; after a light barrier.
    #[inline(always)]
    pub(crate) fn has_listener(&self) -> bool {
        // Relaxed: as in `ring`.
        self.state.word().load(Ordering::Relaxed) & LISTENING != 0
    }

    /// Wakes at most `count` of those who listen, for so many changes of which one serves one
    /// waiter; true if somebody listened. Whoever slept must pass on what it leaves: if there is
    /// still something when it goes, it calls this too.
    #[inline(always)]
    pub(crate) fn ring_some(&self, count: u32) -> bool {
        light_barrier();
        // Relaxed: as in `ring`.
        let state = self.state.word().load(Ordering::Relaxed);
        state & LISTENING != 0 && self.wake_listeners(state, count)
    }

    #[cold]
    fn wake_listeners(&self, mut state: u32, count: u32) -> bool {
        let word = self.state.word();
        loop {
            if state & LISTENING == 0 {
                // Another ringer has woken, after our change: the woken see it (module docs).
                return false;
            }
            let rung = state.wrapping_add(EPOCH) | RUNG;
            // Release: our change comes before the new epoch, which the woken acquire by the
            // barrier in `listen`.
            // Relaxed on failure: the value is only compared again.
            match word.compare_exchange(state, rung, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => {
                    if self.state.wake(count) as u64 >= u64::from(count) {
                        // Others may sleep on, under the bit.
                        return true;
                    }
                    // Relaxed: takes away a bit that no sleeper relies on; fails if somebody has
                    // begun to listen since.
                    let _ = word.compare_exchange(
                        rung,
                        rung & !(LISTENING | RUNG),
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    return true;
                }
                Err(now) => state = now,
            }
        }
    }

    /// Announces that the caller is about to sleep. Look at your condition once more *after* this
    /// call, and only then [`wait`](Self::wait). Costs a system call (membarrier).
    pub fn listen(&self) -> Ticket {
        let state = self.announce();
        Ticket { state, longest_sleep: reach_ringers() }
    }

    /// The first half of [`listen`](Self::listen), without the barrier: the epoch that the caller
    /// listens in.
    pub(crate) fn announce(&self) -> u32 {
        let word = self.state.word();
        // Relaxed: what the ringers of earlier epochs had changed is made visible to the look that
        // follows by the full fence in the barrier between the two, which pairs with the Release in
        // `wake_listeners` (an exchange that begins an epoch passes on what it found).
        let mut state = word.load(Ordering::Relaxed);
        loop {
            if state & (LISTENING | RUNG) == LISTENING {
                // As long as nobody rings the bit stays: we may sleep under it, too.
                return state;
            }
            let listening = (state.wrapping_add(EPOCH) | LISTENING) & !RUNG;
            // Relaxed: as above; on failure the value is only compared again.
            match word.compare_exchange(state, listening, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return listening,
                Err(now) => state = now,
            }
        }
    }

    /// The word that whoever listens sleeps on.
    pub(crate) fn word(&self) -> &Futex {
        &self.state
    }

    /// Takes back a [`listen`](Self::listen) that no sleep followed, so that the next ring costs
    /// nothing. Only for a bell that has one listener at a time: it would take away another's bit.
    pub(crate) fn cancel(&self) {
        // Relaxed: nobody sleeps on the strength of this bit, and nothing is published.
        self.state.word().fetch_and(!LISTENING, Ordering::Relaxed);
    }

    /// Sleeps until the bell is rung, `timeout` is over, or a second has passed (ten milliseconds
    /// where membarrier is refused): a bell that a killed process did not ring any more must not
    /// be waited for in vain. So look again, whatever comes back; returns at once if the bell was
    /// rung since `listen`. [`Waited::TimedOut`] is returned for `timeout` only.
    pub fn wait(&self, ticket: Ticket, timeout: Option<Duration>) -> Waited {
        let bound = ticket.bound(timeout);
        ticket.told(self.state.wait(ticket.state, Some(bound)), timeout)
    }

    /// The same in a group: also ends when anybody of it has died since `deaths` was taken, which
    /// makes up for a ring that died with its ringer.
    pub(crate) fn wait_in(
        &self,
        ticket: Ticket,
        peers: &impl Peers,
        deaths: shm_core::Ticket,
        timeout: Option<Duration>,
    ) -> Waited {
        let bound = ticket.bound(timeout);
        ticket.told(peers.park(&self.state, ticket.state, deaths, Some(bound)), timeout)
    }
}

/// The second half of [`Bell::listen`], once for any number of bells: so long may be slept.
pub(crate) fn reach_ringers() -> Duration {
    match heavy_barrier() {
        Mode::Asymmetric => LONGEST_SLEEP,
        Mode::Fences => LONGEST_SLEEP_WITHOUT_MEMBARRIER,
    }
}

/// A [`Bell`] at an offset of a segment, together with the memory it lives in.
///
/// Any four bytes are a valid bell, so there is nothing to create: all who name the same place of
/// the same segment share the bell.
///
/// ```
/// use ipc_queue::bell::Doorbell;
/// use shm_core::Segment;
///
/// let segment = Segment::anonymous(4096)?;
/// let parent = Doorbell::at(&segment, 0)?;
/// let worker = Doorbell::at(&segment, 0)?; // usually in another process
/// let ticket = parent.listen();
/// assert!(worker.ring());
/// parent.wait(ticket, None); // returns at once: it was rung
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Doorbell {
    bell: NonNull<Bell>,
    _segment: Segment,
}

// SAFETY: a bell is one atomic word, and the segment keeps it mapped wherever the handle goes.
unsafe impl Send for Doorbell {}
// SAFETY: as above; every method of `Bell` takes `&self` and is atomic.
unsafe impl Sync for Doorbell {}

impl Doorbell {
    /// Bytes that a bell takes in a segment. Give it a cache line of its own (128 bytes) if it is
    /// rung often.
    pub const SIZE: usize = size_of::<Bell>();

    /// The bell at `offset` of the segment's data.
    ///
    /// # Errors
    /// [`Error::Misaligned`] or [`Error::OutOfBounds`] if four aligned bytes do not lie there.
    pub fn at(segment: &Segment, offset: usize) -> Result<Self, Error> {
        let bell = crate::place::place(segment, offset, Self::SIZE, align_of::<Bell>())?;
        Ok(Doorbell { bell: bell.cast(), _segment: segment.clone() })
    }
}

impl std::ops::Deref for Doorbell {
    type Target = Bell;

    #[inline(always)]
    fn deref(&self) -> &Bell {
        // SAFETY: `at` checked bounds and alignment, the segment that we hold keeps the memory
        // mapped, any bytes are a valid bell, and it is only ever reached atomically.
        unsafe { self.bell.as_ref() }
    }
}
