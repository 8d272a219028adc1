//! Bytes by source line, with the source beside them where the file is at hand.

use std::collections::HashMap;
use std::fmt::Write;

use super::escape::Escaped;
use super::{amount, tables};
use crate::stacks::{LineBytes, Stacks, is_own_source};

/// So many lines have a row.
const ROWS: usize = 40;
/// So many lines of source are shown above and below.
const AROUND: usize = 3;
/// No file longer than this is read.
const LONGEST: u64 = 4 << 20;

/// The table of one set of stacks; empty where no stack knows its source.
pub(super) fn table(name: &str, stacks: &Stacks) -> String {
    let lines = stacks.by_line(is_own_source);
    if lines.is_empty() {
        return String::new();
    }
    let mut sources = Sources::default();
    let mut rows = String::new();
    for line in lines.iter().take(ROWS) {
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            place(line, &mut sources),
            amount(line.bytes),
            line.blocks,
        );
    }
    let rest: u64 = lines.iter().skip(ROWS).map(|line| line.bytes).sum();
    let known: u64 = lines.iter().map(|line| line.bytes).sum();
    let mut note = String::new();
    if rest > 0 {
        let more = lines.len() - ROWS;
        let _ = writeln!(note, "<p class=\"lead\">and {more} lines with {}</p>", amount(rest));
    }
    let unknown = stacks.bytes().saturating_sub(known);
    if unknown > 0 {
        let unknown = amount(unknown);
        let _ = writeln!(note, "<p class=\"lead\">without a source line: {unknown}</p>");
    }
    let head = ["source line", "bytes", "blocks"];
    format!("<h3>{}</h3>\n{}{note}", Escaped(name), tables::table(name, &head, &rows))
}

/// The line's name; where the source is at hand, with the source to unfold.
fn place(line: &LineBytes, sources: &mut Sources) -> String {
    let name = format!(
        "{}:{} <span class=\"soft\">{}</span>",
        Escaped(&line.file),
        line.line,
        Escaped(&line.function)
    );
    match sources.around(&line.file, line.line) {
        Some(source) => format!("<details><summary>{name}</summary><pre>{source}</pre></details>"),
        None => name,
    }
}

/// The files read so far.
#[derive(Default)]
struct Sources {
    files: HashMap<String, Option<Vec<String>>>,
}

impl Sources {
    /// The lines around one, that one marked; `None` where the file is missing or shorter.
    fn around(&mut self, file: &str, line: u32) -> Option<String> {
        let known = self.files.entry(file.to_owned()).or_insert_with(|| read(file));
        let lines = known.as_ref()?;
        let wanted = usize::try_from(line).ok()?.checked_sub(1)?;
        lines.get(wanted)?;
        let first = wanted.saturating_sub(AROUND);
        let mut text = String::new();
        for (index, line) in lines.iter().enumerate().skip(first).take(wanted - first + AROUND + 1)
        {
            let (open, close) = if index == wanted { ("<mark>", "</mark>") } else { ("", "") };
            // Byte by byte a line may hold a tab, which HTML would squeeze.
            let line = line.replace('\t', "    ");
            let _ = writeln!(text, "{open}{:>5}  {}{close}", index + 1, Escaped(&line));
        }
        Some(text)
    }
}

fn read(file: &str) -> Option<Vec<String>> {
    let found = std::fs::metadata(file).ok()?;
    if !found.is_file() || found.len() > LONGEST {
        return None;
    }
    let text = std::fs::read(file).ok()?;
    Some(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stacks::tests::some;

    #[test]
    fn a_line_stands_beside_its_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("main.rs");
        std::fs::write(&path, "one\ntwo\nlet three = vec![<u8>];\nfour\n").unwrap();
        let mut stacks = some();
        stacks.stacks[1].frames[0].file = Some(path.to_str().unwrap().to_owned());
        let html = table("Lines", &stacks);
        assert!(html.contains("<mark>    3  let three = vec![&lt;u8&gt;];</mark>"), "{html}");
        assert!(html.contains("    1  one") && html.contains("    4  four"), "{html}");
    }

    #[test]
    fn a_source_that_is_not_there_is_only_named() {
        let html = table("Lines", &some());
        assert!(html.contains("/ours/main.rs:3") && !html.contains("<pre>"), "{html}");
    }

    #[test]
    fn stacks_without_sources_have_no_table() {
        let stacks = Stacks::at_peak(&crate::timeline::tests::two_halves());
        assert_eq!(table("Lines", &stacks), "");
    }
}
