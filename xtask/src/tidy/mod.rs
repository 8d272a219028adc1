//! `tidy`: the part of the style that a machine can see, one rule family a file.
//!
//! The rules read Rust through a light lexer that parts code from comments and blanks strings;
//! nothing here parses the language. A rule that is wrong about a line is a rule to mend.

mod arrows;
mod crates;
mod lexer;
mod modules;
mod orderings;
mod pages;
mod panics;
mod regions;
mod shim;
mod unsafety;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::workspace::{Workspace, walk};
use lexer::Source;

/// One thing to mend: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: PathBuf,
    line: usize,
    what: String,
}

impl Finding {
    /// A finding in `path` at `line`, counted from 1.
    fn new(path: &Path, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.into(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// Prints every finding; succeeds when there is none.
pub fn command(workspace: &Workspace, _options: &[&str]) -> Result<bool> {
    let (findings, files) = check(workspace)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {files} files, nothing to mend"),
        count => println!("tidy: {files} files, {count} to mend"),
    }
    Ok(findings.is_empty())
}

/// Reads every file of the repository; gives the findings, sorted, and the number of files.
fn check(workspace: &Workspace) -> Result<(Vec<Finding>, usize)> {
    let mut files = Vec::new();
    walk(&workspace.root, &mut files)?;
    let mut sources = Vec::new();
    let mut findings = Vec::new();
    let mut read = 0;
    for file in &files {
        if !is_text(file) {
            continue;
        }
        read += 1;
        let text = std::fs::read_to_string(file).map_err(|error| Error::file(file, error))?;
        let path = workspace.relative(file);
        if file.extension().is_some_and(|extension| extension == "rs") {
            sources.push(Source::new(path, &text));
        } else {
            findings.extend(words::check_text(path, &text));
        }
    }
    regions::mark_test_files(&mut sources);
    for source in &sources {
        findings.extend(check_source(source));
    }
    findings.extend(arrows::check(&workspace.packages, &workspace.root));
    findings.extend(crates::check(workspace));
    findings.extend(pages::check(workspace)?);
    let gaps = crate::kill::coverage::check(workspace)?.gaps;
    findings.extend(gaps.iter().map(|gap| Finding::new(&gap.path, gap.line, &*gap.what)));
    findings.sort();
    findings.dedup();
    Ok((findings, read))
}

/// All rules that look at one Rust file.
fn check_source(source: &Source) -> Vec<Finding> {
    let rules: [fn(&Source) -> Vec<Finding>; 6] = [
        modules::check,
        orderings::check,
        panics::check,
        shim::check,
        unsafety::check,
        words::check_source,
    ];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

/// Whether the rules about words concern this file.
fn is_text(file: &Path) -> bool {
    const EXTENSIONS: [&str; 9] = ["rs", "md", "toml", "sh", "py", "yml", "yaml", "txt", "json"];
    let hidden_run = file.ends_with(".ci/run");
    hidden_run
        || file
            .extension()
            .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
}
