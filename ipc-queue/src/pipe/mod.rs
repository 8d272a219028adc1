//! A byte pipe in shared memory: one [`Writer`], one [`Reader`], in any two processes.
//!
//! ```
//! use std::io::{Read, Write};
//!
//! let (mut writer, mut reader) = ipc_queue::pipe::channel(4096)?;
//! let thread = std::thread::spawn(move || {
//!     let mut text = String::new();
//!     reader.read_to_string(&mut text).map(|_| text)
//! });
//! writer.write_all(b"any number of bytes through a small ring")?;
//! drop(writer); // closes: the reader sees the end
//! assert_eq!(thread.join().unwrap()?, "any number of bytes through a small ring");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The ring is [`spsc`](crate::spsc)'s with bytes for elements; see there for what holds when a
//! process is killed. A write larger than the ring is streamed: the reader takes the first part
//! while the writer copies the next. Bytes have no boundaries: a writer that is killed may have
//! published any prefix of what it was writing, in pieces of its own choosing; whoever needs whole
//! records frames them with a length and drops the incomplete last one at [`PeerDead`].
//!
//! [`PeerDead`]: crate::RecvError::PeerDead

#[cfg(feature = "async")]
mod polled;
mod reader;
mod writer;

use std::sync::Arc;

use shm_core::{Peers, Segment};

use crate::Error;
use crate::ends::{From, RecvEnd, SendEnd};
use crate::mapped::Mapped;
use crate::preamble::Unit;
use crate::role::Holder;

#[cfg(feature = "async")]
pub use polled::{PolledReader, PolledWriter};
pub use reader::Reader;
pub use writer::Writer;

/// The most that is copied before it is handed over, in large transfers: small enough to stay in
/// the second-level cache and to keep both sides busy, large enough that handing over costs nothing.
const PIECE: usize = 64 * 1024;

/// Rings up to this size are filled in one go.
const SMALL: usize = 4096;

/// How much to copy at once through a ring of `capacity` bytes.
fn piece(capacity: u64) -> usize {
    let capacity = capacity as usize;
    (capacity / 4).clamp(capacity.min(SMALL), PIECE)
}

/// A pipe of at least `capacity` bytes (rounded up to a power of two) in a segment of its own.
///
/// # Errors
/// [`Error::Capacity`], [`Error::Segment`].
pub fn channel(capacity: usize) -> Result<(Writer, Reader), Error> {
    let segment = Segment::anonymous(required_size(capacity)?)
        .map_err(|error| Error::Segment(error.to_string()))?;
    create(&segment, 0, capacity)?;
    Ok((attach_writer(&segment, 0)?, attach_reader(&segment, 0)?))
}

/// Bytes that a pipe of at least `capacity` bytes takes in a segment.
///
/// # Errors
/// [`Error::Capacity`].
pub fn required_size(capacity: usize) -> Result<usize, Error> {
    crate::mapped::required_size(Unit::BYTE, capacity)
}

/// Makes a pipe at `offset` (a multiple of 128) of zeroed memory of `segment`. Once, by one
/// process; then each side attaches.
///
/// # Errors
/// [`Error::Exists`], [`Error::Capacity`], [`Error::OutOfBounds`], [`Error::Misaligned`].
pub fn create(segment: &Segment, offset: usize, capacity: usize) -> Result<(), Error> {
    Mapped::create(segment, offset, Unit::BYTE, capacity)
}

/// The writing side of the pipe at `offset`.
///
/// # Errors
/// [`Error::RoleTaken`] while somebody holds it; everything else says what is wrong at `offset`.
pub fn attach_writer(segment: &Segment, offset: usize) -> Result<Writer, Error> {
    SendEnd::attach(segment, offset, Unit::BYTE, From::Nobody).map(Writer::new)
}

/// The reading side of the pipe at `offset`.
///
/// # Errors
/// [`Error::RoleTaken`] while somebody holds it; everything else says what is wrong at `offset`.
pub fn attach_reader(segment: &Segment, offset: usize) -> Result<Reader, Error> {
    RecvEnd::attach(segment, offset, Unit::BYTE, From::Nobody).map(Reader::new)
}

/// The writing side for a member of a group, usually a [`Group`](shm_core::Group): taken from nobody, or
/// from a member that is gone, and going on where that one stood. If the reader is a member, too, its
/// death is noticed without a supervisor: what waits for it ends with `PeerDead`.
///
/// # Errors
/// [`Error::NotAMember`]; [`Error::RoleTaken`] while somebody alive holds it, or somebody who is no
/// member; else as [`attach_writer`].
pub fn attach_writer_among(
    segment: &Segment,
    offset: usize,
    peers: impl Peers + Send + Sync + 'static,
) -> Result<Writer, Error> {
    let from = From::AnyoneGone(Arc::new(peers));
    SendEnd::attach(segment, offset, Unit::BYTE, from).map(Writer::new)
}

/// The reading side for a member of a group, usually a [`Group`](shm_core::Group): taken from nobody, or
/// from a member that is gone, and going on where that one stood. If the writer is a member, too, its
/// death is noticed without a supervisor: what waits for it ends with `PeerDead`.
///
/// # Errors
/// [`Error::NotAMember`]; [`Error::RoleTaken`] while somebody alive holds it, or somebody who is no
/// member; else as [`attach_reader`].
pub fn attach_reader_among(
    segment: &Segment,
    offset: usize,
    peers: impl Peers + Send + Sync + 'static,
) -> Result<Reader, Error> {
    let from = From::AnyoneGone(Arc::new(peers));
    RecvEnd::attach(segment, offset, Unit::BYTE, from).map(Reader::new)
}

/// The writing side, taken from a holder whose process is dead. Its published bytes stay; the new
/// writer goes on behind them. Clears a [`disconnect`](crate::Monitor::disconnect) of this side.
///
/// # Safety
/// - The holder's process is proven dead (a pidfd that polls readable): no thread of it will ever
///   touch the pipe again.
///
/// # Errors
/// [`Error::RoleChanged`] if `dead` does not hold the role; else as [`attach_writer`].
pub unsafe fn take_over_writer(
    segment: &Segment,
    offset: usize,
    dead: Holder,
) -> Result<Writer, Error> {
    SendEnd::attach(segment, offset, Unit::BYTE, From::Dead(dead)).map(Writer::new)
}

/// The reading side, taken from a holder whose process is dead. The new reader goes on at the
/// first byte that the dead one had not consumed.
///
/// # Safety
/// - The holder's process is proven dead (a pidfd that polls readable): no thread of it will ever
///   touch the pipe again.
///
/// # Errors
/// [`Error::RoleChanged`] if `dead` does not hold the role; else as [`attach_reader`].
pub unsafe fn take_over_reader(
    segment: &Segment,
    offset: usize,
    dead: Holder,
) -> Result<Reader, Error> {
    RecvEnd::attach(segment, offset, Unit::BYTE, From::Dead(dead)).map(Reader::new)
}
