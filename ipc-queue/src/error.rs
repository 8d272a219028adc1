//! What can go wrong: [`Error`] when a queue is made or attached, [`SendError`] and [`RecvError`]
//! in its operations.

use std::io;

use crate::Side;
use crate::ring::Stop;

/// Why a queue could not be created, attached or taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The segment could not be made.
    #[error("no segment for the queue: {0}; free some shared memory or ask for a smaller capacity")]
    Segment(String),
    /// The queue does not fit where it was put.
    #[error(
        "{size} bytes at offset {offset} do not lie in a segment of {segment} bytes; \
         make the segment larger (see `required_size`) or the capacity smaller"
    )]
    OutOfBounds {
        /// Where, in bytes from the start of the segment's data.
        offset: usize,
        /// Bytes needed there.
        size: usize,
        /// Bytes that the segment has.
        segment: usize,
    },
    /// The offset does not suit the structure.
    #[error("offset {offset} is not aligned to {align} bytes; use a multiple of {align}")]
    Misaligned {
        /// Where, in bytes from the start of the segment's data.
        offset: usize,
        /// The alignment needed, in bytes.
        align: usize,
    },
    /// A capacity of zero, or one that no memory could hold.
    #[error("a capacity of {0} is not possible; ask for at least 1 and at most what memory holds")]
    Capacity(usize),
    /// The element's alignment is larger than the ring's.
    #[error("an element alignment of {0} bytes is not supported; the largest is 128")]
    ElementAlign(usize),
    /// There is a queue already.
    #[error("offset {0} holds a queue already; attach to it, or create at another offset")]
    Exists(usize),
    /// There is no queue, or it is not finished.
    #[error("offset {0} holds no finished queue; create one there first, then attach")]
    NotAQueue(usize),
    /// Made by another version of this crate.
    #[error(
        "the queue has format {found}, this program speaks {expected}; build both from one version"
    )]
    Version {
        /// What the queue says.
        found: u32,
        /// What this program expects.
        expected: u32,
    },
    /// The queue is of another kind, for example a pipe and not a typed ring.
    #[error("the queue is a {found}, not a {expected}; attach with the module that made it")]
    Kind {
        /// What the queue is.
        found: &'static str,
        /// What was asked for.
        expected: &'static str,
    },
    /// The queue's elements are of another size, alignment or structure.
    #[error(
        "the queue's elements ({found_size} bytes, alignment {found_align}) are of another type than \
         the one asked for ({size} bytes, alignment {align}); attach with the type that it was \
         created with, field by field"
    )]
    ElementType {
        /// Size in the queue, in bytes.
        found_size: usize,
        /// Alignment in the queue, in bytes.
        found_align: usize,
        /// Size of the type asked for, in bytes.
        size: usize,
        /// Alignment of the type asked for, in bytes.
        align: usize,
    },
    /// Words in shared memory contradict each other.
    #[error("the queue is corrupted: {0}; throw the segment away, nothing in it can be trusted")]
    Corrupted(&'static str),
    /// Somebody holds this side of the queue.
    #[error(
        "the {side} side is held by process {pid}; a ring has one producer and one consumer \
         (take the role over only if that process is proven dead)"
    )]
    RoleTaken {
        /// Which side.
        side: Side,
        /// Process id of the holder, in its own pid namespace.
        pid: u32,
    },
    /// This process has more handles on one side of one queue than can be counted.
    #[error("this process has {max} handles on this side already; drop some, or share them")]
    TooManyHandles {
        /// The most that a process can have.
        max: usize,
    },
    /// A ring for one producer at a time has one, who is alive.
    #[error(
        "the ring has a producer, who is alive, and takes one at a time; \
         wait until it leaves or dies, or use a queue for several producers"
    )]
    ProducerThere,
    /// A ring for one consumer at a time has one, who is alive.
    #[error(
        "the ring has a consumer, who is alive, and takes one at a time; \
         wait until it leaves or dies, or use a queue for several consumers"
    )]
    ConsumerThere,
    /// A broadcast ring has as many readers as it can have.
    #[error("the ring has {max} readers already; drop one, or use a second ring")]
    TooManyReaders {
        /// The most that a ring can have.
        max: usize,
    },
    /// The heap of a mailbox could not be made or attached to, or has no place for another handle.
    #[error("the mailbox's heap: {0}")]
    Heap(String),
    /// A handle of a queue whose users must be members of a group, made without one.
    #[error("the handle names no group; make it with the group that the queue's users join")]
    NoGroup,
    /// What lies where a handle points is another queue by now.
    #[error(
        "the queue at offset {0} is not the one that the handle was made of: kind, type or capacity \
         differ; ask for a new handle"
    )]
    AnotherQueue(usize),
    /// A handle that was made before the machine was started for the last time.
    #[error(
        "the handle is of another boot ({made_in}, now it is {now}): its queue went with the machine's \
         memory; make the queue anew, and ask for a new handle"
    )]
    OfAnotherBoot {
        /// The kernel's id of the run of the machine in which the handle was made.
        made_in: String,
        /// The same of the run that goes on.
        now: String,
    },
    /// The group was joined by a process that forked this one.
    #[error("the group was joined by the parent process; join it here, with `Group::attach`")]
    NotAMember,
    /// Who was reported dead holds no side.
    #[error(
        "process {pid} holds neither side of the ring by the claim that was reported: it gave its role \
         back, or a successor has taken it over; look again who holds it"
    )]
    NotHeld {
        /// Process id of the one reported, in its own pid namespace.
        pid: u32,
    },
    /// The side is not held by whom the caller says.
    #[error(
        "the {side} side is not held by the process that is to be replaced; look again who holds it"
    )]
    RoleChanged {
        /// Which side.
        side: Side,
    },
}

