//! numpy's codes of elements: `<f8`, `|S4`, `?`.

use std::fmt;

/// The byte order of this machine, as numpy writes it.
pub(super) const ORDER: char = if cfg!(target_endian = "little") { '<' } else { '>' };

/// What one element is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Code {
    /// `<`, `>`, or neither.
    order: Option<char>,
    /// `i`, `u`, `f`, `b`, `c`, `S`, `U`, `V`, `M`, `m`, `O`.
    pub kind: char,
    /// How many bytes; of `U` characters.
    pub len: usize,
}

/// numpy's names, which `str(dtype)` has for plain elements.
const NAMES: [(&str, char, usize); 13] = [
    ("int8", 'i', 1),
    ("int16", 'i', 2),
    ("int32", 'i', 4),
    ("int64", 'i', 8),
    ("uint8", 'u', 1),
    ("uint16", 'u', 2),
    ("uint32", 'u', 4),
    ("uint64", 'u', 8),
    ("float16", 'f', 2),
    ("float32", 'f', 4),
    ("float64", 'f', 8),
    ("complex64", 'c', 8),
    ("complex128", 'c', 16),
];

impl Code {
    pub fn of(text: &str) -> Option<Code> {
        if let Some(&(_, kind, len)) = NAMES.iter().find(|(name, ..)| *name == text) {
            return Some(Code { order: None, kind, len });
        }
        let order = text.chars().next().filter(|order| matches!(order, '<' | '>'));
        let text = text.trim_start_matches(['<', '>', '|', '=']);
        let mut rest = text.chars();
        let kind = rest.next()?;
        let digits = rest.as_str();
        // `datetime64[ns]` is `M8[ns]`.
        let (digits, unit) = digits.split_once('[').unwrap_or((digits, ""));
        match (text, kind) {
            ("bool" | "?", _) => return Some(Code { order: None, kind: 'b', len: 1 }),
            ("object" | "O", _) => return Some(Code { order: None, kind: 'O', len: 8 }),
            (_, 'd') if digits == "atetime64" => return Some(Code { order, kind: 'M', len: 8 }),
            (_, 't') if digits == "imedelta64" => return Some(Code { order, kind: 'm', len: 8 }),
            (_, 'i' | 'u' | 'f' | 'b' | 'c' | 'S' | 'a' | 'U' | 'V' | 'M' | 'm' | 'O') => {}
            _ => return None,
        }
        let kind = if kind == 'a' { 'S' } else { kind };
        let is_time = matches!(kind, 'M' | 'm');
        let len: usize = if digits.is_empty() && kind == 'O' { 8 } else { digits.parse().ok()? };
        (unit.is_empty() || is_time).then_some(())?;
        len.checked_mul(4)?;
        Some(Code { order, kind, len })
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        if self.kind == 'U' { self.len * 4 } else { self.len }
    }

    /// Whether it holds its bytes in this machine's order, and no pointers.
    pub fn is_native(&self) -> bool {
        self.order.is_none_or(|order| order == ORDER) && self.kind != 'O'
    }

    /// In words, what keeps this machine, or any process but Python's own, from reading it.
    pub fn why_not(&self) -> Option<&'static str> {
        if self.kind == 'O' {
            return Some(
                "pointers to objects of one Python process: store numbers, or text as `S` or `U`",
            );
        }
        (!self.is_native())
            .then_some("the other byte order: convert with `a.astype(a.dtype.newbyteorder('='))`")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = self.order.map_or(String::new(), String::from);
        write!(f, "'{order}{}{}'", self.kind, self.len)?;
        self.why_not().map_or(Ok(()), |why| write!(f, " ({why})"))
    }
}
