//! Types as numpy describes them: `dtype.descr`, written and read.
//!
//! Fixed-size integers and floats, fixed arrays and nested records have a counterpart there; numpy's
//! `?` is taken as `u8`, its complex numbers as `[f32; 2]` and `[f64; 2]`. Half floats (`f2`) have no
//! stable type in Rust: declare `[u8; 2]` on this side and `V2` on that.
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

use std::fmt::Write as _;

use crate::layout::{Layout, Scalar, Shape};
use crate::{Error, ShmSafe};

/// The byte order of this machine, as numpy writes it.
const ORDER: char = if cfg!(target_endian = "little") { '<' } else { '>' };
/// Deeper than any record: a description that nests on and on ends here.
const DEEPEST: usize = 32;

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
        Shape::Scalar(scalar) => format!("'{}'", code(scalar)),
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

fn code(scalar: Scalar) -> String {
    let kind = match scalar {
        Scalar::I8 | Scalar::I16 | Scalar::I32 | Scalar::I64 => 'i',
        Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64 => 'u',
        Scalar::F32 | Scalar::F64 => 'f',
    };
    let order = if scalar.size() == 1 { '|' } else { ORDER };
    format!("{order}{kind}{}", scalar.size())
}

/// Whether numpy's description is of this type: the same fields, in order, at the same offsets.
///
/// # Errors
/// [`Error::WrongDtype`], which names the field that differs first.
pub fn check<T: ShmSafe>(descr: &str) -> Result<(), Error> {
    let mut reader = Reader { rest: descr, depth: 0 };
    let parsed = reader.dtype().filter(|_| reader.rest.trim().is_empty());
    let Some(found) = parsed else {
        let found = descr.chars().take(60).collect();
        return Err(wrong("", found, "a description like `array.dtype.descr`".to_owned()));
    };
    // Of an array of plain numbers, `descr` is a list with one field that has no name.
    let unnamed = |fields: &[(String, Dtype)]| fields.len() == 1 && fields[0].0.is_empty();
    let found = match found {
        Dtype::Record(mut fields) if unnamed(&fields) => fields.remove(0).1,
        found => found,
    };
    found.is(&T::LAYOUT, "")
}

fn wrong(field: &str, found: String, wanted: String) -> Error {
    let field = if field.is_empty() { "the element" } else { field };
    Error::WrongDtype { field: field.to_owned(), found, wanted }
}

/// What numpy describes.
#[derive(Debug, PartialEq)]
enum Dtype {
    Code(String),
    Array(Box<Dtype>, Vec<usize>),
    Record(Vec<(String, Dtype)>),
}

impl Dtype {
    fn is(&self, layout: &Layout, path: &str) -> Result<(), Error> {
        let differs = || Err(wrong(path, self.to_string(), describe_element_or_array(layout)));
        match (self, layout.shape) {
            (Dtype::Code(found), Shape::Scalar(scalar)) => {
                let same = *found == code(scalar)
                    || (found.trim_start_matches(['|', '=', ORDER]) == &code(scalar)[1..])
                    || (found.trim_start_matches('|') == "b1" && scalar == Scalar::U8);
                if same { Ok(()) } else { differs() }
            }
            (Dtype::Code(found), Shape::Array { of, len: 2 }) => {
                let complex = match of.shape {
                    Shape::Scalar(Scalar::F32) => "c8",
                    Shape::Scalar(Scalar::F64) => "c16",
                    _ => return differs(),
                };
                let same = found.trim_start_matches(['=', ORDER]) == complex;
                if same { Ok(()) } else { differs() }
            }
            (Dtype::Array(found, shape), Shape::Array { .. }) => {
                let (element, wanted) = dimensions(layout);
                let complex = matches!(&**found, Dtype::Code(code) if code.contains('c'));
                if complex && wanted.len() == shape.len() + 1 && wanted.starts_with(shape) {
                    return found.is(innermost(layout), path);
                }
                if *shape == wanted { found.is(element, path) } else { differs() }
            }
            (Dtype::Record(found), Shape::Record { fields, .. }) => {
                let mut wanted = fields.iter();
                for (name, dtype) in found {
                    // numpy's `descr` shows padding as a field without a name.
                    let name = if name.is_empty() { "padding" } else { name };
                    let dot = if path.is_empty() { "" } else { "." };
                    let inner = format!("{path}{dot}{name}");
                    match wanted.next() {
                        Some(field) if field.name == name => dtype.is(field.layout, &inner)?,
                        Some(field) => {
                            let found = format!("called `{name}`");
                            return Err(wrong(&inner, found, format!("`{}`", field.name)));
                        }
                        None => {
                            return Err(wrong(
                                &inner,
                                dtype.to_string(),
                                "no such field".to_owned(),
                            ));
                        }
                    }
                }
                match wanted.next() {
                    Some(field) => {
                        let wanted = describe_element_or_array(field.layout);
                        Err(wrong(field.name, "no such field".to_owned(), wanted))
                    }
                    None => Ok(()),
                }
            }
            _ => differs(),
        }
    }
}

