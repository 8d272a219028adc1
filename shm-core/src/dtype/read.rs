//! Reads descriptions in Python's notation.

use std::fmt;

use super::code::Code;
use super::{tuple, wrong};
use crate::Error;

/// Deeper than any record: a description that nests on and on ends here.
const DEEPEST: usize = 32;

/// What numpy describes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Dtype {
    /// A number, text, or bytes.
    Code(Code),
    /// Elements of one kind, in so many dimensions.
    Array(Box<Dtype>, Vec<usize>),
    /// Fields at their offsets.
    Record(Record),
}

/// Named fields.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// Name, offset and type of each.
    pub fields: Vec<(String, usize, Dtype)>,
    /// Bytes in all.
    pub size: usize,
}

impl Dtype {
    /// Bytes; `None` for more than there can be.
    pub fn size(&self) -> Option<usize> {
        match self {
            Dtype::Code(code) => Some(code.size()),
            Dtype::Array(of, shape) => {
                shape.iter().try_fold(of.size()?, |size, &len| size.checked_mul(len))
            }
            Dtype::Record(record) => Some(record.size),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dtype::Code(code) => write!(f, "{code}"),
            Dtype::Array(of, shape) => write!(f, "{of}, {}", tuple(shape)),
            Dtype::Record(record) => write!(f, "a record of {} fields", record.fields.len()),
        }
    }
}

/// Reads `dtype.descr`, `str(dtype)` or `repr(dtype)`.
pub(super) fn read(text: &str) -> Result<Dtype, Error> {
    let mut reader = Reader { rest: text.trim(), depth: 0 };
    let parsed = reader.whole().filter(|_| reader.rest.trim().is_empty());
    let Some(found) = parsed else {
        let found = text.chars().take(60).collect();
        let wanted = "a description like `array.dtype.descr` or `str(array.dtype)`";
        return Err(wrong("", found, wanted.to_owned()));
    };
    // Of an array of plain numbers, `descr` is a list with one field that has no name.
    Ok(match found {
        Dtype::Record(mut record) if record.fields.len() == 1 && record.fields[0].0.is_empty() => {
            record.fields.remove(0).2
        }
        found => found,
    })
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

    /// `dtype(…)`, or what stands in it.
    fn whole(&mut self) -> Option<Dtype> {
        let Some(inner) = self.rest.strip_prefix("dtype(") else {
            return self.dtype_or_name();
        };
        self.rest = inner;
        let has_offsets = self.peek()? == '{';
        let found = self.dtype()?;
        let (more, rest) = self.rest.split_once(')')?;
        self.rest = rest;
        // With `align=True` a list does not say where its fields are.
        (has_offsets || more.trim().is_empty()).then_some(found)
    }

    /// As `str(dtype)` has it: names without quotes.
    fn dtype_or_name(&mut self) -> Option<Dtype> {
        if self.rest.chars().next()?.is_ascii_alphabetic()
            || self.rest.starts_with(['<', '>', '|', '?'])
        {
            return Code::of(std::mem::take(&mut self.rest)).map(Dtype::Code);
        }
        self.dtype()
    }

    fn dtype(&mut self) -> Option<Dtype> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let dtype = match self.peek()? {
            '[' => Dtype::Record(side_by_side(self.list(('[', ']'), Self::field)?)?),
            '{' => Dtype::Record(self.dictionary()?),
            '(' => {
                self.eat('(')?;
                if self.peek()?.is_ascii_alphabetic() {
                    return self.record_array();
                }
                let of = self.dtype()?;
                self.eat(',')?;
                let shape = self.shape()?;
                self.eat(')')?;
                Dtype::Array(Box::new(of), shape)
            }
            _ => Dtype::Code(Code::of(&self.string()?)?),
        };
        self.depth -= 1;
        Some(dtype)
    }

    /// `numpy.record, […])`: the elements of a `recarray`.
    fn record_array(&mut self) -> Option<Dtype> {
        let (class, rest) = self.rest.split_once(',')?;
        self.rest = rest;
        let found = self.dtype()?;
        self.eat(')')?;
        self.depth -= 1;
        class.trim().ends_with("record").then_some(found)
    }

    fn field(&mut self) -> Option<(String, Dtype)> {
        self.eat('(')?;
        let name = self.name()?;
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

    /// A name, or a title and a name.
    fn name(&mut self) -> Option<String> {
        if self.peek()? != '(' {
            return self.string();
        }
        let mut both = self.list(('(', ')'), Self::string)?;
        (both.len() == 2).then(|| both.swap_remove(1))
    }

    /// `{'names': […], 'formats': […], 'offsets': […], 'itemsize': …}`, and what else is in it.
    fn dictionary(&mut self) -> Option<Record> {
        let (mut names, mut formats, mut offsets, mut size) = (None, None, None, None);
        self.list(('{', '}'), |reader| {
            let key = reader.string()?;
            reader.eat(':')?;
            match key.as_str() {
                "names" => names = Some(reader.list(('[', ']'), Self::string)?),
                "formats" => formats = Some(reader.list(('[', ']'), Self::dtype)?),
                "offsets" => offsets = Some(reader.list(('[', ']'), Self::number)?),
                "itemsize" => size = Some(reader.number()?),
                "titles" => drop(reader.list(('[', ']'), Self::string_or_word)?),
                _ => drop(reader.string_or_word()?),
            }
            Some(())
        })?;
        let (names, formats, offsets) = (names?, formats?, offsets?);
        if names.len() != formats.len() || names.len() != offsets.len() {
            return None;
        }
        let fields = names.into_iter().zip(offsets).zip(formats);
        let fields = fields.map(|((name, offset), dtype)| (name, offset, dtype)).collect();
        Some(Record { fields, size: size? })
    }

    /// `True`, `None`, or a string.
    fn string_or_word(&mut self) -> Option<String> {
        if matches!(self.peek()?, '\'' | '"') {
            return self.string();
        }
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        if self.peek()? == '(' {
            self.list(('(', ')'), Self::number)
        } else {
            Some(vec![self.number()?])
        }
    }
}

/// Fields one behind the other; one without a name is padding, unless it is the only one.
fn side_by_side(list: Vec<(String, Dtype)>) -> Option<Record> {
    let is_only = list.len() == 1;
    let (mut fields, mut size) = (Vec::new(), 0usize);
    for (name, dtype) in list {
        let offset = size;
        size = size.checked_add(dtype.size()?)?;
        if is_only || !name.is_empty() {
            fields.push((name, offset, dtype));
        }
    }
    Some(Record { fields, size })
}
