//! A typed ring with one [`Producer`] and one [`Consumer`], in any two threads or processes.
//!
//! ```
//! let (mut producer, mut consumer) = ipc_queue::spsc::channel::<u64>(64)?;
//! let thread = std::thread::spawn(move || consumer.iter().sum::<u64>());
//! for number in 1..=1000 {
//!     producer.send(number)?;
//! }
//! drop(producer); // closes: the consumer drains the ring, then stops
//! assert_eq!(thread.join().unwrap(), 500_500);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Elements are plain data ([`ShmSafe`]: no pointers, no padding, every bit pattern valid),
//! copied in and out. Between processes, one side makes the ring in a [`Segment`] with [`create`],
//! each attaches to its side with [`attach_producer`] or [`attach_consumer`]; an attach checks
//! everything that it finds there and refuses by name what does not fit.
//!
//! # Order and visibility
//! First in, first out. What a producer did before a send is visible to the consumer after the
//! receive of that element (release and acquire on the producer's position), and likewise from a
//! receive to the send that reuses its slot. Every operation is linearizable: a send takes effect
//! at the store of the producer's position, a receive at the store of the consumer's.
//!
//! # When a process is killed
//! Each side's whole shared state is one position, stored last. So at every instruction:
//!
//! | killed | what the other side sees | what is lost |
//! |---|---|---|
//! | producer before or in the middle of writing the slot | nothing: the position still excludes it | the element being sent, as if never sent |
//! | producer after the slot, before the position's store | the same | the same |
//! | producer after the store, before ringing the bell | the element is sent; a *sleeping* consumer is woken by the supervisor's [`disconnect`], or at the latest after one second by itself | nothing |
//! | producer inside the bell (new epoch, wake, clearing) | the same, see [`bell`](crate::bell) | nothing |
//! | consumer before its position's store | the slot is not free yet; a successor receives the element (again, if the dead one had already used it) | nothing |
//! | consumer after the store | the element is received | what the dead one did with it is its own |
//! | consumer after the store, before ringing the bell | there is room; a *sleeping* producer is woken as above | nothing |
//! | either while sleeping | the bell says that somebody listens: one wake too many | nothing |
//! | either in [`create`] | no finished ring: attach says [`Error::NotAQueue`] | the segment |
//! | either while closing, after the flag | closed; a sleeper is woken as above | nothing |
//! | either while releasing its role | the role stays taken; see *take-over* | nothing |
//!
//! So the consumer receives an exact prefix of what was sent, in order, nothing torn; a batch is
//! handed over whole or not at all as far as it is one piece (see [`Producer::send_slice`]).
//! The condition that holds is strict linearizability for a sender (the dead one's send took
//! effect before its death or never). A plain receive is at most once from its return on.
//!
//! **Who notices the death.** Members of a [`Group`](shm_core::Group) do, by themselves: sides that were
//! attached with [`attach_producer_among`] and [`attach_consumer_among`] name their holder's stay in the
//! group. Whoever waits for a holder that is *proven* gone gets `PeerDead` once what it had sent is
//! drained (a consumer), or when there is no room (a producer); the next member to attach takes the
//! role over and goes on where the positions stand.
//!
//! Without a group somebody who has proof (a pidfd that polls
//! readable; the process pool does this) calls [`disconnect`]: from then on the other side gets
//! `PeerDead` instead of waiting. Without a supervisor a peer of the dead waits until its timeout.
//! The dead one's role stays taken until somebody with the same proof takes it over
//! ([`take_over_producer`], [`take_over_consumer`]).
//!
//! [`disconnect`]: crate::Monitor::disconnect
//!
//! # What it does not do
//! More than one producer or consumer; elements of varying size (see [`pipe`](crate::pipe));
//! checking the element type beyond its size and alignment; surviving a *forked* child that uses
//! its parent's handles: a drop there does nothing, but operations are not checked. Attach in the
//! child instead.

mod consumer;
mod producer;
pub(crate) mod slots;

use std::sync::Arc;

use shm_core::{Peers, Segment, ShmSafe};

use crate::Error;
use crate::ends::{From, RecvEnd, SendEnd};
use crate::mapped::Mapped;
use crate::preamble::{Kind, Unit};
use crate::role::Holder;

pub use consumer::{Consumer, Drain, Iter};
pub use producer::Producer;

/// What a typed ring carries: plain data without pointers, padding or invalid bit patterns, that
/// may change threads. Implemented for every type that qualifies.
pub trait Element: ShmSafe + Copy {}

impl<T: ShmSafe + Copy> Element for T {}

/// A ring for at least `capacity` elements (rounded up to a power of two) in a segment of its own,
/// for two threads. For processes see [`create`].
///
/// # Errors
/// [`Error::Capacity`], [`Error::ElementAlign`], [`Error::Segment`].
pub fn channel<T: Element>(capacity: usize) -> Result<(Producer<T>, Consumer<T>), Error> {
    let segment = Segment::anonymous(required_size::<T>(capacity)?)
        .map_err(|error| Error::Segment(error.to_string()))?;
    create::<T>(&segment, 0, capacity)?;
    Ok((attach_producer(&segment, 0)?, attach_consumer(&segment, 0)?))
}

