//! Locks between processes: as std's, and none of them stays held by the dead.
//!
//! Each is plain memory, to be placed in a [`Shared`](crate::Shared) object or in a structure of
//! one's own, and each operation takes the caller's [`Group`](crate::Group): that is who holds the
//! lock. The holder is the *process*; a guard may move to another of its threads.
//!
//! | lock | a holder is killed | a waiter is killed |
//! |---|---|---|
//! | [`Mutex`] | the next one gets it, with the data as they are, as [`LockError::Poisoned`] | nothing |
//! | [`RwLock`] | writer: as above; reader: its share is gone | nothing |
//! | [`Permits`] | its permits are free again | nothing |
//! | [`Semaphore`] | (nobody holds it: a post is a signal, and stays) | takes nothing |
//! | [`Condvar`], [`Event`] | – | the others wake, perhaps once too often |
//! | [`Barrier`] | – | its arrival does not count any more |
//! | [`Once`] | the next one runs the initialiser | nothing |
//!
//! # Asynchronous forms
//! With the feature `async`, whatever waits has a form that is a future (`lock_async`, `wait_async`,
//! ...), for any executor and without a runtime: one thread of the process sleeps for all of its
//! futures, and calls their wakers. Time-outs are the executor's: a future that is dropped before it
//! is ready has taken nothing, leaves no waiter behind, and hands a wake that it got to the next
//! sleeper. *Permits* and *Barrier* hold a small lock for some hundred instructions, also in their
//! futures' polls.
//!
//! # Progress
//! None of these is lock-free. A process that is *stopped* (not killed) while it holds a lock keeps
//! it; one that is stopped between the release and the wake that follows delays the sleepers, at
//! most by a second if others do not wake them first. [`Mutex`] and the writers of [`RwLock`]
//! hand the lock over to those who have slept, as soon as one of them woke in vain: newcomers can
//! pass those who sleep only between a release and the moment when the one it woke runs. The page on
//! locks in the book states the bound, and what checks it.

mod barrier;
mod condvar;
mod deadline;
mod error;
mod event;
mod mutex;
mod once;
mod permits;
pub(crate) mod raw;
mod rwlock;
mod semaphore;
mod shares;
mod signal;
pub(crate) mod wait;

pub use barrier::{Barrier, Broken};
pub use condvar::Condvar;
#[doc(hidden)]
pub use deadline::Deadline;
pub use error::{Cause, LockError, Poisoned};
pub use event::Event;
pub use mutex::{LockResult, Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use permits::{Permit, Permits};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{Semaphore, TooManyPosts};
