//! Files that numpy itself wrote, summed as numpy sums them.
//!
//! Numpy is looked for in the folder `NUMPY_PATH` names, in `target/python`, and where Python
//! finds it by itself; `cargo xtask test` installs it. Where there is none, a plain line says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{json, run};

/// Python with numpy, if there is one.
fn python() -> Option<Command> {
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
    println!("skipped: no Python with numpy here; `cargo xtask test` installs it where it can");
    None
}

/// Runs a script with numpy as `np` and the folder as `folder`; what it prints is JSON.
fn numpy(folder: &Path, script: &str) -> Option<serde_json::Value> {
    let script = format!(
        "import json, sys, numpy as np\nfolder = sys.argv[1]\n\
         def save(name, a):\n    np.save(f'{{folder}}/{{name}}.npy', a)\n{script}"
    );
    let output = python()?.args(["-c", &script]).arg(folder).output().expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// Equal but for the rounding of sums in another order.
fn agree(ours: &serde_json::Value, numpys: &serde_json::Value) {
    let (ours, numpys) = (ours.as_f64().expect("a number"), numpys.as_f64().expect("a number"));
    let scale = numpys.abs().max(1.0);
    assert!((ours - numpys).abs() <= 1e-12 * scale, "{ours} is not numpy's {numpys}");
}

#[test]
fn sums_of_structured_files_are_numpys() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
rng = np.random.default_rng(7)
n = 50_021
a = np.zeros(n, dtype=[('date', '<M8[ns]'), ('val', '<f8'), ('small', '<f4'), ('odd', 'u1'),
                       ('label', 'S7'), ('count', '<i8'), ('short', '<u2'), ('flag', '?')])
a['val'] = rng.normal(size=n) * 10.0 ** rng.integers(-8, 9, size=n)
a['val'][::3] = np.nan
a['small'] = rng.integers(0, 100, size=n)
a['odd'] = rng.integers(0, 256, size=n)
a['count'] = rng.integers(-2**40, 2**40, size=n)
a['short'] = rng.integers(0, 2**16, size=n)
a['flag'] = rng.integers(0, 2, size=n)
save('packed', a)
aligned = np.zeros(n, dtype=np.dtype([('odd', 'u1'), ('val', '<f8'), ('short', '<u2')], align=True))
aligned['val'] = a['val']
save('aligned', aligned)
save('plain', a['val'].copy())
print(json.dumps({c: float(np.nansum(a[c], dtype='f8' if c in ('val', 'small') else 'i8'))
                  for c in ('val', 'small', 'odd', 'count', 'short', 'flag')}))
"#;
    let Some(expected) = numpy(folder.path(), script) else { return };
    let packed = folder.path().join("packed.npy");
    for (column, sum) in expected.as_object().unwrap() {
        let file = packed.to_str().unwrap();
        let object = json(folder.path(), &[file, "--column", column, "--workers", "2"]);
        agree(&object["shared"]["sum"], sum);
        agree(&object["copied"]["sum"], sum);
    }
    for file in ["aligned.npy", "plain.npy", "packed.npy"] {
        let file = folder.path().join(file);
        let object = json(folder.path(), &[file.to_str().unwrap(), "--split"]);
        agree(&object["shared"]["sum"], &expected["val"]);
    }
}

#[test]
fn layouts_that_are_not_supported_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
save('big', np.zeros(10, dtype=[('val', '>f8'), ('id', '<i4')]))
save('fortran', np.asfortranarray(np.zeros((4, 5))))
save('square', np.zeros((4, 5)))
save('text', np.zeros(10, dtype=[('val', 'S8')]))
save('complex', np.zeros(10, dtype='c16'))
save('half', np.zeros(10, dtype='f2'))
save('dates', np.zeros(10, dtype=[('day', 'M8[D]')]))
save('nested', np.zeros(10, dtype=[('pair', '<f8', 2)]))
save('empty', np.zeros(0))
np.save(f'{folder}/object.npy', np.array([None, 'x'], dtype=object), allow_pickle=True)
print('{}')
"#;
    if numpy(folder.path(), script).is_none() {
        return;
    }
    for (file, words) in [
        ("big", "big-endian"),
        ("fortran", "Fortran order"),
        ("square", "2 dimensions"),
        ("text", "text"),
        ("complex", "complex"),
        ("half", "<f2"),
        ("dates", "dates"),
        ("nested", "nested"),
        ("empty", "empty"),
        ("object", "Python objects"),
    ] {
        let path = folder.path().join(format!("{file}.npy"));
        let path = path.to_str().unwrap();
        let column = match file {
            "big" | "text" => Some("val"),
            "dates" => Some("day"),
            "nested" => Some("pair"),
            _ => None,
        };
        let arguments: Vec<&str> =
            [path].into_iter().chain(column.into_iter().flat_map(|c| ["--column", c])).collect();
        let output = run(folder.path(), &arguments);
        crate::errors::refused(&output, words);
    }
}
