//! A ring of messages of varying size, written and read in place: one producer, one consumer.
//!
//! ```
//! let (mut producer, mut consumer) = ipc_queue::message::channel(4096)?;
//! producer.send(b"short")?;
//! let mut room = producer.reserve(1000)?; // written in place,
//! room.fill(7);
//! room.commit();
//! assert_eq!(&*consumer.recv()?, b"short"); // and read in place
//! assert!(consumer.recv()?.iter().all(|&byte| byte == 7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Between processes: one makes the ring in a [`Segment`] with [`create`]; both join one [`Group`], and
//! attach with [`attach_producer`] and [`attach_consumer`]. When a side has left or died, another may
//! take its place.
//!
//! A message lies in the ring in one piece, behind its length, at a multiple of 8 bytes. One that
//! would cross the ring's end goes on behind it, in memory that is kept for that: so a message may be
//! as long as the whole ring (less 8 bytes), and nothing is skipped. The price is address space: a ring
//! takes twice its capacity, of which the second half is touched only as far as messages reach into it.
//!
//! # Order and visibility
//! First in, first out. What the producer did before a [`commit`](Reservation::commit) is visible to
//! the consumer that receives the message, and likewise from the end of a [`Message`] to the send that
//! reuses its room. Every operation is linearizable: a send takes effect at the store of the producer's
//! position, a receive at that of the consumer's, when its [`Message`] is dropped.
//!
//! # When a process is killed
//! Each side's whole state is one position, stored last:
//!
//! | killed | what is left | what follows |
//! |---|---|---|
//! | producer before its position's store | bytes of a message that was never sent, in room that was free | the next producer writes over them |
//! | producer after it | the message is sent, whole | a consumer that it should have woken is woken by the death |
//! | producer anywhere | the role bears a dead owner's name | the consumer drains the ring, then gets [`RecvError::Disconnected`](crate::RecvError::Disconnected); another producer takes the role over |
//! | consumer before its position's store, also with a [`Message`] in hand | the message is in the ring | the next consumer receives it again |
//! | consumer after it | the message is received | a producer that it should have woken is woken by the death |
//! | consumer anywhere | the role | a producer that finds no room gets [`SendError::Disconnected`](crate::SendError::Disconnected); another consumer takes the role over |
//! | either asleep, or woken and not yet at work | – | every sleeper of the group is woken by the death |
//! | while closing | closed, or not | sleepers are woken by the death |
//! | in [`create`] | no finished ring: [`Error::NotAQueue`] | the segment |
//!
//! A send is strictly linearizable (it took effect before the death, or never does), and so is a
//! receive; what a killed consumer had *seen* and not released is received again: at least once. A
//! **stopped** side stops the other when the ring is full or empty; that is all.
//!
//! # What it does not do
//! More than one producer or consumer at a time.
//!
//! The protocol, step by step, is on the page on messages in the book.

mod consumer;
mod place;
mod producer;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod shared;

use shm_core::{Group, Peers, Segment};

use crate::Error;

pub use consumer::{Consumer, Message};
pub use producer::{Producer, Reservation};

/// A ring that holds at least `bytes` (rounded up to a power of two) in a segment and a group of its
/// own, for two threads. For processes see [`create`].
///
/// # Errors
/// [`Error::Capacity`], [`Error::Segment`].
pub fn channel(bytes: usize) -> Result<(Producer, Consumer), Error> {
    let no_segment = |error: shm_core::Error| Error::Segment(error.to_string());
    let segment = Segment::anonymous(required_size(bytes)?).map_err(no_segment)?;
    let group = Group::anonymous().map_err(no_segment)?;
    create(&segment, 0, bytes)?;
    Ok((attach_producer(&segment, 0, &group)?, attach_consumer(&segment, 0, &group)?))
}

/// Bytes that a ring which holds at least `bytes` takes in a segment: twice as many, and half a
/// kilobyte. A message takes its length, rounded up to 8 bytes, and 8 more.
///
/// # Errors
/// [`Error::Capacity`].
pub fn required_size(bytes: usize) -> Result<usize, Error> {
    place::required_size(bytes)
}

/// Makes a ring at `offset` (a multiple of 128) of zeroed memory of `segment`. Once, by one process;
/// then each side attaches.
///
/// # Errors
/// [`Error::Exists`], [`Error::Capacity`], [`Error::OutOfBounds`], [`Error::Misaligned`].
pub fn create(segment: &Segment, offset: usize, bytes: usize) -> Result<(), Error> {
    place::create(segment, offset, bytes)
}

/// The producer of the ring at `offset`: of a new one, or in the place of one that has left or died.
/// Both sides attach with the same group.
///
/// # Errors
/// [`Error::ProducerThere`] while one is alive; [`Error::NotAMember`]; everything else says what is
/// wrong at `offset`.
pub fn attach_producer(segment: &Segment, offset: usize, group: &Group) -> Result<Producer, Error> {
    attach_producer_among(segment, offset, group.clone())
}

/// The consumer of the ring at `offset`, who goes on at the first message that was not released. Both
/// sides attach with the same group.
///
/// # Errors
/// [`Error::ConsumerThere`] while one is alive; else as [`attach_producer`].
pub fn attach_consumer(segment: &Segment, offset: usize, group: &Group) -> Result<Consumer, Error> {
    attach_consumer_among(segment, offset, group.clone())
}

/// [`attach_producer`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_producer`].
pub fn attach_producer_among<P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
) -> Result<Producer<P>, Error> {
    Producer::attach(place::Place::attach(segment, offset)?, peers)
}

/// [`attach_consumer`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_consumer`].
pub fn attach_consumer_among<P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
) -> Result<Consumer<P>, Error> {
    Consumer::attach(place::Place::attach(segment, offset)?, peers)
}
