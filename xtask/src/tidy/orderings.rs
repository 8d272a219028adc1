//! Every memory ordering is argued: a comment near it names it, or one `// Orderings:` comment
//! argues for the whole type or module.

use super::Finding;
use super::lexer::{Source, has_word, words};
use super::regions::Joined;

const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// How many lines of code may stand between the comment and the ordering.
const REACH: usize = 4;

/// The mark of a comment that argues for a whole type, module or block.
const MARK: &str = "Orderings:";

/// Finds the orderings that no comment names.
pub fn check(source: &Source) -> Vec<Finding> {
    let joined = Joined::new(&source.code);
    let imported = imported(&joined.text);
    let uses = use_lines(&source.code);
    let arguments = arguments(source, &joined);
    let mut findings = Vec::new();
    for (index, line) in source.shipped_code() {
        if uses[index] {
            continue;
        }
        for (column, name) in orderings(line, &imported) {
            let at = joined.start_of(index) + column;
            let argued = arguments.iter().any(|argument| argument.covers(at, name))
                || is_named_near(source, index, joined.statement_line(at), name);
            if !argued {
                let what = format!(
                    "`{name}` is not argued: say above it which edge it makes (`// {name}: …`), \
                     or once for the type or module (`// {MARK} …`, naming {name})"
                );
                findings.push(Finding::new(&source.path, index + 1, what));
            }
        }
    }
    findings
}

/// The orderings on a line: `Ordering::X`, and `X` alone where the file imports it. The sides of
/// a match arm translate an ordering, they do not use it.
fn orderings<'a>(line: &'a str, imported: &[&str]) -> Vec<(usize, &'a str)> {
    let found = words(line).filter(|(_, word)| ORDERINGS.contains(word));
    let is_ordering = |&(column, word): &(usize, &str)| {
        let before = line[..column].trim_end();
        let after = line[column + word.len()..].trim_start();
        let head = before.trim_end_matches("::").trim_end_matches("Ordering").trim_end();
        if after.starts_with("=>") || after.starts_with('|') || head.ends_with("=>") {
            return false;
        }
        match before.strip_suffix("::") {
            Some(path) => words(path).last().is_some_and(|(_, last)| last.ends_with("Ordering")),
            None => imported.contains(&word) && !before.ends_with('.'),
        }
    };
    found.filter(is_ordering).collect()
}

/// The orderings that a `use` brings in by name.
fn imported(text: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for statement in text.split(';') {
        let Some((_, names)) = statement.rsplit_once("Ordering::") else { continue };
        if !has_word(statement, "use") {
            continue;
        }
        let all = names.trim_start_matches('{').trim_start().starts_with('*');
        found.extend(ORDERINGS.into_iter().filter(|name| all || has_word(names, name)));
    }
    found
}

/// Which lines belong to a `use` declaration.
fn use_lines(code: &[String]) -> Vec<bool> {
    let mut inside = false;
    let mut lines = Vec::with_capacity(code.len());
    for line in code {
        let first = words(line)
            .map(|(_, word)| word)
            .find(|word| !["pub", "crate", "super"].contains(word));
        inside |= first == Some("use");
        lines.push(inside);
        inside &= !line.contains(';');
    }
    lines
}

/// A comment that argues for everything in a stretch of the file.
struct Argument {
    from: usize,
    to: usize,
    text: String,
}

impl Argument {
    fn covers(&self, at: usize, name: &str) -> bool {
        self.from <= at && at < self.to && names(&self.text, name)
    }
}

/// The `Orderings:` comments: outside of any block they argue for the whole file, inside of one
/// for what is left of it.
fn arguments(source: &Source, joined: &Joined) -> Vec<Argument> {
    let mut found = Vec::new();
    for index in 0..source.comments.len() {
        if !source.comments[index].contains(MARK) {
            continue;
        }
        let last =
            (index..source.code.len()).take_while(|line| source.is_comment_only(*line)).last();
        let text = source.comments[index..=last.unwrap_or(index)].join("\n");
        let at = joined.start_of(index);
        let (from, to) = match joined.headers(at).len() {
            0 => (0, joined.text.len()),
            _ => (at, block_end(&joined.text, at)),
        };
        found.push(Argument { from, to, text });
    }
    found
}

