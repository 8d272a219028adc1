//! Messages of varying size from several producers, for several consumers that compete.
//!
//! ```
//! use ipc_queue::mailbox;
//!
//! let (mut producer, mut consumer) = mailbox::channel(64, 1 << 20)?;
//! let mut another = producer.try_clone()?;
//! let thread = std::thread::spawn(move || another.send(b"short"));
//! let mut room = producer.reserve(100_000)?; // written in place,
//! room.fill(7);
//! room.commit()?;
//! # thread.join().unwrap()?;
//! drop(producer);
//! let mut lengths = Vec::new();
//! consumer.for_each(|message| lengths.push(message.len())); // and read in place
//! lengths.sort();
//! assert_eq!(lengths, [5, 100_000]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Between processes: one makes the mailbox in a [`Segment`] with [`create`]; all join one [`Group`],
//! and attach with [`attach_producer`] and [`attach_consumer`], as many as they like.
//!
//! The bytes of a message lie in a block of a [heap](shm_core::heap) that the mailbox has to itself;
//! what goes through the queue is the block, whatever its size. It is reserved and written before the
//! message takes a place in the queue, so whoever writes for long delays nobody.
//!
//! # Order and visibility
//! First in, first out, in the order in which the sends *claimed* a slot at their
//! [`commit`](Reservation::commit), so each producer's messages in the order it sent them. What a
//! producer did before is visible to the consumer that receives the message. A message that a dead
//! consumer had in hand comes again, and then before all others.
//!
//! # When a process is killed
//!
//! | killed | what is left | what follows |
//! |---|---|---|
//! | producer while it reserves or writes | a block in its name | nothing was sent; the block is free |
//! | producer in `commit`, from the claim to the hand-over | a slot in its name, perhaps a block in it | nothing was sent; consumers pass over the slot, the block is free at the slot's next use |
//! | producer after the hand-over | the message is sent, whole | a consumer that it should have woken is woken by the death |
//! | consumer with a [`Message`] in hand | the message, in its name | another consumer receives it again, before all others |
//! | consumer in the message's drop | in hand, or received | as above; or the block and the slot are free |
//! | consumer after it | received | a producer that it should have woken is woken by the death |
//! | any of them asleep, or woken and not yet at work | a wake that went to the dead | every sleeper of the group is woken by the death |
//! | while attaching or leaving | a count and a line in the dead one's name | counts of the dead do not count; the line is free |
//! | while closing | closed, or not | sleepers are woken by the death |
//! | whoever clears up after the dead | half of it | another goes on with it |
//! | in [`create`] | no finished mailbox: [`Error::NotAQueue`] | the segment |
//!
//! A send is strictly linearizable (it took effect before the death, or never does), and so is a
//! receive; what a killed consumer had *seen* and not dropped is received again: at least once. What
//! one who lives has in hand counts as received for the end: `Closed` and `Disconnected` say that
//! nothing is queued, and should its holder die, the message is there again.
//!
//! A **stopped** producer, caught in the nanoseconds between its claim and its hand-over, delays all
//! consumers; a stopped or slow consumer keeps what it has in hand, and delays the producers one lap
//! later; whoever is stopped while it clears up after the dead delays what is not cleared up yet.
//!
//! # Memory
//! A message takes the next power of two of its length, from 64 bytes to 32,000 (so that two lie on no
//! common cache line); a longer one takes runs of 64 KiB.
//!
//! Each producer keeps the memory of what it has sent and others have received, for its next sends:
//! 64 KiB for each of these ten sizes that it has used ([`Options::producers`] adds so much), and the
//! runs. Memory that lies with idle producers is not there for others. So
//! [`reserve`](Producer::reserve) waits for memory as long as there are messages whose receipt could
//! bring some; else it says `Full`.
//!
//! # What it does not do
//! Take a message back from a consumer that lives; a message that is leaked (`mem::forget`) is kept
//! until its process ends.
//!
//! The protocol, step by step, is on the page on the mailbox in the book.

mod cells;
mod consumer;
mod end;
mod place;
mod producer;
pub(crate) mod receive;
mod reservation;
pub(crate) mod send;
pub(crate) mod shared;

use shm_core::{Group, Peers, Segment, SegmentId};

use crate::{Error, Side};

pub use consumer::{Consumer, Message};
pub use producer::Producer;
pub use reservation::Reservation;

use end::End;

/// A handle tells the others how far it has come once in so many messages.
const HINT_EVERY: u64 = 32;

/// How large a mailbox is.
///
/// ```
/// use ipc_queue::mailbox::{self, Options};
/// let options = Options::new(256, 16 << 20).producers(4).handles(16);
/// assert!(mailbox::required_size(&options)? > 16 << 20);
/// # Ok::<(), ipc_queue::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    messages: usize,
    bytes: usize,
    handles: usize,
    producers: usize,
}

