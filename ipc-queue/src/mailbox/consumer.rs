//! The handle that receives, and a message in its hands.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use shm_core::heap::Lease;
use shm_core::{Group, Peers, Watch};

use super::HINT_EVERY;
use super::end::End;
use super::receive::RecvSide;
use super::shared::Cells;
use crate::bell::Bell;
use crate::ring::Stop;
use crate::select::source::Source;
use crate::wait::Deadline;
use crate::{Error, RecvError, Side, SideStats};

/// One of the consumers of a mailbox, which compete: each message goes to one of them.
///
/// A receive costs some tens of nanoseconds, whatever the message's size, and no system call unless
/// the mailbox is empty or a producer sleeps.
#[derive(Debug)]
pub struct Consumer<P: Peers + Clone = Group> {
    end: End<P>,
    side: RecvSide,
    watch: Option<Arc<Watch>>,
}

impl<P: Peers + Clone> Source for Consumer<P> {
    fn is_ready(&self) -> bool {
        // In a forked child every operation says so at once.
        let Ok(view) = self.end.view() else { return true };
        self.side.is_ready(view)
    }

    fn bell(&self) -> &Bell {
        self.end.look().queue.shared.bell_of(Side::Consumer)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn peers(&self) -> Option<&dyn Peers> {
        Some(self.end.peers())
    }
}

impl<P: Peers + Clone> Consumer<P> {
    pub(super) fn new(end: End<P>, watch: Option<Watch>) -> Self {
        let side = RecvSide::new(end.hint(), HINT_EVERY);
        Consumer { end, side, watch: watch.map(Arc::new) }
    }

    /// Another consumer of the same mailbox, for another thread of this process.
    ///
    /// # Errors
    /// [`Error::TooManyHandles`], [`Error::Heap`]; [`Error::NotAMember`] in a forked child.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let watch = self.watch.clone();
        Ok(Consumer { watch, ..Self::new(self.end.another()?, None) })
    }

    #[inline(always)]
    fn take(&mut self, deadline: Deadline) -> Result<(), Stop> {
        self.side.take_until(self.end.view()?, deadline)
    }

