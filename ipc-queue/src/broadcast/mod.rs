//! A ring that one producer sends to and many readers each receive everything from.
//!
//! ```
//! use ipc_queue::broadcast::{self, Mode, Start};
//!
//! let (mut producer, mut first) = broadcast::channel::<u64>(64)?;
//! let mut second = first.another(Mode::Block, Start::Oldest)?;
//! producer.send(7)?;
//! assert_eq!(first.recv()?, 7);
//! assert_eq!(second.recv()?, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Between processes: one makes the ring in a [`Segment`] with [`create`]; all join one [`Group`], and
//! attach with [`attach_producer`] and [`attach_reader`]. There is one producer at a time, whose place
//! another takes when it has left or died, and up to 48 readers, who come and go. Each element is
//! written once, however many read it.
//!
//! # Readers
//! Each reader chooses what happens when it falls a whole ring behind, and where it begins:
//!
//! | | |
//! |---|---|
//! | [`Mode::Block`] | the producer waits for it: it receives every element, in order, once |
//! | [`Mode::Overwrite`] | the producer does not: the reader gets [`RecvError::Lagged`] with the number of elements it missed, and goes on with the oldest left |
//! | [`Start::Now`] | it receives what is sent from now on |
//! | [`Start::Oldest`] | also what was sent before and is still in the ring: elements that another reader holds back, and as a rule older ones, up to a ring full |
//!
//! # Order and visibility
//! All readers receive in the order of the sends. What the producer did before a send is visible to
//! whoever receives the element. A send takes effect at one store of the producer's position, a batch
//! ([`Producer::send_slice`], [`Producer::reserve`]) as one step as far as there was room for it; a
//! receive at the store of the reader's position. Linearizable, for each reader, as a queue of its own
//! that the producer fills.
//!
//! # When a process is killed
//! | killed | what is left | what follows |
//! |---|---|---|
//! | producer before its position's store | words of elements that were never sent, over elements of the lap before | blocking readers had received those; others are told that they missed them. Nothing was sent |
//! | producer after it | the element is sent, whole | readers that it should have woken are woken by the death |
//! | producer anywhere | the role bears a dead owner's name | readers drain the ring, then get [`RecvError::Disconnected`]; another producer takes the role over and goes on |
//! | blocking reader anywhere | a row with its position | the producer does not wait for it; a new reader takes the row |
//! | other reader anywhere | a row | a new reader takes it |
//! | any of them asleep, or woken and not yet at work | – | every sleeper of the group is woken by the death |
//! | while joining | a row | as above |
//! | while closing | closed, or not | sleepers are woken by the death, and find it closed or disconnected |
//! | in [`create`] | no finished ring: [`Error::NotAQueue`] | the segment |
//!
//! A send and a receive are strictly linearizable: each took effect before the death, or never does. A
//! **stopped** reader that blocks stops the producer once the ring is full; nobody else who is stopped
//! stops anybody. Progress while everybody lives: wait-free, but for the waits for room and for
//! elements.
//!
//! # Limits
//! Where a reader's process may not use `membarrier` and the producer's may, a blocking reader that
//! joins a busy ring may be missed for one lap, and is told [`RecvError::Lagged`] if so.
//!
//! The protocol, step by step, is on the page on the broadcast ring in the book.
//!
//! [`RecvError::Lagged`]: crate::RecvError::Lagged
//! [`RecvError::Disconnected`]: crate::RecvError::Disconnected

mod look;
pub(crate) mod park;
mod place;
mod producer;
mod reader;
pub(crate) mod receive;
mod reservation;
pub(crate) mod row;
pub(crate) mod send;
pub(crate) mod shared;
pub(crate) mod words;

use shm_core::{Group, Peers, Segment};

use crate::Error;
use place::Place;

pub use crate::spsc::Element;
pub use producer::Producer;
pub use reader::{Drain, Iter, Reader};
pub use receive::Start;
pub use reservation::Reservation;
pub use row::Mode;

/// A ring for at least `capacity` elements (rounded up to a power of two) in a segment and a group of
/// its own, for the threads of this process, with a reader that blocks. For processes see [`create`].
///
/// # Errors
/// [`Error::Capacity`], [`Error::ElementAlign`], [`Error::Segment`].
pub fn channel<T: Element>(capacity: usize) -> Result<(Producer<T>, Reader<T>), Error> {
    let no_segment = |error: shm_core::Error| Error::Segment(error.to_string());
    let segment = Segment::anonymous(required_size::<T>(capacity)?).map_err(no_segment)?;
    let group = Group::anonymous().map_err(no_segment)?;
    create::<T>(&segment, 0, capacity)?;
    let reader = attach_reader(&segment, 0, &group, Mode::Block, Start::Now)?;
    Ok((attach_producer(&segment, 0, &group)?, reader))
}

/// Bytes that a ring for at least `capacity` elements takes in a segment: the elements, each rounded
/// up to 8 bytes, and 6.5 KiB.
///
/// # Errors
/// [`Error::Capacity`].
pub fn required_size<T: Element>(capacity: usize) -> Result<usize, Error> {
    place::required_size::<T>(capacity)
}

/// Makes a ring at `offset` (a multiple of 128) of zeroed memory of `segment`. Once, by one process;
/// then all attach.
///
/// # Errors
/// [`Error::Exists`], [`Error::Capacity`], [`Error::ElementAlign`], [`Error::OutOfBounds`],
/// [`Error::Misaligned`].
pub fn create<T: Element>(segment: &Segment, offset: usize, capacity: usize) -> Result<(), Error> {
    place::create::<T>(segment, offset, capacity)
}

/// The producer of the ring at `offset`: of a new one, or in the place of one that has left or died,
/// behind what that one sent. Everybody who uses the ring attaches with the same group.
///
/// # Errors
/// [`Error::ProducerThere`] while one is alive; [`Error::NotAMember`]; everything else says what is
/// wrong at `offset`.
pub fn attach_producer<T: Element>(
    segment: &Segment,
    offset: usize,
    group: &Group,
) -> Result<Producer<T>, Error> {
    attach_producer_among(segment, offset, group.clone())
}

/// A reader of the ring at `offset`. Everybody who uses the ring attaches with the same group.
///
/// # Errors
/// [`Error::TooManyReaders`]; [`Error::NotAMember`]; everything else says what is wrong at `offset`.
pub fn attach_reader<T: Element>(
    segment: &Segment,
    offset: usize,
    group: &Group,
    mode: Mode,
    start: Start,
) -> Result<Reader<T>, Error> {
    attach_reader_among(segment, offset, group.clone(), mode, start)
}

/// [`attach_producer`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_producer`].
pub fn attach_producer_among<T: Element, P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
) -> Result<Producer<T, P>, Error> {
    Producer::attach(Place::attach(segment, offset)?, peers)
}

/// [`attach_reader`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_reader`].
pub fn attach_reader_among<T: Element, P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
    mode: Mode,
    start: Start,
) -> Result<Reader<T, P>, Error> {
    Reader::attach(Place::attach(segment, offset)?, peers, mode, start)
}
