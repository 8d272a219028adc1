//! What is wrong is said in one clear line, with a non-zero exit, and nothing is left behind.

use std::path::Path;
use std::process::{Command, Output};

use crate::{left_in_shm, program, run};

/// One line on standard error that holds `words`, nothing on standard output, a failing status.
pub fn refused(output: &Output, words: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it should have failed: {words}");
    assert_eq!(error.lines().count(), 1, "not one line: {error}");
    assert!(error.contains(words), "no {words:?} in: {error}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a test file");
    path.to_str().expect("a plain path").to_owned()
}

/// A version 1.0 header as numpy writes it.
fn header(dtype: &str, shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}");
    let size = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(size as u16).to_le_bytes());
    bytes.extend_from_slice(format!("{text:<width$}\n", width = size - 1).as_bytes());
    bytes
}

#[test]
fn files_that_are_not_arrays_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    refused(&run(path, &["no-such-file.npy"]), "No such file");
    refused(&run(path, &[path.to_str().unwrap()]), "not a file");
    refused(&run(path, &[&write(path, "text.npy", b"a,b\n1,2\n")]), "not a .npy file");
    refused(&run(path, &[&write(path, "nothing.npy", b"")]), "not a .npy file");
    let half = &header("'<f8'", "(10,)")[..40];
    refused(&run(path, &[&write(path, "half.npy", half)]), "not a .npy file");
}

#[test]
fn a_truncated_file_is_refused_with_both_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = header("'<f8'", "(10,)");
    bytes.extend_from_slice(&[0; 79]);
    let file = write(folder.path(), "short.npy", &bytes);
    refused(&run(folder.path(), &[&file]), "10 records need 80 bytes, there are 79");
    let file = write(folder.path(), "huge.npy", &header("'<f8'", "(4611686018427387904,)"));
    refused(&run(folder.path(), &[&file]), "truncated");
}

#[test]
fn a_column_that_is_not_there_is_refused_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    refused(&run(folder.path(), &["--column", "price"]), "date, val, label");
    refused(&run(folder.path(), &["--column", "label"]), "cannot be summed");
}

#[test]
fn zero_workers_and_zero_rows_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    refused(&run(folder.path(), &["--workers", "0"]), "at least one worker");
    refused(&run(folder.path(), &["--rows", "0"]), "at least 1");
}

#[test]
fn more_than_the_machine_has_is_refused_before_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    refused(&run(folder.path(), &["--rows", "40000000000"]), "bytes of shared memory");
}

#[test]
fn a_report_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program())
        .args(["--rows", "10", "--report", "/no/such/folder/r.html"])
        .output();
    refused(&output.unwrap(), "/no/such/folder/r.html");
    let output = Command::new(program()).args(["--report"]).arg(folder.path()).output();
    refused(&output.unwrap(), "it is a folder");
}

#[test]
fn a_full_dev_shm_is_an_error_with_sizes_for_named_data() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("nansum-full-{}", std::process::id());
    // A file system of one megabyte, seen by this run only.
    let script = r#"mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@""#;
    let private = |arguments: &[&str]| {
        Command::new("unshare").args(["-m", "sh", "-c", script, "sh"]).args(arguments).output()
    };
    match private(&["true"]) {
        Ok(probe) if probe.status.success() => {}
        _ => return println!("skipped: this user may not mount a small /dev/shm"),
    }
    let program = program();
    let report = folder.path().join("report.html");
    let arguments =
        [program.to_str().unwrap(), "--report", report.to_str().unwrap(), "--rows", "100000"];
    let output = private(&[&arguments[..], &["--named", &name]].concat()).unwrap();
    refused(&output, "bytes do not fit on \"/dev/shm\"");
    // Anonymous memory does not use /dev/shm: there the job goes on.
    assert!(private(&arguments).unwrap().status.success());
    assert!(left_in_shm(&name).is_empty());
}
