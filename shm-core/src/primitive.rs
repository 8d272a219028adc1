//! The shim between the algorithms and the machine: atomics, cells, spinning, and the two kernel
//! services they lean on (futex queues and membarrier).
//!
//! This is the only file that knows of the model checker: under `cfg(loom)` the same names are
//! those of `crash_check::death` (loom, and threads that die at any operation), the futex queue is
//! a modelled one, and membarrier is "refused", so that both sides of an asymmetric barrier become
//! sequentially consistent fences. Algorithms import from here and never mention either. It is
//! public for the sibling crates only and no part of the stable API.

pub use imp::*;

#[cfg(not(loom))]
mod imp {
    pub use std::hint::spin_loop;
    pub use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
    };
    pub use std::thread::yield_now;

    use std::sync::OnceLock;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::thread::futex::{self, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
    use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};
    use rustix::time::{ClockId, clock_gettime};

    /// How often a waiter may look again before it parks, at most. A pause takes some tens of
    /// nanoseconds, so that the whole is about what parking and being woken costs.
    pub const SPIN_LIMIT: u32 = 1024;

    /// How many processes can be in a group: a holder each in a word of 64, with room to spare, and
    /// few enough for one `futex_waitv`.
    pub const MOST_MEMBERS: usize = 48;

    /// Plain data that several threads or processes reach, one at a time by some protocol.
    ///
    /// Like [`std::cell::UnsafeCell`] (and of the same layout), but reached through closures, so
    /// that a model checker sees every access.
    #[repr(transparent)]
    #[derive(Debug, Default)]
    pub struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell holding `value`.
        pub const fn new(value: T) -> Self {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// Lends the data for reading.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Lends the data for writing.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// A full barrier right after a read-modify-write of this thread, which is one already on x86.
    #[inline(always)]
    pub fn fence_after_rmw() {
        if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
            // SeqCst: keeps the compiler's order; the processor's is the read-modify-write's.
            compiler_fence(Ordering::SeqCst);
        } else {
            // SeqCst: a full barrier, against the one of the other side.
            fence(Ordering::SeqCst);
        }
    }

    /// The kernel's queue of sleepers behind a futex word: nothing in user memory.
    #[derive(Debug, Default)]
    pub struct WaitQueue;

    impl WaitQueue {
        /// The queue of a new word.
        pub const fn new() -> Self {
            WaitQueue
        }

        /// `FUTEX_WAIT` (shared, so that it works across processes).
        pub fn wait(
            &self,
            word: &AtomicU32,
            expected: u32,
            timeout: Option<Duration>,
        ) -> Result<(), Errno> {
            let timeout = timeout.map(|limit| Timespec {
                tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: limit.subsec_nanos().into(),
            });
            futex::wait(word, futex::Flags::empty(), expected, timeout.as_ref())
        }

        /// `FUTEX_WAKE`; how many were woken.
        pub fn wake(&self, word: &AtomicU32, count: u32) -> usize {
            // An error would mean an address that is not mapped: then nobody sleeps there.
            futex::wake(word, futex::Flags::empty(), count).unwrap_or(0)
        }
    }

    /// The most words that `futex_waitv` takes.
    const MOST_WORDS: usize = 128;

    /// `futex_waitv`, shared words; the time-out counts from now.
    pub fn wait_any<'a>(
        words: impl Iterator<Item = (&'a AtomicU32, u32)>,
        timeout: Option<Duration>,
    ) -> Result<(), Errno> {
        let words = words.map(|(word, expected)| (std::ptr::from_ref(word).addr(), expected));
        wait_any_at(words, timeout).map(drop)
    }

    /// The same by address, which only the kernel looks at; the index of a word that woke us.
    pub fn wait_any_at(
        words: impl Iterator<Item = (usize, u32)>,
        timeout: Option<Duration>,
    ) -> Result<usize, Errno> {
        let mut list = [Wait::new(); MOST_WORDS];
        let mut count = 0;
        for (entry, (address, expected)) in list.iter_mut().zip(words) {
            entry.val = expected.into();
            entry.uaddr = WaitPtr::new(std::ptr::without_provenance_mut(address));
            entry.flags = WaitFlags::SIZE_U32;
            count += 1;
        }
        // An instant that the clock cannot show is never.
        let end = timeout.and_then(|timeout| {
            let now = clock_gettime(ClockId::Monotonic);
            let limit = Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).ok()?,
                tv_nsec: timeout.subsec_nanos().into(),
            };
            now.checked_add(limit)
        });
        let list = list.get(..count).unwrap_or(&[]);
        futex::waitv(list, WaitvFlags::empty(), end.as_ref(), ClockId::Monotonic)
    }

    /// Whether the machine has a single processor online, so that looking again is in vain. Not
    /// what this thread may use: a peer may be kept on another processor.
    pub fn one_processor() -> bool {
        static ONE: OnceLock<bool> = OnceLock::new();
        *ONE.get_or_init(|| {
            // SAFETY: `sysconf` only reads a number.
            unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) == 1 }
        })
    }

    /// Registers this process for expedited barriers of others; false if the kernel refuses.
    pub fn membarrier_register() -> bool {
        membarrier_query().contains_command(MembarrierCommand::GlobalExpedited)
            && membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
    }

    /// A full barrier on every running thread of every registered process; false if refused.
    pub fn membarrier_all() -> bool {
        membarrier(MembarrierCommand::GlobalExpedited).is_ok()
    }
}

