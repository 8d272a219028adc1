//! Fences, and the two halves of an asymmetric barrier.

use std::panic::Location;
use std::sync::atomic::Ordering;

use crate::death::run;
use crate::death::site::{self, Operation, Site};
use crate::death::trace::{Action, Event};

/// `core::sync::atomic::fence`. Not a kill point: nobody can tell a death before it from one after.
///
/// # Panics
/// If `order` is `Relaxed`, as in `core`.
#[track_caller]
pub fn fence(order: Ordering) {
    let at = Location::caller();
    if run::is_muted() {
        return;
    }
    run::make_held();
    let verdict = site::visit(Site::new(at, Operation::Fence), Some(order), None);
    if verdict.dropped {
        run::log(|me| Event::bare(me, Action::Dropped).at(at));
        return;
    }
    loom::sync::atomic::fence(verdict.main);
    let name = match verdict.main {
        Ordering::Acquire => "fence Acquire",
        Ordering::Release => "fence Release",
        Ordering::AcqRel => "fence AcqRel",
        _ => "fence SeqCst",
    };
    run::log(|me| Event::bare(me, Action::Fence { name }).at(at));
}

/// The cheap half of an asymmetric barrier: a compiler fence in the real program.
///
/// Here it is a `SeqCst` fence, as its partner [`heavy_barrier`] is: membarrier makes every other
/// thread of the group pass a full barrier, so the pair orders like two full barriers. What the
/// model cannot see is a light barrier that is relied on *without* a heavy partner; dropping each
/// heavy barrier in turn (module `mutate`) looks for that.
#[track_caller]
pub fn light_barrier() {
    barrier("light barrier", Location::caller());
}

/// The dear half of an asymmetric barrier: `membarrier(2)` in the real program.
#[track_caller]
pub fn heavy_barrier() {
    barrier("heavy barrier", Location::caller());
}

fn barrier(name: &'static str, at: &'static Location<'static>) {
    if run::is_muted() {
        return;
    }
    run::make_held();
    if site::visit(Site::new(at, Operation::Barrier), None, None).dropped {
        run::log(|me| Event::bare(me, Action::Dropped).at(at));
        return;
    }
    // SeqCst: both halves of the asymmetric barrier are full fences here.
    loom::sync::atomic::fence(Ordering::SeqCst);
    run::log(|me| Event::bare(me, Action::Fence { name }).at(at));
}
