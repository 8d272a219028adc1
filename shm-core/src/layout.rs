//! What a type looks like in memory, and which types may lie in shared memory.
//!
//! Two processes agree on a type when they agree on its **structural hash**: size, alignment, and
//! the name, offset and layout of every field, recursively, with the type's explicit name and
//! version. Module paths and crate names take no part, so a type may move between crates.

use std::fmt;

/// A scalar that every program on this machine represents alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scalar {
    /// `i8`
    I8,
    /// `i16`
    I16,
    /// `i32`
    I32,
    /// `i64`
    I64,
    /// `u8`
    U8,
    /// `u16`
    U16,
    /// `u32`
    U32,
    /// `u64`
    U64,
    /// `f32`
    F32,
    /// `f64`
    F64,
}

impl Scalar {
    /// Size in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Scalar::I8 | Scalar::U8 => 1,
            Scalar::I16 | Scalar::U16 => 2,
            Scalar::I32 | Scalar::U32 | Scalar::F32 => 4,
            Scalar::I64 | Scalar::U64 | Scalar::F64 => 8,
        }
    }

    /// The type's name in Rust.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scalar::I8 => "i8",
            Scalar::I16 => "i16",
            Scalar::I32 => "i32",
            Scalar::I64 => "i64",
            Scalar::U8 => "u8",
            Scalar::U16 => "u16",
            Scalar::U32 => "u32",
            Scalar::U64 => "u64",
            Scalar::F32 => "f32",
            Scalar::F64 => "f64",
        }
    }
}

/// What a type is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One scalar.
    Scalar(Scalar),
    /// `len` elements of the same layout, side by side.
    Array {
        /// The element.
        of: &'static Layout,
        /// Number of elements.
        len: usize,
    },
    /// A struct: named fields at stated offsets.
    Record {
        /// Explicit version, `#[shm(version = N)]`; 0 when not given.
        version: u32,
        /// The fields, in order of declaration.
        fields: &'static [Field],
    },
}

/// One field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Bytes from the start of the record.
    pub offset: usize,
    /// Its layout.
    pub layout: &'static Layout,
}

/// Size, alignment and structure of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The type's name: Rust's for scalars, the struct's own (or `#[shm(name = "…")]`) for records.
    pub name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// Structure.
    pub shape: Shape,
}

impl Layout {
    const fn scalar(scalar: Scalar) -> Layout {
        let size = scalar.size();
        Layout { name: scalar.name(), size, align: size, shape: Shape::Scalar(scalar) }
    }

    /// The structural hash: 64-bit FNV-1a over everything that both sides must agree on.
    ///
    /// It guards against mistakes, not against somebody who wants a collision.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.mix(0xcbf2_9ce4_8422_2325)
    }

    const fn mix(&self, hash: u64) -> u64 {
        let hash = mix_int(mix_int(mix_str(hash, self.name), self.size as u64), self.align as u64);
        match self.shape {
            Shape::Scalar(_) => mix_int(hash, 1),
            Shape::Array { of, len } => of.mix(mix_int(mix_int(hash, 2), len as u64)),
            Shape::Record { version, fields } => {
                let mut hash = mix_int(mix_int(hash, 3), version as u64);
                // Otherwise a last field without bytes could belong to either of two records.
                hash = mix_int(hash, fields.len() as u64);
                let mut i = 0;
                while i < fields.len() {
                    let field = &fields[i];
                    hash = mix_int(mix_str(hash, field.name), field.offset as u64);
                    hash = field.layout.mix(hash);
                    i += 1;
                }
                hash
            }
        }
    }

    /// The field called `name`, if this is a record that has it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        match self.shape {
            Shape::Record { fields, .. } => fields.iter().find(|field| field.name == name),
            _ => None,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::Scalar(scalar) => f.write_str(scalar.name()),
            Shape::Array { of, len } => write!(f, "[{of}; {len}]"),
            Shape::Record { .. } => write!(f, "{} ({} bytes)", self.name, self.size),
        }
    }
}

const PRIME: u64 = 0x0000_0100_0000_01b3;

const fn mix_str(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(PRIME);
        i += 1;
    }
    // A byte that no UTF-8 text holds ends the string: `ab`,`c` and `a`,`bc` differ.
    (hash ^ 0xff).wrapping_mul(PRIME)
}

const fn mix_int(mut hash: u64, value: u64) -> u64 {
    let bytes = value.to_le_bytes();
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(PRIME);
        i += 1;
    }
    hash
}

/// A type whose values may lie in memory that other processes map.
///
/// Implemented for the fixed-size integers and floats and arrays of them; for structs of such
/// fields by `#[derive(ShmSafe)]`. `usize`, `bool`, `char`, references, `String` and `Vec` are
/// not `ShmSafe`: a pointer means nothing in another process, and a foreign program could write a
/// bit pattern that the type forbids.
///
/// ```
/// use shm_core::ShmSafe;
///
/// #[derive(Clone, Copy, ShmSafe)]
/// #[repr(C)]
/// struct Tick {
///     time: i64,
///     price: f64,
/// }
/// assert_eq!(Tick::LAYOUT.field("price").map(|f| f.offset), Some(8));
/// ```
///
/// # Safety
///
/// The implementor promises, for every value of the type:
/// - every bit pattern of `size_of::<Self>()` bytes is a valid value;
/// - there is no padding: all of its bytes are initialised;
/// - it holds no pointer, reference or handle that only one process understands;
/// - it needs no `Drop`;
/// - [`LAYOUT`](ShmSafe::LAYOUT) tells the truth.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot lie in shared memory",
    label = "not `ShmSafe`: it holds a pointer, padding, or bit patterns that are not values",
    note = "use fixed-size integers, floats, arrays `[T; N]` of them, or a `#[repr(C)]` struct of those with `#[derive(ShmSafe)]`",
    note = "instead of `String` use `[u8; N]`, of `usize` `u64`, of `bool` and of an enum `u8`, of `char` `u32`: convert on the way out",
    note = "instead of a pointer, a reference or a `Box` use an index, or a `shm_core::data::Flight` to a shared value; `shm_core::data` has vectors and strings that lie in a heap"
)]
pub unsafe trait ShmSafe: Sized + Send + Sync + 'static {
    /// Size, alignment and structure of the type.
    const LAYOUT: Layout;
}

macro_rules! scalars {
    ($($ty:ty => $scalar:ident),* $(,)?) => {$(
        // SAFETY: a primitive number: every bit pattern is a value, no padding, no pointer, no Drop.
        unsafe impl ShmSafe for $ty {
            const LAYOUT: Layout = Layout::scalar(Scalar::$scalar);
        }
    )*};
}

scalars! {
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    f32 => F32, f64 => F64,
}

// SAFETY: an array is its elements side by side, so it inherits each promise from them.
unsafe impl<T: ShmSafe, const N: usize> ShmSafe for [T; N] {
    const LAYOUT: Layout = Layout {
        name: "[]",
        size: size_of::<[T; N]>(),
        align: align_of::<T>(),
        shape: Shape::Array { of: &T::LAYOUT, len: N },
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_structures_have_different_hashes() {
        let hashes = [
            u64::LAYOUT.hash(),
            i64::LAYOUT.hash(),
            f64::LAYOUT.hash(),
            <[u8; 8]>::LAYOUT.hash(),
            <[u32; 2]>::LAYOUT.hash(),
            <[[u32; 2]; 1]>::LAYOUT.hash(),
        ];
        for (i, a) in hashes.iter().enumerate() {
            assert!(hashes[i + 1..].iter().all(|b| a != b), "{i}");
        }
    }
}
