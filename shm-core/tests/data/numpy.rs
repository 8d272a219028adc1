//! Records in both directions between us and numpy, in one memory, with the real interpreter; and
//! descriptions of types.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use shm_core::{Error, RawSegment, ShmSafe, dtype};

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
pub struct Inner {
    a: [[i16; 2]; 3],
    b: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, ShmSafe)]
#[repr(C)]
pub struct Everything {
    i8s: i8,
    u8s: u8,
    i16s: i16,
    i32s: i32,
    i64s: i64,
    u16s: u16,
    _pad: [u8; 2],
    u32s: u32,
    u64s: u64,
    f32s: f32,
    code: [u8; 4],
    f64s: f64,
    inner: [Inner; 2],
}

fn record(n: u8) -> Everything {
    let inner = |k: i16| Inner { a: [[k, k + 1], [-k, 0], [7, k]], b: 1 << n };
    Everything {
        i8s: -1 - n as i8,
        u8s: 200 + n,
        i16s: -300,
        i32s: -70_000,
        i64s: -5_000_000_000,
        u16s: 60_000,
        _pad: [0; 2],
        u32s: 4_000_000_000,
        u64s: 1 << 63 | u64::from(n),
        f32s: 0.5,
        code: *b"code",
        f64s: f64::from(n) + 0.25,
        inner: [inner(i16::from(n)), inner(-9)],
    }
}

/// What Python does with our records, and the other way round.
const SCRIPT: &str = r#"
import ast, sys, numpy
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

name, descr = sys.argv[1], sys.argv[2]
shm = SharedMemory(name, **({"track": False} if sys.version_info >= (3, 13) else {}))
if sys.version_info < (3, 13):
    resource_tracker.unregister(shm._name, "shared_memory")
dtype = numpy.dtype(ast.literal_eval(descr))
array = numpy.ndarray((3,), dtype, buffer=shm.buf)
assert array["u64s"].tolist() == [1 << 63 | n for n in range(3)], array["u64s"]
assert array["f64s"].sum() == 3.75 and array["i64s"][0] == -5000000000
assert array["i8s"].tolist() == [-1, -2, -3] and array["u16s"][1] == 60000
assert bytes(array["code"][2]) == b"code" and array["f32s"][0] == 0.5
assert array["inner"]["a"].shape == (3, 2, 3, 2) and array["inner"]["a"][2, 0, 0].tolist() == [2, 3]
array["f64s"] *= 2
array["inner"]["b"][:, 1] = 77
print(array.dtype.descr)
print(array.dtype.itemsize)
print(numpy.zeros(1, "c16,?,(2,)f4").dtype.descr)
print(numpy.zeros(1, "u4").dtype.descr)
del array
shm.close()
"#;

pub fn python() -> Option<Command> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let folders = [
        std::env::var_os("NUMPY_PATH").map(PathBuf::from),
        Some(workspace.join("target/python")),
        None,
    ];
    for folder in folders {
        let command = || {
            let mut command = Command::new("python3");
            if let Some(folder) = &folder {
                command.env("PYTHONPATH", folder);
            }
            command
        };
        let probe = command().args(["-c", "import numpy"]).output();
        if probe.is_ok_and(|output| output.status.success()) {
            return Some(command());
        }
    }
    println!("skipped: no Python here that can `import numpy`");
    None
}

#[derive(Clone, Copy, ShmSafe)]
#[repr(C)]
struct Mixed {
    f0: [f64; 2],
    f2: [f32; 2],
}

#[test]
fn records_of_every_kind_go_both_ways_in_one_memory() {
    let name = format!("test-numpy-{}", std::process::id());
    let segment = RawSegment::create(&name, 4096).unwrap();
    let place = segment.data().cast::<Everything>().as_ptr();
    let ours: Vec<Everything> = (0..3).map(record).collect();
    // SAFETY: within the memory, page-aligned; nobody else has the name yet.
    unsafe { place.copy_from_nonoverlapping(ours.as_ptr(), ours.len()) };
    let Some(mut python) = python() else { return };
    let described = dtype::describe::<Everything>();
    let mut child = python
        .args(["-", &name, &described])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(SCRIPT.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    dtype::check::<Everything>(lines[0]).unwrap();
    assert_eq!(lines[1], size_of::<Everything>().to_string());
    // Complex numbers as two, `?` as a byte.
    let wrong = dtype::check::<Mixed>(lines[2]).unwrap_err();
    assert!(wrong.to_string().contains("`f1`"), "{wrong}");
    dtype::check::<u32>(lines[3]).unwrap();
    // SAFETY: within the memory, page-aligned; Python has ended.
    let theirs = unsafe { std::slice::from_raw_parts(place, 3) };
    for (theirs, mut ours) in theirs.iter().zip(ours) {
        ours.f64s *= 2.0;
        ours.inner[1].b = 77;
        assert_eq!(*theirs, ours);
    }
}

#[test]
fn the_error_names_the_field_that_differs() {
    let error = |text: &str| match dtype::check::<Inner>(text).unwrap_err() {
        Error::WrongDtype { field, .. } => field,
        other => panic!("{other}"),
    };
    dtype::check::<Inner>("[('a', '<i2', (3, 2)), ('b', '<u4')]").unwrap();
    assert_eq!(error("[('a', '<i2', (2, 3)), ('b', '<u4')]"), "a");
    assert_eq!(error("[('a', '<i2', (3, 2)), ('b', '>u4')]"), "b");
    assert_eq!(error("[('a', '<i2', (3, 2)), ('c', '<u4')]"), "c");
    assert_eq!(error("[('a', '<i2', (3, 2))]"), "b");
    assert_eq!(error("[('a', '<i2', (3, 2)), ('b', '<u4'), ('', '|V4')]"), "the element");
    for text in ["", "[", "[('a'", "'<i2", "[('a', '<i2', (3, 2)), ('b', '<u4')] x", "{'names'}"] {
        assert_eq!(error(text), "the element", "{text}");
    }
    assert_eq!(error(&"[('a', ".repeat(10_000)), "the element");
    let nested = "[('i8s', '|i1'), ('u8s', '|b1')]";
    let named = dtype::check::<Everything>(nested).unwrap_err().to_string();
    assert!(named.contains("`i16s`"), "{named}");
    dtype::check::<[f64; 2]>("'<c16'").unwrap();
    dtype::check::<[[u8; 4]; 2]>("('|u1', (2, 4))").unwrap();
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fall(text in "[\\[\\]()',<>|a-z0-9 ]{0,60}") {
        let _ = dtype::check::<Inner>(&text);
    }
}
