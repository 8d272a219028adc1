//! Plain shared data.

use std::fmt;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr;

use crate::death::run::{self, Turn};
use crate::death::site::{self, Operation, Site};
use crate::death::trace::{Action, Event};

/// `core::cell::UnsafeCell`, reached through closures so that loom sees every access.
///
/// An access is a kill point: a record of two cells can be left half written. Two accesses without
/// a happens-before edge between them, one of them a write, fail the model; that covers a survivor
/// which reads what a dead thread wrote without having *learned* of the death.
///
/// After the death of its thread a closure is given a bitwise copy, so that what a destructor
/// writes is lost. A value that owns something would be dropped twice that way: keep plain data in
/// the cells of a model.
pub struct UnsafeCell<T> {
    watched: loom::cell::UnsafeCell<()>,
    data: std::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    /// A cell that holds `value`.
    ///
    /// # Panics
    /// Outside a check.
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self { watched: loom::cell::UnsafeCell::new(()), data: std::cell::UnsafeCell::new(value) }
    }

    /// Reads. The pointer is valid during `f` and must not leave it.
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        let at = Location::caller();
        if run::turn() == Turn::Muted {
            return self.with_copy(|copy| f(copy.cast_const()));
        }
        let _ = site::visit(Site::new(at, Operation::ReadCell), None, None);
        // Noted first: loom may find a race here.
        run::log(|me| Event::bare(me, Action::ReadCell).at(at));
        self.watched.with(|_| ());
        f(self.data.get().cast_const())
    }

    /// Writes. The pointer is valid during `f` and must not leave it.
    #[track_caller]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        let at = Location::caller();
        if run::turn() == Turn::Muted {
            return self.with_copy(f);
        }
        if site::visit(Site::new(at, Operation::WriteCell), None, None).dropped {
            run::log(|me| Event::bare(me, Action::Dropped).at(at));
            return self.with_copy(f);
        }
        run::log(|me| Event::bare(me, Action::WriteCell).at(at));
        self.watched.with_mut(|_| ());
        f(self.data.get())
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }

    fn with_copy<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        let mut copy = MaybeUninit::<T>::uninit();
        // SAFETY: both pointers are valid for one `T` and aligned, and do not overlap. All threads
        // of a model are coroutines of one thread and no switch happens here, so nobody writes.
        unsafe { ptr::copy_nonoverlapping(self.data.get(), copy.as_mut_ptr(), 1) };
        f(copy.as_mut_ptr())
    }
}

impl<T> fmt::Debug for UnsafeCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnsafeCell").finish_non_exhaustive()
    }
}