/// The array of two that stands for a complex number at the end of dimensions.
fn innermost(mut layout: &Layout) -> &Layout {
    while let Shape::Array { of, .. } = layout.shape {
        if !matches!(of.shape, Shape::Array { .. }) {
            break;
        }
        layout = of;
    }
    layout
}

fn describe_element_or_array(layout: &Layout) -> String {
    let (element, shape) = dimensions(layout);
    let element = describe_element(element);
    if shape.is_empty() { element } else { format!("{element}, {}", tuple(&shape)) }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dtype::Code(code) => write!(f, "'{code}'"),
            Dtype::Array(of, shape) => write!(f, "{of}, {}", tuple(shape)),
            Dtype::Record(fields) => write!(f, "a record of {} fields", fields.len()),
        }
    }
}

/// Reads Python's notation, as far as descriptions use it.
struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn eat(&mut self, token: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn peek(&self) -> Option<char> {
        self.rest.trim_start().chars().next()
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.peek().filter(|quote| matches!(quote, '\'' | '"'))?;
        self.eat(quote)?;
        let end = self.rest.find(quote)?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        (!text.contains('\\')).then(|| text.to_owned())
    }

    fn number(&mut self) -> Option<usize> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok()
    }

    /// Runs `item` for each of the items up to the closing bracket.
    fn list<T>(
        &mut self,
        (open, close): (char, char),
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.eat(open)?;
        let mut items = Vec::new();
        while self.peek()? != close {
            items.push(item(self)?);
            if self.peek()? != close {
                self.eat(',')?;
            }
        }
        self.eat(close)?;
        Some(items)
    }

    fn dtype(&mut self) -> Option<Dtype> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let dtype = match self.peek()? {
            '[' => Dtype::Record(self.list(('[', ']'), Self::field)?),
            '(' => {
                self.eat('(')?;
                let of = self.dtype()?;
                self.eat(',')?;
                let shape = self.shape()?;
                self.eat(')')?;
                Dtype::Array(Box::new(of), shape)
            }
            _ => Dtype::Code(self.string()?),
        };
        self.depth -= 1;
        Some(dtype)
    }

    fn field(&mut self) -> Option<(String, Dtype)> {
        self.eat('(')?;
        let name = self.string()?;
        self.eat(',')?;
        let mut dtype = self.dtype()?;
        if self.peek()? == ',' {
            self.eat(',')?;
            if self.peek()? != ')' {
                dtype = Dtype::Array(Box::new(dtype), self.shape()?);
            }
        }
        self.eat(')')?;
        Some((name, dtype))
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        if self.peek()? == '(' {
            self.list(('(', ')'), Self::number)
        } else {
            Some(vec![self.number()?])
        }
    }
}
