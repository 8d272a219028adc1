//! An array in shared memory that one owner at a time may write.

use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::MmapRaw;
use rustix::fs::SealFlags;

use crate::backing;
use crate::frozen::{Frozen, split_points};
#[cfg(feature = "serde")]
use crate::handle;
use crate::header::Header;
use crate::{Error, SegmentId, ShmSafe, fill};

/// An array in shared memory, exclusively this process's: `&mut [T]`.
///
/// Fill it, then [`freeze`](Array::freeze) it to share it for reading, or cut it
/// [`into_parts`](Array::into_parts) that other processes fill in place.
///
/// ```
/// use shm_core::Array;
///
/// let mut array = Array::<f64>::zeroed(1000)?;
/// for (i, value) in array.iter_mut().enumerate() {
///     *value = i as f64;
/// }
/// let frozen = array.freeze()?;
/// assert_eq!(frozen[999], 999.0);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Array<T> {
    memory: Arc<Writable>,
    len: usize,
    element: PhantomData<fn() -> T>,
}

/// A writable mapping of an array's file.
#[derive(Debug)]
pub(crate) struct Writable {
    // Unmapped before the file is closed.
    map: MmapRaw,
    file: File,
    header: Header,
}

impl Writable {
    fn map(file: File, header: Header) -> Result<Arc<Writable>, Error> {
        let map = backing::map_writable(file.as_fd(), &header)?;
        Ok(Arc::new(Writable { map, file, header }))
    }

    pub fn attach(fd: OwnedFd) -> Result<Arc<Writable>, Error> {
        let header = Header::read(fd.as_fd())?;
        if !backing::seals(&fd).contains(SealFlags::SHRINK) {
            return Err(Error::NotASegment { what: "its file can be shrunk by another process" });
        }
        Writable::map(File::from(fd), header)
    }

    pub fn id(&self) -> SegmentId {
        self.header.id
    }
}

impl AsFd for Writable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl<T: ShmSafe + Copy> Array<T> {
    /// A new array of `len` elements whose bytes are all zero.
    ///
    /// Memory is taken when it is first touched.
    ///
    /// # Errors
    ///
    /// [`Error::BadSize`] for zero or too many elements; [`Error::OutOfMemory`];
    /// [`Error::System`].
    pub fn zeroed(len: usize) -> Result<Array<T>, Error> {
        let size = backing::array_size(len, size_of::<T>())?;
        let header = Header::array(size, &T::LAYOUT)?;
        let file = backing::memfd(&header)?;
        Ok(Array { memory: Writable::map(file, header)?, len, element: PhantomData })
    }

    /// Ends writing for good: the kernel seals the file, and everybody may read.
    ///
    /// # Errors
    ///
    /// [`Error::StillWritable`] when another process still maps the array (a [`Part`] that it has
    /// not dropped); [`Error::System`].
    pub fn freeze(self) -> Result<Frozen<T>, Error> {
        let Array { memory, .. } = self;
        let memory = Arc::try_unwrap(memory).map_err(|_| Error::StillWritable)?;
        let Writable { map, file, header } = memory;
        // The kernel refuses the seal while a writable mapping exists.
        drop(map);
        Frozen::seal(file, header)
    }

    /// Cuts the array into parts of nearly equal length, to be filled by other processes, and the
    /// [`Remains`] that put it together again.
    ///
    /// ```
    /// use shm_core::Array;
    ///
    /// let (parts, remains) = Array::<u32>::zeroed(10)?.into_parts(3);
    /// let filled = parts
    ///     .into_iter()
    ///     .map(|mut part| {
    ///         let first = part.start() as u32; // a worker's job
    ///         for (i, value) in part.as_mut_slice()?.iter_mut().enumerate() {
    ///             *value = first + i as u32;
    ///         }
    ///         Ok(part)
    ///     })
    ///     .collect::<Result<Vec<_>, shm_core::Error>>()?;
    /// let array = remains.join(filled)?;
    /// assert_eq!(array[..], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    /// # Ok::<(), shm_core::Error>(())
    /// ```
    #[must_use]
    pub fn into_parts(self, parts: usize) -> (Vec<Part<T>>, Remains<T>) {
        let parts: Vec<_> =
            split_points(self.len, parts).map(|range| Part::new(&self.memory, range)).collect();
        #[cfg(feature = "serde")]
        handle::register_writable(&self.memory);
        (parts, Remains { array: self })
    }
}

impl Array<u8> {
    /// Reads exactly `len` bytes from `source` into a new array and freezes it.
    ///
    /// The data passes through a small buffer, never through a mapping, so a source file that
    /// shrinks meanwhile is an error and not a SIGBUS.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] when `source` ends early; otherwise as [`Array::zeroed`].
    pub fn read_frozen(len: usize, source: &mut impl Read) -> Result<Frozen<u8>, Error> {
        let size = backing::array_size(len, 1)?;
        let header = Header::array(size, &u8::LAYOUT)?;
        let file = backing::memfd(&header)?;
        fill::write_from(&file, size, source)?
            .map_err(|had| Error::Truncated { file: had, needed: size })?;
        Frozen::seal(file, header)
    }
}

