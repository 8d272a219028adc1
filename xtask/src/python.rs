//! numpy in a folder of its own: some tests and the peers compare with it.

use std::path::PathBuf;

use crate::command::{Command, Echo};
use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// The range has wheels for Python 3.11 and newer.
const NUMPY: &str = "numpy>=2.2,<3";

/// The variable that tells tests and programs where numpy lies.
pub const NUMPY_PATH: &str = "NUMPY_PATH";

/// Installs numpy into `target/python` unless it is there. `None` where that cannot be done
/// (no Python, no pip, no network): one plain line says so, and the work goes on without.
pub fn numpy(workspace: &Workspace, echo: Echo) -> Result<Option<PathBuf>> {
    let folder = workspace.root.join("target/python");
    let stamp = folder.join("installed");
    let wanted = format!("{NUMPY} for {}", python_version(workspace));
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(Some(folder));
    }
    let install = Command::new(
        &workspace.root,
        "python3",
        "-m pip install --quiet --disable-pip-version-check --upgrade --target target/python",
    )
    .argument(NUMPY)
    .echo(echo);
    match install.run() {
        Ok(true) => {
            std::fs::write(&stamp, wanted).map_err(|error| Error::file(&stamp, error))?;
            Ok(Some(folder))
        }
        Ok(false) | Err(Error::Start { .. }) => {
            let line = "numpy could not be installed: what compares with numpy is skipped";
            match echo {
                Echo::Output => println!("{line}"),
                Echo::Error => eprintln!("{line}"),
            }
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

fn python_version(workspace: &Workspace) -> String {
    let output = Command::new(&workspace.root, "python3", "--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().into()).unwrap_or_default()
}