impl Options {
    /// For at least `messages` messages at a time (rounded up to a power of two) in at least `bytes`
    /// of memory (rounded up to 64 KiB), two producers that send all sizes, and 128 handles.
    #[must_use]
    pub fn new(messages: usize, bytes: usize) -> Options {
        Options { messages, bytes, handles: 128, producers: 2 }
    }

    /// How many producers are to send messages of all sizes at a time: 640 KiB of memory each, beside
    /// what [`new`](Self::new) was told. Others may attach, too.
    #[must_use]
    pub fn producers(self, producers: usize) -> Options {
        Options { producers, ..self }
    }

    /// How many handles there can be at a time, of both sides and all processes: 1 to 512. Each costs
    /// 512 bytes.
    #[must_use]
    pub fn handles(self, handles: usize) -> Options {
        Options { handles, ..self }
    }
}

/// A mailbox for at least `messages` messages in at least `bytes` of memory, in a segment and a group
/// of its own, for the threads of this process. For processes see [`create`].
///
/// # Errors
/// [`Error::Capacity`], [`Error::Segment`], [`Error::Heap`].
pub fn channel(messages: usize, bytes: usize) -> Result<(Producer, Consumer), Error> {
    let no_segment = |error: shm_core::Error| Error::Segment(error.to_string());
    let options = Options::new(messages, bytes);
    let segment = Segment::anonymous(required_size(&options)?).map_err(no_segment)?;
    let group = Group::anonymous().map_err(no_segment)?;
    create(&segment, 0, &group, &options)?;
    Ok((attach_producer(&segment, 0, &group)?, attach_consumer(&segment, 0, &group)?))
}

/// Bytes that a mailbox takes in a segment: those of its memory, 640 KiB for each producer, 64 for each
/// message and 512 for each handle, and up to 128 KiB.
///
/// # Errors
/// [`Error::Capacity`].
pub fn required_size(options: &Options) -> Result<usize, Error> {
    place::required_size(options)
}

/// Makes a mailbox at `offset` (a multiple of 128) of zeroed memory of `segment`, for the members of
/// `group`. Once, by one process; then all attach.
///
/// # Errors
/// [`Error::Exists`], [`Error::Capacity`], [`Error::OutOfBounds`], [`Error::Misaligned`];
/// [`Error::Heap`] for numbers that no heap can have (16 GiB, 512 handles): the memory is spoiled then.
pub fn create(
    segment: &Segment,
    offset: usize,
    group: &Group,
    options: &Options,
) -> Result<(), Error> {
    create_among(segment, offset, (group.clone(), group.id()), options)
}

/// [`create`] with another idea of who takes part and who is dead, known by an id: for tests of
/// deaths.
///
/// # Errors
/// As [`create`].
pub fn create_among<P: Peers + Clone>(
    segment: &Segment,
    offset: usize,
    peers: (P, SegmentId),
    options: &Options,
) -> Result<(), Error> {
    place::create(segment, offset, peers, options)
}

/// A producer for the mailbox at `offset`. Everybody who uses it attaches with the group that it was
/// made for.
///
/// # Errors
/// [`Error::NotAMember`], [`Error::TooManyHandles`]; [`Error::Heap`] if it has as many handles as it
/// can have, or was made for another group; everything else says what is wrong at `offset`.
pub fn attach_producer(segment: &Segment, offset: usize, group: &Group) -> Result<Producer, Error> {
    let end = End::attach(segment, offset, (group.clone(), group.id()), Side::Producer)?;
    let watch = end.watch();
    Ok(Producer::new(end, Some(watch)))
}

/// A consumer for the mailbox at `offset`. Everybody who uses it attaches with the group that it was
/// made for.
///
/// # Errors
/// As [`attach_producer`].
pub fn attach_consumer(segment: &Segment, offset: usize, group: &Group) -> Result<Consumer, Error> {
    let end = End::attach(segment, offset, (group.clone(), group.id()), Side::Consumer)?;
    let watch = end.watch();
    Ok(Consumer::new(end, Some(watch)))
}

/// [`attach_producer`] with another idea of who takes part and who is dead, known by an id: for tests
/// of deaths.
///
/// # Errors
/// As [`attach_producer`].
pub fn attach_producer_among<P: Peers + Clone>(
    segment: &Segment,
    offset: usize,
    peers: (P, SegmentId),
) -> Result<Producer<P>, Error> {
    Ok(Producer::new(End::attach(segment, offset, peers, Side::Producer)?, None))
}

/// [`attach_consumer`] with another idea of who takes part and who is dead, known by an id: for tests
/// of deaths.
///
/// # Errors
/// As [`attach_consumer`].
pub fn attach_consumer_among<P: Peers + Clone>(
    segment: &Segment,
    offset: usize,
    peers: (P, SegmentId),
) -> Result<Consumer<P>, Error> {
    Ok(Consumer::new(End::attach(segment, offset, peers, Side::Consumer)?, None))
}
