//! CPython's `multiprocessing.shared_memory` and numpy on memory of ours, and we on theirs; with
//! the real interpreter.
//!
//! Numpy is looked for in the folder `NUMPY_PATH` names, in `target/python`, and where Python
//! finds it by itself; `cargo xtask test` installs it. Where there is none, a plain line says so.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use shm_core::{Error, NamedFrozen, RawSegment};

/// What all scripts begin with. `attach` is the way that leaves the name alone.
const PRELUDE: &str = r#"
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

def attach(name):
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    shm = SharedMemory(name)
    resource_tracker.unregister(shm._name, "shared_memory")
    return shm

def say(*words):
    print(*words, flush=True)

def listen():
    return sys.stdin.readline().strip()

name = sys.argv[1]
"#;

struct Python {
    child: Child,
    from: BufReader<ChildStdout>,
}

impl Python {
    /// Runs a script; `None` where there is no Python, or no numpy for one that needs it.
    fn run(script: &str, name: &str) -> Option<Python> {
        let mut command = interpreter(script.contains("numpy"))?;
        let script = format!("{PRELUDE}{script}");
        let mut child = command
            .args(["-c", &script, name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        Some(Python { child, from })
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for its end and for that of its resource tracker, which holds our pipe to the last.
    fn finish(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        let mut rest = String::new();
        while self.from.read_line(&mut rest).unwrap() > 0 {}
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn interpreter(numpy: bool) -> Option<Command> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let folders = [
        std::env::var_os("NUMPY_PATH").map(PathBuf::from),
        Some(workspace.join("target/python")),
        None,
    ];
    let needed = if numpy { "import numpy" } else { "import multiprocessing.shared_memory" };
    for folder in folders {
        let command = || {
            let mut command = Command::new("python3");
            if let Some(folder) = &folder {
                command.env("PYTHONPATH", folder);
            }
            command
        };
        let probe = command().args(["-c", needed]).output();
        if probe.is_ok_and(|output| output.status.success()) {
            return Some(command());
        }
    }
    println!("skipped: no Python here that can `{needed}`");
    None
}

fn name(what: &str) -> String {
    format!("test-python-{what}-{}", std::process::id())
}

fn path_of(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(name)
}

fn write(segment: &RawSegment, values: &[f64]) {
    assert!(size_of_val(values) <= segment.size());
    let to = segment.data().cast::<f64>().as_ptr();
    // SAFETY: within the memory, page-aligned; the other program waits.
    unsafe { to.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
}

fn read(segment: &RawSegment, len: usize) -> Vec<f64> {
    assert!(len * 8 <= segment.size());
    let from = segment.data().cast::<f64>().as_ptr();
    // SAFETY: within the memory, page-aligned; the other program waits.
    unsafe { std::slice::from_raw_parts(from, len) }.to_vec()
}

#[test]
fn python_attaches_to_ours_and_both_see_what_the_other_writes() {
    let name = name("ours");
    let ours = RawSegment::create(&name, 4096).unwrap();
    write(&ours, &[1.5, 2.5]);
    let script = r#"
import struct
shm = attach(name)
say(shm.size, *struct.unpack_from("2d", shm.buf))
listen()
struct.pack_into("d", shm.buf, 8, -7.0)
shm.close()
say("written")
"#;
    let Some(mut python) = Python::run(script, &name) else { return };
    assert_eq!(python.hear(), "4096 1.5 2.5");
    python.say("write");
    assert_eq!(python.hear(), "written");
    python.finish();
    assert_eq!(read(&ours, 2), [1.5, -7.0]);
    // Its resource tracker has ended too, and left the name alone.
    ours.validate().unwrap();
    assert!(path_of(&name).exists());
    drop(ours);
    assert!(!path_of(&name).exists());
}

#[test]
fn numpy_computes_in_place_on_ours() {
    let name = name("numpy");
    let ours = RawSegment::create(&name, 8000).unwrap();
    write(&ours, &(0..1000).map(f64::from).collect::<Vec<_>>());
    let script = r#"
import numpy as np
shm = attach(name)
array = np.ndarray(1000, np.float64, buffer=shm.buf)
say(array.sum())
array *= 2
del array
shm.close()
"#;
    let Some(mut python) = Python::run(script, &name) else { return };
    assert_eq!(python.hear(), "499500.0");
    python.finish();
    assert_eq!(read(&ours, 1000)[999], 1998.0);
    ours.validate().unwrap();
}

#[test]
fn numpy_reads_a_published_array_behind_its_header() {
    let name = name("header");
    let ours = NamedFrozen::publish(&name, &[1.0f64, 2.0, 4.0]).unwrap();
    let script = r#"
import numpy as np
shm = attach("shm-core." + name)
array = np.ndarray(3, np.float64, buffer=shm.buf, offset=65536)
say(array.sum())
del array
shm.close()
"#;
    let Some(mut python) = Python::run(script, &name) else { return };
    assert_eq!(python.hear(), "7.0");
    python.finish();
    assert_eq!(NamedFrozen::<f64>::open(&name).unwrap()[..], ours[..]);
}

#[test]
fn we_attach_to_pythons_and_it_stays_pythons() {
    let name = name("theirs");
    let script = r#"
import numpy as np
shm = SharedMemory(name, create=True, size=800)
array = np.ndarray(100, np.float64, buffer=shm.buf)
array[:] = np.arange(100)
say("made")
listen()
say(array[99])
del array
shm.close()
listen()
shm.unlink()
say("unlinked")
"#;
    let Some(mut python) = Python::run(script, &name) else { return };
    assert_eq!(python.hear(), "made");
    let theirs = RawSegment::open(&name).unwrap();
    assert!(!theirs.is_ours() && theirs.size() >= 800);
    assert_eq!(read(&theirs, 100).iter().sum::<f64>(), 4950.0);
    write(&theirs, &[0.5; 100]);
    python.say("read");
    assert_eq!(python.hear(), "0.5");
    // Neither our leaving nor our sweep takes it away.
    drop(theirs);
    shm_core::sweep().unwrap();
    let again = RawSegment::open(&name).unwrap();
    again.validate().unwrap();
    python.say("unlink");
    assert_eq!(python.hear(), "unlinked");
    assert!(matches!(again.validate(), Err(Error::NotFound { .. })));
    assert_eq!(read(&again, 1), [0.5], "what is mapped stays mapped");
    python.finish();
}

/// What Python does by itself, as the documentation of `RawSegment` says. Should a Python behave
/// better one day, this tells.
#[test]
fn the_tracker_of_a_python_that_was_not_told_unlinks_ours_and_we_notice() {
    let name = name("tracker");
    let ours = RawSegment::create(&name, 100).unwrap();
    write(&ours, &[3.25]);
    let script = r#"
shm = SharedMemory(name)
say(sys.version_info >= (3, 13), shm.buf[0])
shm.close()
"#;
    let Some(mut python) = Python::run(script, &name) else { return };
    python.hear();
    python.finish();
    assert!(!path_of(&name).exists(), "this Python leaves alone what it only attached to");
    assert!(matches!(ours.validate(), Err(Error::NotFound { .. })));
    assert_eq!(read(&ours, 1), [3.25], "our memory is as it was");
    // Nothing of ours stays behind, and the name can be used again.
    drop(ours);
    assert!(!path_of(&format!("shm-core.{name}")).exists());
    drop(RawSegment::create(&name, 100).unwrap());
}

#[test]
fn what_a_killed_python_left_is_not_ours_to_take() {
    let name = name("killed");
    let script = r#"
shm = SharedMemory(name, create=True, size=100)
resource_tracker.unregister(shm._name, "shared_memory")
say("made")
listen()
"#;
    let Some(mut python) = Python::run(script, &name) else { return };
    assert_eq!(python.hear(), "made");
    python.child.kill().unwrap();
    python.child.wait().unwrap();
    shm_core::sweep().unwrap();
    assert_eq!(RawSegment::open(&name).unwrap().size(), 100);
    std::fs::remove_file(path_of(&name)).unwrap();
}
