//! A two-way byte pipe: two [pipes](crate::pipe), one for each direction.
//!
//! ```
//! use std::io::{Read, Write};
//! let (mut here, mut there) = ipc_queue::duplex::channel(4096)?;
//! let thread = std::thread::spawn(move || {
//!     let mut question = [0; 4];
//!     there.read_exact(&mut question)?;
//!     there.write_all(&question.map(|byte| byte + 1))
//! });
//! here.write_all(&[1, 2, 3, 4])?;
//! let mut answer = [0; 4];
//! here.read_exact(&mut answer)?;
//! assert_eq!(answer, [2, 3, 4, 5]);
//! thread.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is said of a pipe holds for each direction, deaths included: whoever has proof of one tells both
//! pipes ([`Monitor`](crate::Monitor), at [`offsets`]).

use std::io::{self, Read, Write};

use shm_core::Segment;

use crate::Error;
use crate::pipe::{self, Reader, Writer};

/// Which of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// Reads the first pipe, writes the second.
    First,
    /// Writes the first pipe, reads the second.
    Second,
}

/// One end: reads what the other wrote, and writes what the other reads.
#[derive(Debug)]
pub struct Duplex {
    reader: Reader,
    writer: Writer,
}

/// Both ends of a two-way pipe of at least `capacity` bytes each way (rounded up to a power of two) in
/// a segment of its own, for two threads. For processes see [`create`].
///
/// # Errors
/// [`Error::Capacity`], [`Error::Segment`].
pub fn channel(capacity: usize) -> Result<(Duplex, Duplex), Error> {
    let segment = Segment::anonymous(required_size(capacity)?)
        .map_err(|error| Error::Segment(error.to_string()))?;
    create(&segment, 0, capacity)?;
    let first = attach(&segment, 0, capacity, Which::First)?;
    Ok((first, attach(&segment, 0, capacity, Which::Second)?))
}

fn distance(capacity: usize) -> Result<usize, Error> {
    let size = pipe::required_size(capacity)?;
    size.checked_next_multiple_of(128).ok_or(Error::Capacity(capacity))
}

/// Bytes that a two-way pipe takes in a segment.
///
/// # Errors
/// [`Error::Capacity`].
pub fn required_size(capacity: usize) -> Result<usize, Error> {
    distance(capacity)?.checked_mul(2).ok_or(Error::Capacity(capacity))
}

/// Where the two pipes of a two-way pipe at `offset` lie.
///
/// # Errors
/// [`Error::Capacity`].
pub fn offsets(offset: usize, capacity: usize) -> Result<[usize; 2], Error> {
    let second = offset.checked_add(distance(capacity)?);
    Ok([offset, second.ok_or(Error::Capacity(capacity))?])
}

/// Makes a two-way pipe at `offset` (a multiple of 128) of zeroed memory of `segment`. Once, by one
/// process; then each side attaches.
///
/// # Errors
/// As [`pipe::create`].
pub fn create(segment: &Segment, offset: usize, capacity: usize) -> Result<(), Error> {
    let [first, second] = offsets(offset, capacity)?;
    pipe::create(segment, first, capacity)?;
    pipe::create(segment, second, capacity)
}

/// One end of the two-way pipe at `offset`, made with this capacity.
///
/// # Errors
/// [`Error::RoleTaken`] while somebody holds that end; everything else as [`pipe::attach_reader`].
pub fn attach(
    segment: &Segment,
    offset: usize,
    capacity: usize,
    which: Which,
) -> Result<Duplex, Error> {
    let [first, second] = offsets(offset, capacity)?;
    let (reads, writes) = match which {
        Which::First => (first, second),
        Which::Second => (second, first),
    };
    let reader = pipe::attach_reader(segment, reads)?;
    match pipe::attach_writer(segment, writes) {
        Ok(writer) => Ok(Duplex { reader, writer }),
        Err(error) => {
            // Given back as it was: a drop would close it.
            reader.detach();
            Err(error)
        }
    }
}

impl Duplex {
    /// The direction that is read, for its timed, try and in-place forms.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// The direction that is written.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// Both directions, each to be used by a thread of its own.
    #[must_use]
    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

impl Read for Duplex {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.reader.read(bytes)
    }
}

impl Write for Duplex {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
