//! The handle that sends.

use std::sync::Arc;
use std::time::Duration;

use shm_core::heap::Block;
use shm_core::{Group, Peers, Watch};

use super::HINT_EVERY;
use super::end::{End, View};
use super::reservation::Reservation;
use super::send::SendSide;
use crate::bell::Bell;
use crate::mpmc::park::{Look, wait};
use crate::ring::Stop;
use crate::select::source::Source;
use crate::wait::{Deadline, Patience};
use crate::{Error, SendError, Side, SideStats};

/// One of the producers of a mailbox. Clone it, or attach again, for more; they send side by side.
///
/// A send costs some tens of nanoseconds and the copy, or none with [`reserve`](Self::reserve), and no
/// system call unless the mailbox is full or a consumer sleeps. Dropping the last producer of all
/// disconnects the consumers, once they have drained the mailbox.
#[derive(Debug)]
pub struct Producer<P: Peers + Clone = Group> {
    end: End<P>,
    side: SendSide,
    /// How large the last message was that found no memory; 0: the last found some.
    wanted: usize,
    watch: Option<Arc<Watch>>,
}

/// Among others it is waited for until there is a slot, and memory for a message as long as the last
/// that found none.
impl<P: Peers + Clone> Source for Producer<P> {
    fn is_ready(&self) -> bool {
        // In a forked child every operation says so at once.
        let Ok(view) = self.end.view() else { return true };
        let there_is_memory =
            || self.wanted == 0 || !matches!(attempt_fully(view, self.wanted), Err(Stop::NotYet));
        self.side.is_ready(view) && there_is_memory()
    }

    fn bell(&self) -> &Bell {
        self.end.look().queue.shared.bell_of(Side::Producer)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn peers(&self) -> Option<&dyn Peers> {
        Some(self.end.peers())
    }
}

/// Memory for a message of so many bytes.
#[inline(always)]
fn attempt<P: Peers + Clone>(view: View<'_, P>, len: usize) -> Result<Block<'_, P>, Stop> {
    if view.queue.shared.is_closed() {
        return Err(Stop::Closed);
    }
    view.cells.allocate(len)
}

/// The same, and whether anybody is left to make room. `None`: nobody will, for nothing is there.
fn attempt_fully<P: Peers + Clone>(
    view: View<'_, P>,
    len: usize,
) -> Result<Option<Block<'_, P>>, Stop> {
    let end = match attempt(view, len) {
        Err(Stop::NotYet) if view.queue.shared.is_deserted(Side::Consumer, view.queue.peers) => {
            Err(Stop::Disconnected)
        }
        Err(Stop::NotYet) if view.is_idle() => Ok(None),
        done => return done.map(Some),
    };
    // Once more: what the last of them gave back is memory.
    match attempt(view, len) {
        Err(Stop::NotYet) => end,
        done => done.map(Some),
    }
}

/// Waits for memory as long as somebody may give some back.
#[cold]
fn wait_for_memory<'a, P: Peers + Clone>(
    view: View<'a, P>,
    patience: &mut Patience,
    len: usize,
    deadline: Deadline,
) -> Result<Block<'a, P>, Stop> {
    let mut found = None;
    if let Deadline::Now = deadline {
        found = attempt_fully(view, len)?;
    } else {
        wait(patience, view.queue, Side::Producer, deadline, |look| {
            found = match look {
                Look::Quick => Some(attempt(view, len)?),
                Look::Fully => attempt_fully(view, len)?,
                Look::Only => return attempt(view, len).map(|_| 1),
            };
            Ok(1)
        })?;
    }
    found.ok_or(Stop::NotYet)
}

impl<P: Peers + Clone> Producer<P> {
    pub(super) fn new(end: End<P>, watch: Option<Watch>) -> Self {
        let side = SendSide::new(end.hint(), HINT_EVERY);
        Producer { end, side, wanted: 0, watch: watch.map(Arc::new) }
    }

