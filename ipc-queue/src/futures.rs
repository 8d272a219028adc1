//! Waiting as futures, for any executor (feature `async`).
//!
//! Each end that can wait has a form of its operation that is a future: `recv_async`, `send_async`,
//! `reserve_async`, `submit_async`, `lease_async`; the sides of a pipe have `read_async` and `write_async`, and poll
//! functions for those who implement an executor's own traits. No runtime is needed: one thread of
//! the process sleeps for all of its futures ([`shm_core`]'s).
//!
//! ```
//! # fn block_on<F: Future>(future: F) -> F::Output { pollster::block_on(future) }
//! let (mut producer, mut consumer) = ipc_queue::spsc::channel::<u64>(8)?;
//! std::thread::spawn(move || producer.send(7));
//! assert_eq!(block_on(consumer.recv_async())?, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Cancelling is dropping
//! A future that is dropped before it was ready has received nothing and sent nothing (what was to
//! be sent is dropped with it), and swallows no wake: if it was woken for something, another
//! sleeper is rung.
//!
//! # When a process is killed
//! As in the blocking form: a future is woken by every proven death in the group of its end.
//!
//! # Cost
//! A future that is ready at its first poll costs what the `try_` form does. One that waits costs a
//! `membarrier`, an allocation or two, and the way over the thread that sleeps: some microseconds
//! more than a blocked thread. A future does not look again for a while first: its executor may have
//! other work.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use shm_core::asynchronous::{WaitOn, wait_on};
use shm_core::futex::Futex;

use crate::select::source::{Listening, Source};

/// One operation's waits, from its first attempt to its last.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    wait: Option<WaitOn<'static>>,
    has_slept: bool,
}

impl Turn {
    /// Makes attempts until one gives something.
    pub(crate) fn poll<E: Source, R>(
        &mut self,
        end: &mut E,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&mut E) -> Option<R>,
    ) -> Poll<R> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(Pin::new(wait).poll(context));
                self.wait = None;
                self.has_slept = true;
            }
            if let Some(result) = attempt(end) {
                self.leave(end);
                return Poll::Ready(result);
            }
            let (words, longest) = Listening::begin(&[&*end]).into_parts();
            // SAFETY: the words lie in memory that `end` keeps mapped, and not in `end` itself. The
            // wait on them is dropped before the end is, or the end is let go: by `leave`, which the
            // end's holder calls.
            let words = unsafe { std::mem::transmute::<Words<'_>, Words<'static>>(words) };
            if let Some(result) = attempt(end) {
                Listening::end(&[&*end], std::mem::take(&mut self.has_slept));
                return Poll::Ready(result);
            }
            self.wait = Some(wait_on(&words, Some(longest)));
        }
    }

    /// The operation is over, or given up: what it was woken for and leaves is another's.
    pub(crate) fn leave<E: Source>(&mut self, end: &E) {
        if self.wait.take().is_some() || self.has_slept {
            Listening::end(&[end], true);
            self.has_slept = false;
        }
    }
}

type Words<'a> = Vec<(&'a Futex, u32)>;

/// An operation of `end` as a future.
#[derive(Debug)]
pub(crate) struct Operation<'a, E: Source, F> {
    end: &'a mut E,
    attempt: F,
    turn: Turn,
}

/// Makes attempts until one gives something.
pub(crate) fn until<E: Source, R, F: FnMut(&mut E) -> Option<R>>(
    end: &mut E,
    attempt: F,
) -> Operation<'_, E, F> {
    Operation { end, attempt, turn: Turn::default() }
}

/// Nothing of it is pinned: the attempt is called by a mutable reference.
impl<E: Source, F> Unpin for Operation<'_, E, F> {}

impl<E: Source, R, F: FnMut(&mut E) -> Option<R>> Future for Operation<'_, E, F> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        this.turn.poll(this.end, context, &mut this.attempt)
    }
}

impl<E: Source, F> Drop for Operation<'_, E, F> {
    fn drop(&mut self) {
        self.turn.leave(self.end);
    }
}