#[cfg(loom)]
mod imp {
    pub use crash_check::death::hint::spin_loop;
    pub use crash_check::death::sync::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, UnsafeCell,
    };
    pub use crash_check::death::thread::yield_now;

    use std::cell::Cell;
    use std::time::Duration;

    use crash_check::death::futex::{self, Wake};
    use rustix::io::Errno;

    /// A model visits every word that holds something for each member.
    pub const MOST_MEMBERS: usize = 3;

    /// A model looks no further by looking again: it explores what a second look would see.
    pub const SPIN_LIMIT: u32 = 0;

    /// What a model takes the system to do. All threads of a model run on one system thread.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum System {
        /// A sleep ends by a wake or never, whatever its bound: a lost wake-up is a deadlock.
        #[default]
        TimeStandsStill,
        /// A bounded sleep ends when nobody else can go on.
        TimePasses,
        /// Nobody sleeps, and membarrier works: a barrier orders nothing but the compiler.
        NobodySleeps,
    }

    thread_local! {
        static SYSTEM: Cell<System> = const { Cell::new(System::TimeStandsStill) };
    }

    /// Runs `model` on such a system.
    pub fn on_a_system_where<R>(system: System, model: impl FnOnce() -> R) -> R {
        let before = SYSTEM.replace(system);
        let result = model();
        SYSTEM.set(before);
        result
    }

    /// The machine's fence. The algorithms reach it through `barrier` alone, whose light side is no
    /// fence for the processor unless somebody is about to sleep.
    #[track_caller]
    pub fn fence(order: Ordering) {
        if SYSTEM.get() != System::NobodySleeps {
            crash_check::death::sync::fence(order);
        }
    }

    /// In the model the compiler's barrier is the whole one (see [`membarrier_register`]).
    #[track_caller]
    pub fn compiler_fence(order: Ordering) {
        fence(order);
    }

    /// The model's memory needs the whole fence.
    #[track_caller]
    pub fn fence_after_rmw() {
        // SeqCst: the same, which loom knows.
        fence(Ordering::SeqCst);
    }

    /// The kernel's queue of sleepers: the modelled kernel finds it by the word.
    #[derive(Debug, Default)]
    pub struct WaitQueue;

    impl WaitQueue {
        /// The queue of a new word.
        pub fn new() -> Self {
            WaitQueue
        }

        /// Sleeps if `word` still holds `expected`.
        ///
        /// # Panics
        /// Under [`System::NobodySleeps`].
        #[track_caller]
        pub fn wait(
            &self,
            word: &AtomicU32,
            expected: u32,
            timeout: Option<Duration>,
        ) -> Result<(), Errno> {
            assert!(SYSTEM.get() != System::NobodySleeps, "a model says that nobody sleeps");
            let timed = timeout.is_some() && SYSTEM.get() == System::TimePasses;
            let wake = if timed {
                futex::wait_timeout(word, expected)
            } else {
                futex::wait(word, expected)
            };
            match wake {
                Wake::Changed(_) => Err(Errno::AGAIN),
                Wake::TimedOut => Err(Errno::TIMEDOUT),
                _ => Ok(()),
            }
        }

        /// Wakes up to `count` sleepers; how many there were.
        #[track_caller]
        pub fn wake(&self, word: &AtomicU32, count: u32) -> usize {
            futex::wake(word, usize::try_from(count).unwrap_or(usize::MAX))
        }
    }

    /// `futex_waitv`.
    ///
    /// # Panics
    /// Under [`System::NobodySleeps`].
    #[track_caller]
    pub fn wait_any<'a>(
        words: impl Iterator<Item = (&'a AtomicU32, u32)>,
        timeout: Option<Duration>,
    ) -> Result<(), Errno> {
        assert!(SYSTEM.get() != System::NobodySleeps, "a model says that nobody sleeps");
        let words: Vec<_> = words.collect();
        let timed = timeout.is_some() && SYSTEM.get() == System::TimePasses;
        match if timed { futex::waitv_timeout(&words) } else { futex::waitv(&words) } {
            Wake::Changed(_) => Err(Errno::AGAIN),
            Wake::TimedOut => Err(Errno::TIMEDOUT),
            _ => Ok(()),
        }
    }

    /// A model's words have no address that a kernel knows: refused.
    #[cfg(feature = "async")]
    pub fn wait_any_at(
        _words: impl Iterator<Item = (usize, u32)>,
        _timeout: Option<Duration>,
    ) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }

    /// A model has as many processors as threads.
    pub fn one_processor() -> bool {
        false
    }

    /// Refused, so that both barriers are fences, which is what a model can see.
    pub fn membarrier_register() -> bool {
        false
    }

    /// Refused.
    pub fn membarrier_all() -> bool {
        false
    }
}
