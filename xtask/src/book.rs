//! `book`: the book in docs/, built by mdBook.

use std::path::PathBuf;

use crate::command::Command;
use crate::error::Result;
use crate::workspace::Workspace;

/// The mdBook that the book is known to build with.
const VERSION: &str = "0.5.4";

/// Builds the book (`tidy` checks it); `--install` first builds mdBook into `target/tools`.
pub fn command(workspace: &Workspace, options: &[&str]) -> Result<bool> {
    if options.contains(&"--install") {
        let install = format!("install mdbook --locked --version {VERSION} --root target/tools");
        if !Command::cargo(&workspace.root, &install).run()? {
            return Ok(false);
        }
    }
    let Some(program) = find(workspace) else {
        println!("mdbook is neither in target/tools nor on PATH; either of these gets it:");
        println!("  cargo xtask book --install");
        println!("  cargo install mdbook --locked --version {VERSION}");
        return Ok(false);
    };
    Command::new(&workspace.root, &program.to_string_lossy(), "build docs").run()
}

fn find(workspace: &Workspace) -> Option<PathBuf> {
    let own = workspace.root.join("target/tools/bin/mdbook");
    if own.is_file() {
        return Some(own);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("mdbook")).find(|file| file.is_file())
}
