//! One object in shared memory that many processes use at once.

use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::data::{Elements, Init, Payload, payload_layout};
use crate::layout::{Layout, Shape};
use crate::lock::{Barrier, Condvar, Event, Mutex, Once, Permits, RwLock, Semaphore};
use crate::{Error, Segment, SegmentId, ShmSafe};

/// A type that many processes may use at once through `&T`, in memory that all of them map.
///
/// The locks of this crate, the standard atomics, and arrays of these. A plain number is not: two
/// processes that both did `*value += 1` would lose one of the two, and in Rust it would be a data
/// race. Put it into a [`Mutex`], or use an atomic.
///
/// # Safety
///
/// The implementor promises, for every value of the type:
/// - every bit pattern of `size_of::<Self>()` bytes is a valid value, whenever another process
///   writes it;
/// - whatever is reached through `&Self` is accessed atomically, or under a lock that excludes
///   other processes;
/// - no pointer, reference or handle that only one process understands, and no `Drop`;
/// - [`LAYOUT`](Concurrent::LAYOUT) tells the truth.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used by several processes at once",
    label = "two processes that write it at the same time would race",
    note = "put plain data into a `shm_core::lock::Mutex` or `RwLock`, an array of it into a `shm_core::data::LockedArray`, or use `std::sync::atomic` types",
    note = "data that nobody changes any more is shared by freezing it: `Array::freeze`"
)]
pub unsafe trait Concurrent: Sized + Sync + 'static {
    /// Size, alignment and structure of the type.
    const LAYOUT: Layout;
}

const fn named(
    name: &'static str,
    size: usize,
    align: usize,
    of: &'static [crate::layout::Field],
) -> Layout {
    Layout { name, size, align, shape: Shape::Record { version: 1, fields: of } }
}

macro_rules! concurrent {
    ($($ty:ty, $name:literal;)*) => {$(
        // SAFETY: atomics, or built of them: any bytes are a valid value, and all access is atomic.
        unsafe impl Concurrent for $ty {
            const LAYOUT: Layout = named($name, size_of::<$ty>(), align_of::<$ty>(), &[]);
        }
    )*};
}

concurrent! {
    std::sync::atomic::AtomicU8, "AtomicU8";
    std::sync::atomic::AtomicU16, "AtomicU16";
    std::sync::atomic::AtomicU32, "AtomicU32";
    std::sync::atomic::AtomicU64, "AtomicU64";
    std::sync::atomic::AtomicI8, "AtomicI8";
    std::sync::atomic::AtomicI16, "AtomicI16";
    std::sync::atomic::AtomicI32, "AtomicI32";
    std::sync::atomic::AtomicI64, "AtomicI64";
    Barrier, "Barrier";
    Condvar, "Condvar";
    Event, "Event";
    Once, "Once";
    Permits, "Permits";
    Semaphore, "Semaphore";
}

const fn data_of<T: ShmSafe>() -> crate::layout::Field {
    crate::layout::Field { name: "data", offset: 0, layout: &T::LAYOUT }
}

// SAFETY: the data are any bytes (`ShmSafe`) and reached under the lock only.
unsafe impl<T: ShmSafe> Concurrent for Mutex<T> {
    const LAYOUT: Layout =
        named("Mutex", size_of::<Self>(), align_of::<Self>(), &[const { data_of::<T>() }]);
}

// SAFETY: the data are any bytes (`ShmSafe`) and reached under the lock only.
unsafe impl<T: ShmSafe> Concurrent for RwLock<T> {
    const LAYOUT: Layout =
        named("RwLock", size_of::<Self>(), align_of::<Self>(), &[const { data_of::<T>() }]);
}

// SAFETY: an array is its elements side by side, so it inherits each promise from them.
unsafe impl<T: Concurrent, const N: usize> Concurrent for [T; N] {
    const LAYOUT: Layout = Layout {
        name: "[]",
        size: size_of::<[T; N]>(),
        align: align_of::<T>(),
        shape: Shape::Array { of: &T::LAYOUT, len: N },
    };
}

/// What stands before the object in its segment.
#[repr(C, align(128))]
#[derive(Debug)]
struct Prefix {
    /// [`MAGIC`] once the object is there.
    magic: AtomicU64,
    type_hash: AtomicU64,
    /// Bytes of one element.
    size: AtomicU64,
    align: AtomicU64,
    /// Number of elements.
    len: AtomicU64,
}

