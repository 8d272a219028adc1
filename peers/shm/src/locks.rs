//! Locks without contention: lock, one store, unlock. With contention: see `contended`.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::Instant;

use method::{Arguments, Calibration, Case, Outcome, Promise, Sample, Side, Target, Unit};

use crate::rivals::Rivals;

/// What our locks keep.
pub const OURS: Promise = Promise::keeps("the next one gets the guard, and is told");
/// What robust locks of the C library keep.
pub const ROBUST: Promise = Promise::keeps("the next one gets EOWNERDEAD");
/// What locks without owners keep.
pub const STUCK: Promise = Promise::may_lose("a killed holder keeps it for ever");

/// Nanoseconds for a lock and its unlock.
pub fn time(count: u32, mut pair: impl FnMut() -> Outcome<()>) -> Outcome<Sample> {
    let start = Instant::now();
    for _ in 0..count {
        pair()?;
    }
    Ok(Sample::from(start.elapsed().as_nanos() as f64 / f64::from(count)))
}

/// A mutex of the C library, initialised as asked, in memory that does not move.
pub struct Pthread(Box<UnsafeCell<MaybeUninit<libc::pthread_mutex_t>>>);

// SAFETY: the mutex is made to be used by several threads.
unsafe impl Sync for Pthread {}

impl Pthread {
    /// A new one, for several processes; `robust`: the next one is told of a dead holder.
    pub fn new(robust: bool) -> Outcome<Pthread> {
        let mutex = Box::new(UnsafeCell::new(MaybeUninit::<libc::pthread_mutex_t>::uninit()));
        let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: writes the attributes, which are ours.
        check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        check(unsafe { libc::pthread_mutexattr_setpshared(attributes, shared) })?;
        if robust {
            let robust = libc::PTHREAD_MUTEX_ROBUST;
            // SAFETY: as above.
            check(unsafe { libc::pthread_mutexattr_setrobust(attributes, robust) })?;
        }
        // SAFETY: the memory of the mutex is ours and never moves.
        check(unsafe { libc::pthread_mutex_init(mutex.get().cast(), attributes) })?;
        Ok(Pthread(mutex))
    }

    fn pair(&self) -> Outcome<()> {
        self.hold(|| black_box(()))
    }

    /// Runs `held` with the mutex locked.
    pub fn hold(&self, held: impl FnOnce()) -> Outcome<()> {
        let mutex = self.0.get().cast();
        // SAFETY: initialised in `new`, and alive.
        check(unsafe { libc::pthread_mutex_lock(mutex) })?;
        held();
        // SAFETY: locked by this thread just now.
        check(unsafe { libc::pthread_mutex_unlock(mutex) })
    }
}

impl Drop for Pthread {
    fn drop(&mut self) {
        // SAFETY: initialised, and nobody holds it.
        unsafe { libc::pthread_mutex_destroy(self.0.get().cast()) };
    }
}

/// What the C library returned, as an outcome.
pub fn check(code: libc::c_int) -> Outcome<()> {
    if code == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(code).into()) }
}

/// The floor: a compare-and-swap to take a word, a store to give it back.
fn bare(word: &AtomicU32) -> Outcome<()> {
    // Acquire and Release: as a lock orders what it guards.
    let taken = word.compare_exchange(0, 1, Acquire, Relaxed);
    black_box(());
    word.store(0, Release);
    taken.map(|_| ()).map_err(|_| "somebody else is here".into())
}

/// A lock for readers, taken for reading.
fn read(arguments: &Arguments) -> Outcome<()> {
    let count = arguments.pick(200_000, 500_000);
    let (std, parking_lot) = (std::sync::RwLock::new(0_u64), parking_lot::RwLock::new(0_u64));
    let inside = "lock for reading and unlock, nobody else there";
    Case::new(
        "shm",
        "read lock without contention",
        inside,
        Unit::NANOSECONDS,
        Calibration::Compute,
    )
    .side(crate::our_locks::read(count, OURS)?)
    .side(Side::new("std RwLock", Promise::ONE_PROCESS, || {
        time(count, || {
            black_box(*std.read().map_err(|_| "poisoned")?);
            Ok(())
        })
    }))
    .side(Side::new("parking_lot RwLock", Promise::ONE_PROCESS, || {
        time(count, || {
            black_box(*parking_lot.read());
            Ok(())
        })
    }))
    .run(arguments);
    Ok(())
}

/// The cases.
pub fn run(arguments: &Arguments, rivals: &Rivals) -> Outcome<()> {
    let count = arguments.pick(200_000, 500_000);
    let (robust, shared) = (Pthread::new(true)?, Pthread::new(false)?);
    let (std, parking_lot) = (std::sync::Mutex::new(0_u64), parking_lot::Mutex::new(0_u64));
    let word = AtomicU32::new(0);
    let inside = "lock and unlock, nobody else there";
    Case::new("shm", "mutex without contention", inside, Unit::NANOSECONDS, Calibration::Compute)
        .side(crate::our_locks::mutex(count, OURS)?)
        .side(Side::new("pthread robust, process-shared", ROBUST, || time(count, || robust.pair())))
        .side(Side::new("pthread process-shared", STUCK, || time(count, || shared.pair())))
        .side(Side::new("std Mutex", Promise::ONE_PROCESS, || {
            time(count, || {
                *std.lock().map_err(|_| "poisoned")? += 1;
                Ok(())
            })
        }))
        .side(Side::new("parking_lot Mutex", Promise::ONE_PROCESS, || {
            time(count, || {
                *parking_lot.lock() += 1;
                Ok(())
            })
        }))
        .side(rivals.boost("Boost 1.74 interprocess_mutex", STUCK, format!("mutex {count}")))
        .side(rivals.python("Python multiprocessing.Lock", STUCK, format!("lock {}", count / 10)))
        .side(Side::limit("compare-and-swap and a store", || time(count, || bare(&word))))
        .target(Target::Absolute(12.0))
        .run(arguments);
    read(arguments)
}
