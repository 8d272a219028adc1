//! The atomic integers.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as PlainU64, Ordering};

use crate::death::run::{self, Turn};
use crate::death::site::{self, Operation, Site, Verdict};
use crate::death::trace::{Action, Event};

/// One word: loom's cell, and the value most recently written in the order of this execution.
///
/// `latest` is what a dead thread reads and what a dropped operation returns. It is written right
/// after loom's own operation, before the next scheduling point; all threads of a model are
/// coroutines of one thread, so Relaxed suffices throughout.
struct Word<A> {
    loom: A,
    latest: PlainU64,
    id: usize,
}

/// What the hooks say about an operation that is due.
enum Due {
    Muted,
    Dropped,
    Made(Verdict),
}

fn due(
    at: &'static Location<'static>,
    word: usize,
    operation: Operation,
    main: Ordering,
    failure: Option<Ordering>,
) -> Due {
    let site = Site::new(at, operation);
    let waits = run::holds(word) && !run::is_muted();
    let turn = if waits && site::overtakes(site) {
        // Its tick comes when it has overtaken.
        Turn::Live
    } else if waits && operation == Operation::Load
        || site::overtaken(site) > 0 && operation == Operation::Store
    {
        run::tick()
    } else {
        run::turn()
    };
    if turn == Turn::Muted {
        return Due::Muted;
    }
    let verdict = site::visit(site, Some(main), failure);
    if verdict.dropped {
        run::log(|me| Event::bare(me, Action::Dropped).at(at));
        return Due::Dropped;
    }
    Due::Made(verdict)
}