/// Why a send did not happen. What could not be sent is given back: the value, or, for batches
/// and bytes, how much of the input had been sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError<T> {
    /// No room now; try later, or use a blocking form.
    #[error("the ring is full; try again when the consumer has caught up")]
    Full(T),
    /// No room within the time given.
    #[error("the ring stayed full for the time given; try again or give up on the consumer")]
    Timeout(T),
    /// The consumer or this producer closed the ring; no send will ever succeed.
    #[error("the ring is closed; stop sending")]
    Closed(T),
    /// The consumer's process died; no send will succeed until somebody takes its role over.
    #[error("the consumer's process died; attach a new consumer or give the ring up")]
    PeerDead(T),
    /// There is no room, and every consumer that there was has left or died. Sends succeed again
    /// once another one attaches and makes room.
    #[error("there is no room, and every consumer has left or died; attach one, or give up")]
    Disconnected(T),
    /// What is to be sent is larger than the ring: it never fits.
    #[error(
        "{size} elements or bytes are more than the {most} that can be sent at once; \
         send less at a time, or make a larger ring"
    )]
    TooLarge {
        /// What could not be sent.
        value: T,
        /// How large it is: elements, or bytes of a message.
        size: usize,
        /// The largest that fits.
        most: usize,
    },
    /// The handle was inherited by `fork`: it belongs to the parent process.
    #[error("the handle belongs to the parent process; attach in this process instead")]
    Forked(T),
    /// What the queue says in shared memory is impossible.
    #[error("the ring is corrupted; throw it away, nothing in it can be trusted")]
    Corrupted(T),
}