    /// The message whose slot was just taken.
    #[inline(always)]
    fn lend(&mut self) -> Result<Message<'_, P>, RecvError> {
        let Consumer { end, side, .. } = self;
        let view = end.view()?;
        let position = side.hand();
        // Nothing is there, or more was said to be: somebody writes what he likes.
        let lease = view.cells.lease(view.index(position)).ok_or(RecvError::Corrupted)?;
        let len = view.len_at(position);
        if len > lease.size() as u64 {
            return Err(RecvError::Corrupted);
        }
        let len = len as usize;
        Ok(Message { end, side, lease: Some(lease), len })
    }

    #[inline(always)]
    fn recv_until(&mut self, deadline: Deadline) -> Result<Message<'_, P>, RecvError> {
        self.take(deadline)?;
        self.lend()
    }

    /// Receives the next message, waiting as long as it takes. It is received for good when it is
    /// dropped; if its consumer is killed before, another receives it.
    ///
    /// # Errors
    /// Once everything sent has been received, or is in somebody's hands: [`RecvError::Closed`];
    /// [`RecvError::Disconnected`] if there were producers and none is left. [`RecvError::Forked`],
    /// [`RecvError::Corrupted`].
    #[inline]
    pub fn recv(&mut self) -> Result<Message<'_, P>, RecvError> {
        self.recv_until(Deadline::Never)
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    /// [`RecvError::Empty`] while the message that is next is not there, or not handed over (later
    /// ones may be); else as [`recv`](Self::recv).
    #[inline]
    pub fn try_recv(&mut self) -> Result<Message<'_, P>, RecvError> {
        self.recv_until(Deadline::Now)
    }

    /// Receives the next message, waiting at most `timeout`.
    ///
    /// # Errors
    /// [`RecvError::Timeout`], or as [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Message<'_, P>, RecvError> {
        self.recv_until(Deadline::after(timeout))
    }

    /// [`recv`](Self::recv) as a future, for any executor: see [`futures`](crate::futures). Dropped
    /// before it is ready, it has received nothing.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    #[cfg(feature = "async")]
    pub async fn recv_async(&mut self) -> Result<Message<'_, P>, RecvError> {
        crate::futures::until(self, |consumer| match consumer.take(Deadline::Now) {
            Err(Stop::NotYet) => None,
            done => Some(done),
        })
        .await?;
        self.lend()
    }

    /// Receives and waits until the mailbox is closed or every producer has gone, and it is drained;
    /// why it ended.
    ///
    /// ```
    /// let (mut producer, mut consumer) = ipc_queue::mailbox::channel(8, 1000)?;
    /// producer.send(b"one")?;
    /// producer.send(b"two")?;
    /// drop(producer);
    /// let mut all = Vec::new();
    /// let end = consumer.for_each(|message| all.extend_from_slice(message));
    /// assert_eq!((all.as_slice(), end), (&b"onetwo"[..], ipc_queue::RecvError::Disconnected));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(&mut self, mut f: impl FnMut(&[u8])) -> RecvError {
        loop {
            match self.recv() {
                Ok(message) => f(&message),
                Err(end) => return end,
            }
        }
    }

    /// Closes the mailbox for everybody: later sends fail, consumers drain what is there and then get
    /// [`RecvError::Closed`].
    pub fn close(&self) {
        self.end.close();
    }

    /// Whether somebody closed the mailbox (there may be messages left to receive).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.end.look().queue.shared.is_closed()
    }

    /// Messages sent (or being sent) and not yet taken, as far as one look tells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end.look().queue.len()
    }

    /// Whether nothing is there to be received.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages that the mailbox holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.end.capacity()
    }

    /// Bytes of the mailbox's memory that are in use, as large as blocks are: those of messages that
    /// are sent, being written or being read, and of the slots. Cost: a look at each 64 KiB.
    #[must_use]
    pub fn used(&self) -> usize {
        self.end.used()
    }

    /// Producers that are attached and alive, as far as one look tells.
    #[must_use]
    pub fn producers(&self) -> usize {
        let queue = self.end.look().queue;
        queue.shared.attached.count(Side::Producer, queue.peers)
    }

    /// What the waits of all consumers have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked receive looks again before it sleeps, at most (it adapts below that);
    /// 0: sleeps at once, for programs with more busy threads than processors.
    pub fn set_spin_limit(&mut self, looks: u32) {
        self.side.patience.limit(looks);
    }

    /// Checks every slot, clears up after the dead, and checks that every block of the memory is
    /// somebody's. For tests and the curious: meaningful while nobody sends or receives.
    ///
    /// # Errors
    /// [`Error::Corrupted`], [`Error::Heap`], which say what is impossible.
    pub fn validate(&self) -> Result<(), Error> {
        self.end.validate()
    }
}

/// A message, read in place: a byte slice, aligned to 8. It is received, and its memory free, when it
/// is dropped.
pub struct Message<'a, P: Peers + Clone = Group> {
    end: &'a End<P>,
    side: &'a mut RecvSide,
    /// Nothing once it is dropped.
    lease: Option<Lease<'a, P>>,
    len: usize,
}

impl<P: Peers + Clone> Deref for Message<'_, P> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let Some(lease) = &self.lease else { return &[] };
        // SAFETY: the block has at least so many bytes, and nobody writes to it while it is leased;
        // any bytes are valid `u8`.
        unsafe { std::slice::from_raw_parts(lease.as_ptr().as_ptr(), self.len) }
    }
}

impl<P: Peers + Clone> Drop for Message<'_, P> {
    #[inline]
    fn drop(&mut self) {
        // In a child that inherited it by `fork` it is the parent's: a lease does nothing there.
        if let (Some(lease), Ok(view)) = (self.lease.take(), self.end.view()) {
            self.side.release(view, lease);
        }
    }
}

impl<P: Peers + Clone> fmt::Debug for Message<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("len", &self.len).finish_non_exhaustive()
    }
}
