//! A queue for several producers and several consumers that compete: the work queue.
//!
//! ```
//! let (mut producer, mut consumer) = ipc_queue::mpmc::channel::<u64>(64)?;
//! let mut another = producer.try_clone()?;
//! let threads = [
//!     std::thread::spawn(move || (0..500).all(|number| producer.send(number).is_ok())),
//!     std::thread::spawn(move || (500..1000).all(|number| another.send(number).is_ok())),
//! ];
//! // Ends when both producers are dropped and the queue is drained:
//! assert_eq!(consumer.iter().sum::<u64>(), 499_500);
//! # for thread in threads { assert!(thread.join().unwrap()); }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Between processes: one makes the queue in a [`Segment`] with [`create`]; all join one [`Group`],
//! and attach with [`attach_producer`] and [`attach_consumer`], as many as they like. Elements are
//! plain data, copied in and out; small ones lie a cache line apart.
//!
//! # Order and visibility
//! First in, first out: elements are taken in the order in which their sends *claimed* a slot, so
//! each producer's in the order it sent them. What a producer did before a send is visible to the
//! consumer that receives the element. A send takes effect at its claim, if it is not killed before
//! it hands the element over; a receive at its taking of the slot. Linearizable, with two
//! exceptions, both while another operation is under way:
//!
//! | answer | means exactly |
//! |---|---|
//! | `Empty` | the *oldest* element is not finished, or there is none. Finished ones may lie behind it |
//! | `Full` | the slot of the *next* position is in use: not received yet, or being copied out. Fewer than `capacity` elements may be there |
//!
//! So a **stopped** producer (a debugger, `SIGSTOP`) that was stopped between claim and hand-over, some
//! nanoseconds wide, delays all consumers until it goes on; a stopped consumer in its copy delays
//! producers one lap later. Only the dead are passed over.
//!
//! # When a process is killed
//! There is no instant at which a place is taken and nobody's: the claim is one exchange of the
//! slot's word, and that word names its owner. Whoever comes across a word of an owner that is
//! *proven* dead gives the slot back and goes on; nothing is swept, nobody supervises.
//!
//! | killed | what is left | what follows |
//! |---|---|---|
//! | producer before its claim | nothing | nothing was sent |
//! | producer from its claim to the hand-over | the slot is claimed by the dead | the consumer that reaches it gives it back for the next lap: nothing was sent; all others' elements are received |
//! | producer after the hand-over | the element is sent | a consumer that it should have woken is woken by the death |
//! | consumer before its taking | nothing | another receives the element |
//! | consumer from its taking to the giving back | the slot is in the dead one's hands | received, by the dead: at most once. The producer that needs the slot, a lap later, gives it back |
//! | consumer after it | received | a producer that it should have woken is woken by the death |
//! | any of them asleep, or woken and not yet at work | a wake that went to the dead | every sleeper of the group is woken by the death |
//! | while attaching or leaving | a count of handles in the dead one's name | counts of the dead do not count |
//! | while closing | closed, or not | sleepers are woken by the death |
//! | in [`create`] | no finished queue: [`Error::NotAQueue`] | the segment |
//!
//! The condition: a send is strictly linearizable (it took effect before the death, or never does);
//! so is a receive. Survivors, parked ones too, go on as soon as the group has proof of the death.
//! Progress while everybody lives: lock-free among claims; `recv` depends on the oldest claim, as
//! said above.
//!
//! # Disconnecting
//! Handles are counted, one word for each process. When there has been a producer and none is left,
//! whether they were dropped or killed, consumers drain the queue and then get
//! [`RecvError::Disconnected`](crate::RecvError::Disconnected); a new producer connects them again.
//! Producers get [`SendError::Disconnected`](crate::SendError::Disconnected) when there is no room
//! and no consumer left. Closing is for ever, and exact: a send that succeeded is received.
//!
//! # What it does not do
//! Give an element to another consumer when the one that took it dies; elements of varying size; one
//! element for every consumer.
//!
//! # Source
//! The ring of slots with a sequence in each is Vyukov's bounded queue; that a claim is made on the
//! slot, in the owner's name, and positions are private cursors, is what makes it repairable.

mod attached;
mod consumer;
pub(crate) mod end;
pub(crate) mod look;
pub(crate) mod park;
pub(crate) mod place;
mod producer;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod shared;
pub(crate) mod word;

use shm_core::{Group, Peers, Segment};

use crate::preamble::Kind;
use crate::{Error, Side};

pub use crate::spsc::Element;
pub use consumer::{Consumer, Drain, Iter};
pub use producer::Producer;

use end::End;

/// A handle tells the others how far it has come once in so many elements.
const HINT_EVERY: u64 = 32;

/// A queue for at least `capacity` elements (rounded up to a power of two) in a segment and a group
/// of its own, for the threads of this process. For processes see [`create`].
///
/// # Errors
/// [`Error::Capacity`], [`Error::ElementAlign`], [`Error::Segment`].
pub fn channel<T: Element>(capacity: usize) -> Result<(Producer<T>, Consumer<T>), Error> {
    let no_segment = |error: shm_core::Error| Error::Segment(error.to_string());
    let segment = Segment::anonymous(required_size::<T>(capacity)?).map_err(no_segment)?;
    let group = Group::anonymous().map_err(no_segment)?;
    create::<T>(&segment, 0, capacity)?;
    Ok((attach_producer(&segment, 0, &group)?, attach_consumer(&segment, 0, &group)?))
}

/// Bytes that a queue for at least `capacity` elements takes in a segment: 64 for each small
/// element, and a kilobyte.
///
/// # Errors
/// [`Error::Capacity`].
pub fn required_size<T: Element>(capacity: usize) -> Result<usize, Error> {
    place::required_size::<T>(capacity)
}

/// Makes a queue at `offset` (a multiple of 128) of zeroed memory of `segment`. Once, by one
/// process; then all attach.
///
/// # Errors
/// [`Error::Exists`], [`Error::Capacity`], [`Error::ElementAlign`], [`Error::OutOfBounds`],
/// [`Error::Misaligned`].
pub fn create<T: Element>(segment: &Segment, offset: usize, capacity: usize) -> Result<(), Error> {
    place::create::<T>(segment, offset, Kind::Competing, capacity)
}

/// A producer for the queue at `offset`. Everybody who uses the queue attaches with the same group.
///
/// # Errors
/// [`Error::NotAMember`], [`Error::TooManyHandles`]; everything else says what is wrong at `offset`.
pub fn attach_producer<T: Element>(
    segment: &Segment,
    offset: usize,
    group: &Group,
) -> Result<Producer<T>, Error> {
    attach_producer_among(segment, offset, group.clone())
}

/// A consumer for the queue at `offset`. Everybody who uses the queue attaches with the same group.
///
/// # Errors
/// As [`attach_producer`].
pub fn attach_consumer<T: Element>(
    segment: &Segment,
    offset: usize,
    group: &Group,
) -> Result<Consumer<T>, Error> {
    attach_consumer_among(segment, offset, group.clone())
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
    End::attach(segment, offset, Kind::Competing, peers, Side::Producer).map(Producer::new)
}

/// [`attach_consumer`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_producer`].
pub fn attach_consumer_among<T: Element, P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
) -> Result<Consumer<T, P>, Error> {
    End::attach(segment, offset, Kind::Competing, peers, Side::Consumer).map(Consumer::new)
}
