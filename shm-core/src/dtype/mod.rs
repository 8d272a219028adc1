//! Types as numpy describes them: `dtype.descr`, written and read.
//!
//! Fixed-size integers and floats, fixed arrays and nested records have a counterpart there. What numpy
//! has besides is taken as the bytes that it is:
//!
//! | numpy | here |
//! |---|---|
//! | `?` | `u8`: `!= 0` |
//! | `S8`, `V8` | `[u8; 8]`: text ends at the first zero |
//! | `U8` | `[u32; 8]`: characters, as `char::from_u32` takes them |
//! | `M8[ns]`, `m8[s]` | `i64`: as many units since 1970, or between two moments |
//! | `c8`, `c16` | `[f32; 2]`, `[f64; 2]`: real and imaginary part |
//! | `f2` | `u16` or `[u8; 2]`: the bits, since there is no stable type |
//! | padding of `align=True` | fields that begin with `_`, of bytes |
//!
//! ```
//! use shm_core::{ShmSafe, dtype};
//!
//! #[derive(Clone, Copy, ShmSafe)]
//! #[repr(C)]
//! struct Tick { time: i64, prices: [f32; 2] }
//!
//! // For Python: numpy.dtype(ast.literal_eval(text))
//! assert_eq!(dtype::describe::<Tick>(), "[('time', '<i8'), ('prices', '<f4', (2,))]");
//! // What Python says of its array: str(array.dtype.descr)
//! dtype::check::<Tick>("[('time', '<i8'), ('prices', '<f4', (2,))]")?;
//! let wrong = dtype::check::<Tick>("[('time', '<i8'), ('prices', '<f8', (2,))]").unwrap_err();
//! assert!(wrong.to_string().contains("`prices`"));
//! # Ok::<(), shm_core::Error>(())
//! ```

mod code;
mod compare;
mod read;

use std::fmt::Write as _;

use crate::layout::{Layout, Scalar, Shape};
use crate::{ColumnSpec, ColumnType, Error, Schema, ShmSafe};
use code::{Code, ORDER};
use read::{Dtype, read};

/// The type as numpy's `dtype` takes it, in Python's notation: a string for a number, a list of
/// fields for a record. An array is `(element, (length, …))`.
#[must_use]
pub fn describe<T: ShmSafe>() -> String {
    let (element, shape) = dimensions(&T::LAYOUT);
    let element = describe_element(element);
    if shape.is_empty() { element } else { format!("({element}, {})", tuple(&shape)) }
}

/// Strips an array of its dimensions, outermost first.
fn dimensions(mut layout: &Layout) -> (&Layout, Vec<usize>) {
    let mut shape = Vec::new();
    while let Shape::Array { of, len } = layout.shape {
        shape.push(len);
        layout = of;
    }
    (layout, shape)
}

fn tuple(shape: &[usize]) -> String {
    let inner: Vec<String> = shape.iter().map(usize::to_string).collect();
    if inner.len() == 1 { format!("({},)", inner[0]) } else { format!("({})", inner.join(", ")) }
}

fn describe_element(layout: &Layout) -> String {
    match layout.shape {
        Shape::Scalar(scalar) => format!("'{}'", code_of(scalar)),
        Shape::Record { fields, .. } => {
            let mut text = String::from("[");
            for (index, field) in fields.iter().enumerate() {
                let (element, shape) = dimensions(field.layout);
                let comma = if index == 0 { "" } else { ", " };
                let _ = write!(text, "{comma}('{}', {}", field.name, describe_element(element));
                if !shape.is_empty() {
                    let _ = write!(text, ", {}", tuple(&shape));
                }
                text.push(')');
            }
            text + "]"
        }
        // `dimensions` left none.
        Shape::Array { .. } => String::new(),
    }
}

/// A number as numpy writes it.
fn code_of(scalar: Scalar) -> String {
    let kind = match scalar {
        Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 => 'i',
        Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64 => 'u',
        Scalar::F32 | Scalar::F64 => 'f',
    };
    let order = if scalar.size() == 1 { '|' } else { ORDER };
    format!("{order}{kind}{}", scalar.size())
}

/// Whether numpy's description is of this type: the same fields at the same offsets, in records of the
/// same size. The order in which numpy lists its fields does not matter.
///
/// `text` is what Python says of its array: `str(a.dtype.descr)`, which is exact. Where numpy has none
/// (fields that were placed by hand, out of order) `str(a.dtype)` or `repr(a.dtype)` will do, with one
/// flaw of numpy's: of a record *within* a record they do not show the gaps.
///
/// # Errors
/// [`Error::WrongDtype`], which names the field that differs first, and says when it is of the other
/// byte order, holds Python's objects, lies elsewhere, or over another field.
pub fn check<T: ShmSafe>(text: &str) -> Result<(), Error> {
    compare::same(&read(text)?, &T::LAYOUT, "")
}

/// The columns that numpy describes, for records whose type is not known when the program is compiled:
/// [`Column::new`](crate::Column::new) finds them by name. `text` as in [`check`].
///
/// A column that holds no number of this machine (text, an array, Python's objects, the other byte
/// order) is there with what it holds in words.
///
/// ```
/// use shm_core::{Column, Frozen, dtype};
///
/// let schema = dtype::schema("[('time', '<M8[ns]'), ('price', '<f8'), ('side', 'S4')]")?;
/// assert_eq!(schema.stride, 20);
/// let bytes = Frozen::copy_of(&[0u8; 40])?; // what Python wrote
/// let prices = Column::<f64>::new(bytes, &schema, "price")?;
/// assert_eq!(prices.iter().sum::<f64>(), 0.0);
/// # Ok::<(), shm_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::WrongDtype`] for what is no description of records, or one whose fields lie over each
/// other or beyond its end.
pub fn schema(text: &str) -> Result<Schema, Error> {
    let dtype = read(text)?;
    let Dtype::Record(record) = &dtype else {
        return Err(wrong("", dtype.to_string(), "a record with named fields".to_owned()));
    };
    compare::side_by_side(record, "")?;
    let column = |(name, offset, dtype): &(String, usize, Dtype)| ColumnSpec {
        name: name.clone(),
        offset: *offset,
        column_type: column_type(dtype),
    };
    Ok(Schema { stride: record.size, columns: record.fields.iter().map(column).collect() })
}

fn column_type(dtype: &Dtype) -> ColumnType {
    let size = |code: &Code| u8::try_from(code.size()).unwrap_or(u8::MAX);
    match dtype {
        Dtype::Code(code) if code.is_native() => match code.kind {
            'i' | 'M' | 'm' => ColumnType::Int(size(code)),
            'u' | 'b' | '?' => ColumnType::Uint(size(code)),
            'f' if code.size() >= 4 => ColumnType::Float(size(code)),
            _ => ColumnType::Other(dtype.to_string()),
        },
        _ => ColumnType::Other(dtype.to_string()),
    }
}

fn wrong(field: &str, found: String, wanted: String) -> Error {
    let field = if field.is_empty() { "the element" } else { field };
    Error::WrongDtype { field: field.to_owned(), found, wanted }
}
