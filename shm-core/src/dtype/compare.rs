//! Whether what numpy describes is a type of ours.

use super::code::Code;
use super::read::{Dtype, Record};
use super::{code_of, describe_element, dimensions, tuple, wrong};
use crate::Error;
use crate::layout::{Field, Layout, Scalar, Shape};

/// `path`: the fields that lead to it, with dots.
pub(super) fn same(found: &Dtype, layout: &Layout, path: &str) -> Result<(), Error> {
    let is_same = match (found, layout.shape) {
        (Dtype::Record(found), Shape::Record { fields, .. }) => {
            return same_records(found, (fields, layout.size), path);
        }
        (Dtype::Array(of, shape), _) => match inside(layout, shape) {
            Some(inner) => return same(of, inner, path),
            None => false,
        },
        (Dtype::Code(code), _) => code.is_native() && same_code(code, layout),
        _ => false,
    };
    if is_same { Ok(()) } else { Err(wrong(path, found.to_string(), describe_field(layout))) }
}

/// What lies within those dimensions.
fn inside<'a>(layout: &'a Layout, shape: &[usize]) -> Option<&'a Layout> {
    shape.iter().try_fold(layout, |layout, &wanted| match layout.shape {
        Shape::Array { of, len } if len == wanted => Some(of),
        _ => None,
    })
}

fn same_code(code: &Code, layout: &Layout) -> bool {
    match layout.shape {
        Shape::Scalar(scalar) => {
            let plain = code_of(scalar);
            let same = Code::of(&plain)
                .is_some_and(|plain| (plain.kind, plain.len) == (code.kind, code.len));
            same || match scalar {
                Scalar::U8 => matches!((code.kind, code.len), ('b' | 'S' | 'V', 1)),
                Scalar::U16 => (code.kind, code.len) == ('f', 2),
                Scalar::U32 => (code.kind, code.len) == ('U', 1),
                Scalar::I64 => matches!((code.kind, code.len), ('M' | 'm', 8)),
                _ => false,
            }
        }
        Shape::Array { of, len } => match (of.shape, code.kind) {
            (Shape::Scalar(Scalar::U8), 'S' | 'V') => code.len == len,
            (Shape::Scalar(Scalar::U8), 'f') => (code.len, len) == (2, 2),
            (Shape::Scalar(Scalar::U32), 'U') => code.len == len,
            (Shape::Scalar(Scalar::F32), 'c') => (code.len, len) == (8, 2),
            (Shape::Scalar(Scalar::F64), 'c') => (code.len, len) == (16, 2),
            _ => false,
        },
        Shape::Record { .. } => false,
    }
}

fn same_records(
    found: &Record,
    (wanted, size): (&[Field], usize),
    path: &str,
) -> Result<(), Error> {
    side_by_side(found, path)?;
    for (name, offset, dtype) in &found.fields {
        let inner = join(path, name);
        let Some(field) = wanted.iter().find(|field| field.name == name) else {
            return Err(wrong(&inner, dtype.to_string(), "no field of the struct".to_owned()));
        };
        if *offset != field.offset {
            let at = |offset: usize| format!("at byte {offset}");
            return Err(wrong(&inner, at(*offset), at(field.offset)));
        }
        same(dtype, field.layout, &inner)?;
    }
    let has = |field: &Field| found.fields.iter().any(|(name, ..)| name == field.name);
    if let Some(field) = wanted.iter().find(|field| !has(field) && !is_padding(field)) {
        let found = "no such field".to_owned();
        return Err(wrong(&join(path, field.name), found, describe_field(field.layout)));
    }
    if found.size != size {
        let bytes = |size: usize| format!("{size} bytes");
        return Err(wrong(path, bytes(found.size), bytes(size)));
    }
    Ok(())
}

/// A field that stands for what numpy leaves between its fields.
fn is_padding(field: &Field) -> bool {
    let (element, _) = dimensions(field.layout);
    field.name.starts_with('_') && matches!(element.shape, Shape::Scalar(Scalar::U8))
}

/// No field over another, or beyond the end.
pub(super) fn side_by_side(record: &Record, path: &str) -> Result<(), Error> {
    let mut fields: Vec<_> = record.fields.iter().collect();
    fields.sort_by_key(|(_, offset, _)| *offset);
    let (mut behind, mut before) = (0, "");
    for (name, offset, dtype) in fields {
        if *offset < behind {
            let found = format!("at byte {offset}, over `{before}`");
            return Err(wrong(&join(path, name), found, "a field of its own bytes".to_owned()));
        }
        let end = dtype.size().and_then(|size| size.checked_add(*offset));
        let Some(end) = end.filter(|&end| end <= record.size) else {
            let found = format!("{dtype} at byte {offset}");
            let wanted = format!("within the record of {} bytes", record.size);
            return Err(wrong(&join(path, name), found, wanted));
        };
        (behind, before) = (end, name);
    }
    Ok(())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn describe_field(layout: &Layout) -> String {
    let (element, shape) = dimensions(layout);
    let element = describe_element(element);
    if shape.is_empty() { element } else { format!("{element}, {}", tuple(&shape)) }
}