/// Where the block that holds `at` ends.
fn block_end(text: &str, at: usize) -> usize {
    let mut depth = 0;
    for (index, byte) in text.bytes().enumerate().skip(at) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return index,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether the comment names the ordering; "Acquire and Release" names `AcqRel` too.
fn names(comment: &str, name: &str) -> bool {
    let both = ["Acquire", "Release"].iter().all(|half| has_word(comment, half));
    has_word(comment, name) || (name == "AcqRel" && both)
}

/// Whether a comment on the line, a few lines above it, or above its statement names it.
fn is_named_near(source: &Source, line: usize, statement: usize, name: &str) -> bool {
    let named = |index: usize| names(&source.comments[index], name);
    if named(line) {
        return true;
    }
    let mut code_lines = 0;
    for index in (0..line).rev() {
        if named(index) {
            return true;
        }
        if !source.is_comment_only(index) {
            code_lines += 1;
        }
        if code_lines > REACH && index < statement {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(text: &str) -> Vec<usize> {
        let found = check(&Source::new(Path::new("src/a.rs"), text));
        found.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_ordering_without_a_word_is_found() {
        assert_eq!(lines("fn a() {\n    x.load(Ordering::Acquire);\n}\n"), [2]);
        assert_eq!(
            lines("use o::Ordering::{Acquire, Release};\nfn a() {\n    x.load(Acquire);\n}"),
            [3]
        );
        assert_eq!(lines("use o::Ordering::*;\nfn a() { fence(SeqCst) }"), [2]);
    }

    #[test]
    fn a_comment_must_name_the_ordering_it_argues_for() {
        assert_eq!(
            lines("// Acquire: pairs with the store in b\nx.load(Ordering::Acquire);"),
            NONE
        );
        assert_eq!(lines("x.load(Ordering::Acquire); // Acquire: sees b's writes"), NONE);
        let both = "// Acquire and Release: takes over b's writes, hands on ours";
        assert_eq!(lines(&format!("{both}\nx.swap(1, Ordering::AcqRel);")), NONE);
        assert_eq!(lines("// Release: pairs with a\nx.load(Ordering::Acquire);"), [2]);
    }

    #[test]
    fn a_long_statement_is_argued_above_its_start() {
        let call =
            "x\n.y\n.z\n.compare_exchange(\na,\nb,\nOrdering::AcqRel,\nOrdering::Relaxed,\n);";
        assert_eq!(
            lines(&format!("f();\n// AcqRel: takes over b. Relaxed: nothing is read.\n{call}")),
            NONE
        );
        assert_eq!(lines(&format!("f();\n// AcqRel: takes over b.\n{call}")), [10]);
        let near = "// Acquire: both flags, of the store in b\na();\nx.load(Ordering::Acquire);";
        assert_eq!(lines(near), NONE);
        let far = "// Acquire: of another statement\na();\nb();\nc();\nd();\ne();\nx.load(Ordering::Acquire);";
        assert_eq!(lines(far), [7]);
    }

    #[test]
    fn one_comment_argues_for_a_module_or_a_block() {
        let code = "impl A {\n    fn a() {\n        b();\n        c();\n        d();\n        e();\n        x.load(Ordering::Relaxed);\n    }\n}";
        assert_eq!(
            lines(&format!("// Orderings: Relaxed, these are counters.\nstruct A;\n{code}")),
            NONE
        );
        assert_eq!(
            lines(&format!("// Orderings: Acquire, these are flags.\nstruct A;\n{code}")),
            [9]
        );
        assert_eq!(lines(&format!("mod b {{\n// Orderings: Relaxed, counters.\n}}\n{code}")), [10]);
    }

    #[test]
    fn other_things_of_the_same_name_are_left_alone() {
        assert_eq!(lines("use o::Ordering::Acquire;\nuse o::Ordering::{\n    Release,\n};"), NONE);
        assert_eq!(lines("enum Lock { Acquire, Release }\nfn a() { Lock::Release }"), NONE);
        assert_eq!(lines("a.cmp(&b) == Ordering::Less"), NONE);
        assert_eq!(lines("match o { Ordering::Acquire | Ordering::AcqRel => 1, _ => 2 }"), NONE);
        assert_eq!(lines("match o { Mine::Acquire => Ordering::Acquire, _ => x }"), NONE);
        assert_eq!(lines("f(\"Ordering::Acquire\"); // Ordering::Release"), NONE);
        assert_eq!(
            lines("#[cfg(test)]\nmod tests {\n    fn a() { x.load(Ordering::Acquire); }\n}"),
            NONE
        );
    }
}
