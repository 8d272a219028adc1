//! Frozen data: an array that nobody can write any more, lent to all as `&[T]`.

use std::fs::File;
use std::marker::PhantomData;
use std::ops::{Deref, Range, RangeBounds};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{SealFlags, Stat};

use crate::backing::{self, Backing};
#[cfg(feature = "serde")]
use crate::handle;
use crate::header::{Header, Lifetime};
use crate::mapping::Mapping;
use crate::{Error, SegmentId, ShmSafe, name};

/// An immutable array in shared memory, or a view of a part of it.
///
/// The data lies in a memfd of its own that the kernel has sealed against writing, shrinking and
/// growing: no process, not even the one that made it, can change it. That is why it may be lent
/// as a plain `&[T]`, in every process at once. Clones and views share the mapping.
///
/// With the feature `serde` a `Frozen<T>` is a serde value: what travels is a *handle* of some
/// 40 bytes, whatever the size of the data. See [`handle`] for how the receiving process gets the
/// file.
///
/// ```
/// use shm_core::Frozen;
///
/// let data = Frozen::copy_of(&[1.0f64, 2.0, 3.0, 4.0])?;
/// let tail = data.slice(2..)?;
/// assert_eq!(tail.iter().sum::<f64>(), 7.0);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Frozen<T> {
    data: Arc<FrozenData>,
    /// First byte of the view within the data.
    start: usize,
    /// Length of the view in elements.
    len: usize,
    element: PhantomData<fn() -> T>,
}

/// The mapping behind all views of one array.
#[derive(Debug)]
pub(crate) struct FrozenData {
    // Unmapped before the file is left.
    map: Mapping,
    backing: Backing,
    header: Header,
}

impl FrozenData {
    pub fn id(&self) -> SegmentId {
        self.header.id
    }

    /// Maps a memfd after checking that the kernel has frozen it.
    pub fn attach(fd: OwnedFd) -> Result<Arc<FrozenData>, Error> {
        // The seals first: see `backing::read_sealed`.
        let seals = backing::seals(&fd);
        let (header, stat) = Header::read_with_stat(fd.as_fd())?;
        if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) {
            return Err(Error::NotFrozen { seals: seals.bits() });
        }
        FrozenData::map(Backing::Memfd(File::from(fd)), header, &stat, true)
    }

    /// `populate`: whether this process is about to read all of it.
    fn map(
        backing: Backing,
        header: Header,
        stat: &Stat,
        populate: bool,
    ) -> Result<Arc<FrozenData>, Error> {
        let map = backing::map_read_only(&backing, &header, stat, populate)?;
        Ok(Arc::new(FrozenData { map, backing, header }))
    }
}

impl AsFd for FrozenData {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.backing.as_fd()
    }
}

impl<T> Frozen<T> {
    /// Copies `values` into shared memory and freezes them.
    ///
    /// Large data goes into huge pages where the kernel has them to give; else it is written
    /// through the file: one pass, no page faults.
    ///
    /// # Errors
    ///
    /// [`Error::BadSize`] for an empty slice; [`Error::OutOfMemory`]; [`Error::System`].
    pub fn copy_of(values: &[T]) -> Result<Frozen<T>, Error>
    where
        T: ShmSafe + Copy, // Here and not on the block: then the compiler says what to do instead.
    {
        let size = backing::array_size(values.len(), size_of::<T>())?;
        let header = Header::array(size, &T::LAYOUT)?;
        let file = backing::memfd(&header)?;
        crate::fill::write_new(&file, &header, bytes_of(values))?;
        Frozen::seal(file, header)
    }
}

impl<T: ShmSafe + Copy> Frozen<T> {
    /// Freezes a file to which nobody holds a writable mapping.
    pub(crate) fn seal(file: File, header: Header) -> Result<Frozen<T>, Error> {
        let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        backing::seal(&file, all)?;
        let stat = rustix::fs::fstat(&file).map_err(Error::system("fstat"))?;
        let data = FrozenData::map(Backing::Memfd(file), header, &stat, false)?;
        #[cfg(feature = "serde")]
        handle::register(&data);
        Frozen::whole(data)
    }