    /// Another producer of the same mailbox, for another thread of this process.
    ///
    /// # Errors
    /// [`Error::TooManyHandles`], [`Error::Heap`]; [`Error::NotAMember`] in a forked child.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let watch = self.watch.clone();
        Ok(Producer { watch, ..Self::new(self.end.another()?, None) })
    }

    fn reserve_until(
        &mut self,
        len: usize,
        deadline: Deadline,
    ) -> Result<Reservation<'_, P>, SendError<()>> {
        let most = self.end.longest();
        if len > most {
            return Err(SendError::TooLarge { value: (), size: len, most });
        }
        let Producer { end, side, wanted, .. } = self;
        let refused = |stop| SendError::from_stop(stop, ());
        let view = end.view().map_err(refused)?;
        let block = match attempt(view, len) {
            Err(Stop::NotYet) => {
                *wanted = len;
                let mut patience = side.patience;
                let found = wait_for_memory(view, &mut patience, len, deadline);
                side.patience = patience;
                found
            }
            done => done,
        };
        let block = block.map_err(refused)?;
        *wanted = 0;
        Ok(Reservation::new(end, side, block, len))
    }

    fn send_until(&mut self, message: &[u8], deadline: Deadline) -> Result<(), SendError<()>> {
        let mut room = self.reserve_until(message.len(), deadline)?;
        room.copy_from_slice(message);
        room.commit_until(deadline).map_err(|error| error.map(drop))
    }

    /// Sends a copy of `message`, waiting for memory and a slot as long as it takes.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] if it is longer than [`longest`](Self::longest);
    /// [`SendError::Closed`]; [`SendError::Disconnected`] if there is no room and no consumer left;
    /// [`SendError::Full`] if there is no memory, and nothing in the mailbox whose receipt could bring
    /// some (see [Memory](crate::mailbox#memory)); [`SendError::Forked`], [`SendError::Corrupted`].
    #[inline]
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        self.send_until(message, Deadline::Never)
    }

    /// Sends a copy of `message` if there is room now.
    ///
    /// # Errors
    /// [`SendError::Full`], or as [`send`](Self::send).
    ///
    /// ```
    /// # use ipc_queue::SendError;
    /// let (mut producer, _consumer) = ipc_queue::mailbox::channel(1, 1000)?;
    /// assert_eq!(producer.try_send(b"one"), Ok(()));
    /// assert_eq!(producer.try_send(b"two"), Err(SendError::Full(())));
    /// # Ok::<(), ipc_queue::Error>(())
    /// ```
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        self.send_until(message, Deadline::Now)
    }

    /// Sends a copy of `message`, waiting for memory and a slot at most `timeout` in all.
    ///
    /// # Errors
    /// [`SendError::Timeout`], or as [`send`](Self::send).
    pub fn send_timeout(&mut self, message: &[u8], timeout: Duration) -> Result<(), SendError<()>> {
        self.send_until(message, Deadline::after(timeout))
    }

    /// [`send`](Self::send) as a future, for any executor: see [`futures`](crate::futures). Dropped
    /// before it is ready, it has sent nothing.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[cfg(feature = "async")]
    pub async fn send_async(&mut self, message: &[u8]) -> Result<(), SendError<()>> {
        crate::futures::until(self, |producer| match producer.try_send(message) {
            Err(SendError::Full(())) if !producer.is_stuck() => None,
            done => Some(done),
        })
        .await
    }

    /// Whether the last message found no memory and none will come.
    #[cfg(feature = "async")]
    fn is_stuck(&self) -> bool {
        let Ok(view) = self.end.view() else { return true };
        self.wanted != 0 && matches!(attempt_fully(view, self.wanted), Ok(None))
    }

    /// Waits for memory for a message of `len` bytes, to be written in place. It takes no slot before
    /// it is [committed](Reservation::commit).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_, P>, SendError<()>> {
        self.reserve_until(len, Deadline::Never)
    }

    /// [`reserve`](Self::reserve) without waiting.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_reserve(&mut self, len: usize) -> Result<Reservation<'_, P>, SendError<()>> {
        self.reserve_until(len, Deadline::Now)
    }

    /// [`reserve`](Self::reserve), waiting at most `timeout`.
    ///
    /// # Errors
    /// As [`send_timeout`](Self::send_timeout).
    pub fn reserve_timeout(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<Reservation<'_, P>, SendError<()>> {
        self.reserve_until(len, Deadline::after(timeout))
    }

    /// Closes the mailbox for everybody: later sends fail, consumers drain what is there and then get
    /// [`Closed`](crate::RecvError::Closed). A send under way succeeds, and is received, or fails.
    pub fn close(&self) {
        self.end.close();
    }

    /// Whether somebody closed the mailbox.
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

    /// The longest message that can be sent, in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.end.longest()
    }

    /// Bytes of the mailbox's memory that are in use, as large as blocks are: those of messages that
    /// are sent, being written or being read, and of the slots. Cost: a look at each 64 KiB.
    #[must_use]
    pub fn used(&self) -> usize {
        self.end.used()
    }

    /// Consumers that are attached and alive, as far as one look tells.
    #[must_use]
    pub fn consumers(&self) -> usize {
        let queue = self.end.look().queue;
        queue.shared.attached.count(Side::Consumer, queue.peers)
    }

    /// What the waits of all producers have cost.
    #[must_use]
    pub fn stats(&self) -> SideStats {
        self.end.stats()
    }

    /// How often a blocked send looks again before it sleeps, at most (it adapts below that);
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
