//! A number that many processes change at once.

use std::fmt;

use crate::layout::{Field, Layout, Shape};
use crate::{Concurrent, Number};

// Orderings: AcqRel for what changes the number, so that it may also say that other data are there:
// whoever sees the new number sees what was written before it. Relaxed: a failed exchange, and the
// look before one.
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// A number that [`Value`] can hold: the fixed-size integers and floats.
pub trait Scalar: Number + sealed::Sealed {
    /// The atomic of its size.
    #[doc(hidden)]
    type Word: Send + Sync + 'static;
    #[doc(hidden)]
    fn word(self) -> Self::Word;
    #[doc(hidden)]
    fn load(word: &Self::Word) -> Self;
    #[doc(hidden)]
    fn store(word: &Self::Word, value: Self);
    /// Replaces `current`, compared by bits; else what there is.
    #[doc(hidden)]
    fn exchange(word: &Self::Word, current: Self, new: Self) -> Result<(), Self>;
    /// The sum; integers wrap around.
    #[doc(hidden)]
    fn plus(self, other: Self) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! scalars {
    ($($ty:ty, $word:ident, $bits:ty, $to:expr, $from:expr, $plus:expr;)*) => {$(
        impl sealed::Sealed for $ty {}
        impl Scalar for $ty {
            type Word = std::sync::atomic::$word;

            fn word(self) -> Self::Word {
                <Self::Word>::new($to(self))
            }

            #[inline(always)]
            fn load(word: &Self::Word) -> Self {
                // Acquire: pairs with the Release of whoever changed it.
                $from(word.load(Acquire))
            }

            #[inline(always)]
            fn store(word: &Self::Word, value: Self) {
                // Release: pairs with the Acquire in `load`.
                word.store($to(value), Release);
            }

            #[inline(always)]
            fn exchange(word: &Self::Word, current: Self, new: Self) -> Result<(), Self> {
                // AcqRel: see the module.
                let (current, new): ($bits, $bits) = ($to(current), $to(new));
                word.compare_exchange(current, new, AcqRel, Relaxed).map(drop).map_err($from)
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                $plus(self, other)
            }
        }
    )*};
}

scalars! {
    u8, AtomicU8, u8, |x| x, |x| x, u8::wrapping_add;
    u16, AtomicU16, u16, |x| x, |x| x, u16::wrapping_add;
    u32, AtomicU32, u32, |x| x, |x| x, u32::wrapping_add;
    u64, AtomicU64, u64, |x| x, |x| x, u64::wrapping_add;
    i8, AtomicI8, i8, |x| x, |x| x, i8::wrapping_add;
    i16, AtomicI16, i16, |x| x, |x| x, i16::wrapping_add;
    i32, AtomicI32, i32, |x| x, |x| x, i32::wrapping_add;
    i64, AtomicI64, i64, |x| x, |x| x, i64::wrapping_add;
    f32, AtomicU32, u32, f32::to_bits, f32::from_bits, |a: f32, b: f32| a + b;
    f64, AtomicU64, u64, f64::to_bits, f64::from_bits, |a: f64, b: f64| a + b;
}

/// A number that many processes read and change at once, each change whole: Python's `Value`, whose
/// `+=` loses counts, without its lock.
///
/// Whoever sees a change sees what its maker wrote before. A process that is killed has made its
/// change or not; nothing is to be recovered. Progress: lock-free. Cost: one compare-and-swap.
///
/// ```
/// use shm_core::Shared;
/// use shm_core::data::Value;
///
/// let sum = Shared::new(Value::new(0.5f64))?; // or `Arc::new`, in a heap
/// assert_eq!(sum.fetch_add(1.0), 0.5);
/// assert_eq!(sum.load(), 1.5);
/// # Ok::<(), shm_core::Error>(())
/// ```
#[repr(transparent)]
pub struct Value<T: Scalar>(T::Word);

impl<T: Scalar> Value<T> {
    /// A number, not shared yet.
    pub fn new(value: T) -> Value<T> {
        Value(value.word())
    }

    /// The number as it is now.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> T {
        T::load(&self.0)
    }

    /// Another number in its place, whatever it was.
    #[inline(always)]
    pub fn store(&self, value: T) {
        T::store(&self.0, value);
    }

    /// Adds, and gives what there was before. Integers wrap around.
    #[inline]
    pub fn fetch_add(&self, value: T) -> T {
        self.fetch_update(|before| before.plus(value))
    }

    /// Changes the number by a function of itself, and gives what there was before. `f` may be called
    /// several times.
    #[inline]
    pub fn fetch_update(&self, mut f: impl FnMut(T) -> T) -> T {
        let mut seen = self.load();
        loop {
            match T::exchange(&self.0, seen, f(seen)) {
                Ok(()) => return seen,
                Err(now) => seen = now,
            }
        }
    }

    /// Another number in its place if it is `current`, compared by its bits.
    ///
    /// # Errors
    /// What it is instead.
    #[inline]
    pub fn compare_exchange(&self, current: T, new: T) -> Result<(), T> {
        T::exchange(&self.0, current, new)
    }
}

impl<T: Scalar + fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.load().fmt(f)
    }
}

// SAFETY: an atomic: any bytes are a value, and all access is atomic.
unsafe impl<T: Scalar> Concurrent for Value<T> {
    const LAYOUT: Layout = Layout {
        name: "Value",
        size: size_of::<Self>(),
        align: align_of::<Self>(),
        shape: Shape::Record {
            version: 1,
            fields: &[Field { name: "data", offset: 0, layout: &T::LAYOUT }],
        },
    };
}
