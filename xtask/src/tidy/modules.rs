//! Every file says at its top what it is, stays short, and has a name of its own.

use std::path::Path;

use super::Finding;
use super::lexer::{Source, words};

/// The most lines that a file may have.
const LIMIT: usize = 600;

/// Names that say nothing about what lies inside.
const REFUSED: [&str; 8] =
    ["utils", "util", "common", "helpers", "helper", "manager", "managers", "misc"];

/// Checks the head, the length and the names of one file.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !is_fixture(&source.path) {
        let first = source
            .comments
            .iter()
            .zip(&source.code)
            .find(|(comment, code)| !comment.trim().is_empty() || !code.trim().is_empty());
        // A crate whose docs are its README says so in its first line.
        let says = |comment: &str, code: &str| {
            comment.starts_with("//!") || code.starts_with("#![doc = include_str!(")
        };
        if !first.is_some_and(|(comment, code)| says(comment, code)) {
            let what = "no `//!` at the top: say in a sentence what this module is";
            findings.push(Finding::new(&source.path, 1, what));
        }
    }
    let lines = source.code.len() - usize::from(source.code.last().is_some_and(String::is_empty));
    if lines > LIMIT {
        let what = format!("{lines} lines, the limit is {LIMIT}: split it by idea");
        findings.push(Finding::new(&source.path, LIMIT + 1, what));
    }
    findings.extend(names(source));
    findings
}

/// A file that a compile-fail test feeds to the compiler is no module.
fn is_fixture(path: &Path) -> bool {
    let fixtures = ["ui", "fail", "pass", "compile_fail", "compile-fail"];
    let parts: Vec<_> = path.iter().collect();
    let tests = parts.iter().position(|part| *part == "tests");
    tests.is_some_and(|at| parts[at..].iter().any(|part| fixtures.iter().any(|name| part == name)))
}

fn names(source: &Source) -> Vec<Finding> {
    let refuse = |line: usize, name: &str| {
        let what = format!("a module named `{name}`: name it after what it holds");
        Finding::new(&source.path, line, what)
    };
    let mut findings = Vec::new();
    for part in source.path.with_extension("").iter() {
        findings.extend(REFUSED.iter().filter(|name| part == **name).map(|name| refuse(1, name)));
    }
    for (index, line) in source.code.iter().enumerate() {
        let found: Vec<&str> = words(line).map(|(_, word)| word).collect();
        for pair in found.windows(2).filter(|pair| pair[0] == "mod" && REFUSED.contains(&pair[1])) {
            findings.push(refuse(index + 1, pair[1]));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::new(Path::new(path), text)).len()
    }

    #[test]
    fn a_file_starts_by_saying_what_it_is() {
        assert_eq!(count("src/a.rs", "//! What it is.\n\nfn a() {}\n"), 0);
        assert_eq!(count("src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n"), 0);
        assert_eq!(count("src/a.rs", "use b;\n//! too late\n"), 1);
        assert_eq!(count("src/a.rs", "// not a doc\n"), 1);
        assert_eq!(count("src/a.rs", ""), 1);
        assert_eq!(count("x/tests/ui/pointer_in_record.rs", "fn main() {}\n"), 0);
    }

    #[test]
    fn a_file_ends_before_it_grows_too_long() {
        assert_eq!(count("src/a.rs", &format!("//! a\n{}", "fn a() {}\n".repeat(599))), 0);
        assert_eq!(count("src/a.rs", &format!("//! a\n{}", "fn a() {}\n".repeat(600))), 1);
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        assert_eq!(count("src/utils.rs", "//! a\n"), 1);
        assert_eq!(count("x/tests/common/mod.rs", "//! a\n"), 1);
        assert_eq!(count("src/a.rs", "//! a\nmod helpers {}\n"), 1);
        assert_eq!(count("src/a.rs", "//! a\nmod commonplace;\n// mod utils;\n"), 0);
    }
}
