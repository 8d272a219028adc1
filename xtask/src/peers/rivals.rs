//! What the rivals need beside crates: Python packages, Debian packages, a C++ compiler.
//!
//! Python packages go into `target/python-peers`, Boost's headers into `target/debian-peers` unless
//! they are installed; nothing is put anywhere else. What cannot be had is named, and its rows say
//! so too.

use std::path::{Path, PathBuf};

use super::Options;
use crate::command::{Command, Echo};
use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// Python's rivals, each at one version, and the area that they are rivals in.
const PYTHON: [(&str, &str); 6] = [
    ("pool", "loky==3.7.0"),
    ("pool", "cloudpickle==3.1.2"),
    ("pool", "ray==2.48.0"),
    ("pool", "charm4py==1.1"),
    ("profiler", "memory_profiler==0.61.0"),
    ("profiler", "memray==1.20.0"),
];

/// Debian's programs that are run as they are, with their package.
const PROGRAMS: [(&str, &str); 3] =
    [("heaptrack", "heaptrack"), ("valgrind", "valgrind"), ("g++", "g++")];

/// Boost's headers, as Debian packs them.
const BOOST: &str = "libboost1.74-dev";

/// Where the rivals are that are no crates.
#[derive(Clone, Debug, Default)]
pub struct Rivals {
    /// The folder for PYTHONPATH, if any package could be had.
    pub python: Option<PathBuf>,
    /// Our program around Boost's allocator and locks, if it could be built.
    pub boost: Option<PathBuf>,
    /// What could not be had, in words.
    pub missing: Vec<String>,
}

/// Gets what can be had, and names the rest.
pub fn prepare(workspace: &Workspace, options: &Options) -> Result<Rivals> {
    let mut rivals = Rivals::default();
    let wants = |names: &[&str]| names.iter().any(|name| options.names.contains(name));
    for (_, package) in PYTHON.into_iter().filter(|(area, _)| wants(&[area])) {
        if python(workspace, package, options.echo())? {
            rivals.python = Some(workspace.root.join(PYTHON_FOLDER));
        } else {
            rivals.missing.push(format!("Python's {package}: pip could not install it"));
        }
    }
    for (program, package) in PROGRAMS {
        if wants(&["shm", "heap", "profiler"]) && !is_on_path(program) {
            rivals.missing.push(format!("{program}: `apt-get install {package}`"));
        }
    }
    if wants(&["shm", "heap"]) {
        rivals.boost = boost(workspace, options.echo())?;
        if rivals.boost.is_none() {
            rivals.missing.push(format!("Boost: `apt-get install {BOOST} g++`"));
        }
    }
    for missing in &rivals.missing {
        say(options.echo(), &format!("not here: {missing}"));
    }
    Ok(rivals)
}

fn say(echo: Echo, line: &str) {
    match echo {
        Echo::Output => println!("{line}"),
        Echo::Error => eprintln!("{line}"),
    }
}

/// Where Python's packages go.
const PYTHON_FOLDER: &str = "target/python-peers";

/// Installs a package, as it was built by its authors; `false` if it cannot be had so.
fn python(workspace: &Workspace, package: &str, echo: Echo) -> Result<bool> {
    let stamp = workspace.root.join(PYTHON_FOLDER).join(format!("{package}.installed"));
    if stamp.is_file() {
        return Ok(true);
    }
    let line = "-m pip install --quiet --disable-pip-version-check --upgrade \
                --only-binary :all: --target target/python-peers";
    let install = Command::new(&workspace.root, "python3", line).argument(package).echo(echo);
    if !matches!(install.run(), Ok(true)) {
        return Ok(false);
    }
    std::fs::write(&stamp, "").map_err(|error| Error::file(&stamp, error))?;
    Ok(true)
}

/// Builds the program around Boost, with the headers that are installed or else with those of
/// Debian's package, unpacked into a folder of its own.
fn boost(workspace: &Workspace, echo: Echo) -> Result<Option<PathBuf>> {
    const HEADER: &str = "usr/include/boost/interprocess/managed_shared_memory.hpp";
    let unpacked = workspace.root.join("target/debian-peers");
    let installed = Path::new("/").join(HEADER).is_file();
    if !installed && !unpacked.join(HEADER).is_file() && !unpack(workspace, &unpacked, echo)? {
        return Ok(None);
    }
    let program = workspace.root.join("target/peers/boost-sides");
    let source = workspace.root.join("peers/cpp/boost_sides.cpp");
    let changed = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    if changed(&program) > changed(&source) {
        return Ok(Some(program));
    }
    make_folder(&workspace.root.join("target/peers"))?;
    let line = "-std=c++17 -O3 -DNDEBUG -Wall -isystem target/debian-peers/usr/include \
                -o target/peers/boost-sides peers/cpp/boost_sides.cpp -lpthread -lrt";
    let build = Command::new(&workspace.root, "g++", line).echo(echo);
    Ok(matches!(build.run(), Ok(true)).then_some(program))
}

fn unpack(workspace: &Workspace, folder: &Path, echo: Echo) -> Result<bool> {
    make_folder(folder)?;
    let download = Command::new(folder, "apt-get", "--quiet download").argument(BOOST).echo(echo);
    if !matches!(download.run(), Ok(true)) {
        return Ok(false);
    }
    let script = "dpkg -x target/debian-peers/libboost*.deb target/debian-peers";
    let unpack = Command::new(&workspace.root, "sh", "-c").argument(script).echo(echo);
    Ok(matches!(unpack.run(), Ok(true)))
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::file(folder, error))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_the_shell_would_find_it() {
        assert!(is_on_path("sh"));
        assert!(!is_on_path("no-such-program-here"));
    }
}
