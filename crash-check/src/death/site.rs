//! The hook at every shared operation: which place in the source it is, and whether the place is
//! being recorded or mutated.
//!
//! A site is the caller's file, line and column (`#[track_caller]`), so an algorithm needs no
//! annotation to be mutated: its own operations are its list. The hook is a thread-local look-up,
//! which is nothing beside one step of loom. `crash_check::mutate` drives it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::atomic::Ordering;

/// What kind of operation a site makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// An atomic load.
    Load,
    /// An atomic store.
    Store,
    /// An atomic read-modify-write that always writes.
    Rmw,
    /// A compare-and-exchange.
    CompareExchange,
    /// A read of an `UnsafeCell`. Nothing to mutate.
    ReadCell,
    /// A write to an `UnsafeCell`.
    WriteCell,
    /// A fence with an ordering of its own.
    Fence,
    /// `light_barrier` or `heavy_barrier`.
    Barrier,
    /// A futex wait. Nothing to mutate.
    Wait,
    /// A futex wake.
    Wake,
    /// A statement marked with `statement!`.
    #[cfg(feature = "mutate")]
    Statement,
}

/// A place in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    /// Path as the compiler was given it.
    pub file: &'static str,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, of the method's name or the function's path.
    pub column: u32,
    /// What it does there.
    pub operation: Operation,
}

impl Site {
    pub(crate) const fn new(at: &'static Location<'static>, operation: Operation) -> Self {
        Self { file: at.file(), line: at.line(), column: at.column(), operation }
    }
}

/// The orderings a site was seen with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Orders {
    /// The ordering; of success, where there are two. `None` where there is none.
    pub main: Option<SiteOrder>,
    /// The ordering of a failed compare-and-exchange.
    pub failure: Option<SiteOrder>,
}

/// [`Ordering`] with an order of its own, so that it can be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum SiteOrder {
    Relaxed,
    Release,
    Acquire,
    AcqRel,
    SeqCst,
}

impl SiteOrder {
    pub(crate) fn of(order: Ordering) -> Self {
        match order {
            Ordering::Relaxed => Self::Relaxed,
            Ordering::Release => Self::Release,
            Ordering::Acquire => Self::Acquire,
            Ordering::AcqRel => Self::AcqRel,
            _ => Self::SeqCst,
        }
    }

    pub(crate) const fn ordering(self) -> Ordering {
        match self {
            Self::Relaxed => Ordering::Relaxed,
            Self::Release => Ordering::Release,
            Self::Acquire => Ordering::Acquire,
            Self::AcqRel => Ordering::AcqRel,
            Self::SeqCst => Ordering::SeqCst,
        }
    }
}

/// What is done to a site.
#[cfg_attr(not(feature = "mutate"), allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The ordering (of success) becomes this one.
    Main(SiteOrder),
    /// The ordering of failure becomes this one.
    Failure(SiteOrder),
    /// The ordering (of success) becomes this one, which has no Release, and the operation is made
    /// before so many stores that precede it in its thread: a compiler may do that then, and a death
    /// in between leaves the later one alone.
    MovedUp(SiteOrder, usize),
    /// The operation has no effect: a store is not made, a compare-and-exchange reports success
    /// and writes nothing, a barrier or wake or statement is left out.
    Dropped,
}

/// What the operation is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) main: Ordering,
    pub(crate) failure: Ordering,
    pub(crate) dropped: bool,
}

#[derive(Debug, Default)]
struct Hook {
    recorded: Option<BTreeMap<Site, Orders>>,
    mutation: Option<(Site, Change)>,
}

thread_local! {
    static HOOK: RefCell<Hook> = RefCell::default();
}

/// Called by every shared operation.
pub(crate) fn visit(site: Site, main: Option<Ordering>, failure: Option<Ordering>) -> Verdict {
    HOOK.with_borrow_mut(|hook| {
        if let Some(recorded) = &mut hook.recorded {
            let orders =
                Orders { main: main.map(SiteOrder::of), failure: failure.map(SiteOrder::of) };
            recorded.entry(site).or_insert(orders);
        }
        // Relaxed stands where the operation has no such ordering: nobody uses it then.
        let mut verdict = Verdict {
            main: main.unwrap_or(Ordering::Relaxed),
            failure: failure.unwrap_or(Ordering::Relaxed),
            dropped: false,
        };
        match hook.mutation {
            Some((at, change)) if at == site => match change {
                Change::Main(order) | Change::MovedUp(order, _) => verdict.main = order.ordering(),
                Change::Failure(order) => verdict.failure = order.ordering(),
                Change::Dropped => verdict.dropped = true,
            },
            _ => {}
        }
        verdict
    })
}

/// How many stores may be overtaken by an operation to come, if this is a store.
pub(crate) fn overtaken(site: Site) -> usize {
    HOOK.with_borrow(|hook| match hook.mutation {
        Some((at, Change::MovedUp(_, most))) if at != site => most,
        _ => 0,
    })
}

/// Whether this is the operation that overtakes stores before it.
pub(crate) fn overtakes(site: Site) -> bool {
    HOOK.with_borrow(|hook| matches!(hook.mutation, Some((at, Change::MovedUp(..))) if at == site))
}

/// Runs `f` and returns with its result every site that was visited on this thread meanwhile.
#[cfg(feature = "mutate")]
pub(crate) fn record<R>(f: impl FnOnce() -> R) -> (R, BTreeMap<Site, Orders>) {
    HOOK.with_borrow_mut(|hook| hook.recorded = Some(BTreeMap::new()));
    let result = f();
    let sites = HOOK.with_borrow_mut(|hook| hook.recorded.take());
    (result, sites.unwrap_or_default())
}

/// Runs `f` with one site changed on this thread.
#[cfg(feature = "mutate")]
pub(crate) fn mutated<R>(site: Site, change: Change, f: impl FnOnce() -> R) -> R {
    /// Takes the mutation back, also when `f` panics.
    struct Undo;
    impl Drop for Undo {
        fn drop(&mut self) {
            HOOK.with_borrow_mut(|hook| hook.mutation = None);
        }
    }
    HOOK.with_borrow_mut(|hook| hook.mutation = Some((site, change)));
    let _undo = Undo;
    f()
}
