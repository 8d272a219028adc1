//! The book: every page is listed, every include and link leads somewhere. mdBook lets both pass.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::error::{Error, Result};
use crate::workspace::{Workspace, walk};

/// Checks the pages of the book.
pub fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let book = workspace.root.join("docs/src");
    check_book(&book, workspace.relative(&book))
}

fn check_book(book: &Path, name: &Path) -> Result<Vec<Finding>> {
    let mut files = Vec::new();
    walk(book, &mut files)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    let read = |file: &Path| std::fs::read_to_string(file).map_err(|e| Error::file(file, e));
    let summary = book.join("SUMMARY.md");
    let listed: Vec<PathBuf> = links(&read(&summary)?).map(|link| book.join(link)).collect();
    let mut findings = Vec::new();
    for file in &files {
        let page = name.join(file.strip_prefix(book).unwrap_or(file));
        if *file != summary && !listed.contains(file) {
            let what = "a page that SUMMARY.md does not list: list it, or delete it";
            findings.push(Finding::new(&page, 1, what));
        }
        let folder = file.parent().unwrap_or(book);
        for (index, line) in read(file)?.lines().enumerate() {
            for target in includes(line).chain(links(line)) {
                if !folder.join(target).exists() {
                    let what = format!("`{target}` leads nowhere: mend it, or leave it out");
                    findings.push(Finding::new(&page, index + 1, what));
                }
            }
        }
    }
    Ok(findings)
}

/// The files of the `include`s of a text, without their line numbers or anchors.
fn includes(text: &str) -> impl Iterator<Item = &str> {
    let marked = text.split("{{#include ").skip(1);
    marked.filter_map(|rest| rest.split_once("}}")).map(|(target, _)| {
        let target = target.trim();
        target.split_once(':').map_or(target, |(file, _)| file)
    })
}

/// The files of the links of a text, without their fragments; addresses of the web are left out.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let marked = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let files = marked.map(|(target, _)| target.split('#').next().unwrap_or(target));
    files.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pages: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in pages {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let findings = check_book(folder.path(), Path::new("src")).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_page_must_be_listed() {
        let listed = ("SUMMARY.md", "- [A](a.md)");
        assert_eq!(found(&[listed, ("a.md", "# A")]), [""; 0]);
        let found = found(&[listed, ("a.md", "# A"), ("b.md", "# B")]);
        assert!(found.len() == 1 && found[0].starts_with("src/b.md:1:"), "{found:?}");
    }

    #[test]
    fn what_leads_nowhere_is_found() {
        let listed = ("SUMMARY.md", "- [A](a.md)");
        let good = "[self](a.md#top) [web](https://example.com) {{#include a.md:anchor}} [x](#y)";
        assert_eq!(found(&[listed, ("a.md", good)]), [""; 0]);
        let bad = "[gone](c.md)\n{{#include ../no-such/README.md}}";
        assert_eq!(found(&[listed, ("a.md", bad)]).len(), 2);
        assert_eq!(found(&[("SUMMARY.md", "- [A](a.md)")]).len(), 1);
    }
}
