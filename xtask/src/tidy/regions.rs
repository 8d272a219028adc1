//! Which lines and files are test code, and which block a place stands in.

use std::path::{Path, PathBuf};

use super::lexer::{Source, has_word, words};

/// The code as one text, to find what spans lines.
#[derive(Debug)]
pub struct Joined {
    /// The code, lines joined by line breaks.
    pub text: String,
    starts: Vec<usize>,
}

impl Joined {
    /// Joins the lines.
    pub fn new(code: &[String]) -> Self {
        let mut text = String::new();
        let mut starts = Vec::new();
        for line in code {
            starts.push(text.len());
            text.push_str(line);
            text.push('\n');
        }
        Self { text, starts }
    }

    /// The byte where a line starts.
    pub fn start_of(&self, line: usize) -> usize {
        self.starts[line]
    }

    /// The line, from 0, that holds a byte.
    pub fn line_of(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// The line where the statement or item that holds `at` starts.
    pub fn statement_line(&self, at: usize) -> usize {
        let mut depth = 0_i32;
        let mut start = 0;
        for (index, byte) in self.text.bytes().enumerate().take(at).collect::<Vec<_>>().iter().rev()
        {
            match byte {
                b')' | b']' => depth += 1,
                b'(' | b'[' => depth -= 1,
                b';' | b'{' | b'}' if depth <= 0 => {
                    start = index + 1;
                    break;
                }
                _ => {}
            }
        }
        let blank = |c: char| c.is_whitespace();
        let skipped = self.text[start..at].find(|c| !blank(c)).unwrap_or(at - start);
        self.line_of(start + skipped)
    }

    /// What stands before the `{` of each block around `at`, outermost first.
    pub fn headers(&self, at: usize) -> Vec<&str> {
        let mut stack = Vec::new();
        let mut start = 0;
        for (index, byte) in self.text.bytes().enumerate().take(at) {
            match byte {
                b'{' => stack.push(self.text[start..index].trim()),
                b'}' => {
                    stack.pop();
                }
                b';' => {}
                _ => continue,
            }
            start = index + 1;
        }
        stack
    }
}

/// Marks the lines of `#[test]` functions and of items under a `#[cfg(test)]`.
pub fn test_lines(code: &[String]) -> Vec<bool> {
    let joined = Joined::new(code);
    let mut is_test = vec![false; code.len()];
    for (at, _) in joined.text.match_indices("#[") {
        let Some(attribute) = bracketed(&joined.text[at + 1..]) else { continue };
        if !is_test_attribute(attribute) {
            continue;
        }
        let end = item_end(&joined.text, at);
        is_test[joined.line_of(at)..=joined.line_of(end)].fill(true);
    }
    let inner = code.iter().map(|line| line.trim()).find_map(|line| line.strip_prefix("#!["));
    if inner.is_some_and(|attribute| is_test_attribute(&format!("[{attribute}"))) {
        is_test.fill(true);
    }
    is_test
}

/// Marks whole files: those in `tests`, `benches`, `examples`, and the modules that another
/// file declares under a `#[cfg(test)]`.
pub fn mark_test_files(sources: &mut [Source]) {
    let mut declared: Vec<PathBuf> = Vec::new();
    for source in sources.iter() {
        for (index, line) in
            source.code.iter().enumerate().filter(|(index, _)| source.is_test[*index])
        {
            let found: Vec<&str> = words(line).map(|(_, word)| word).collect();
            if let Some(at) = found.iter().position(|word| *word == "mod")
                && source.code[index].trim_end().ends_with(';')
                && let Some(name) = found.get(at + 1)
            {
                declared.push(module_folder(&source.path).join(name));
            }
        }
    }
    for source in sources {
        let stem = source.path.with_extension("");
        let is_declared = declared.iter().any(|module| stem.starts_with(module));
        if is_declared || is_test_path(&source.path) {
            source.is_test.fill(true);
        }
    }
}

/// Whether the path alone says that this is no shipped code: what a crate ships lies in `src`.
pub fn is_test_path(path: &Path) -> bool {
    let has = |folder: &str| path.iter().any(|part| part == folder);
    let is_build_script = path.file_name().is_some_and(|name| name == "build.rs");
    let is_shipped = has("src") || is_build_script;
    let folders = ["tests", "benches", "examples"];
    !is_shipped || folders.iter().any(|folder| has(folder)) || path.ends_with("tests.rs")
}

/// The folder in which the modules that this file declares lie.
fn module_folder(path: &Path) -> PathBuf {
    let is_root = path
        .file_stem()
        .is_some_and(|stem| ["lib", "main", "mod"].iter().any(|root| stem == *root));
    if is_root {
        path.parent().map(Path::to_path_buf).unwrap_or_default()
    } else {
        path.with_extension("")
    }
}

/// The `[…]` at the start of the text, brackets included.
fn bracketed(text: &str) -> Option<&str> {
    let mut depth = 0;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[..=index]);
        }
    }
    None
}