    /// Attaches to frozen data behind a descriptor that was inherited or received.
    ///
    /// # Errors
    ///
    /// As [`Segment::attach`](crate::Segment::attach), and [`Error::NotFrozen`] when the kernel
    /// would still let somebody write; [`Error::WrongType`] when it is not an array of `T`.
    pub fn attach(fd: OwnedFd) -> Result<Frozen<T>, Error> {
        let data = FrozenData::attach(fd)?;
        #[cfg(feature = "serde")]
        handle::register(&data);
        Frozen::whole(data)
    }

    fn whole(data: Arc<FrozenData>) -> Result<Frozen<T>, Error> {
        let len = data.header.expect_array::<T>()?;
        Ok(Frozen { data, start: 0, len, element: PhantomData })
    }

    /// A view of some of the elements; costs nothing, shares the memory.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`].
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Result<Frozen<T>, Error> {
        let Range { start, end } = resolve(range, self.len)?;
        Ok(Frozen {
            data: Arc::clone(&self.data),
            start: self.start + start * size_of::<T>(),
            len: end - start,
            element: PhantomData,
        })
    }

    /// Divides the view into `parts` views of nearly equal length, in order.
    ///
    /// With more parts than elements the last ones are empty.
    #[must_use]
    pub fn split(&self, parts: usize) -> Vec<Frozen<T>> {
        split_points(self.len, parts)
            .map(|range| Frozen {
                data: Arc::clone(&self.data),
                start: self.start + range.start * size_of::<T>(),
                len: range.len(),
                element: PhantomData,
            })
            .collect()
    }

    /// The same memory, seen as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Frozen<u8> {
        Frozen {
            data: Arc::clone(&self.data),
            start: self.start,
            len: self.len * size_of::<T>(),
            element: PhantomData,
        }
    }
}

impl<T> Frozen<T> {
    /// The identity of the memory, the same in every process and for every view.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.data.id()
    }

    pub(crate) fn data(&self) -> &Arc<FrozenData> {
        &self.data
    }

    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The named file that this is a view of: one that cannot be pushed to another process.
    pub(crate) fn named(&self) -> Option<&Arc<name::NamedFile>> {
        match &self.data.backing {
            Backing::Named(named) => Some(named),
            Backing::Memfd(_) => None,
        }
    }
}

impl<T: ShmSafe + Copy> Frozen<T> {
    /// Puts a view together again from what a handle says.
    pub(crate) fn from_parts(
        data: Arc<FrozenData>,
        start: usize,
        len: usize,
    ) -> Result<Frozen<T>, Error> {
        let bytes = T::LAYOUT.hash() == u8::LAYOUT.hash();
        if !bytes {
            data.header.expect_array::<T>()?;
        }
        let fits = len
            .checked_mul(size_of::<T>())
            .and_then(|size| size.checked_add(start))
            .is_some_and(|end| end <= data.map.size());
        // A view starts at an element, and so is aligned.
        if !fits || !start.is_multiple_of(size_of::<T>()) {
            return Err(Error::OutOfBounds {
                start: start as u64,
                end: (start as u64).saturating_add(len as u64),
                len: data.map.size() as u64,
            });
        }
        Ok(Frozen { data, start, len, element: PhantomData })
    }
}

impl<T: ShmSafe + Copy> Deref for Frozen<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `start` lies within the mapping, by construction of every view.
        let start = unsafe { self.data.map.data().add(self.start) };
        // SAFETY: the bytes are inside the mapping, aligned (the data starts at a page, views at
        // multiples of the element), valid as `T` (`ShmSafe`: any bit pattern is), and cannot
        // change while `data` lives: the kernel has sealed the file against writing.
        unsafe { std::slice::from_raw_parts(start.cast(), self.len) }
    }
}

/// The file, to be inherited by a child or sent over a Unix socket; of a view it is the whole.
///
/// Of named data it only tells which file it is, as with a named [`Segment`](crate::Segment).
impl<T> AsFd for Frozen<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }
}

