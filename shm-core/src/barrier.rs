//! Asymmetric barriers: nearly nothing on the path taken for every message, a system call on the
//! path taken before sleeping.
//!
//! "Publish, then look for sleepers" against "announce the sleep, then look for work" is the
//! store-buffering pattern (Dekker): both sides need a full barrier between their store and their
//! load, or both may miss the other. With [`light_barrier`] on the publisher's side and
//! [`heavy_barrier`] on the sleeper's, either the publisher sees the announcement or the sleeper
//! sees the publication, and only the sleeper pays.
//!
//! The heavy barrier is `membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED)`: the kernel makes every
//! running thread of every *registered* process execute a full barrier, and a thread that is not
//! running passed one when it was switched out. A process registers itself the first time that it
//! uses this module; a forked child inherits the registration, and an exec drops it together with
//! this module's memory of it.
//!
//! Where the system refuses membarrier (an old kernel, a seccomp filter), [`mode`] says
//! [`Mode::Fences`]: both barriers are then sequentially consistent fences (some 10–40 ns a
//! message). Two processes of different modes are safe in one direction only: a sleeper that
//! cannot use membarrier does not reach a publisher that relies on it. That is why
//! [`heavy_barrier`] tells how far it reached, and a sleeper told `Fences` must bound its sleep
//! and look again.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::primitive::{Ordering, compiler_fence, fence, membarrier_all, membarrier_register};

/// How this process keeps publishers and sleepers from missing each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Publishers pay a compiler barrier, sleepers a `membarrier` system call.
    Asymmetric,
    /// The system refuses `membarrier`: both sides execute a full fence.
    Fences,
}

const UNKNOWN: u8 = 0;
const ASYMMETRIC: u8 = 1;
const FENCES: u8 = 2;

/// What this process found out at its first use; private to the process.
// Relaxed everywhere: the value is decided by the system, every thread that asks finds the same,
// and it guards no other memory.
static MODE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The mode of this process. The first call asks the system and registers the process.
///
/// ```
/// use shm_core::barrier::{self, Mode};
/// match barrier::mode() {
///     Mode::Asymmetric => println!("publishing costs no fence"),
///     Mode::Fences => println!("membarrier is refused here: every message pays a fence"),
/// }
/// ```
pub fn mode() -> Mode {
    match MODE.load(Relaxed) {
        ASYMMETRIC => Mode::Asymmetric,
        FENCES => Mode::Fences,
        _ => find_mode(),
    }
}

#[cold]
fn find_mode() -> Mode {
    // Relaxed: the same answer whoever asks; nothing else hangs on it.
    if membarrier_register() {
        MODE.store(ASYMMETRIC, Relaxed);
        Mode::Asymmetric
    } else {
        MODE.store(FENCES, Relaxed);
        Mode::Fences
    }
}

/// The publisher's side: call it between the store that publishes and the load that looks for
/// sleepers. Costs nothing but a load of a constant in [`Mode::Asymmetric`].
///
/// ```
/// use shm_core::barrier::light_barrier;
/// use std::sync::atomic::{AtomicU32, Ordering::{Relaxed, Release}};
/// # let (item, sleeping) = (AtomicU32::new(0), AtomicU32::new(0));
/// item.store(1, Release);
/// light_barrier();
/// if sleeping.load(Relaxed) != 0 { /* wake */ }
/// ```
#[inline(always)]
#[track_caller]
pub fn light_barrier() {
    if MODE.load(Relaxed) == ASYMMETRIC {
        // SeqCst, for the compiler alone: keeps the load below the store in program order; the
        // sleeper's `heavy_barrier` makes the processor do the rest.
        compiler_fence(Ordering::SeqCst);
    } else {
        light_fence();
    }
}

#[cold]
#[track_caller]
fn light_fence() {
    // Registers at the first use: from then on a sleeper's membarrier reaches this process.
    mode();
    // SeqCst: orders the publication before the look, against the fence in `heavy_barrier`.
    fence(Ordering::SeqCst);
}

/// The sleeper's side: call it between the store that announces the sleep and the load that looks
/// for work a last time. Returns how far it reached: after [`Mode::Fences`] a publisher that uses
/// the asymmetric form may have been missed, so the sleep that follows must be bounded.
///
/// Costs one system call: 0.5 µs alone, some 13 µs while a registered process runs on another
/// processor.
///
/// ```
/// use shm_core::barrier::{heavy_barrier, Mode};
/// use std::sync::atomic::{AtomicU32, Ordering::{Acquire, Relaxed}};
/// # let (item, sleeping) = (AtomicU32::new(0), AtomicU32::new(0));
/// sleeping.store(1, Relaxed);
/// let bounded = heavy_barrier() == Mode::Fences;
/// if item.load(Acquire) == 0 { /* sleep; for a bounded time if `bounded` */ }
/// # let _ = bounded;
/// ```
#[must_use = "a sleep after a barrier that reached fences only must be bounded"]
#[track_caller]
pub fn heavy_barrier() -> Mode {
    let reached = match mode() {
        Mode::Asymmetric if membarrier_all() => Mode::Asymmetric,
        _ => Mode::Fences,
    };
    // SeqCst: orders the announcement before the last look, against the fence in `light_fence`
    // of a publisher that has no membarrier.
    fence(Ordering::SeqCst);
    reached
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::sync::{Arc, Barrier};

    #[test]
    fn a_publisher_and_a_sleeper_never_miss_each_other() {
        let words = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
        let start = Arc::new(Barrier::new(2));
        let rounds = 2_000;
        let publisher = {
            let (words, start) = (words.clone(), start.clone());
            std::thread::spawn(move || {
                let mut saw = Vec::new();
                for round in 1..=rounds {
                    start.wait();
                    words.0.store(round, Ordering::Release);
                    light_barrier();
                    saw.push(words.1.load(Ordering::Relaxed) == round);
                    start.wait();
                }
                saw
            })
        };
        let mut saw = Vec::new();
        for round in 1..=rounds {
            start.wait();
            words.1.store(round, Ordering::Relaxed);
            let _ = heavy_barrier();
            saw.push(words.0.load(Ordering::Acquire) == round);
            start.wait();
        }
        let published = publisher.join().unwrap();
        for (round, (a, b)) in published.iter().zip(&saw).enumerate() {
            assert!(a | b, "round {round}: both missed the other");
        }
    }

    #[test]
    fn the_mode_is_found_once_and_stays() {
        assert_eq!(mode(), mode());
    }
}