impl<T> SendError<T> {
    /// What could not be sent.
    ///
    /// ```
    /// # use ipc_queue::SendError;
    /// assert_eq!(SendError::Full(7).into_inner(), 7);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            SendError::Full(value)
            | SendError::Timeout(value)
            | SendError::Closed(value)
            | SendError::PeerDead(value)
            | SendError::Disconnected(value)
            | SendError::TooLarge { value, .. }
            | SendError::Forked(value)
            | SendError::Corrupted(value) => value,
        }
    }

    /// The ring's reason, with what is given back.
    pub(crate) fn from_stop(stop: Stop, value: T) -> Self {
        match stop {
            Stop::NotYet => SendError::Full(value),
            Stop::Timeout => SendError::Timeout(value),
            Stop::Closed => SendError::Closed(value),
            Stop::PeerDead => SendError::PeerDead(value),
            Stop::Disconnected => SendError::Disconnected(value),
            Stop::TooLarge { size, most } => SendError::TooLarge { value, size, most },
            Stop::Forked => SendError::Forked(value),
            Stop::Corrupted => SendError::Corrupted(value),
        }
    }

    /// The same reason with another value.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> SendError<U> {
        match self {
            SendError::Full(value) => SendError::Full(f(value)),
            SendError::Timeout(value) => SendError::Timeout(f(value)),
            SendError::Closed(value) => SendError::Closed(f(value)),
            SendError::PeerDead(value) => SendError::PeerDead(f(value)),
            SendError::Disconnected(value) => SendError::Disconnected(f(value)),
            SendError::TooLarge { value, size, most } => {
                SendError::TooLarge { value: f(value), size, most }
            }
            SendError::Forked(value) => SendError::Forked(f(value)),
            SendError::Corrupted(value) => SendError::Corrupted(f(value)),
        }
    }
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// Nothing there now; try later, or use a blocking form.
    #[error("the ring is empty; try again when the producer has sent something")]
    Empty,
    /// Nothing came within the time given.
    #[error("nothing came in the time given; try again or give up on the producer")]
    Timeout,
    /// The ring is closed, and everything sent before has been received.
    #[error("the ring is closed and drained; stop receiving")]
    Closed,
    /// The producer's process died, and everything it had sent has been received.
    #[error("the producer's process died and what it had sent is drained; attach a new producer")]
    PeerDead,
    /// Every producer that there was has left or died, and what they had sent has been received.
    #[error("every producer has left or died, and what they sent is drained; attach one, or stop")]
    Disconnected,
    /// So many elements were overwritten before this reader received them: only for a reader of a
    /// broadcast ring that does not block. It goes on with the oldest that is left.
    #[error("{0} elements were overwritten before they were received; receive faster, or block")]
    Lagged(u64),
    /// The handle was inherited by `fork`: it belongs to the parent process.
    #[error("the handle belongs to the parent process; attach in this process instead")]
    Forked,
    /// What the queue says in shared memory is impossible.
    #[error("the ring is corrupted; throw it away, nothing in it can be trusted")]
    Corrupted,
}

impl From<Stop> for RecvError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::NotYet => RecvError::Empty,
            Stop::Timeout => RecvError::Timeout,
            Stop::Closed => RecvError::Closed,
            Stop::PeerDead => RecvError::PeerDead,
            Stop::Disconnected => RecvError::Disconnected,
            Stop::Forked => RecvError::Forked,
            // No receive says that something is too large to be sent.
            Stop::TooLarge { .. } | Stop::Corrupted => RecvError::Corrupted,
        }
    }
}

impl From<SendError<()>> for io::Error {
    fn from(error: SendError<()>) -> Self {
        let kind = match error {
            SendError::Full(()) => io::ErrorKind::WouldBlock,
            SendError::Timeout(()) => io::ErrorKind::TimedOut,
            SendError::Closed(()) => io::ErrorKind::BrokenPipe,
            SendError::PeerDead(()) => io::ErrorKind::ConnectionReset,
            SendError::Disconnected(()) => io::ErrorKind::ConnectionReset,
            SendError::TooLarge { .. } => io::ErrorKind::InvalidInput,
            SendError::Forked(()) => io::ErrorKind::PermissionDenied,
            SendError::Corrupted(()) => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> Self {
        let kind = match error {
            RecvError::Empty => io::ErrorKind::WouldBlock,
            RecvError::Timeout => io::ErrorKind::TimedOut,
            RecvError::Closed => io::ErrorKind::UnexpectedEof,
            RecvError::PeerDead => io::ErrorKind::ConnectionReset,
            RecvError::Disconnected => io::ErrorKind::ConnectionReset,
            RecvError::Lagged(_) => io::ErrorKind::InvalidData,
            RecvError::Forked => io::ErrorKind::PermissionDenied,
            RecvError::Corrupted => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
