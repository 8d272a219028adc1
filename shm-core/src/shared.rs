//! One object in shared memory that many processes use at once.

use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

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
    note = "put plain data into a `shm_core::lock::Mutex` or `RwLock`, or use `std::sync::atomic` types",
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
    size: AtomicU64,
    align: AtomicU64,
}

const MAGIC: u64 = u64::from_ne_bytes(*b"shm-objt");

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
pub struct Shared<T> {
    segment: Segment,
    object: NonNull<T>,
    owns: PhantomData<T>,
}

// SAFETY: `T` is `Sync`, and the segment keeps it mapped wherever the handle goes.
unsafe impl<T: Concurrent> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Concurrent> Sync for Shared<T> {}

impl<T: Concurrent> Shared<T> {
    /// Bytes that the object takes in a segment, its prefix included.
    pub const SIZE: usize = size_of::<Prefix>().next_multiple_of(align_of::<T>()) + size_of::<T>();

    /// A new object in anonymous memory of its own.
    ///
    /// # Errors
    /// Those of [`Segment::anonymous`].
    pub fn new(value: T) -> Result<Shared<T>, Error> {
        Shared::put(Segment::anonymous(Self::SIZE)?, value)
    }

    /// A new object that other programs [`open`](Shared::open) by name.
    ///
    /// The object is there from one store on; an opener that comes before it, in the instant after
    /// the name appeared, gets [`Error::WrongType`].
    ///
    /// # Errors
    /// Those of [`Segment::create`].
    pub fn create(name: &str, value: T) -> Result<Shared<T>, Error> {
        Shared::put(Segment::create(name, Self::SIZE)?, value)
    }

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

    /// The prefix of a segment of at least `SIZE` bytes.
    fn prefix(segment: &Segment) -> &Prefix {
        // SAFETY: the segment begins page-aligned, is large enough by the callers' word, and any
        // bytes are a valid value of atomics.
        unsafe { segment.data().cast::<Prefix>().as_ref() }
    }

    /// What the prefix says of the type.
    fn identity() -> [u64; 3] {
        [T::LAYOUT.hash(), size_of::<T>() as u64, align_of::<T>() as u64]
    }

    fn at(segment: Segment) -> Shared<T> {
        const { assert!(align_of::<T>() <= 4096, "aligned beyond a page") };
        let offset = size_of::<Prefix>().next_multiple_of(align_of::<T>());
        // SAFETY: both callers have a segment of at least `SIZE` bytes.
        let object = unsafe { segment.data().add(offset) }.cast();
        Shared { segment, object, owns: PhantomData }
    }

    fn put(segment: Segment, value: T) -> Result<Shared<T>, Error> {
        let shared = Shared::at(segment);
        // SAFETY: aligned, within the segment, and not known to anybody as a `T` before the prefix
        // says so.
        unsafe { shared.object.write(value) };
        let prefix = Self::prefix(&shared.segment);
        let words = [&prefix.type_hash, &prefix.size, &prefix.align];
        for (word, value) in words.into_iter().zip(Self::identity()) {
            // Relaxed: published by the magic number.
            word.store(value, Ordering::Relaxed);
        }
        // Release: whoever sees the magic number sees the object; pairs with the one in `find`.
        prefix.magic.store(MAGIC, Ordering::Release);
        Ok(shared)
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    pub(crate) fn find(segment: Segment) -> Result<Shared<T>, Error> {
        let wrong = |found| Error::WrongType { found, wanted: format!("one {}", T::LAYOUT) };
        if segment.size() < Self::SIZE {
            return Err(wrong(0));
        }
        let prefix = Self::prefix(&segment);
        // Acquire: pairs with the Release in `put`.
        if prefix.magic.load(Ordering::Acquire) != MAGIC {
            return Err(wrong(0));
        }
        // Relaxed: written before the magic number.
        let found = [&prefix.type_hash, &prefix.size, &prefix.align]
            .map(|word| word.load(Ordering::Relaxed));
        if found == Self::identity() { Ok(Shared::at(segment)) } else { Err(wrong(found[0])) }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: mapped as long as the segment that we hold, aligned, of a `Concurrent` type, for
        // which any bytes are valid and every access is atomic or under a lock.
        unsafe { self.object.as_ref() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared { segment: self.segment.clone(), object: self.object, owns: PhantomData }
    }
}

impl<T> AsFd for Shared<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.as_fd()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&**self).finish()
    }
}
