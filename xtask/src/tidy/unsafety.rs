//! Every unsafe block and every unsafe impl says why it holds here, every unsafe function what
//! its caller owes.

use super::Finding;
use super::lexer::{Source, words};
use super::regions::Joined;

/// Finds `unsafe` without its argument. Tests argue too.
pub fn check(source: &Source) -> Vec<Finding> {
    let joined = Joined::new(&source.code);
    let mut findings = Vec::new();
    for (index, line) in source.code.iter().enumerate() {
        for (column, _) in words(line).filter(|(_, word)| *word == "unsafe") {
            let at = joined.start_of(index) + column;
            let what = match kind(&joined.text[at + "unsafe".len()..]) {
                Kind::Block | Kind::Impl if is_argued(source, &joined, index, at) => continue,
                Kind::Function if has_obligations(source, &joined, at) => continue,
                Kind::Other => continue,
                Kind::Block => "unsafe block without `// SAFETY:` above it: say why it holds here",
                Kind::Impl => "unsafe impl without `// SAFETY:` above it: say why it holds here",
                Kind::Function => {
                    "unsafe fn without `# Safety` in its docs: list what the caller owes as bullets"
                }
            };
            findings.push(Finding::new(&source.path, index + 1, what));
        }
    }
    findings
}

enum Kind {
    Block,
    Impl,
    Function,
    Other,
}

/// What the word `unsafe` opens, by what follows it.
fn kind(after: &str) -> Kind {
    let after = after.trim_start();
    let mut following = words(after);
    let first = following.next().map(|(_, word)| word);
    if after.starts_with('{') {
        return Kind::Block;
    }
    if first == Some("impl") && after.starts_with("impl") {
        return Kind::Impl;
    }
    let function = after.find("fn ").filter(|at| {
        after[..*at].split_whitespace().all(|word| word == "extern" || word.starts_with('"'))
    });
    match function {
        Some(_) => Kind::Function,
        None => Kind::Other,
    }
}

/// Whether `SAFETY:` stands on the line, or in the comment above it or above its statement.
fn is_argued(source: &Source, joined: &Joined, line: usize, at: usize) -> bool {
    let says = |index: &usize| source.comments[*index].contains("SAFETY:");
    says(&line)
        || comment_above(source, line).iter().any(says)
        || comment_above(source, joined.statement_line(at)).iter().any(says)
}

/// Whether the docs above hold `# Safety`; a method of a trait's impl inherits the trait's.
fn has_obligations(source: &Source, joined: &Joined, at: usize) -> bool {
    let inherits = joined.headers(at).last().is_some_and(|header| {
        let found: Vec<&str> = words(header).map(|(_, word)| word).collect();
        found.contains(&"impl") && found.contains(&"for")
    });
    let docs = comment_above(source, joined.statement_line(at));
    inherits || docs.iter().any(|index| source.comments[*index].contains("# Safety"))
}

/// The lines of the comment directly above a line, attributes in between left out.
fn comment_above(source: &Source, line: usize) -> Vec<usize> {
    let near = |index: &usize| source.is_comment_only(*index) || source.is_attribute(*index);
    (0..line).rev().take_while(near).collect()
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
    fn a_block_needs_its_reason_directly_above() {
        assert_eq!(lines("fn a() {\n    unsafe { b() }\n}"), [2]);
        assert_eq!(lines("fn a() {\n    // SAFETY: b is alive\n    unsafe { b() }\n}"), NONE);
        assert_eq!(lines("// SAFETY: b is alive\nlet a =\n    unsafe { b() };"), NONE);
        assert_eq!(lines("// SAFETY: of another line\nb();\nunsafe { b() };"), [3]);
        assert_eq!(
            lines("match a {\n    // SAFETY: b is alive\n    A => unsafe { b() },\n}"),
            NONE
        );
    }

    #[test]
    fn an_impl_needs_its_reason() {
        assert_eq!(lines("struct A;\nunsafe impl Send for A {}"), [2]);
        assert_eq!(
            lines("struct A;\n// SAFETY: only plain words\nunsafe impl Send for A {}"),
            NONE
        );
    }

    #[test]
    fn a_function_lists_what_its_caller_owes() {
        assert_eq!(lines("/// Does.\npub unsafe fn a() {}"), [2]);
        assert_eq!(
            lines("/// Does.\n///\n/// # Safety\n/// - b\n#[inline]\npub unsafe fn a() {}"),
            NONE
        );
        assert_eq!(lines("/// Does.\nunsafe extern \"C\" fn a() {}"), [2]);
        assert_eq!(lines("impl T for A {\n    unsafe fn a() {}\n}"), NONE);
        assert_eq!(lines("impl A {\n    unsafe fn a() {}\n}"), [2]);
    }

    #[test]
    fn words_types_and_attributes_are_left_alone() {
        assert_eq!(lines("// unsafe { }\nlet a = \"unsafe { }\";"), NONE);
        assert_eq!(lines("#[unsafe(no_mangle)]\ntype A = unsafe fn();"), NONE);
        assert_eq!(lines("type A = unsafe extern \"C\" fn(i32);"), NONE);
    }
}