const MAGIC: u64 = u64::from_ne_bytes(*b"shm-obj2");

/// An object in shared memory, used by many processes at once: `&T` in each of them.
///
/// Python's `Value` and `Array` with their locks, and more: any [`Concurrent`] type. Clones share
/// the object; the memory is free when the last process has let go of it, however it ended.
///
/// ```
/// use shm_core::Shared;
/// use std::os::fd::AsFd;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// let counters = Shared::new([const { AtomicU64::new(0) }; 4])?;
/// // In another process, with the descriptor that it inherited or received:
/// let theirs = Shared::<[AtomicU64; 4]>::attach(counters.as_fd().try_clone_to_owned()?)?;
/// theirs[2].fetch_add(5, Relaxed);
/// assert_eq!(counters[2].load(Relaxed), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Shared<T: ?Sized> {
    segment: Segment,
    object: NonNull<T>,
    owns: PhantomData<T>,
}

// SAFETY: `T` is `Sync`, and the segment keeps it mapped wherever the handle goes.
unsafe impl<T: Payload + ?Sized> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Payload + ?Sized> Sync for Shared<T> {}

/// Where the object begins in its segment.
const fn offset(align: usize) -> usize {
    size_of::<Prefix>().next_multiple_of(align)
}

impl<T: Concurrent> Shared<T> {
    /// Bytes that the object takes in a segment, its prefix included.
    pub const SIZE: usize = offset(align_of::<T>()) + size_of::<T>();

    /// A new object in anonymous memory of its own.
    ///
    /// # Errors
    /// Those of [`Segment::anonymous`].
    pub fn new(value: T) -> Result<Shared<T>, Error> {
        Shared::put(Segment::anonymous(Self::SIZE)?, Init::One(value))
    }

    /// A new object that other programs [`open`](Shared::open) by name.
    ///
    /// The object is there from one store on; an opener that comes before it, in the instant after
    /// the name appeared, gets [`Error::WrongType`].
    ///
    /// # Errors
    /// Those of [`Segment::create`].
    pub fn create(name: &str, value: T) -> Result<Shared<T>, Error> {
        Shared::put(Segment::create(name, Self::SIZE)?, Init::One(value))
    }
}

// `Elements` on each function and not on the block: then the compiler says what to do instead.
impl<T: ?Sized> Shared<T> {
    /// Any number of elements, moved into anonymous memory of their own.
    ///
    /// ```
    /// use shm_core::Shared;
    /// use shm_core::data::Value;
    ///
    /// let sums = Shared::<[Value<f64>]>::from_values((0..1000).map(|_| Value::new(0.0)))?;
    /// sums[7].fetch_add(0.5);
    /// # Ok::<(), shm_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Segment::anonymous`].
    pub fn from_values(values: impl IntoIterator<Item = T::Element>) -> Result<Shared<T>, Error>
    where
        T: Elements,
    {
        Shared::place(None, Init::Many(values.into_iter().collect()))
    }

    /// Copies of elements, in anonymous memory of their own: one pass over them.
    ///
    /// # Errors
    /// Those of [`Segment::anonymous`].
    pub fn copy_of(values: &[T::Element]) -> Result<Shared<T>, Error>
    where
        T: Elements,
        T::Element: Copy,
    {
        Shared::place(None, Init::Copied(values))
    }

    /// So many elements whose bytes are all zero, in anonymous memory of their own.
    ///
    /// # Errors
    /// Those of [`Segment::anonymous`].
    pub fn zeroed(len: usize) -> Result<Shared<T>, Error>
    where
        T: Elements,
    {
        Shared::place(None, Init::Zeroed(len))
    }

    /// The same as [`zeroed`](Shared::zeroed) under a name: see [`create`](Shared::create).
    ///
    /// # Errors
    /// Those of [`Segment::create`].
    pub fn create_zeroed(name: &str, len: usize) -> Result<Shared<T>, Error>
    where
        T: Elements,
    {
        Shared::place(Some(name), Init::Zeroed(len))
    }
}

impl<T: Elements + ?Sized> Shared<T> {
    fn place(name: Option<&str>, init: Init<'_, T::Element>) -> Result<Shared<T>, Error> {
        let size = offset(T::ALIGN).saturating_add(payload_layout::<T>(init.len())?.size());
        let segment = match name {
            Some(name) => Segment::create(name, size)?,
            None => Segment::anonymous(size)?,
        };
        Shared::put(segment, init)
    }
}

