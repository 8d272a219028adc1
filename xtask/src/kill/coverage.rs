//! Every public operation that may write shared memory has a kill row, or a reason why not.
//!
//! Rows are found as literals in `tests/kill_*`: what `Scenario::new` is given is the operation's
//! path, as a user writes it. What cannot write needs neither ([`still`](super::still)); the rest
//! stands in the list of [`exempt`]. Functions that a macro makes are not seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

use super::exempt::{self, Exemption, FILE};
use super::module::Modules;
use super::surface::Surface;
use crate::error::{Error, Result};
use crate::workspace::{Package, Workspace};

/// The packages whose operations are looked at.
const PACKAGES: [&str; 4] = ["ipc-queue", "proc-pool", "profiling", "shm-core"];

/// Something to mend, as `tidy` reports it.
#[derive(Debug, PartialEq, Eq)]
pub struct Gap {
    /// The file, from the root.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What, and what to do.
    pub what: String,
}

/// What the rows of a crate cover.
#[derive(Debug, Default)]
pub struct Coverage {
    /// What is to mend.
    pub gaps: Vec<Gap>,
    /// The operations that a row is written for.
    pub rows: BTreeMap<String, Literal>,
    /// How many operations there are, how many of them cannot write, how many are exempt.
    pub operations: usize,
    /// Those that write nothing, by their text.
    pub still: usize,
    /// Those that the list excuses.
    pub exempt: usize,
    /// Those that the list says are owed a row.
    pub owed: Vec<String>,
}

/// Where a row's operation is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    path: PathBuf,
    line: usize,
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { operations, still, exempt, rows, owed, .. } = self;
        writeln!(
            f,
            "{operations} public operations: {} with rows, {still} that write nothing, {exempt} \
             exempt with a reason, {} owed a row",
            rows.len(),
            owed.len()
        )?;
        owed.iter().try_for_each(|operation| writeln!(f, "  no row yet: {operation}"))
    }
}

/// Compares the operations of our crates with the rows and with the list.
pub fn check(workspace: &Workspace) -> Result<Coverage> {
    let list = match exempt::load(&workspace.root)? {
        Ok(list) => list,
        Err((line, what)) => {
            let gap = Gap { path: FILE.into(), line, what };
            return Ok(Coverage { gaps: vec![gap], ..Coverage::default() });
        }
    };
    let mut surface = Surface::default();
    let mut rows = BTreeMap::new();
    for package in workspace.packages.iter().filter(|p| PACKAGES.contains(&&*p.name)) {
        let name = package.name.replace('-', "_");
        let found = Surface::of(&name, &Modules::load(&package.folder.join("src/lib.rs"))?);
        surface.operations.extend(found.operations);
        surface.types.extend(found.types);
    }
    for package in &workspace.packages {
        rows.extend(literals(workspace, package)?);
    }
    let mut coverage = compare(&surface, rows, &list);
    for gap in &mut coverage.gaps {
        gap.path = workspace.relative(&gap.path).into();
    }
    Ok(coverage)
}

/// The comparison itself.
pub fn compare(surface: &Surface, rows: BTreeMap<String, Literal>, list: &[Exemption]) -> Coverage {
    let mut coverage = Coverage { operations: surface.operations.len(), ..Coverage::default() };
    let mut needed = vec![false; list.len()];
    for operation in &surface.operations {
        let path = &operation.path;
        if rows.contains_key(path) {
            continue;
        }
        if operation.function.is_still {
            coverage.still += 1;
            continue;
        }
        let reason = exempt::reason_for(list, path);
        match reason {
            Some(index) if list[index].is_debt() => coverage.owed.push(path.clone()),
            Some(_) => coverage.exempt += 1,
            None => coverage.gaps.push(Gap {
                path: operation.function.file.clone(),
                line: operation.function.line,
                what: uncovered(path),
            }),
        }
        reason.into_iter().for_each(|index| needed[index] = true);
    }
    let idle = list.iter().zip(needed).filter(|(_, needed)| !needed);
    coverage.gaps.extend(idle.map(|(exemption, _)| Gap {
        path: FILE.into(),
        line: exemption.line,
        what: format!(
            "stale: `{}` excuses nothing (gone, or it has a row, or it is seen to write nothing): \
             take the line out",
            exemption.pattern
        ),
    }));
    let unknown = rows.iter().filter(|(path, _)| !is_known(surface, path));
    coverage.gaps.extend(unknown.map(|(path, literal)| Gap {
        path: literal.path.clone(),
        line: literal.line,
        what: format!("a row for `{path}`, which is no public operation: correct the path"),
    }));
    coverage.rows = rows;
    coverage
}

