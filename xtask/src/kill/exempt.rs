//! The list of operations that need no row, each with its reason.
//!
//! One line each: a path, two spaces or more, the reason. A path that ends in `::*` is all that
//! begins so; one that begins with `*::` is a method of that name anywhere. `#` begins a comment.

use std::path::Path;

use crate::error::{Error, Result};

/// The list, seen from the root.
pub const FILE: &str = "xtask/kill-exempt.txt";

/// Begins the reason of what should have a row and has none.
pub const NO_ROW_YET: &str = "no row yet: ";

/// One line of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Exemption {
    /// The line in the file, from 1.
    pub line: usize,
    /// Which operations.
    pub pattern: String,
    /// Why they need no row.
    pub reason: String,
}

impl Exemption {
    /// Whether it speaks of this operation.
    pub fn covers(&self, operation: &str) -> bool {
        if let Some(start) = self.pattern.strip_suffix('*') {
            return operation.starts_with(start);
        }
        match self.pattern.strip_prefix('*') {
            Some(end) => operation.ends_with(end),
            None => operation == self.pattern,
        }
    }

    /// Whether it names a debt: a row ought to be written.
    pub fn is_debt(&self) -> bool {
        self.reason.starts_with(NO_ROW_YET)
    }
}

/// The line that speaks of this operation: the one that spells it out, else the first.
pub fn reason_for(list: &[Exemption], operation: &str) -> Option<usize> {
    let exact = list.iter().position(|exemption| exemption.pattern == operation);
    exact.or_else(|| list.iter().position(|exemption| exemption.covers(operation)))
}

/// Reads the list of the repository at `root`.
pub fn load(root: &Path) -> Result<std::result::Result<Vec<Exemption>, (usize, String)>> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
    Ok(parse(&text))
}

/// Reads the list; the first line that cannot be read, and why.
pub fn parse(text: &str) -> std::result::Result<Vec<Exemption>, (usize, String)> {
    let mut list = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (pattern, reason) = line.split_once("  ").unwrap_or((line, ""));
        let reason = reason.trim();
        if reason.is_empty() {
            return Err((index + 1, format!("`{pattern}` has no reason: write it two spaces on")));
        }
        if !is_pattern(pattern) {
            let what = format!("`{pattern}` is neither a path, `path::*` nor `*::method`");
            return Err((index + 1, what));
        }
        list.push(Exemption { line: index + 1, pattern: pattern.into(), reason: reason.into() });
    }
    Ok(list)
}

fn is_pattern(text: &str) -> bool {
    let named = match text.strip_suffix("::*").or_else(|| text.strip_prefix("*::")) {
        Some(named) => named,
        None if text.contains("::") => text,
        None => return false,
    };
    !named.is_empty() && named.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_path_and_a_reason() {
        let list = parse("# why\n\nc::A::len  reads only\nc::layout::*   no memory\n").unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].line, list[0].reason.as_str()), (3, "reads only"));
        assert!(list[0].covers("c::A::len") && !list[0].covers("c::A::len2"));
        assert!(list[1].covers("c::layout::Layout::hash") && !list[1].covers("c::layouts"));
    }

    #[test]
    fn a_method_anywhere_is_matched_by_its_whole_name() {
        let list = parse("*::fmt  formats").unwrap();
        assert!(list[0].covers("c::A::fmt") && !list[0].covers("c::A::refmt"));
    }

    #[test]
    fn a_line_without_a_reason_or_with_a_loose_pattern_is_refused() {
        assert_eq!(parse("c::A::len").unwrap_err().0, 1);
        assert_eq!(parse("\nc::*::len  reads").unwrap_err().0, 2);
        assert!(parse("*  all").is_err() && parse("len  reads").is_err());
    }

    #[test]
    fn the_line_that_spells_an_operation_out_comes_first() {
        let list = parse("c::A::*  no row yet: all\nc::A::len  reads only").unwrap();
        assert_eq!(reason_for(&list, "c::A::len"), Some(1));
        assert_eq!(reason_for(&list, "c::A::push"), Some(0));
        assert_eq!(reason_for(&list, "c::B::push"), None);
    }

    #[test]
    fn a_debt_says_so_itself() {
        let list = parse("c::A::push  no row yet: needs a heap\nc::A::len  reads").unwrap();
        assert!(list[0].is_debt() && !list[1].is_debt());
    }
}
