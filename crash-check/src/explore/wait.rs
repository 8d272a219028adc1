//! The kernel's futex queues, as far as a model needs them: who waits on which words, and who was
//! woken but has not noticed yet.

/// Wait queues of `T` threads over at most 32 words, numbered by the model.
///
/// A thread may wait on several words at once (`futex_waitv`). A wake on one of them takes it out of
/// that queue only: until it runs and [leaves](Self::leave) the others, it can swallow wakes meant
/// for somebody else there, as in the kernel. Checking the values before sleeping is the model's to
/// do, in the same step (the kernel checks and queues a word under one lock).
///
/// ```
/// use crash_check::explore::WaitQueues;
///
/// let mut queues = WaitQueues::<2>::new();
/// queues.wait(0, 0b01);
/// queues.wait(1, 0b11);
/// // One wake on word 1 may reach thread 1 only; one on word 0, either of them.
/// assert_eq!(queues.waiting_on(1).collect::<Vec<_>>(), [1]);
/// assert_eq!(queues.waiting_on(0).collect::<Vec<_>>(), [0, 1]);
/// queues.wake(1, 1);
/// assert!(queues.was_woken(1) && queues.waiting_on(1).next().is_none());
/// // Still queued on word 0, where it may swallow a wake:
/// assert!(queues.waiting_on(0).any(|thread| thread == 1));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WaitQueues<const T: usize> {
    words: [u32; T],
    woken: [bool; T],
}

impl<const T: usize> Default for WaitQueues<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const T: usize> WaitQueues<T> {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self { words: [0; T], woken: [false; T] }
    }

    /// Queues `thread` on every word whose bit is in `words`, beside those it is queued on.
    ///
    /// # Panics
    /// If `thread` is not below `T`, here and below: a mistake of the model.
    pub fn wait(&mut self, thread: usize, words: u32) {
        self.words[thread] |= words;
    }

    /// Threads that a wake on `word` may choose from.
    pub fn waiting_on(&self, word: usize) -> impl Iterator<Item = usize> + use<T> {
        let words = self.words;
        (0..T).filter(move |&thread| words[thread] >> word & 1 == 1)
    }

    /// The thread is in some queue.
    #[must_use]
    pub fn is_waiting(&self, thread: usize) -> bool {
        self.words[thread] != 0
    }

    /// A wake on `word` reaches `thread`: it will return when it runs.
    pub fn wake(&mut self, thread: usize, word: usize) {
        self.words[thread] &= !(1 << word);
        self.woken[thread] = true;
    }

    /// The wait of `thread` ends by other means than a futex: out of all queues, to return when it
    /// runs.
    pub fn interrupt(&mut self, thread: usize) {
        self.words[thread] = 0;
        self.woken[thread] = true;
    }

    /// Wakes everybody who waits on `word`.
    pub fn wake_all(&mut self, word: usize) {
        for thread in self.waiting_on(word) {
            self.wake(thread, word);
        }
    }

    /// The thread was woken and has not [left](Self::leave) yet.
    #[must_use]
    pub fn was_woken(&self, thread: usize) -> bool {
        self.woken[thread]
    }

    /// Takes `thread` out of every queue and forgets its wake: it returned, or it is dead.
    pub fn leave(&mut self, thread: usize) {
        self.words[thread] = 0;
        self.woken[thread] = false;
    }
}
