//! Asynchronous waits: futures over words that processes share, for any executor.
//!
//! Nothing here needs a runtime. One thread of the process, the *sleeper*, sleeps with
//! `futex_waitv(2)` on all the words that futures of this process wait for, and calls their wakers.
//! It is started by the first wait, and asleep (on no timer) while there is none. One sleeper watches
//! 127 different words; another thread is started for each 127 more that are waited for at once.
//!
//! # The contract of [`wait_on`]
//! It is [`futex::wait_any`](crate::futex::wait_any) as a future, and used as that is: announce the
//! sleep in the structure, look at the structure once more, then await with the values that the words
//! held. Then look again, whatever came back.
//!
//! - **No wake is missed.** If a word changes, or somebody wakes its sleepers, after the value was
//!   read, the future becomes ready; also if that was before it was first polled.
//! - **No wake is swallowed.** The sleeper counts as one sleeper on the word, whoever wakes; it hands
//!   the wake to *every* future that waits for the same value of the word. A future that is dropped
//!   before it told its owner of the wake passes it on (`FUTEX_WAKE` of one), and so does the sleeper
//!   where a future went while it slept. Whoever got [`Waited::Woken`] and does not use it must pass it
//!   on as any sleeper must: by what the structure does then, or by `word.wake(1)`.
//! - **Cancelling is dropping.** A dropped future leaves nothing behind but what its caller had
//!   announced in the structure. A forgotten one (`mem::forget`) may leave a sleep on a word that is
//!   gone: only the kernel looks at the word's address, and at memory that is not there it says so.
//! - **Wakes may be spurious**, and each wait ends after a second at the latest
//!   ([`Waited::Woken`]): that bounds what a keeper costs that was killed alone. Where the system
//!   refuses `futex_waitv`, the sleeper looks at the words every 10 ms.
//! - **After `fork`**, an inherited future never becomes ready in the child, and its drop does nothing;
//!   new ones get a sleeper of the child's own.
//!
//! Cost of a wait that sleeps: an allocation or three, one or two system calls, and the wake-up of the
//! sleeper before the executor's own, in which it asks the kernel for each word that it watches (0.2 µs). Ordering: none is promised, as for a futex; the look that follows
//! brings its own.

mod kernel;
mod sleeper;
mod waiting;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::futex::{Futex, Waited};
use crate::group::{Peers, Ticket};
use sleeper::{Registration, Request, Watched};
pub(crate) use waiting::wait;

/// Waits while *every* word holds what is expected of it, for at most `at_most`: see the module.
///
/// Of more than 127 words the first 127 are watched, and the wait ends after 10 ms.
///
/// ```
/// use shm_core::asynchronous::wait_on;
/// use shm_core::futex::{Futex, Waited};
/// use std::time::Duration;
///
/// # fn block_on<F: Future>(future: F) -> F::Output { pollster::block_on(future) }
/// let word = Futex::new(0);
/// assert_eq!(block_on(wait_on(&[(&word, 1)], None)), Waited::Woken); // it does not hold 1
/// let soon = Some(Duration::from_millis(1));
/// assert_eq!(block_on(wait_on(&[(&word, 0)], soon)), Waited::TimedOut);
/// ```
pub fn wait_on<'a>(words: &[(&'a Futex, u32)], at_most: Option<Duration>) -> WaitOn<'a> {
    let bound = sleeper::bound(words.len());
    let times_out = at_most.is_some_and(|limit| limit <= bound);
    let until = Instant::now() + at_most.map_or(bound, |limit| limit.min(bound));
    WaitOn { words: words.to_vec(), until, times_out, stage: Stage::New }
}

/// [`Peers::park`] as a future: ends also when somebody of the group has died since `ticket`.
pub fn park<'a, P: Peers>(
    peers: &'a P,
    word: &'a Futex,
    expected: u32,
    ticket: Ticket,
    at_most: Option<Duration>,
) -> WaitOn<'a> {
    match peers.deaths() {
        Some(deaths) => wait_on(&[(word, expected), (deaths, ticket.0)], at_most),
        None => wait_on(&[(word, expected)], at_most),
    }
}

/// The future of [`wait_on`] and [`park`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct WaitOn<'a> {
    words: Vec<(&'a Futex, u32)>,
    until: Instant,
    /// The end of `until` is that of the caller's own time.
    times_out: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    New,
    Asleep(Registration),
    Over,
}

impl WaitOn<'_> {
    fn request(&self, context: &Context<'_>) -> Request {
        let watched = self.words.iter().map(|(word, expected)| Watched::new(word, *expected));
        Request {
            words: watched.take(sleeper::MOST_WORDS).collect(),
            until: self.until,
            times_out: self.times_out,
            waker: context.waker().clone(),
        }
    }
}

impl WaitOn<'_> {
    /// Ends the wait: whether it had been woken, and nobody told. That wake is passed on.
    fn abandon(mut self) -> bool {
        self.cancel()
    }

    fn cancel(&mut self) -> bool {
        let Stage::Asleep(registration) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return false;
        };
        let woken = registration.cancel();
        if woken {
            for (word, _) in &self.words {
                word.wake(1);
            }
        }
        woken
    }
}

impl Future for WaitOn<'_> {
    type Output = Waited;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Waited> {
        let told = match &self.stage {
            Stage::New => match Registration::new(self.request(context)) {
                Some(registration) => {
                    self.stage = Stage::Asleep(registration);
                    return Poll::Pending;
                }
                None => {
                    // No thread can be started now: the caller looks again and again.
                    self.stage = Stage::Over;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            },
            Stage::Asleep(registration) => match registration.told(context.waker()) {
                Some(waited) => waited,
                None => return Poll::Pending,
            },
            Stage::Over => Waited::Woken,
        };
        self.stage = Stage::Over;
        Poll::Ready(told)
    }
}

impl Drop for WaitOn<'_> {
    fn drop(&mut self) {
        self.cancel();
    }
}
