//! The sum itself: numbers at a stride within bytes, missing ones left out.

use std::fmt;

use serde::{Deserialize, Serialize};
use shm_core::ColumnType;

/// Where a column lies within the bytes of records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Bytes from the start of a record to the number.
    pub offset: usize,
    /// Bytes from one record to the next.
    pub stride: usize,
    /// What the numbers are.
    pub column_type: ColumnType,
}

/// A sum: exact for integers, pairwise for floats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sum {
    Int(i128),
    Float(f64),
}

impl Sum {
    pub fn add(self, other: Sum) -> Sum {
        match (self, other) {
            (Sum::Int(a), Sum::Int(b)) => Sum::Int(a.saturating_add(b)),
            (a, b) => Sum::Float(a.as_f64() + b.as_f64()),
        }
    }

    pub fn as_f64(self) -> f64 {
        match self {
            Sum::Int(value) => value as f64,
            Sum::Float(value) => value,
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sum::Int(value) => write!(f, "{value}"),
            Sum::Float(value) => write!(f, "{value}"),
        }
    }
}

/// Sums the column over all whole records in `bytes`; `None` for a type that is no number.
pub fn sum(bytes: &[u8], place: &Place) -> Option<Sum> {
    use ColumnType::{Float, Int, Uint};
    let bytes = bytes.get(..bytes.len() / place.stride * place.stride)?;
    Some(match place.column_type {
        Float(8) => Sum::Float(floats(numbers(bytes, place, f64::from_le_bytes))),
        Float(4) => Sum::Float(floats(numbers(bytes, place, |b| f64::from(f32::from_le_bytes(b))))),
        Int(1) => ints(numbers(bytes, place, i8::from_le_bytes)),
        Int(2) => ints(numbers(bytes, place, i16::from_le_bytes)),
        Int(4) => ints(numbers(bytes, place, i32::from_le_bytes)),
        Int(8) => ints(numbers(bytes, place, i64::from_le_bytes)),
        Uint(1) => ints(numbers(bytes, place, u8::from_le_bytes)),
        Uint(2) => ints(numbers(bytes, place, u16::from_le_bytes)),
        Uint(4) => ints(numbers(bytes, place, u32::from_le_bytes)),
        Uint(8) => ints(numbers(bytes, place, u64::from_le_bytes)),
        _ => return None,
    })
}

/// The column's numbers, read where they lie. Numpy's files are little-endian, as checked.
fn numbers<'a, const N: usize, T>(
    bytes: &'a [u8],
    place: &Place,
    read: impl Fn([u8; N]) -> T + 'a,
) -> impl Iterator<Item = T> + 'a {
    let offset = place.offset;
    bytes.chunks_exact(place.stride).map(move |record| {
        let mut number = [0; N];
        number.copy_from_slice(&record[offset..offset + N]);
        read(number)
    })
}

fn ints<T: Into<i128>>(numbers: impl Iterator<Item = T>) -> Sum {
    Sum::Int(numbers.map(Into::into).sum())
}

/// Numbers summed by a running sum each, so that one addition need not wait for the other.
const LANES: usize = 8;
/// Numbers summed before the result goes into the pairwise sum.
const BLOCK: usize = 1024;

/// Pairwise summation over blocks: the rounding error grows with the logarithm of the length, as
/// numpy's does, and not with the length.
pub fn floats(mut numbers: impl Iterator<Item = f64>) -> f64 {
    let mut blocks = Vec::new();
    loop {
        let mut lanes = [0.0; LANES];
        let mut count = 0;
        for value in numbers.by_ref().take(BLOCK) {
            lanes[count % LANES] += if value.is_nan() { 0.0 } else { value };
            count += 1;
        }
        if count == 0 {
            return pairwise(&blocks);
        }
        blocks.push(pairwise(&lanes));
    }
}

fn pairwise(values: &[f64]) -> f64 {
    match values {
        [] => 0.0,
        [one] => *one,
        _ => {
            let (left, right) = values.split_at(values.len() / 2);
            pairwise(left) + pairwise(right)
        }
    }
}