fn uncovered(path: &str) -> String {
    let package = path.split("::").next().unwrap_or_default().replace('_', "-");
    format!(
        "`{path}` has no kill row. Where it writes shared memory, write a test in \
         {package}/tests/kill_*: Scenario::new(\"{path}\"). Else, or until then, add a line to \
         {FILE}: `{path}  the reason` (`{}...` if it should write, and waits for its row)",
        exempt::NO_ROW_YET
    )
}

/// Whether the path is an operation, or the drop of a type: that one may be of its fields.
fn is_known(surface: &Surface, path: &str) -> bool {
    let dropped = path.strip_suffix("::drop").is_some_and(|of| surface.types.contains(of));
    dropped || surface.operations.iter().any(|operation| operation.path == path)
}

/// The operations named in the package's `tests/kill_*`.
fn literals(workspace: &Workspace, package: &Package) -> Result<BTreeMap<String, Literal>> {
    let mut found = BTreeMap::new();
    let tests = package.folder.join("tests");
    for file in package.sources("tests")? {
        let inside = file.strip_prefix(&tests).unwrap_or(&file);
        if !inside.iter().next().is_some_and(|first| first.to_string_lossy().starts_with("kill_")) {
            continue;
        }
        let text = std::fs::read_to_string(&file).map_err(|error| Error::file(&file, error))?;
        let path = workspace.relative(&file);
        let literals =
            named(&text).map_err(|error| Error::Output(format!("{}: {error}", path.display())))?;
        for (operation, line) in literals {
            found.entry(operation).or_insert_with(|| Literal { path: path.into(), line });
        }
    }
    Ok(found)
}

/// The string literals of a source that are paths into our crates, with their lines.
fn named(text: &str) -> std::result::Result<Vec<(String, usize)>, proc_macro2::LexError> {
    let mut found = Vec::new();
    gather(text.parse()?, &mut found);
    Ok(found)
}

fn gather(tokens: TokenStream, found: &mut Vec<(String, usize)>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => gather(group.stream(), found),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let text = text.trim_matches('"');
                if is_path(text) {
                    found.push((text.into(), literal.span().start().line));
                }
            }
            _ => {}
        }
    }
}

fn is_path(text: &str) -> bool {
    let starts = |name: &str| {
        text.strip_prefix(&name.replace('-', "_")).is_some_and(|rest| rest.starts_with("::"))
    };
    let plain = text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
    plain && PACKAGES.iter().any(|name| starts(name))
}

/// Rows that a test names and that none of them printed.
pub fn missing<'a>(coverage: &'a Coverage, printed: &[&str]) -> Vec<&'a str> {
    let all = coverage.rows.keys().map(String::as_str);
    all.filter(|row| !printed.contains(row)).collect()
}

