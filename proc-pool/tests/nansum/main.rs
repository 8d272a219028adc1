//! The main job, run as its users run it.

mod errors;
mod kills;
mod memory;
mod numpy;
mod right;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The job's program: `cargo test` builds examples beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples/nansum");
    assert!(program.exists(), "run `cargo build -p proc-pool --examples` first: {program:?}");
    program
}

/// A run of the job with its report in `folder`.
fn nansum(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).arg("--report").arg(folder.join("report.html")).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    nansum(folder, arguments).output().expect("the job starts")
}

/// The object on the last line of a run that must succeed.
fn json(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = run(folder, &[arguments, &["--json"]].concat());
    last_line(&output)
}

fn last_line(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().expect("a last line")).expect("JSON")
}

/// What is in `/dev/shm` under a name that begins so.
fn left_in_shm(prefix: &str) -> Vec<String> {
    let names = std::fs::read_dir("/dev/shm").expect("/dev/shm");
    let names = names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("shm-core.{prefix}"))).collect()
}