impl<T: ShmSafe + Copy> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` elements, page-aligned; any bytes are a `T`. Nobody
        // writes: an `Array` exists only while no `Part` of it does, and writing it takes `&mut`.
        unsafe { std::slice::from_raw_parts(self.memory.map.as_ptr().cast(), self.len) }
    }
}

impl<T: ShmSafe + Copy> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; `&mut self` excludes other references in this process, and no other
        // process maps the file while the `Array` exists.
        unsafe { std::slice::from_raw_parts_mut(self.memory.map.as_mut_ptr().cast(), self.len) }
    }
}

/// A stretch of an [`Array`] that one process at a time may write.
///
/// With the feature `serde` a part moves to another process as a handle: serialising it hands it
/// over, once; what stays behind can no longer write. The receiver works in place and sends the
/// part back.
#[derive(Debug)]
pub struct Part<T> {
    memory: Arc<Writable>,
    start: usize,
    len: usize,
    handed_over: AtomicBool,
    element: PhantomData<fn() -> T>,
}

impl<T: ShmSafe + Copy> Part<T> {
    pub(crate) fn new(memory: &Arc<Writable>, range: Range<usize>) -> Part<T> {
        Part {
            memory: Arc::clone(memory),
            start: range.start,
            len: range.len(),
            handed_over: AtomicBool::new(false),
            element: PhantomData,
        }
    }

    /// Puts a part together from what a handle says, after checking it against the file.
    pub(crate) fn from_handle(
        memory: &Arc<Writable>,
        start: usize,
        len: usize,
    ) -> Result<Part<T>, Error> {
        let whole = memory.header.expect_array::<T>()?;
        match start.checked_add(len) {
            Some(end) if end <= whole => Ok(Part::new(memory, start..end)),
            _ => Err(Error::OutOfBounds {
                start: start as u64,
                end: (start as u64).saturating_add(len as u64),
                len: whole as u64,
            }),
        }
    }

    /// The elements, for writing in place.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyHandedOver`] when the part was sent to another process.
    pub fn as_mut_slice(&mut self) -> Result<&mut [T], Error> {
        if *self.handed_over.get_mut() {
            return Err(Error::AlreadyHandedOver);
        }
        // SAFETY: the range lies within the mapping, by construction.
        let start = unsafe { self.memory.map.as_mut_ptr().cast::<T>().add(self.start) };
        // SAFETY: in bounds and aligned; any bytes are a `T`; parts of one array are disjoint,
        // and this one is in one process's hands only (`handed_over`), behind `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, self.len) })
    }
}

impl<T> Part<T> {
    /// Index of the part's first element within the whole array.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Elements in this part.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the part has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn memory(&self) -> &Arc<Writable> {
        &self.memory
    }

    /// Marks the part as handed over; fails when it was already.
    pub(crate) fn hand_over(&self) -> Result<(), Error> {
        // Relaxed: decides only which of two callers in this process gets `Ok`; the data itself
        // travels with the message that carries the handle.
        if self.handed_over.swap(true, Ordering::Relaxed) {
            return Err(Error::AlreadyHandedOver);
        }
        Ok(())
    }
}

/// What is left of an [`Array`] while its parts are with others.
#[derive(Debug)]
pub struct Remains<T> {
    array: Array<T>,
}

impl<T: ShmSafe + Copy> Remains<T> {
    /// Puts the array together again once every part is back.
    ///
    /// # Errors
    ///
    /// [`Error::PartsMissing`] when the parts are not exactly those of this array: one is missing
    /// (its process died, say), twice there, or of another array. The memory is then given back
    /// to the system when the last part is dropped.
    pub fn join(self, parts: impl IntoIterator<Item = Part<T>>) -> Result<Array<T>, Error> {
        let mut parts: Vec<Part<T>> = parts.into_iter().collect();
        parts.sort_by_key(Part::start);
        let missing = |what: String| Err(Error::PartsMissing { what });
        let mut next = 0;
        for part in &mut parts {
            if part.memory.id() != self.array.memory.id() {
                return missing("one belongs to another array".to_owned());
            }
            if *part.handed_over.get_mut() {
                return missing(format!("the part at {} is with another process", part.start));
            }
            if part.start != next {
                return missing(format!("expected one at {next}, found one at {}", part.start));
            }
            next += part.len;
        }
        if next != self.array.len {
            return missing(format!("they end at {next} of {}", self.array.len));
        }
        Ok(self.array)
    }
}