/// Seen from the root, as the other findings are.
impl Gap {
    /// The line that a command prints.
    pub fn text(&self) -> String {
        format!("{}:{}: {}", Path::display(&self.path), self.line, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
        pub mod spsc {
            pub struct Producer;
            impl Producer {
                pub fn send(&self) { act() }
                pub fn len(&self) -> usize { self.len }
                pub fn set_spin_limit(&mut self, n: u32) { self.spin = n }
            }
        }";

    fn rows(text: &str) -> BTreeMap<String, Literal> {
        let at = |line| Literal { path: "tests/kill_a.rs".into(), line };
        named(text).unwrap().into_iter().map(|(path, line)| (path, at(line))).collect()
    }

    fn gaps(test: &str, list: &str) -> Vec<String> {
        let surface = Surface::of("ipc_queue", &Modules::of(SOURCE));
        let coverage = compare(&surface, rows(test), &exempt::parse(list).unwrap());
        coverage.gaps.iter().map(Gap::text).collect()
    }

    const SEND: &str = r#"fn kill_send() { run(row("ipc_queue::spsc::Producer::send", 1)); }"#;
    const SPIN: &str = "ipc_queue::spsc::Producer::set_spin_limit  private memory";

    #[test]
    fn what_has_a_row_a_reason_or_no_writes_is_covered() {
        assert!(gaps(SEND, SPIN).is_empty(), "{:?}", gaps(SEND, SPIN));
    }

    #[test]
    fn an_operation_without_a_row_fails_and_is_told_what_to_write() {
        let found = gaps("fn kill_send() {}", SPIN);
        assert_eq!(found.len(), 1, "{found:?}");
        for part in ["src/lib.rs:5", "ipc-queue/tests/kill_*", "Producer::send", FILE] {
            assert!(found[0].contains(part), "{part} is missing: {}", found[0]);
        }
    }

    #[test]
    fn a_reason_that_excuses_nothing_is_stale() {
        let gone = format!("{SPIN}\nipc_queue::spsc::Producer::gone  was there once");
        assert!(gaps(SEND, &gone)[0].contains("stale"));
        let has_row = format!("{SPIN}\nipc_queue::spsc::Producer::send  too hard");
        assert!(gaps(SEND, &has_row)[0].starts_with("xtask/kill-exempt.txt:2: stale"));
        let writes_nothing = format!("{SPIN}\nipc_queue::spsc::Producer::len  reads");
        assert_eq!(gaps(SEND, &writes_nothing).len(), 1);
    }

    #[test]
    fn a_row_for_what_is_not_public_fails() {
        let test = SEND.replace("send", "sned");
        let found = gaps(&test, &format!("{SPIN}\nipc_queue::spsc::Producer::send  x"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("no public operation"), "{found:?}");
    }

    #[test]
    fn a_row_may_be_the_drop_of_any_type() {
        let test = format!("{SEND} fn b() {{ row(\"ipc_queue::spsc::Producer::drop\") }}");
        assert!(gaps(&test, SPIN).is_empty());
    }

    #[test]
    fn a_debt_is_no_failure_and_is_counted() {
        let surface = Surface::of("ipc_queue", &Modules::of(SOURCE));
        let list = "ipc_queue::spsc::Producer::*  no row yet: the ring moves";
        let coverage = compare(&surface, BTreeMap::new(), &exempt::parse(list).unwrap());
        assert!(coverage.gaps.is_empty());
        assert_eq!(coverage.owed.len(), 2);
        assert!(coverage.to_string().contains("2 owed a row"), "{coverage}");
    }

    #[test]
    fn comments_and_other_texts_are_no_rows() {
        let text = r#"// "ipc_queue::spsc::Producer::send"
            fn a() { b("not::ours::x"); c("ipc_queue is fine"); d!("ipc_queue::x::y"); }"#;
        assert_eq!(named(text).unwrap(), [("ipc_queue::x::y".to_string(), 2)]);
    }

    #[test]
    fn a_row_that_no_test_printed_is_missed() {
        let coverage = Coverage { rows: rows(SEND), ..Coverage::default() };
        assert_eq!(missing(&coverage, &[]), ["ipc_queue::spsc::Producer::send"]);
        assert!(missing(&coverage, &["ipc_queue::spsc::Producer::send"]).is_empty());
    }

    #[test]
    fn the_operations_and_the_rows_of_this_repository_are_found() {
        let coverage = check(&Workspace::load().unwrap()).unwrap();
        assert!(coverage.operations > 200, "{coverage}");
        assert!(coverage.rows.contains_key("ipc_queue::spsc::Producer::send"), "{coverage}");
    }
}
