//! A work queue whose items are leased: what a dead worker had in hand is given to another.
//!
//! ```
//! let (mut submitter, mut worker) = ipc_queue::work::channel::<u64>(8, 3)?;
//! for number in 1..=4 {
//!     submitter.submit(number)?;
//! }
//! let thread = std::thread::spawn(move || {
//!     let mut sum = 0;
//!     while let Ok(lease) = worker.lease() {
//!         sum += *lease;
//!         lease.ack(); // without it, the item is given out again
//!     }
//!     sum
//! });
//! submitter.join()?; // every item was acknowledged
//! submitter.close();
//! assert_eq!(thread.join().unwrap(), 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Between processes: one makes the queue in a [`Segment`] with [`create`]; all join one [`Group`], and
//! attach with [`attach_submitter`] and [`attach_worker`].
//!
//! # What holds
//! Each item lies in a record whose one word says what has become of it: reserved, queued, leased (by
//! whom), failed, free. That word is the truth; the ring of indices and the set of returned items are
//! hints where to look.
//!
//! | killed | what becomes of the item |
//! |---|---|
//! | submitter before its item was queued | nothing was submitted; the record is free again |
//! | submitter after that, before it said so in the ring | it is found by the look that every worker takes after a death |
//! | worker between the hint and the lease | the same |
//! | worker with a lease | given out again, first; at the limit of redeliveries it fails, and waits to be [taken](Submitter::take_failed) |
//! | worker after its `ack` | done; joiners that it should have woken are woken by the death |
//! | anybody in the look after a death | the next look, after this death, does it again |
//! | whoever takes a failed item | it goes with its taker |
//!
//! So an item is worked on at least once, and ends exactly once: acknowledged or failed. A worker that
//! is *stopped*, or slow, keeps its lease: nothing is revoked from the living, there is no time-out.
//! Order: first in, first out among workers that find nothing returned; what is returned comes first. After a death all that
//! is queued counts as returned.
//!
//! # Cost
//! A lease and its end are two exchanges beside those of the ring. After a death each handle looks at
//! all records once (some microseconds for a thousand). A join that has to wait looks at all records
//! each time that one it had marked comes to its end.
//!
//! # What it does not do
//! More than 4096 items at a time; more than one lease a [`Worker`] at a time; leases that outlive their
//! process; a lease that is leaked (`mem::forget`) is kept until its process ends.

mod end;
pub(crate) mod join;
pub(crate) mod lease;
mod place;
pub mod range;
pub(crate) mod record;
pub(crate) mod shared;
pub(crate) mod submit;

use shm_core::{Group, Peers, Segment};

use crate::{Error, Side};

pub use crate::spsc::Element;
pub use lease::{Lease, Worker};
pub use submit::Submitter;

use end::End;

/// A handle tells the others how far it has come in the ring once in so many items.
const HINT_EVERY: u64 = 32;

/// A work queue in a segment and a group of its own, for the threads of this process. For processes
/// see [`create`].
///
/// # Errors
/// As [`create`]; [`Error::Segment`].
pub fn channel<T: Element>(
    capacity: usize,
    redeliveries: u8,
) -> Result<(Submitter<T>, Worker<T>), Error> {
    let no_segment = |error: shm_core::Error| Error::Segment(error.to_string());
    let segment = Segment::anonymous(required_size::<T>(capacity)?).map_err(no_segment)?;
    let group = Group::anonymous().map_err(no_segment)?;
    create::<T>(&segment, 0, capacity, redeliveries)?;
    Ok((attach_submitter(&segment, 0, &group)?, attach_worker(&segment, 0, &group)?))
}

/// Bytes that a work queue for at least `capacity` items takes in a segment: 128 for each small item,
/// and two kilobytes.
///
/// # Errors
/// [`Error::Capacity`].
pub fn required_size<T: Element>(capacity: usize) -> Result<usize, Error> {
    place::required_size::<T>(capacity)
}

/// Makes a work queue at `offset` (a multiple of 128) of zeroed memory of `segment`, for at least
/// `capacity` items (rounded up to a power of two, at most 4096). An item that was given back is
/// given out again, at most `redeliveries` times.
///
/// # Errors
/// [`Error::Exists`], [`Error::Capacity`], [`Error::ElementAlign`], [`Error::OutOfBounds`],
/// [`Error::Misaligned`].
pub fn create<T: Element>(
    segment: &Segment,
    offset: usize,
    capacity: usize,
    redeliveries: u8,
) -> Result<(), Error> {
    place::create::<T>(segment, offset, capacity, redeliveries)
}

/// A submitter for the work queue at `offset`. Everybody who uses it attaches with the same group.
///
/// # Errors
/// [`Error::NotAMember`], [`Error::TooManyHandles`]; everything else says what is wrong at `offset`.
pub fn attach_submitter<T: Element>(
    segment: &Segment,
    offset: usize,
    group: &Group,
) -> Result<Submitter<T>, Error> {
    attach_submitter_among(segment, offset, group.clone())
}

/// A worker for the work queue at `offset`. Everybody who uses it attaches with the same group.
///
/// # Errors
/// As [`attach_submitter`].
pub fn attach_worker<T: Element>(
    segment: &Segment,
    offset: usize,
    group: &Group,
) -> Result<Worker<T>, Error> {
    attach_worker_among(segment, offset, group.clone())
}

/// [`attach_submitter`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_submitter`].
pub fn attach_submitter_among<T: Element, P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
) -> Result<Submitter<T, P>, Error> {
    End::attach(segment, offset, peers, Side::Producer).map(Submitter::new)
}

/// [`attach_worker`] with another idea of who takes part and who is dead: for tests of deaths.
///
/// # Errors
/// As [`attach_submitter`].
pub fn attach_worker_among<T: Element, P: Peers>(
    segment: &Segment,
    offset: usize,
    peers: P,
) -> Result<Worker<T, P>, Error> {
    End::attach(segment, offset, peers, Side::Consumer).map(Worker::new)
}
