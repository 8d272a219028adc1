//! Words that must not stay: forgotten markers, ignored tests, examples that nobody compiles,
//! and paths of somebody's machine.

use std::path::Path;

use super::Finding;
use super::lexer::{Source, has_word};

/// The markers of work put off.
const MARKERS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

/// The macros of work put off.
const MACROS: [&str; 2] = ["todo", "unimplemented"];

/// The first folder of a path that only exists on one machine.
const MACHINES: [&str; 3] = ["work", "root", "home"];

/// Checks one Rust file.
pub fn check_source(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (code, comment)) in source.code.iter().zip(&source.comments).enumerate() {
        let mut push = |what: String| findings.push(Finding::new(&source.path, index + 1, what));
        if let Some(marker) = marker(comment).or_else(|| marker(code)) {
            push(put_off(marker));
        }
        for name in MACROS.iter().filter(|name| code.contains(&format!("{name}!"))) {
            push(format!("`{name}!`: write it, or leave it out"));
        }
        if code.contains("#[ignore") {
            push("an ignored test: make it pass, or delete it".into());
        }
        let fence = comment.trim_start_matches(['/', '!', ' ']);
        if fence.starts_with("```") && has_word(fence, "ignore") {
            push("an example that nobody compiles: use `no_run` or `text`, or make it run".into());
        }
        if let Some(path) = machine_path(&source.raw[index]) {
            push(own_machine(path));
        }
    }
    findings
}

/// Checks one text that is not Rust.
pub fn check_text(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(marker) = marker(line) {
            findings.push(Finding::new(path, index + 1, put_off(marker)));
        }
        if let Some(machine) = machine_path(line) {
            findings.push(Finding::new(path, index + 1, own_machine(machine)));
        }
    }
    findings
}

fn put_off(marker: &str) -> String {
    format!("`{marker}`: do it now, or open an issue and leave no mark here")
}

fn own_machine(folder: &str) -> String {
    format!("a path under /{folder}: write it as seen from the root of the repository")
}

fn marker(line: &str) -> Option<&'static str> {
    MARKERS.into_iter().find(|marker| has_word(line, marker))
}

/// The first folder of an absolute path on the line that only exists on one machine.
fn machine_path(line: &str) -> Option<&'static str> {
    MACHINES.into_iter().find(|folder| {
        let path = format!("/{folder}/");
        line.match_indices(&path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !(c.is_alphanumeric() || "_-.}~*>/".contains(c)))
                || line[..at].ends_with("//")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        check_source(&Source::new(Path::new("src/a.rs"), text)).len()
    }

    #[test]
    fn forgotten_markers_are_found_in_comments_and_code() {
        assert_eq!(count(concat!("// TO", "DO: later")), 1);
        assert_eq!(count(concat!("/* FIX", "ME */ fn a() { to", "do!() }")), 2);
        assert_eq!(count(concat!("fn a() { unimple", "mented!() }")), 1);
        assert_eq!(count("let todos = 1; // hackney, XXXX"), 0);
        assert_eq!(check_text(Path::new("a.md"), concat!("- FIX", "ME")).len(), 1);
        assert_eq!(check_text(Path::new("a.md"), "- fixed").len(), 0);
    }

    #[test]
    fn ignored_tests_and_examples_are_found() {
        assert_eq!(count(concat!("#[ig", "nore]\nfn a() {}")), 1);
        assert_eq!(count("/// ```ignore\n/// a\n/// ```"), 1);
        assert_eq!(count("/// ```no_run\n/// a\n/// ```"), 0);
    }

    #[test]
    fn paths_of_a_machine_are_found_in_strings_too() {
        assert_eq!(count(concat!("let a = \"/wo", "rk/a\";")), 1);
        assert_eq!(count(concat!("// see /ho", "me/me/a")), 1);
        assert_eq!(count(concat!("// file:///ro", "ot/a")), 1);
        assert_eq!(count("// /proc/self/root/a and {path}/home/a and net/work/b"), 0);
    }
}
