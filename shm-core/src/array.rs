//! An array in shared memory that one owner at a time may write.

use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::backing;
use crate::frozen::Frozen;
#[cfg(feature = "serde")]
use crate::handle;
use crate::header::Header;
use crate::mapping::Mapping;
use crate::part::{Part, Remains};
use crate::turn::Turns;
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
    pub(crate) memory: Arc<Writable>,
    pub(crate) len: usize,
    element: PhantomData<fn() -> T>,
}

/// A writable mapping of an array's whole file.
#[derive(Debug)]
pub(crate) struct Writable {
    // Unmapped before the file is closed.
    map: Mapping,
    file: File,
    pub header: Header,
}

impl Writable {
    fn map(file: File, header: Header) -> Result<Arc<Writable>, Error> {
        let map = backing::map_whole(file.as_fd(), &header)?;
        Ok(Arc::new(Writable { map, file, header }))
    }

    pub fn attach(fd: OwnedFd) -> Result<Arc<Writable>, Error> {
        let header = backing::read_sealed(fd.as_fd())?;
        Writable::map(File::from(fd), header)
    }

    /// The first element.
    pub fn data(&self) -> *mut u8 {
        self.map.data()
    }

    /// Who has which part.
    pub fn turns(&self) -> Turns<'_> {
        // SAFETY: the mapping begins with the header area, is page-aligned, writable, and lives as
        // long as the borrow; that stretch is accessed in no other way.
        unsafe { Turns::at(self.map.header()) }
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

impl<T> Array<T> {
    /// A new array of `len` elements whose bytes are all zero.
    ///
    /// From 2 MiB on all of its memory is taken now, in huge pages where the kernel has them to
    /// give (about 0.1 ms a MiB; filling it and mapping it elsewhere is several times cheaper
    /// then). Smaller arrays take theirs when it is first touched.
    ///
    /// # Errors
    ///
    /// [`Error::BadSize`] for zero or too many elements; [`Error::OutOfMemory`];
    /// [`Error::System`].
    pub fn zeroed(len: usize) -> Result<Array<T>, Error>
    where
        T: ShmSafe + Copy, // Here and not on the block: then the compiler says what to do instead.
    {
        let size = backing::array_size(len, size_of::<T>())?;
        let header = Header::array(size, &T::LAYOUT)?;
        let file = backing::memfd(&header)?;
        let mut map = backing::map_whole(file.as_fd(), &header)?;
        // Refused: the memory comes in small pages, when it is touched.
        let _ = map.take_huge_pages();
        let memory = Arc::new(Writable { map, file, header });
        Ok(Array { memory, len, element: PhantomData })
    }
}

impl<T: ShmSafe + Copy> Array<T> {
    /// Ends writing for good: the kernel seals the file, and everybody may read.
    ///
    /// # Errors
    ///
    /// [`Error::StillWritable`] when another process still maps the array: a [`Part`] that it has
    /// not dropped (also one that it has sent back), or a forked child. The array is gone then.
    /// [`Error::System`].
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
        let parts = Part::all(&self.memory, self.len, parts);
        #[cfg(feature = "serde")]
        handle::register_writable(&self.memory);
        (parts, Remains::of(self))
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
        fill::read_new(&file, &header, source)?
            .map_err(|had| Error::Truncated { file: had, needed: size })?;
        Frozen::seal(file, header)
    }
}

impl<T: ShmSafe + Copy> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` elements, page-aligned; any bytes are a `T`. Nobody
        // writes: while an `Array` exists no `Part` of it can be written, and writing the array
        // takes `&mut`.
        unsafe { std::slice::from_raw_parts(self.memory.data().cast(), self.len) }
    }
}

impl<T: ShmSafe + Copy> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; `&mut self` excludes other references in this process, and no other
        // process has a part that it could write while the `Array` exists.
        unsafe { std::slice::from_raw_parts_mut(self.memory.data().cast(), self.len) }
    }
}
