//! No `unwrap` and no `expect` outside of tests: a failure is an error that says what to do.

use super::Finding;
use super::lexer::{Source, words};

/// Finds the calls that panic on an error.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in source.shipped_code() {
        for (column, name) in words(line) {
            let is_call = line[..column].trim_end().ends_with(['.', ':'])
                && line[column + name.len()..].trim_start().starts_with('(');
            if is_call && ["unwrap", "expect", "unwrap_err", "expect_err"].contains(&name) {
                let what =
                    format!("`{name}` outside of tests: return an error that says what to do");
                findings.push(Finding::new(&source.path, index + 1, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(text: &str) -> usize {
        check(&Source::new(Path::new("src/a.rs"), text)).len()
    }

    #[test]
    fn a_call_that_panics_is_found() {
        assert_eq!(count("fn a() { b().unwrap() }"), 1);
        assert_eq!(count("fn a() {\n    b()\n        .expect(\"c\")\n}"), 1);
        assert_eq!(count("fn a() { b.map(Option::unwrap (c)) }"), 1);
    }

    #[test]
    fn tests_strings_and_kinder_calls_are_left_alone() {
        assert_eq!(count("#[test]\nfn a() { b().unwrap() }"), 0);
        assert_eq!(count("#[cfg(test)]\nmod tests { fn a() { b().expect(\"c\") } }"), 0);
        assert_eq!(count("fn a() { b().unwrap_or(c) } // .unwrap()"), 0);
        assert_eq!(count("fn a() { f(\".unwrap()\") }\n#[expect(dead_code)]\nfn b() {}"), 0);
    }
}