/// Bytes that a ring for at least `capacity` elements takes in a segment.
///
/// # Errors
/// [`Error::Capacity`].
pub fn required_size<T: Element>(capacity: usize) -> Result<usize, Error> {
    crate::mapped::required_size(Unit::of::<T>(Kind::Typed), capacity)
}

/// Makes a ring at `offset` (a multiple of 128) of zeroed memory of `segment`. Once, by one
/// process; then each side attaches.
///
/// # Errors
/// [`Error::Exists`], [`Error::Capacity`], [`Error::ElementAlign`], [`Error::OutOfBounds`],
/// [`Error::Misaligned`].
pub fn create<T: Element>(segment: &Segment, offset: usize, capacity: usize) -> Result<(), Error> {
    Mapped::create(segment, offset, Unit::of::<T>(Kind::Typed), capacity)
}

/// The producing side of the ring at `offset`.
///
/// # Errors
/// [`Error::RoleTaken`] while somebody holds it; everything else says what is wrong at `offset`.
pub fn attach_producer<T: Element>(segment: &Segment, offset: usize) -> Result<Producer<T>, Error> {
    SendEnd::attach(segment, offset, Unit::of::<T>(Kind::Typed), From::Nobody).map(Producer::new)
}

/// The consuming side of the ring at `offset`.
///
/// # Errors
/// [`Error::RoleTaken`] while somebody holds it; everything else says what is wrong at `offset`.
pub fn attach_consumer<T: Element>(segment: &Segment, offset: usize) -> Result<Consumer<T>, Error> {
    RecvEnd::attach(segment, offset, Unit::of::<T>(Kind::Typed), From::Nobody).map(Consumer::new)
}

/// The producing side for a member of a group, usually a [`Group`](shm_core::Group): taken from nobody, or
/// from a member that is gone, and going on where that one stood. If the consumer is a member, too, its
/// death is noticed without a supervisor: what waits for it ends with `PeerDead`.
///
/// # Errors
/// [`Error::NotAMember`]; [`Error::RoleTaken`] while somebody alive holds it, or somebody who is no
/// member; else as [`attach_producer`].
pub fn attach_producer_among<T: Element>(
    segment: &Segment,
    offset: usize,
    peers: impl Peers + Send + Sync + 'static,
) -> Result<Producer<T>, Error> {
    let from = From::AnyoneGone(Arc::new(peers));
    SendEnd::attach(segment, offset, Unit::of::<T>(Kind::Typed), from).map(Producer::new)
}

/// The consuming side for a member of a group, usually a [`Group`](shm_core::Group): taken from nobody, or
/// from a member that is gone, and going on where that one stood. If the producer is a member, too, its
/// death is noticed without a supervisor: what waits for it ends with `PeerDead`.
///
/// # Errors
/// [`Error::NotAMember`]; [`Error::RoleTaken`] while somebody alive holds it, or somebody who is no
/// member; else as [`attach_consumer`].
pub fn attach_consumer_among<T: Element>(
    segment: &Segment,
    offset: usize,
    peers: impl Peers + Send + Sync + 'static,
) -> Result<Consumer<T>, Error> {
    let from = From::AnyoneGone(Arc::new(peers));
    RecvEnd::attach(segment, offset, Unit::of::<T>(Kind::Typed), from).map(Consumer::new)
}

/// The producing side, taken from a holder whose process is dead. What it had sent stays; the new
/// producer goes on behind it. Clears a [`disconnect`](crate::Monitor::disconnect) of this side.
///
/// # Safety
/// - The holder's process is proven dead (a pidfd that polls readable): no thread of it will ever
///   touch the ring again.
///
/// # Errors
/// [`Error::RoleChanged`] if `dead` does not hold the role; else as [`attach_producer`].
pub unsafe fn take_over_producer<T: Element>(
    segment: &Segment,
    offset: usize,
    dead: Holder,
) -> Result<Producer<T>, Error> {
    SendEnd::attach(segment, offset, Unit::of::<T>(Kind::Typed), From::Dead(dead))
        .map(Producer::new)
}

/// The consuming side, taken from a holder whose process is dead. The new consumer goes on at the
/// first element that the dead one had not finished receiving.
///
/// # Safety
/// - The holder's process is proven dead (a pidfd that polls readable): no thread of it will ever
///   touch the ring again.
///
/// # Errors
/// [`Error::RoleChanged`] if `dead` does not hold the role; else as [`attach_consumer`].
pub unsafe fn take_over_consumer<T: Element>(
    segment: &Segment,
    offset: usize,
    dead: Holder,
) -> Result<Consumer<T>, Error> {
    RecvEnd::attach(segment, offset, Unit::of::<T>(Kind::Typed), From::Dead(dead))
        .map(Consumer::new)
}