macro_rules! atomic_int {
    ($name:ident, $int:ident) => {
        #[doc = concat!("`core::sync::atomic::", stringify!($name), "` in which a thread can die.")]
        ///
        /// Semantics and orderings are those of `core`, as far as loom models them (see the crate's
        /// `docs/death.md`). Not `const`, and larger than the real one: build it by a constructor,
        /// never by a cast of zeroed bytes.
        pub struct $name(Arc<Word<loom::sync::atomic::$name>>);

        impl $name {
            /// A word that holds `value`.
            ///
            /// # Panics
            /// Outside a check.
            #[track_caller]
            #[must_use]
            pub fn new(value: $int) -> Self {
                let id = run::new_word(Location::caller());
                let loom = loom::sync::atomic::$name::new(value);
                Self(Arc::new(Word { loom, latest: PlainU64::new(u64_of(value)), id }))
            }

            /// Loads; may return any value that the memory model allows.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $int {
                let at = Location::caller();
                let Due::Made(verdict) = due(at, self.0.id, Operation::Load, order, None) else {
                    return self.latest();
                };
                let value = self.0.loom.load(verdict.main);
                self.log(at, Action::Load { order: verdict.main }, value);
                value
            }

            /// Stores.
            #[track_caller]
            pub fn store(&self, value: $int, order: Ordering) {
                let at = Location::caller();
                let id = self.0.id;
                let Due::Made(verdict) = due(at, id, Operation::Store, order, None) else {
                    return;
                };
                let most = site::overtaken(Site::new(at, Operation::Store));
                if most > 0 {
                    let word = Self(Arc::clone(&self.0));
                    run::hold(most, id, move || word.make_store(at, value, verdict.main));
                    return;
                }
                self.make_store(at, value, verdict.main);
                self.may_overtake();
            }

            fn make_store(&self, at: &'static Location<'static>, value: $int, order: Ordering) {
                self.0.loom.store(value, order);
                self.set_latest(value);
                self.log(at, Action::Store { order }, value);
            }

            /// Stores to other words that wait were overtaken by what was just made.
            fn may_overtake(&self) {
                if run::holds(self.0.id) {
                    run::are_overtaken();
                }
            }

            /// Stores and returns the value before.
            #[track_caller]
            pub fn swap(&self, value: $int, order: Ordering) -> $int {
                self.rmw(Location::caller(), "swap", order, |_| value, |w, o| w.swap(value, o))
            }

            /// Adds, wrapping around, and returns the value before.
            #[track_caller]
            pub fn fetch_add(&self, by: $int, order: Ordering) -> $int {
                let new = |old: $int| old.wrapping_add(by);
                self.rmw(Location::caller(), "fetch_add", order, new, |w, o| w.fetch_add(by, o))
            }

            /// Subtracts, wrapping around, and returns the value before.
            #[track_caller]
            pub fn fetch_sub(&self, by: $int, order: Ordering) -> $int {
                let new = |old: $int| old.wrapping_sub(by);
                self.rmw(Location::caller(), "fetch_sub", order, new, |w, o| w.fetch_sub(by, o))
            }

            /// Bitwise and; returns the value before.
            #[track_caller]
            pub fn fetch_and(&self, mask: $int, order: Ordering) -> $int {
                let new = |old: $int| old & mask;
                self.rmw(Location::caller(), "fetch_and", order, new, |w, o| w.fetch_and(mask, o))
            }

            /// Bitwise or; returns the value before.
            #[track_caller]
            pub fn fetch_or(&self, mask: $int, order: Ordering) -> $int {
                let new = |old: $int| old | mask;
                self.rmw(Location::caller(), "fetch_or", order, new, |w, o| w.fetch_or(mask, o))
            }

            /// Bitwise exclusive or; returns the value before.
            #[track_caller]
            pub fn fetch_xor(&self, mask: $int, order: Ordering) -> $int {
                let new = |old: $int| old ^ mask;
                self.rmw(Location::caller(), "fetch_xor", order, new, |w, o| w.fetch_xor(mask, o))
            }

            /// Keeps the larger; returns the value before.
            #[track_caller]
            pub fn fetch_max(&self, value: $int, order: Ordering) -> $int {
                let new = |old: $int| old.max(value);
                self.rmw(Location::caller(), "fetch_max", order, new, |w, o| w.fetch_max(value, o))
            }

            /// Keeps the smaller; returns the value before.
            #[track_caller]
            pub fn fetch_min(&self, value: $int, order: Ordering) -> $int {
                let new = |old: $int| old.min(value);
                self.rmw(Location::caller(), "fetch_min", order, new, |w, o| w.fetch_min(value, o))
            }

            /// Stores `new` if the word holds `expected`.
            ///
            /// # Errors
            /// The value found, if it is another.
            #[track_caller]
            pub fn compare_exchange(
                &self,
                expected: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                let at = Location::caller();
                let operation = Operation::CompareExchange;
                let Due::Made(verdict) = due(at, self.0.id, operation, success, Some(failure))
                else {
                    // As if it had succeeded: a dead thread must not go round in a loop.
                    return Ok(expected);
                };
                let (success, failure) = (verdict.main, verdict.failure);
                let result = self.0.loom.compare_exchange(expected, new, success, failure);
                match result {
                    Ok(old) => {
                        self.set_latest(new);
                        let before = u64_of(old);
                        self.log(at, Action::Exchanged { order: success, before }, new);
                    }
                    Err(found) => {
                        let expected = u64_of(expected);
                        self.log(at, Action::NotExchanged { order: failure, expected }, found);
                    }
                }
                self.may_overtake();
                result
            }

            /// As [`compare_exchange`](Self::compare_exchange): loom knows no spurious failure.
            ///
            /// # Errors
            /// The value found, if it is another.
            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                expected: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                self.compare_exchange(expected, new, success, failure)
            }

            /// A load and compare-and-exchanges until one succeeds or `f` returns `None`.
            ///
            /// # Errors
            /// The value for which `f` returned `None`.
            #[track_caller]
            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut f: impl FnMut($int) -> Option<$int>,
            ) -> Result<$int, $int> {
                let mut old = self.load(fetch);
                while let Some(new) = f(old) {
                    match self.compare_exchange(old, new, set, fetch) {
                        Ok(old) => return Ok(old),
                        Err(found) => old = found,
                    }
                }
                Err(old)
            }

            #[track_caller]
            fn rmw(
                &self,
                at: &'static Location<'static>,
                name: &'static str,
                order: Ordering,
                new: impl FnOnce($int) -> $int,
                make: impl FnOnce(&loom::sync::atomic::$name, Ordering) -> $int,
            ) -> $int {
                let Due::Made(verdict) = due(at, self.0.id, Operation::Rmw, order, None) else {
                    return self.latest();
                };
                let before = make(&self.0.loom, verdict.main);
                let after = new(before);
                self.set_latest(after);
                let action = Action::Rmw { name, order: verdict.main, before: u64_of(before) };
                self.log(at, action, after);
                self.may_overtake();
                before
            }

            #[allow(clippy::cast_possible_truncation)] // it was that wide when it was put in
            fn latest(&self) -> $int {
                // Relaxed: loom runs one thread at a time; the model's edges are loom's.
                self.0.latest.load(Ordering::Relaxed) as $int
            }

            fn set_latest(&self, value: $int) {
                // Relaxed: as in `latest`.
                self.0.latest.store(u64_of(value), Ordering::Relaxed);
            }

            fn log(&self, at: &'static Location<'static>, action: Action, value: $int) {
                let id = self.0.id;
                run::log(|me| Event::bare(me, action).at(at).on(id, u64_of(value)));
            }
        }

        impl Default for $name {
            #[track_caller]
            fn default() -> Self {
                Self::new(0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "w{}: {}", self.0.id, self.latest())
            }
        }
    };
}