impl<T: Payload + ?Sized> Shared<T> {
    /// The object behind a descriptor that was inherited or received: see [`Segment::attach`].
    ///
    /// # Errors
    /// Those of [`Segment::attach`]; [`Error::WrongType`] if another type lies there.
    pub fn attach(fd: OwnedFd) -> Result<Shared<T>, Error> {
        Shared::find(Segment::attach(fd)?)
    }

    /// The object that another program created under `name`.
    ///
    /// # Errors
    /// Those of [`Segment::open`]; [`Error::WrongType`] if another type lies there.
    pub fn open(name: &str) -> Result<Shared<T>, Error> {
        Shared::find(Segment::open(name)?)
    }

    /// The segment that it lives in.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.segment.id()
    }

    /// The prefix of a segment that is large enough for it.
    fn prefix(segment: &Segment) -> &Prefix {
        // SAFETY: the segment begins page-aligned, is large enough by the callers' word, and any
        // bytes are a valid value of atomics.
        unsafe { segment.data().cast::<Prefix>().as_ref() }
    }

    /// What the prefix says of the type.
    fn identity() -> [u64; 3] {
        [T::HASH, size_of::<T::Element>() as u64, T::ALIGN as u64]
    }

    /// The object in a segment that is large enough for so many elements.
    fn at(segment: Segment, len: usize) -> Shared<T> {
        const { assert!(T::ALIGN <= 4096, "aligned beyond a page") };
        // SAFETY: both callers have a segment that the object fits into.
        let start = unsafe { segment.data().add(offset(T::ALIGN)) };
        // SAFETY: a place in a mapping is never at address zero.
        let object = unsafe { NonNull::new_unchecked(T::of(start.as_ptr(), len).cast_mut()) };
        Shared { segment, object, owns: PhantomData }
    }

    fn put(segment: Segment, init: Init<'_, T::Element>) -> Result<Shared<T>, Error> {
        let len = init.len();
        // SAFETY: both callers have made the segment large enough.
        let start = unsafe { segment.data().add(offset(T::ALIGN)) };
        // SAFETY: aligned, within the segment, and not known to anybody as a `T` before the prefix
        // says so.
        unsafe { init.write::<T>(start.as_ptr()) };
        let shared = Shared::at(segment, len);
        let prefix = Self::prefix(&shared.segment);
        let words = [&prefix.type_hash, &prefix.size, &prefix.align];
        for (word, value) in words.into_iter().zip(Self::identity()) {
            // Relaxed: published by the magic number.
            word.store(value, Ordering::Relaxed);
        }
        // Relaxed: as above.
        prefix.len.store(len as u64, Ordering::Relaxed);
        // Release: whoever sees the magic number sees the object; pairs with the one in `find`.
        prefix.magic.store(MAGIC, Ordering::Release);
        Ok(shared)
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn find(segment: Segment) -> Result<Shared<T>, Error> {
        let wrong = |found| Error::WrongType { found, wanted: T::name() };
        if segment.size() < offset(T::ALIGN) {
            return Err(wrong(0));
        }
        let prefix = Self::prefix(&segment);
        // Acquire: pairs with the Release in `put`.
        if prefix.magic.load(Ordering::Acquire) != MAGIC {
            return Err(wrong(0));
        }
        // Relaxed: written before the magic number.
        let [hash, size, align, len] =
            [&prefix.type_hash, &prefix.size, &prefix.align, &prefix.len]
                .map(|word| word.load(Ordering::Relaxed));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if [hash, size, align] != Self::identity() || !T::fits(len) {
            return Err(wrong(hash));
        }
        let end = offset(T::ALIGN).saturating_add(payload_layout::<T>(len)?.size());
        if end > segment.size() {
            return Err(Error::OutOfBounds {
                start: 0,
                end: end as u64,
                len: segment.size() as u64,
            });
        }
        Ok(Shared::at(segment, len))
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: mapped as long as the segment that we hold, aligned, a `Payload`, for which any bytes
        // are valid and every access is atomic or under a lock.
        unsafe { self.object.as_ref() }
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared { segment: self.segment.clone(), object: self.object, owns: PhantomData }
    }
}

impl<T: ?Sized> AsFd for Shared<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}

impl<T: std::fmt::Debug + ?Sized> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&&**self).finish()
    }
}