impl<T> Clone for Frozen<T> {
    fn clone(&self) -> Self {
        Frozen {
            data: Arc::clone(&self.data),
            start: self.start,
            len: self.len,
            element: PhantomData,
        }
    }
}

/// An immutable array under a name: frozen **by protocol**, not by the kernel.
///
/// A named file cannot be sealed. It is published only when it is complete, and this crate offers
/// no way to write it afterwards; a program that opens the file by other means can. Where the
/// processes are related, prefer [`Frozen`].
///
/// ```
/// use shm_core::NamedFrozen;
///
/// let name = format!("doc-frozen-{}", std::process::id());
/// let ours = NamedFrozen::publish(&name, &[1u32, 2, 3])?;
/// let theirs = NamedFrozen::<u32>::open(&name)?;
/// assert_eq!(theirs[..], [1, 2, 3]);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NamedFrozen<T> {
    view: Frozen<T>,
}

impl<T: ShmSafe + Copy> NamedFrozen<T> {
    /// Copies `values` into a new named file and publishes it.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`], [`Error::BadSize`], [`Error::AlreadyExists`]; [`Error::NoSpace`] when
    /// `/dev/shm` is too full; [`Error::System`].
    pub fn publish(name: &str, values: &[T]) -> Result<NamedFrozen<T>, Error> {
        NamedFrozen::publish_for(name, values, Lifetime::Users)
    }

    pub(crate) fn publish_for(
        name: &str,
        values: &[T],
        lifetime: Lifetime,
    ) -> Result<NamedFrozen<T>, Error> {
        let size = backing::array_size(values.len(), size_of::<T>())?;
        let header = Header { lifetime, ..Header::array(size, &T::LAYOUT)? };
        let fill = |file: &File| crate::fill::write_all(file, bytes_of(values));
        NamedFrozen::map(name::create(name, header, fill)?)
    }

    /// Opens what another process published under `name`.
    ///
    /// # Errors
    ///
    /// As [`Segment::open`](crate::Segment::open), and [`Error::WrongType`].
    pub fn open(name: &str) -> Result<NamedFrozen<T>, Error> {
        NamedFrozen::map(name::open(name)?)
    }

    fn map(named: Arc<name::NamedFile>) -> Result<Self, Error> {
        let header = named.header();
        header.expect_array::<T>()?;
        let stat = rustix::fs::fstat(named.file()).map_err(Error::system("fstat"))?;
        let data = FrozenData::map(Backing::Named(named), header, &stat, true)?;
        Ok(NamedFrozen { view: Frozen::whole(data)? })
    }

    pub(crate) fn view(&self) -> &Frozen<T> {
        &self.view
    }
}

impl<T: ShmSafe + Copy> Deref for NamedFrozen<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.view
    }
}

/// The bytes of a slice of shareable values.
pub(crate) fn bytes_of<T: ShmSafe + Copy>(values: &[T]) -> &[u8] {
    // SAFETY: `ShmSafe` types have no padding, so every byte is initialised; `u8` needs no
    // alignment; the lifetime is the borrow's.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// `range` within `0..len`, or an error that shows both.
pub(crate) fn resolve(range: impl RangeBounds<usize>, len: usize) -> Result<Range<usize>, Error> {
    use std::ops::Bound;
    let start = match range.start_bound() {
        Bound::Included(&at) => at,
        Bound::Excluded(&at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&at) => at.saturating_add(1),
        Bound::Excluded(&at) => at,
        Bound::Unbounded => len,
    };
    if start > end || end > len {
        return Err(Error::OutOfBounds { start: start as u64, end: end as u64, len: len as u64 });
    }
    Ok(start..end)
}

/// `0..len` cut into `parts` pieces whose lengths differ by at most one.
pub(crate) fn split_points(len: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = parts.max(1);
    (0..parts).map(move |index| piece(len, parts, index))
}

/// The piece `index` of `0..len` cut into `parts` pieces; `index` is below `parts`.
pub(crate) fn piece(len: usize, parts: usize, index: usize) -> Range<usize> {
    let (each, longer) = (len / parts, len % parts);
    let start = index * each + index.min(longer);
    start..start + each + usize::from(index < longer)
}