/// Whether `[…]` is `[test]`, `[x::test]`, or a `cfg` that only holds in tests.
fn is_test_attribute(attribute: &str) -> bool {
    let inner = attribute.trim_start_matches('[').trim_end_matches(']').trim();
    let path = inner.split('(').next().unwrap_or_default().trim();
    match path {
        "cfg" => has_word(&without_not(inner), "test"),
        path => path.rsplit("::").next() == Some("test"),
    }
}

/// The predicate without its `not(…)` groups.
fn without_not(predicate: &str) -> String {
    let Some(at) = predicate.find("not(") else { return predicate.into() };
    let mut depth = 0;
    for (index, byte) in predicate.bytes().enumerate().skip(at + 3) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return format!("{}{}", &predicate[..at], without_not(&predicate[index + 1..]));
        }
    }
    predicate[..at].into()
}

/// The last byte of the item that starts at `at`, attributes included.
fn item_end(text: &str, at: usize) -> usize {
    let mut round = 0_i32;
    let mut braces = 0_i32;
    for (index, byte) in text.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces <= 0 && round <= 0 {
                    return index;
                }
            }
            b';' if round <= 0 && braces == 0 => return index,
            _ => {}
        }
    }
    text.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(Path::new(path), text)
    }

    #[test]
    fn test_modules_and_test_functions_are_test_code() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[test]\nfn d() {\n}\n";
        let marked = source("src/a.rs", text).is_test;
        assert_eq!(&marked[..9], [false, true, true, true, true, false, true, true, true]);
    }

    #[test]
    fn a_cfg_counts_only_when_it_holds_in_tests() {
        assert!(is_test_attribute("[cfg(all(test, loom))]"));
        assert!(is_test_attribute("[proc_pool::test]"));
        assert!(!is_test_attribute("[cfg(not(test))]"));
        assert!(!is_test_attribute("[cfg(all(not(any(test, loom)), unix))]"));
        assert!(!is_test_attribute("[cfg(feature = \"    \")]"));
    }

    #[test]
    fn a_module_file_declared_under_cfg_test_is_test_code() {
        let mut sources = [
            source("x/src/ring.rs", "#[cfg(all(test, loom))]\nmod loom_ring;\nmod slots;\n"),
            source("x/src/ring/loom_ring.rs", "fn a() {}\n"),
            source("x/src/ring/slots.rs", "fn a() {}\n"),
            source("x/tests/attach.rs", "fn a() {}\n"),
            source("x/models/ring.rs", "fn a() {}\n"),
        ];
        mark_test_files(&mut sources);
        let marked: Vec<bool> = sources.iter().map(|source| source.is_test[0]).collect();
        assert_eq!(marked, [true, true, false, true, true]);
        assert!(!sources[0].is_test[2]);
    }

    #[test]
    fn a_statement_starts_after_the_one_before_it() {
        let code: Vec<String> =
            ["fn a() {", "    b();", "    self.c", "        .d(e,", "           f);"]
                .map(String::from)
                .into();
        let joined = Joined::new(&code);
        let at = joined.text.find('f').map(|_| joined.start_of(4) + 11).unwrap();
        assert_eq!(joined.statement_line(at), 2);
        assert_eq!(joined.headers(at), ["fn a()"]);
    }
}