/// Widens for the trace.
#[allow(clippy::cast_possible_truncation)] // at most 64 bits on every target loom runs on
fn u64_of<T: TryInto<u64>>(value: T) -> u64 {
    value.try_into().unwrap_or(u64::MAX)
}

atomic_int!(AtomicU8, u8);
atomic_int!(AtomicU16, u16);
atomic_int!(AtomicU32, u32);
atomic_int!(AtomicU64, u64);
atomic_int!(AtomicUsize, usize);

/// A value that no model stores: used to look at a word without storing anything.
const UNLIKELY: u32 = 0xA5A5_5A5A;

/// What the modelled kernel does with a futex word. None of this is a kill point, and none makes a
/// happens-before edge: a protocol may not lean on the kernel's locks for its own ordering.
impl AtomicU32 {
    pub(in crate::death) fn id(&self) -> usize {
        self.0.id
    }

    /// Another handle on the same word, for the kernel.
    pub(in crate::death) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Does the word hold `value`, as seen under the lock of its hash bucket?
    ///
    /// The newest value in the order of this execution: loom's own order leaves stores of different
    /// threads unordered where the bucket's lock does not.
    pub(in crate::death) fn kernel_holds(&self, value: u32) -> bool {
        self.kernel_touch();
        self.latest() == value
    }

    /// A scheduling point that loom knows to depend on this word. The newest value counts as seen.
    pub(in crate::death) fn kernel_touch(&self) {
        // Relaxed: the kernel's look makes no edge; its callers say which they need.
        let relaxed = Ordering::Relaxed;
        let _ = self.0.loom.compare_exchange(UNLIKELY, UNLIKELY, relaxed, relaxed);
    }

    /// Replaces the value unless `f` says no; returns the new one.
    pub(in crate::death) fn kernel_update(
        &self,
        order: Ordering,
        f: impl Fn(u32) -> Option<u32>,
    ) -> Option<u32> {
        let mut old = self.latest();
        loop {
            let new = f(old)?;
            // Relaxed on failure: the loop tries again with what it found.
            match self.0.loom.compare_exchange(old, new, order, Ordering::Relaxed) {
                Ok(_) => {
                    self.set_latest(new);
                    return Some(new);
                }
                Err(found) => old = found,
            }
        }
    }
}

/// `core::sync::atomic::AtomicBool` in which a thread can die.
pub struct AtomicBool(AtomicU8);

impl AtomicBool {
    /// A word that holds `value`.
    ///
    /// # Panics
    /// Outside a check.
    #[track_caller]
    #[must_use]
    pub fn new(value: bool) -> Self {
        Self(AtomicU8::new(u8::from(value)))
    }

    /// Loads.
    #[track_caller]
    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order) != 0
    }

    /// Stores.
    #[track_caller]
    pub fn store(&self, value: bool, order: Ordering) {
        self.0.store(u8::from(value), order);
    }

    /// Stores and returns the value before.
    #[track_caller]
    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(u8::from(value), order) != 0
    }

    /// Logical or; returns the value before.
    #[track_caller]
    pub fn fetch_or(&self, value: bool, order: Ordering) -> bool {
        self.0.fetch_or(u8::from(value), order) != 0
    }

    /// Logical and; returns the value before.
    #[track_caller]
    pub fn fetch_and(&self, value: bool, order: Ordering) -> bool {
        self.0.fetch_and(u8::from(value), order) != 0
    }

    /// Stores `new` if the word holds `expected`.
    ///
    /// # Errors
    /// The value found, if it is the other.
    #[track_caller]
    pub fn compare_exchange(
        &self,
        expected: bool,
        new: bool,
        success: Ordering,
        failure: Ordering,
    ) -> Result<bool, bool> {
        let result = self.0.compare_exchange(u8::from(expected), u8::from(new), success, failure);
        result.map(|old| old != 0).map_err(|found| found != 0)
    }
}

impl fmt::Debug for AtomicBool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
